"""A fitted detector as plain fields and arrays, and back. Its settings and reference images are included."""

from collections.abc import Collection
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from xai.core.images.border import open_data
from xai.core.model.classifier import Classifier
from xai.core.model.features import Chunk, LinearHead, run_outputs
from xai.core.results.codec import plain, read_record
from xai.core.validation import check_whole
from xai.datasets.loading import load_data
from xai.errors import DataError, InputError, NameLookupError, RecordError, ShapeError, XaiError
from xai.models.loading import load
from xai.models.sources import catalogue
from xai.ood.detectors.base import DETECTORS, Fitted
from xai.ood.detectors.knn import distances, most_similar
from xai.ood.detectors.reference import Bank, FeatureRows, ModelView, to_unit
from xai.ood.selection import Choice

if TYPE_CHECKING:
    import pandas as pd


def split_settings(
    method: type, name: str, settings: dict[str, Any], call: Collection[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of the call and those of the method.

    Raises:
        NameLookupError: neither has a setting of that name.
    """
    own = [f.name for f in fields(method)]
    for given in settings:
        if given not in call and given not in own:
            raise NameLookupError(f"setting of {name}", given, [*call, *own])
    return (
        {key: value for key, value in settings.items() if key in call},
        {key: value for key, value in settings.items() if key not in call},
    )


def as_data(data: Any, what: str) -> Any:
    """Return a data set or images as one.

    Raises:
        DataError: no such data set, no images, a single one, or none.
    """
    expected = f"Expected {what} as a data set of xai.load_data, or several images (N, C, H, W), but got"
    try:
        dataset = load_data(data) if isinstance(data, str | Path) else open_data(data)  # a path is never one image here
    except ShapeError as error:
        raise DataError(f"{expected} {type(data).__name__}.") from error
    if getattr(dataset, "single", False):
        raise DataError(f"{expected} a single one.")
    if len(dataset.images) == 0:
        raise DataError(f"Expected at least one image in {what}, but the data set is empty.")
    return dataset


def count_of(data: Any) -> int:
    """Return the number of images."""
    return len(data.images)


def names_of(images: Any) -> tuple[str, ...]:
    """Return a name for each image: of its file, of the data set's row, or its number."""
    if hasattr(images, "ids"):
        return tuple(images.ids[0 : len(images)])
    images = images.images
    if isinstance(images, list | tuple):
        return tuple(
            Path(image).name if isinstance(image, str | Path) else getattr(image, "name", None) or f"image {k}"
            for k, image in enumerate(images)
        )
    return tuple(f"image {k}" for k in range(len(images)))


_BYTES = 64 << 20


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Features of fit images.

    Attributes:
        features: (n, d) float32 with norm 1.
        numbers: (n,) of the images in the fit data.
        labels: (n,) their classes.
    """

    features: Tensor = field(repr=False)
    numbers: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)

    @classmethod
    def of(cls, bank: Bank, seed: int) -> "Neighbours":
        """Keep what fits into 64 MB, chosen at random."""
        most = max(1, _BYTES // (4 * bank.features.shape[1]))
        rows = torch.arange(len(bank))
        if len(bank) > most:
            rows = torch.randperm(len(bank), generator=torch.Generator().manual_seed(seed))[:most].sort().values
        picked = (to_unit(bank.features[rows]), bank.numbers[rows], bank.labels[rows])
        return cls(*(tensor.cpu() for tensor in picked))

    def nearest(self, classifier: Classifier, view: ModelView, images: Any, k: int) -> "pd.DataFrame":
        """Return the `k` nearest of each image.

        Raises:
            RangeError: `k` is no whole number of at least 1.
        """
        import pandas as pd

        k = check_whole("k", k)
        points: list[Tensor] = []

        def take(chunk: Chunk) -> None:
            features = None if chunk.features is None else chunk.features.cpu()
            points.append(FeatureRows(view, chunk.logits.cpu(), features).unit)

        run_outputs(classifier, images, take)
        rows = torch.cat(points)
        places = most_similar(rows, self.features, min(k, len(self.features)))
        away = distances(rows, self.features, places)
        count = places.shape[1]
        return pd.DataFrame(
            {
                "image": torch.arange(len(rows)).repeat_interleave(count).numpy(),
                "rank": torch.arange(1, count + 1).repeat(len(rows)).numpy(),
                "number": self.numbers[places].flatten().numpy(),
                "class": self.labels[places].flatten().numpy(),
                "distance": away.flatten().double().numpy(),
            }
        )


KIND = "ood detector"


def fields_of(detector: Any) -> dict[str, Any]:
    """Return everything but the arrays, JSON-ready."""
    view = detector.fitted.view
    seen = {"pool": view.pool, "kind": view.kind, "std": list(view.std)}
    seen |= {"layer": view.head and view.head.layer, "places": view.head and view.head.places}
    return {
        "method": detector.method,
        "settings": detector.fitted.detector.settings,
        "facts": plain(detector.fitted.facts),
        "fit_notes": list(detector.fitted.notes),
        "view": seen,
        "parts": list(detector.calibration),
        "fit_images": len(detector.fit_keys),
        "calibration_images": len(detector.calibration_keys),
        "choice": None if detector.choice is None else detector.choice.to_dict(),
        "seed": detector.seed,
        "model": plain(detector.model),
        "versions": plain(detector.versions),
        "notes": list(detector.notes),
    }


def arrays_of(detector: Any) -> dict[str, np.ndarray]:
    """Return the arrays."""
    arrays = {"fit_keys": detector.fit_keys, "calibration_keys": detector.calibration_keys}
    arrays |= {f"state.{name}": value for name, value in detector.fitted.state.items()}
    arrays |= {f"part.{name}": value for name, value in detector.calibration.items()}
    if detector.fitted.view.head is not None:
        arrays |= {f"head.{name}": getattr(detector.fitted.view.head, name) for name in ("weight", "bias")}
    if detector.bank is not None:
        arrays |= {f"bank.{name}": getattr(detector.bank, name) for name in ("features", "numbers", "labels")}
    return {name: value.detach().cpu().numpy() for name, value in arrays.items()}


def restore(path: Path, classifier: Classifier | None) -> dict[str, Any]:
    """Return the fields of a saved detector.

    Raises:
        RecordError: none here, or a damaged one.
        InputError: another model than the one it was fitted on.
    """
    record, arrays = read_record(path, KIND)
    try:
        result = record["result"]
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
        head = LinearHead(seen["layer"], tensors["head.weight"], tensors["head.bias"], int(seen["places"]))
    view = ModelView(head, int(seen["pool"]), str(seen["kind"]), tuple(seen["std"]))
    detector = DETECTORS[result["method"]](**result["settings"])
    return Fitted(detector, view, _under("state", tensors), dict(result["facts"]), tuple(result["fit_notes"]))


def _under(group: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{group}."): tensor for name, tensor in tensors.items() if name.startswith(f"{group}.")}


def _choice(record: dict[str, Any]) -> Choice:
    rows = tuple(dict(row) for row in record["rows"])
    return Choice(record["chosen"], record["kind"], rows, int(record["images"]), record["reason"])


def _model(model: dict[str, Any], given: Classifier | None) -> Classifier | None:
    """Return the model that a detector was fitted on: the one given, or one that has a name; None where neither is."""
    if given is not None:
        if given.fingerprint != model["fingerprint"]:
            raise InputError(
                f"The detector was fitted on the model {model['name']!r}, and {given.name!r} has other weights or "
                "preprocessing. Load that model, or fit anew."
            )
        return given
    if model["name"] not in [known.name for known in catalogue() if known.available]:
        return None
    try:
        classifier = load(model["name"])
    except XaiError:
        return None
    return classifier if classifier.fingerprint == model["fingerprint"] else None
