"""`write_tests`: the findings of an audit as tests, with the images that showed them."""

import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from torch import nn

from xai.audits.check_result import Artifacts
from xai.audits.config import as_in_file, parse_config
from xai.audits.execution.plan import open_context, open_model
from xai.audits.execution.store import publish
from xai.audits.operations import OPERATIONS
from xai.audits.record import Audit
from xai.core.model.classifier import Classifier, as_classifier
from xai.errors import InputError, RecordError, XaiError

_SHOWN = (1, 3)  # channels that a PNG shows


@dataclass(frozen=True)
class Frozen:
    """One image as the model takes it.

    Attributes:
        name: of the file, by its content.
        png: 8 bits per channel, at the model's input size.
        predicted: class that the audited model gives this file.
        why: it cannot be frozen, in words; "" where it can.
    """

    name: str = ""
    png: bytes = b""
    predicted: str = ""
    why: str = ""


def freeze(png: bytes, classifier: Classifier) -> Frozen:
    """Return an image of the evidence at the model's input size, with what the model predicts for the frozen file."""
    try:
        inputs = classifier.prepare(io.BytesIO(png)).inputs[0]
        if len(inputs) not in _SHOWN:
            return Frozen(why=f"an image of {len(inputs)} channels cannot be frozen as PNG")
        artifacts = Artifacts()
        name = artifacts.image(inputs)["file"].rpartition("/")[2]
        content = artifacts.files[name]
        return Frozen(name, content, str(classifier.predict(io.BytesIO(content)).label))
    except XaiError as error:
        return Frozen(why=f"the model does not take the frozen image ({str(error).rstrip('.')})")


def why_useless(case: Mapping[str, str], predicted: str, classes: Sequence[str]) -> str:
    """Return why a test would not be red now and green once the model is right; "" where it would."""
    if "not" in case:
        return "" if predicted == case["not"] else f"frozen with 8 bits it is no longer taken for {case['not']!r}"
    if case["label"] not in classes:
        return f"the model has no class {case['label']!r}"
    return "" if predicted != case["label"] else "frozen with 8 bits the model is right on it"


def audited_model(
    audit: Audit, table: Mapping[str, Any], model: Classifier | nn.Module | None, root: Path
) -> Classifier:
    """Return the model that was audited.

    Raises:
        InputError: it cannot be loaded as the audit's settings say, or another one was audited.
    """
    cure = "Give write_tests the audited object as `model`, or audit a model by its name or file."
    try:
        tables = {"model": dict(table), "data": "none", "check": ["accuracy"]}
        classifier = open_model(parse_config(tables, folder=root)) if model is None else as_classifier(model)
    except XaiError as error:
        raise InputError(f"The tests could not load the audited model {table['source']!r}: {error} {cure}") from error
    if classifier.fingerprint != audit.document["model"]["fingerprint"]:
        raise InputError(f"Expected the model that was audited, but {classifier.name!r} is another one. {cure}")
    return classifier


def why_other_data(audit: Audit, tables: Mapping[str, Any], classifier: Classifier, root: Path) -> str:
    """Return why the tests would ask about other images than the audit did; "" where they are the same."""
    try:
        config = parse_config({**tables, "model": {"source": classifier}, "check": ["accuracy"]}, folder=root)
        roles = open_context(config).roles
    except XaiError as error:
        return f"the data cannot be loaded as the audit's settings say ({str(error).rstrip('.')})"
    audited = audit.document["data"]
    other = [name for name in audited if roles[name].fingerprint != audited[name]["accounting"]["fingerprint"]]
    return f"{', '.join(other)} was given as an object, or has changed since the audit" if other else ""


MOST_BYTES = 200_000  # of all frozen images
_TEST, _FOLDER = "test_audit_findings.py", "audit_findings"
_LABELLED = ("accuracy", "corruption_accuracy", "robust_accuracy")  # whose images have a right answer
_CHANGED = ("adversarial", "corrupted", "inserted")
_JUDGED = ("fail", "inconclusive")
_OTHERS = ("train", "calibration")


def write_tests(
    audit: Audit,
    folder: str | Path,
    *,
    model: Classifier | nn.Module | None = None,
    root: str | Path | None = None,
) -> tuple[Path, ...]:
    """Do the work of `Audit.write_tests`."""
    place, start = Path(folder), Path(root or ".")
    tables = _tables(audit)
    classifier = audited_model(audit, tables["model"], model, start)
    images, content, left_out = _images(audit, classifier)
    gates, more = _gates(audit, tables, classifier, start)
    if model is not None:
        tables.pop("model")
    way = os.path.relpath(start.resolve(), (place / _FOLDER).resolve())
    cases = {"audit": tables, "root": Path(way).as_posix(), "images": images, "gates": gates}
    cases |= {"left_out": left_out + more}
    text = (resources("xai.reports") / "starters" / "test_audit_findings.txt").read_text(encoding="utf-8")
    written = {place / _FOLDER / name: png for name, png in content.items()}
    written[place / _FOLDER / "cases.json"] = (json.dumps(cases, indent=1) + "\n").encode()
    written[place / _TEST] = text.encode()
    for path, file_content in written.items():
        publish(path, file_content)
    return tuple(written)


OPERATIONS.register("write_tests")(write_tests)


def _images(audit: Audit, classifier: Classifier) -> tuple[list[dict[str, str]], dict[str, bytes], list[str]]:
    """Return the cases that are red on the audited model, their files, and what was left out."""
    cases: list[dict[str, str]] = []
    content: dict[str, bytes] = {}
    left_out: list[str] = []
    for case in _candidates(audit):
        png = _file(audit, case.pop("file"))
        if png is None:
            continue
        frozen = freeze(png, classifier)
        why = frozen.why or why_useless(case, frozen.predicted, classifier.class_names)
        if not why and sum(map(len, content.values())) + len(frozen.png) > MOST_BYTES:
            why = f"the frozen images would take more than {MOST_BYTES:,} bytes"
        if why:
            left_out.append(f"{case['check']}, {case['image']}: {why}.")
        elif frozen.name not in content:
            content[frozen.name] = frozen.png
            cases.append({"name": _plain(case["check"], len(cases)), "file": frozen.name, **case})
    return cases, content, list(dict.fromkeys(left_out))


def _candidates(audit: Audit) -> Iterator[dict[str, str]]:
    for finding in audit.document["findings"]:
        for exhibit in finding["evidence"] if finding["verdict"] in _JUDGED else ():
            case = _case(finding, exhibit)
            if case is not None:
                yield case


def _case(finding: Mapping[str, Any], exhibit: Mapping[str, Any]) -> dict[str, str] | None:
    """Return what is known of an exhibit's image; None where it has no right or wrong answer."""
    images = {image["role"]: image["file"].removeprefix("evidence/") for image in exhibit["images"]}
    role = next((role for role in _CHANGED if role in images), "image")
    facts = exhibit["facts"]
    if role not in images or not images[role].endswith(".png"):
        return None
    case = {"file": images[role], "check": finding["check"], "image": exhibit["image"]}
    if role == "inserted" and "predicted" in facts:
        return case | {"not": facts["predicted"]}
    return case | {"label": facts["label"]} if finding["metric"] in _LABELLED and "label" in facts else None


def _file(audit: Audit, name: str) -> bytes | None:
    try:
        return audit.files[name]
    except (KeyError, RecordError):
        return None


def _gates(
    audit: Audit, tables: Mapping[str, Any], classifier: Classifier, root: Path
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the checks that did not pass, as they would stand in the file, and which were left out."""
    findings = [finding for finding in audit.document["findings"] if finding["verdict"] in _JUDGED]
    ids = list(dict.fromkeys(finding["check"] for finding in findings))
    why = why_other_data(audit, tables, classifier, root) if ids else ""
    if why:
        return [], [f"the checks {', '.join(ids)} are not asked again: {why}."]
    return [{"name": _plain(id_, k), "check": _check_table(audit, id_)} for k, id_ in enumerate(ids)], []


def _check_table(audit: Audit, id_: str) -> dict[str, Any]:
    """Return a check as it would stand in the file."""
    return as_in_file(next(check for check in audit.document["settings"]["checks"] if check["id"] == id_))


def _tables(audit: Audit) -> dict[str, Any]:
    settings = audit.document["settings"]
    others = settings["others"]
    own = {name: settings["audit"][name] for name in ("seed", "micro_batch", "baseline")}
    own = {name: value for name, value in own.items() if value is not None}
    tables = {"model": dict(settings["model"]), "data": settings["data"], "audit": own}
    tables |= {name: others[name] for name in _OTHERS if name in others}
    ood_sources = {name.removeprefix("ood:"): source for name, source in others.items() if name.startswith("ood:")}
    return tables | ({"ood": ood_sources} if ood_sources else {})


def _plain(id_: str, k: int) -> str:
    """Return a name for a test: letters and digits, told apart by a number."""
    return f"{re.sub(r'[^A-Za-z0-9_.]+', '-', id_).strip('-')[:60]}-{k}"
