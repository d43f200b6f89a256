"""What `Audit.init` reads of a model and data, and the text of the xai.toml that follows."""

import json
import math
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xai.audits.checks.base import Check, CheckRequest
from xai.audits.config import parse_config
from xai.audits.context import CALIBRATION, DATA, TRAIN, Context
from xai.audits.execution.plan import open_context
from xai.audits.execution.stages.explanations import explained
from xai.core.labels import match_names, numbered
from xai.core.model.classifier import Classifier
from xai.core.model.usage_checks import DataFit, data_fit, model_lines
from xai.datasets.columns import TABLES, find_columns, find_table
from xai.datasets.dataset import Dataset
from xai.datasets.loading import describe, load_data
from xai.errors import InputError, XaiError
from xai.models.architectures import imports_from
from xai.models.loading import load

_CHECK = "[[check]]\n"
_METRIC = re.compile(r'^metric = "(\w+)"', re.M)
_INDENT = 32  # column of comments
_HEAD = """\
# What is audited, on which images, by which checks. `xai audit xai.toml --out audit/` runs it; the same command
# again goes on where it was, and `--dry-run` only says what it would do. Unknown keys are errors.
"""
Change = tuple[Any, str]  # value of a key, and a comment


def value_text(value: Any) -> str:
    """Return a value as TOML."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(value_text, value))}]"
    return repr(value)


def table_text(name: str, table: Mapping[str, Any], comments: Mapping[str, str]) -> str:
    """Return a table with a comment behind some of its keys."""
    return "\n".join([f"[{name}]", *(_line(key, value, comments.get(key, "")) for key, value in table.items())]) + "\n"


def comment_text(title: str, lines: Sequence[str]) -> str:
    """Return lines as comments below a title."""
    return "".join(f"# {_plain(line)}\n" for line in [f"{title}:", *(f"  {line}" for line in lines)])


def whole_text(tables: Sequence[str], template: str) -> str:
    """Return the file: tables of its own, then [audit], [report] and the checks of a template."""
    return "\n".join([_HEAD, *tables, template[template.index("[audit]\n") :]])


def with_checks(text: str, missing: Mapping[str, str], changes: Mapping[str, Mapping[str, Change]]) -> str:
    """Return a file with some of its checks changed, and those that cannot be asked as comments.

    Args:
        text: of the file.
        missing: why a check cannot be asked, by metric.
        changes: of keys, by metric; a value of None turns a key into a comment.
    """
    head, *blocks = text.split(_CHECK)
    return head + "".join(_block(block, missing, changes) for block in blocks)


def _block(block: str, missing: Mapping[str, str], changes: Mapping[str, Mapping[str, Change]]) -> str:
    match = _METRIC.search(block)
    metric = "" if match is None else match[1]
    lines = _changed(block.rstrip("\n").split("\n"), changes.get(metric, {}))
    if metric not in missing:
        return _CHECK + "\n".join(lines) + "\n\n"
    silent = "".join(f"# {line}\n" for line in [_CHECK.rstrip("\n"), *lines] if line)
    return f"# Not asked, since {_plain(missing[metric])}:\n{silent}\n"


def _changed(lines: list[str], changes: Mapping[str, Change]) -> list[str]:
    """Return the lines of a check with other values; keys that it lacks stand below its metric."""
    left = dict(changes)
    lines_after = []
    for line in lines:
        key = line.partition(" = ")[0]
        if key not in left:
            lines_after.append(line)
            continue
        value, comment = left.pop(key)
        lines_after.append(f"# {line}" if value is None else _line(key, value, comment))
    at = next(k for k, line in enumerate(lines_after) if line.startswith("metric")) + 1
    return (
        lines_after[:at]
        + [_line(key, *change) for key, change in left.items() if change[0] is not None]
        + lines_after[at:]
    )


def _line(key: str, value: Any, comment: str) -> str:
    text = f"{key} = {value_text(value)}"
    return f"{text.ljust(_INDENT - 1)} # {_plain(comment)}" if comment else text


def _plain(text: str) -> str:
    """Return text for a comment, in one line."""
    return "".join(c if c.isprintable() else " " for c in text)


_SHOWN = 3


def opened(given: Mapping[str, Any], classifier: Classifier) -> tuple[Dataset, dict[str, Any]]:
    """Return data, and the settings by which it was opened, the source and what was found out among them.

    Args:
        given: source and settings of `xai.load_data`.
        classifier: whose classes are meant.

    Raises:
        InputError: no such data, no labels, or classes that are not those of the model.
    """
    table = {name: value for name, value in given.items() if value is not None}
    table["source"] = _source(str(table["source"]))
    table |= _columns(Path(table["source"]), table, classifier)
    data = _loaded(table)
    if data.labels is None:
        raise InputError(
            f"{data.name}: it has no labels, and every check compares predictions with them. Add a column."
        )
    known, own = classifier.class_names, data.class_names
    if (
        set(own) < set(known) and own != known[: len(own)]
    ):  # the data lacks some classes: theirs are the model's numbers
        table["class_names"] = list(known)
        return _loaded(table), table
    if len(match_names(own, known)) == len(own):  # in another case, as folders are called: labels go by name
        return data, table
    first = own == known[: len(own)] or own == numbered(len(own))
    if len(own) != len(known) and not (first and len(own) < len(known)):
        raise InputError(
            f"{data.name}: expected the {len(known)} classes of {classifier.name} ({_few(known)}), but got {len(own)} "
            f"({_few(own)}). Give the names of the model's outputs in their order: --class-names."
        )
    return data, table


def _source(source: str) -> str:
    """Return the one table in a folder that has no folders of classes, else the source itself."""
    path = Path(source)
    if not path.is_dir() or sum(entry.is_dir() for entry in path.iterdir()) > 1:
        return source
    table = find_table(path)
    return source if table is None else str(table)


def _columns(path: Path, table: Mapping[str, Any], classifier: Classifier) -> dict[str, str]:
    """Return the columns of paths and labels where they have other names than usual and none were given."""
    if path.suffix.lower() not in TABLES or not path.is_file():
        return {}
    if {"path_column", "label_column"} <= table.keys():
        return {}
    named = () if classifier.class_names == numbered(classifier.num_classes) else classifier.class_names
    given = {name: table.get(f"{name}_column") for name in ("path", "label")}
    columns_read = find_columns(path, named, classifier.num_classes, **given)
    columns = {"path_column": columns_read.path, "label_column": columns_read.label}
    return {name: column for name, column in columns.items() if column != name.partition("_")[0]}


def _loaded(table: Mapping[str, Any]) -> Dataset:
    """Return all parts of the data."""
    settings = {name: value for name, value in table.items() if name not in {"source", "n", "part"}}
    return load_data(str(table["source"]), **settings)


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


_MOST = 2000  # images of a table
_PARTS = {
    DATA: ("test", "testing", "tst", "holdout", "eval", "evaluation", "val", "valid", "validation", "dev"),
    TRAIN: ("train", "training", "trn"),
    CALIBRATION: ("calibration", "calib", "val", "valid", "validation", "dev"),
}
_SIGNIFICANT = 0.01  # p-value below which another way of resizing is taken
_SECONDS, _FEWEST = 60.0, 20  # of one check, about, and images that it has at least
_SLOW = 0.02  # seconds of a forward, from which on certificates are left out
_EXPLAINING = ("faithfulness", "stability", "explanation_drift")
_THRESHOLD = "what always predicting the largest class reaches: raise it to what your use needs"


@dataclass(frozen=True)
class Reading:
    """What was read, and what follows.

    Attributes:
        lines: lines by title.
        tables: of the file, by name.
        comments: behind keys, by table.
        missing: why a check cannot be asked, by metric.
        changes: of keys of checks, by metric.
    """

    lines: Mapping[str, tuple[str, ...]]
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
    config = parse_config({"model": model, "data": data, "check": usual})
    with imports_from(place, config.model.get("arch")):
        classifier = load(**{"device": "auto", **config.model})
    given = dict(config.data)
    whole, given = opened(given, classifier)
    roles, comments = _roles(whole, given)
    objects = {name: {"source": whole, **_only(table, "part", "n")} for name, table in roles.items()}
    context = open_context(parse_config({"model": classifier, **objects, "check": usual}))
    fit = data_fit(context.classifier, context.role().data)
    tables = {name: {**table, "source": _relative(place, table["source"])} for name, table in roles.items()}
    own, comments["model"] = _model(place, config.model, classifier, whole, fit)
    lines = {"Model": model_lines(classifier), "Data": describe(whole).lines, "Model on [data]": fit.lines}
    return Reading(lines, {"model": own, **tables}, comments, *_checks(usual, context, fit))


def _roles(whole: Dataset, given: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, str]]]:
    """Return the tables of data sets, by the parts of the data, and comments behind their keys."""
    parts = {DATA: given["part"]} if "part" in given else {}
    if not parts:
        for role, names in _PARTS.items():
            matching = [
                part for name in names for part in whole.parts if part.lower() == name and part not in parts.values()
            ]
            parts |= dict.fromkeys([role], matching[0]) if matching else {}
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
    place: Path, settings: Mapping[str, Any], classifier: Classifier, whole: Dataset, fit: DataFit
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the table of the model, with what follows from the data, and comments behind its keys."""
    table, comments = (
        {"source": _relative(place, settings["source"]), **_only(settings, *settings.keys() - {"source"})},
        {},
    )
    if classifier.class_names == numbered(classifier.num_classes) != whole.class_names and len(whole.class_names) > 0:
        table["class_names"] = list(whole.class_names)
        comments["class_names"] = "of the data; their order must be that of the model's outputs"
    resizing = fit.resizing
    if (
        resizing is not None
        and resizing.best != resizing.current
        and resizing.p_values[resizing.best] < _SIGNIFICANT
        and "resize" not in settings
    ):
        table["resize"] = resizing.best
        shares = ", ".join(f"{way} {share:.1%}" for way, share in resizing.accuracy.items())
        comments["resize"] = f"fits best: of {resizing.count} images are predicted right by {shares}"
    return table, comments


def _checks(
    usual: Sequence[CheckRequest], context: Context, fit: DataFit
) -> tuple[dict[str, str], dict[str, dict[str, Change]]]:
    """Return which checks cannot be asked, and what of the others follows from model and data."""
    missing = {request.check.name: request.check.missing(context, baseline=False) for request in usual}
    missing["certified_accuracy"] = missing["certified_accuracy"] or _unprovable(context, usual, fit)
    method = (
        "gradcam"
        if not _refused(lambda: explained(context, "gradcam", DATA, context.role().order[:1]))
        else "occlusion"
    )
    changes: dict[str, dict[str, Change]] = {name: {"method": (method, "")} for name in _EXPLAINING}
    counts = np.bincount(context.labels(DATA, context.role().order).numpy())
    largest = math.ceil(100 * counts.max() / counts.sum()) / 100
    changes["accuracy"] = {"at_least": (min(largest, 0.99), _THRESHOLD), "worst_class_at_least": (None, "")}
    changes |= {name: {"at_least": (None, "")} for name in ("robust_accuracy", "corruption_accuracy")}
    for check in (request.check for request in usual):
        if check.name in _EXPLAINING:
            check = type(check)(**{**check.settings, "method": method})
        few = _affordable(check, context, fit)
        if few is not None:
            changes.setdefault(check.name, {})["images"] = (few, "so that it takes about a minute here")
    return {name: why for name, why in missing.items() if why}, changes


def _unprovable(context: Context, usual: Sequence[CheckRequest], fit: DataFit) -> str:
    """Return why nothing can be certified of a model; "" where something can."""
    if fit.seconds > _SLOW:
        return "certificates for a model of this size take long"
    (check,) = (request.check for request in usual if request.check.name == "certified_accuracy")
    return _refused(lambda: check.stages()[0].run(context, context.role().order[:1]))


def _refused(work: Callable[[], object]) -> str:
    try:
        work()
    except XaiError as error:
        return str(error).partition("\n")[0]
    return ""


def _affordable(check: Check, context: Context, fit: DataFit) -> int | None:
    """Return how many images a check can have; None where it need not be limited."""
    stages = [stage for stage in check.stages() if not stage.whole and stage.role == DATA]
    counts = [len(stage.rows(context)) for stage in stages]
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
