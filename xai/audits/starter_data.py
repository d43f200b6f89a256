"""What `xai init` reads of a model and data, and what follows from it for the tables and checks of an xai.toml."""

import math
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xai.audits.checks import Check
from xai.audits.config import Asked, parse_config
from xai.audits.opening import open_scene
from xai.audits.scene import CALIBRATION, DATA, TRAIN, Scene
from xai.audits.stages.explained import explained
from xai.audits.starter_classes import opened
from xai.audits.starter_text import Change
from xai.core.classifier import Classifier
from xai.core.fitting import DataFit, data_fit, model_lines
from xai.core.labels import numbered
from xai.datasets import Dataset
from xai.datasets.description import describe
from xai.errors import XaiError
from xai.models import imports_from, load

_MOST = 2000  # images of a table
_PARTS = {
    DATA: ("test", "testing", "tst", "holdout", "eval", "evaluation", "val", "valid", "validation", "dev"),
    TRAIN: ("train", "training", "trn"),
    CALIBRATION: ("calibration", "calib", "val", "valid", "validation", "dev"),
}
_SURE = 0.01  # p-value below which another way of resizing is taken
_SECONDS, _FEWEST = 60.0, 20  # of one check, about, and images that it has at least
_SLOW = 0.02  # seconds of a forward, from which on proofs are left out
_EXPLAINING = ("faithfulness", "stability", "explanation_drift")
_THRESHOLD = "what always predicting the largest class reaches: raise it to what your use needs"


@dataclass(frozen=True)
class Reading:
    """What was read, and what follows.

    Attributes:
        told: lines by title.
        tables: of the file, by name.
        comments: behind keys, by table.
        missing: why a check cannot be asked, by metric.
        changes: of keys of checks, by metric.
    """

    told: Mapping[str, tuple[str, ...]]
    tables: Mapping[str, Mapping[str, Any]]
    comments: Mapping[str, Mapping[str, str]]
    missing: Mapping[str, str]
    changes: Mapping[str, Mapping[str, Change]]


def read(place: Path, model: Mapping[str, Any], data: Mapping[str, Any], template: str) -> Reading:
    """Read a model and data; nothing is written.

    Args:
        place: folder of the file to be, which relative paths of its tables start from.
        model: table with "source" and settings of `xai.load`.
        data: table with "source" and settings of `xai.load_data`.
        template: a whole file, whose checks are taken.

    Raises:
        InputError: something is not there, or model and data do not go together.
        NameLookupError: no such model, part or setting.
    """
    usual = parse_config(tomllib.loads(template)).checks
    asked = parse_config({"model": model, "data": data, "check": usual})
    with imports_from(place, asked.model.get("arch")):
        classifier = load(**{"device": "auto", **asked.model})
    given = {"source": asked.data.source, "n": asked.data.n, **asked.data.settings}
    whole, given = opened(given, classifier)
    roles, comments = _roles(whole, given)
    objects = {name: {"source": whole, **_only(table, "part", "n")} for name, table in roles.items()}
    scene = open_scene(parse_config({"model": classifier, **objects, "check": usual}))
    fit = data_fit(scene.classifier, scene.role().data)
    tables = {name: {**table, "source": _relative(place, table["source"])} for name, table in roles.items()}
    own, comments["model"] = _model(place, asked.model, classifier, whole, fit)
    told = {"Model": model_lines(classifier), "Data": describe(whole).lines, "Model on [data]": fit.lines}
    return Reading(told, {"model": own, **tables}, comments, *_checks(usual, scene, fit))


def _roles(whole: Dataset, given: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, str]]]:
    """Return the tables of data sets, by the parts of the data, and comments behind their keys."""
    parts = {DATA: given["part"]} if "part" in given else {}
    if not parts:
        for role, names in _PARTS.items():
            found = [
                part for name in names for part in whole.parts if part.lower() == name and part not in parts.values()
            ]
            parts |= dict.fromkeys([role], found[0]) if found else {}
    parts = parts if DATA in parts else {}
    tables, comments = {}, {}
    for role in parts or {DATA: None}:
        data = whole.part(parts[role]) if role in parts else whole
        table = {**given} | ({"part": parts[role]} if role in parts else {})
        drawn = "n" not in given and len(data) > _MOST
        tables[role] = table | ({"n": _MOST} if drawn else {})
        comments[role] = {"n": f"of {len(data):,}, drawn by seed; leave out for all"} if drawn else {}
        comments[role] |= {"source": "labelled images that the model was not trained on"} if role == DATA else {}
    return tables, comments


def _model(
    place: Path, asked: Mapping[str, Any], classifier: Classifier, whole: Dataset, fit: DataFit
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the table of the model, with what follows from the data, and comments behind its keys."""
    table, comments = {"source": _relative(place, asked["source"]), **_only(asked, *asked.keys() - {"source"})}, {}
    if classifier.labels == numbered(classifier.num_classes) != whole.classes and len(whole.classes) > 0:
        table["labels"] = list(whole.classes)
        comments["labels"] = "of the data; their order must be that of the model's outputs"
    found = fit.resizing
    if (
        found is not None
        and found.best != found.current
        and found.p_values[found.best] < _SURE
        and "resize" not in asked
    ):
        table["resize"] = found.best
        shares = ", ".join(f"{way} {share:.1%}" for way, share in found.accuracy.items())
        comments["resize"] = f"fits best: of {found.count} images are predicted right by {shares}"
    return table, comments


def _checks(usual: Sequence[Asked], scene: Scene, fit: DataFit) -> tuple[dict[str, str], dict[str, dict[str, Change]]]:
    """Return which checks cannot be asked, and what of the others follows from model and data."""
    missing = {asked.check.name: asked.check.missing(scene, baseline=False) for asked in usual}
    missing["certified_accuracy"] = missing["certified_accuracy"] or _unprovable(scene, usual, fit)
    method = (
        "gradcam" if not _refused(lambda: explained(scene, "gradcam", DATA, scene.role().order[:1])) else "occlusion"
    )
    changes: dict[str, dict[str, Change]] = {name: {"method": (method, "")} for name in _EXPLAINING}
    counts = np.bincount(scene.truth(DATA, scene.role().order).numpy())
    largest = math.ceil(100 * counts.max() / counts.sum()) / 100
    changes["accuracy"] = {"at_least": (min(largest, 0.99), _THRESHOLD), "worst_class_at_least": (None, "")}
    changes |= {name: {"at_least": (None, "")} for name in ("robust_accuracy", "corruption_accuracy")}
    for check in (asked.check for asked in usual):
        if check.name in _EXPLAINING:
            check = type(check)(**{**check.settings, "method": method})
        few = _affordable(check, scene, fit)
        if few is not None:
            changes.setdefault(check.name, {})["pictures"] = (few, "so that it takes about a minute here")
    return {name: why for name, why in missing.items() if why}, changes


def _unprovable(scene: Scene, usual: Sequence[Asked], fit: DataFit) -> str:
    """Return why nothing can be proven of a model; "" where something can."""
    if fit.seconds > _SLOW:
        return "proofs of a model of this size take long"
    (check,) = (asked.check for asked in usual if asked.check.name == "certified_accuracy")
    return _refused(lambda: check.stages()[0].run(scene, scene.role().order[:1]))


def _refused(work: Callable[[], object]) -> str:
    try:
        work()
    except XaiError as error:
        return str(error).partition("\n")[0]
    return ""


def _affordable(check: Check, scene: Scene, fit: DataFit) -> int | None:
    """Return how many images a check can have; None where it need not be limited."""
    stages = [stage for stage in check.stages() if not stage.whole and stage.role == DATA]
    counts = [len(stage.rows(scene)) for stage in stages]
    each = [stage.cost.forward + 2 * stage.cost.backward for stage in stages]
    seconds = fit.seconds * sum(count * rows for count, rows in zip(counts, each, strict=True))
    if seconds <= _SECONDS:
        return None
    return max(_FEWEST, int(max(counts) * _SECONDS / seconds))


def _relative(place: Path, source: str) -> str:
    """Return a path as the file has it: as it is where it is absolute or no path, else from the file's folder."""
    if Path(source).is_absolute() or not Path(source).exists():
        return source
    return Path(os.path.relpath(source, place.resolve())).as_posix()


def _only(table: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: table[name] for name in names if table.get(name) is not None}
