"""A fitted detector as plain fields and arrays, and back."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from xai.core.classifier import Classifier
from xai.core.penultimate import Head
from xai.core.records import plain, read_record
from xai.detectors import DETECTORS, Fitted
from xai.detectors._rows import View
from xai.errors import InputError, RecordError, XaiError
from xai.models import catalogue, load
from xai.outliers._neighbours import Neighbours
from xai.outliers.choice import Choice

if TYPE_CHECKING:
    from xai.outliers.detector import OODDetector

KIND = "ood detector"


def fields_of(found: "OODDetector") -> dict[str, Any]:
    """Return everything but the arrays, JSON-ready."""
    view = found.fitted.view
    seen = {"pool": view.pool, "kind": view.kind, "std": list(view.std)}
    seen |= {"layer": view.head and view.head.layer, "places": view.head and view.head.places}
    return {
        "method": found.method,
        "settings": found.fitted.detector.settings,
        "facts": plain(found.fitted.facts),
        "fit_notes": list(found.fitted.notes),
        "view": seen,
        "parts": list(found.calibration),
        "fit_pictures": len(found.fit_keys),
        "calibration_pictures": len(found.calibration_keys),
        "choice": None if found.choice is None else found.choice.to_dict(),
        "seed": found.seed,
        "model": plain(found.model),
        "versions": plain(found.versions),
        "notes": list(found.notes),
    }


def arrays_of(found: "OODDetector") -> dict[str, np.ndarray]:
    """Return the arrays."""
    arrays = {"fit_keys": found.fit_keys, "calibration_keys": found.calibration_keys}
    arrays |= {f"state.{name}": value for name, value in found.fitted.state.items()}
    arrays |= {f"part.{name}": value for name, value in found.calibration.items()}
    if found.fitted.view.head is not None:
        arrays |= {f"head.{name}": getattr(found.fitted.view.head, name) for name in ("weight", "bias")}
    if found.bank is not None:
        arrays |= {f"bank.{name}": getattr(found.bank, name) for name in ("features", "numbers", "labels")}
    return {name: value.detach().cpu().numpy() for name, value in arrays.items()}


def restore(path: Path, classifier: Classifier | None) -> dict[str, Any]:
    """Return the fields of a saved detector.

    Raises:
        RecordError: none here, or a damaged one.
        InputError: another model than the one it was fitted on.
    """
    kept, arrays = read_record(path, KIND)
    try:
        result = kept["result"]
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}
        fitted = _fitted(result, tensors)
        choice = result["choice"]
        fields = {
            "fitted": fitted,
            "calibration": {name: tensors[f"part.{name}"] for name in result["parts"]},
            "fit_keys": tensors["fit_keys"],
            "calibration_keys": tensors["calibration_keys"],
            "bank": Neighbours(**_under("bank", tensors)) if "bank.features" in tensors else None,
            "choice": None if choice is None else _choice(choice),
            **{name: result[name] for name in ("seed", "model", "versions")},
            "notes": tuple(result["notes"]),
        }
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise RecordError(f"{path}: the saved detector is damaged or incomplete. Fit it again.") from error
    model = fields["model"]
    if not isinstance(model, dict) or not {"name", "fingerprint"} <= model.keys():
        raise RecordError(f"{path}: the saved detector does not say of which model it is. Fit it again.")
    return fields | {"classifier": _model(model, classifier)}


def _fitted(result: dict[str, Any], tensors: dict[str, Tensor]) -> Fitted:
    seen = result["view"]
    head = None
    if seen["layer"] is not None:
        head = Head(seen["layer"], tensors["head.weight"], tensors["head.bias"], int(seen["places"]))
    view = View(head, int(seen["pool"]), str(seen["kind"]), tuple(seen["std"]))
    detector = DETECTORS[result["method"]](**result["settings"])
    return Fitted(detector, view, _under("state", tensors), dict(result["facts"]), tuple(result["fit_notes"]))


def _under(group: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{group}."): held for name, held in tensors.items() if name.startswith(f"{group}.")}


def _choice(found: dict[str, Any]) -> Choice:
    rows = tuple(dict(row) for row in found["rows"])
    return Choice(found["chosen"], found["kind"], rows, int(found["pictures"]), found["reason"])


def _model(wanted: dict[str, Any], given: Classifier | None) -> Classifier | None:
    """Return the model that a detector was fitted on: the one given, or one that has a name; None where neither is."""
    if given is not None:
        if given.fingerprint != wanted["fingerprint"]:
            raise InputError(
                f"The detector was fitted on the model {wanted['name']!r}, and {given.name!r} has other weights or "
                "preprocessing. Load that model, or fit anew."
            )
        return given
    if wanted["name"] not in [known.name for known in catalogue() if known.available]:
        return None
    try:
        found = load(wanted["name"])
    except XaiError:
        return None
    return found if found.fingerprint == wanted["fingerprint"] else None
