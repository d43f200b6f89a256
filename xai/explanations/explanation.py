"""The result of explaining: maps in the original pictures' pixels, with all that is needed to repeat them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xai.core.images.geometry import Geometry
from xai.core.results.serialization import read_record, restoring, write_file, write_record
from xai.errors import ShapeError

_KIND = "explanation"
_PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".pdf", ".svg"}


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """Why a classifier answers as it does, for one image or for N.

    Attributes:
        attribution: (N, C, h, w) raw signed values in the model's input geometry, on the CPU; C = 1 for methods that
            rate places and not channels.
        coarse: (N, h', w') map at the layer's own resolution, without ReLU; None for methods without a layer.
        targets: (N,) int64, the explained classes.
        logits: (N, K), on the CPU.
        method: registered name.
        settings: the method's settings as used.
        unit: what the values are measured in.
        layer: name of the layer looked at, or None.
        notes: what was chosen and what to beware of.
        seed: fixes everything random.
        model: name, fingerprint and preprocessing of the classifier.
        labels: names of the explained classes (N).
        probabilities: (N,) of the explained classes.
        predicted: names of the predicted classes (N).
        names: names of the pictures (N).
        pictures: the originals, (H, W, C) uint8 each.
        geometries: the way from each original to the model's input.
        single: one image was given.
        versions: of everything that matters.
        details: per image what else the method found, by name, such as the segments and R2 of LIME; may be empty.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(3)
        >>> found = xai.explain(clf, data.images[:])
        >>> len(found), found.heatmaps[0].shape, found.method
        (3, (28, 28), 'gradcam')
    """

    attribution: Tensor
    coarse: Tensor | None
    targets: Tensor
    logits: Tensor
    method: str
    settings: Mapping[str, Any]
    unit: str
    layer: str | None
    notes: tuple[str, ...]
    seed: int
    model: Mapping[str, Any]
    labels: tuple[str, ...]
    probabilities: Tensor
    predicted: tuple[str, ...]
    names: tuple[str, ...]
    pictures: tuple[np.ndarray, ...]
    geometries: tuple[Geometry, ...]
    single: bool
    versions: Mapping[str, str]
    details: tuple[Mapping[str, Tensor], ...] = ()
    _cache: dict[int, np.ndarray] = field(default_factory=dict, init=False)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.attribution)

    def __repr__(self) -> str:
        """Method, classes and model."""
        shown = ", ".join(self.labels[:3]) + (", ..." if len(self) > 3 else "")
        return f"Explanation({self.method!r}, {len(self)} image(s), target: {shown}, model: {self.model.get('name')})"

    @property
    def target(self) -> Any:
        """The explained class: an int for one image, a tensor (N,) int64 for N."""
        return int(self.targets[0]) if self.single else self.targets

    @property
    def heatmaps(self) -> list[np.ndarray]:
        """(H, W) float32 maps, raw and signed, in the pixels of each original picture."""
        return [self._heatmap(k) for k in range(len(self))]

    @property
    def heatmap(self) -> np.ndarray:
        """(H, W) float32 map of the only image.

        Raises:
            ShapeError: there are several images.
        """
        if len(self) != 1:
            raise ShapeError(f"Expected one image for `heatmap`, but there are {len(self)}. Use `heatmaps[k]`.")
        return self._heatmap(0)

    def _heatmap(self, k: int) -> np.ndarray:
        if k not in self._cache:
            summed = self.attribution[k].sum(0)
            self._cache[k] = self.geometries[k].back(summed).float().contiguous().numpy()
        return self._cache[k]

    def plot(self, k: int | None = None, **settings: Any) -> Any:
        """Draw picture, map and overlay; return the matplotlib figure.

        Args:
            k: number of the image; None draws all (at most eight).
            settings: of the artist: opacity, colormap.

        Returns:
            matplotlib.figure.Figure.
        """
        from xai.plots.explanations import explanation_figure

        return explanation_figure(self, k=k, **settings)

    def overlay(self, k: int = 0) -> np.ndarray:
        """Return picture `k` under its map, (H, W, 3) uint8: dimmed, and coloured where the value is strong.

        Example:
            >>> import xai
            >>> clf = xai.load("example:fashion")
            >>> xai.explain(clf, xai.load_data("example:fashion-test").images[0]).overlay().shape
            (28, 28, 3)
        """
        from xai.plots.explanations import covered

        pixels: np.ndarray = covered(self, k)
        return pixels

    def save(self, path: str | Path) -> Path:
        """Write a picture (a path ending in .png, .jpg, .pdf or .svg) or everything (a folder).

        The folder holds overlay.png, values.npz and, written last, manifest.json; `Explanation.load` reads it back.

        Returns:
            The path.

        Raises:
            RecordError: the place cannot be written.
        """
        from xai.plots.explanations import render_explanation

        path = Path(path)
        if path.suffix.lower() in _PICTURE_SUFFIXES:
            write_file(path, render_explanation(self, path.suffix.lower().lstrip(".")))
            return path
        write_record(path, _KIND, self.to_dict(), self._arrays(), {"overlay.png": render_explanation(self, "png")})
        return path

    @classmethod
    def load(cls, path: str | Path) -> "Explanation":
        """Read a saved explanation; nothing in the files is executed.

        Raises:
            RecordError: no such result, or a damaged one.
        """
        fields, arrays = read_record(Path(path), _KIND)
        with restoring(path, _KIND):
            return cls._restored(fields, arrays)

    @classmethod
    def _restored(cls, fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> "Explanation":
        count = len(arrays["attribution"])
        if any(len(fields[name]) != count for name in ("geometries", "labels", "predicted", "names")):
            raise ValueError(f"expected {count} of each")
        return cls(
            attribution=torch.from_numpy(arrays["attribution"]),
            coarse=torch.from_numpy(arrays["coarse"]) if "coarse" in arrays else None,
            targets=torch.from_numpy(arrays["targets"]),
            logits=torch.from_numpy(arrays["logits"]),
            probabilities=torch.from_numpy(arrays["probabilities"]),
            pictures=tuple(arrays[f"picture_{k}"] for k in range(count)),
            geometries=tuple(_geometry(g) for g in fields["geometries"]),
            notes=tuple(fields["notes"]),
            details=_details(arrays, fields["details"]),
            labels=tuple(fields["labels"]),
            predicted=tuple(fields["predicted"]),
            names=tuple(fields["names"]),
            **{
                name: fields[name]
                for name in ("method", "settings", "unit", "layer", "seed", "model", "single", "versions")
            },
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the arrays, JSON-ready."""
        return {
            "method": self.method,
            "settings": dict(self.settings),
            "unit": self.unit,
            "layer": self.layer,
            "targets": self.targets.tolist(),
            "labels": list(self.labels),
            "predicted": list(self.predicted),
            "probability": self.probabilities.tolist(),
            "names": list(self.names),
            "geometries": [_plain(g) for g in self.geometries],
            "notes": list(self.notes),
            "seed": self.seed,
            "model": dict(self.model),
            "single": self.single,
            "versions": dict(self.versions),
            "details": [sorted(detail) for detail in self.details],
        }

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {name: getattr(self, name).numpy() for name in ("attribution", "targets", "logits", "probabilities")}
        if self.coarse is not None:
            arrays["coarse"] = self.coarse.numpy()
        arrays |= {f"detail_{k}_{n}": v.numpy() for k, detail in enumerate(self.details) for n, v in detail.items()}
        arrays |= {f"heatmap_{k}": heatmap for k, heatmap in enumerate(self.heatmaps)}
        return arrays | {f"picture_{k}": picture for k, picture in enumerate(self.pictures)}


def _details(arrays: Mapping[str, np.ndarray], names: list[list[str]]) -> tuple[Mapping[str, Tensor], ...]:
    return tuple(
        {name: torch.from_numpy(arrays[f"detail_{k}_{name}"]) for name in each} for k, each in enumerate(names)
    )


def _plain(geometry: Geometry) -> dict[str, list[int]]:
    return {name: list(getattr(geometry, name)) for name in ("original", "resized", "offset", "size")}


def _geometry(plain: Mapping[str, list[int]]) -> Geometry:
    pairs = {name: (int(values[0]), int(values[1])) for name, values in plain.items()}
    return Geometry(**pairs)
