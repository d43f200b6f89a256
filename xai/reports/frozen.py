"""Images frozen for regression tests: at the model's input size, and tried on the audited model."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from xai.audits import Audit
from xai.audits.album import Album
from xai.audits.config import parse_config
from xai.audits.opening import open_model, open_scene
from xai.core.classifier import Classifier, as_classifier
from xai.errors import InputError, XaiError

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
        album = Album()
        name = album.picture(inputs)["file"].rpartition("/")[2]
        content = album.files[name]
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
        found = open_model(parse_config(tables, folder=root)) if model is None else as_classifier(model)
    except XaiError as error:
        raise InputError(f"The tests could not load the audited model {table['source']!r}: {error} {cure}") from error
    if found.fingerprint != audit.document["model"]["fingerprint"]:
        raise InputError(f"Expected the model that was audited, but {found.name!r} is another one. {cure}")
    return found


def why_other_data(audit: Audit, tables: Mapping[str, Any], classifier: Classifier, root: Path) -> str:
    """Return why the tests would ask about other images than the audit did; "" where they are the same."""
    try:
        config = parse_config({**tables, "model": {"source": classifier}, "check": ["accuracy"]}, folder=root)
        roles = open_scene(config).roles
    except XaiError as error:
        return f"the data cannot be loaded as the audit's settings say ({str(error).rstrip('.')})"
    held = audit.document["data"]
    other = [name for name in held if roles[name].manifest.fingerprint != held[name]["accounting"]["fingerprint"]]
    return f"{', '.join(other)} was given as an object, or has changed since the audit" if other else ""
