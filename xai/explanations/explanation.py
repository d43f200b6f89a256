"""The result of explaining: maps in the original images' pixels, with all that is needed to repeat them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from xai.core.images.geometry import Geometry
from xai.core.results.codec import write_file
from xai.core.results.result import Result
from xai.errors import ShapeError

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".pdf", ".svg"}


@dataclass(frozen=True, eq=False, repr=False)
class Explanation(Result):
    """Why a classifier answers as it does, for one image or for N.

    Attributes:
        attribution: (N, C, h, w) raw signed values in the model's input geometry, on the CPU; C = 1 for methods that
            rate places and not channels.
        coarse: (N, h', w') map at the layer's own resolution, without ReLU; None for methods without a layer.
        targets: (N,) int64, the explained classes.
        logits: (N, K), on the CPU.
        method: registered name.
        unit: what the values are measured in.
        layer: name of the layer looked at, or None.
        target_names: of the explained classes (N).
        probabilities: (N,) of the explained classes.
        predictions: names of the predicted classes (N).
        image_names: names of the images (N).
        images: the originals, (H, W, C) uint8 each.
        geometries: the way from each original to the model's input.
        single: one image was given.
        details: per image what else the method found, by name, such as the segments and R2 of LIME; may be empty.
        provenance: model, settings as used, seed and versions.
        notes: what was chosen and what to beware of.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(3)
        >>> found = xai.explain(clf, data.images[:])
        >>> len(found), found.heatmaps[0].shape, found.method
        (3, (28, 28), 'gradcam')
    """

    _kind: ClassVar[str] = "explanation"
    _listed: ClassVar[tuple[str, ...]] = ("targets",)

    attribution: Tensor
    coarse: Tensor | None
    targets: Tensor
    logits: Tensor
    method: str
    unit: str
    layer: str | None
    target_names: tuple[str, ...]
    probabilities: Tensor
    predictions: tuple[str, ...]
    image_names: tuple[str, ...]
    images: tuple[np.ndarray, ...]
    geometries: tuple[Geometry, ...]
    single: bool
    details: tuple[Mapping[str, Tensor], ...] = ()
    _cache: dict[int, np.ndarray] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Refuse parts of different numbers of images, of a file for instance."""
        parts = (self.targets, self.geometries, self.target_names, self.predictions, self.image_names, self.images)
        if any(len(part) != len(self.attribution) for part in parts):
            raise ValueError(f"Expected {len(self.attribution)} of each.")

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.attribution)

    def __repr__(self) -> str:
        """Method, classes and model."""
        shown = ", ".join(self.target_names[:3]) + (", ..." if len(self) > 3 else "")
        return f"Explanation({self.method!r}, {len(self)} image(s), target: {shown}, model: {self.model.get('name')})"

    @property
    def target(self) -> Any:
        """The explained class: an int for one image, a tensor (N,) int64 for N."""
        return int(self.targets[0]) if self.single else self.targets

    @property
    def heatmaps(self) -> list[np.ndarray]:
        """(H, W) float32 maps, raw and signed, in the pixels of each original image."""
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
        """Draw image, map and overlay; return the matplotlib figure.

        Args:
            k: number of the image; None draws all (at most eight).
            settings: of the artist: opacity, colormap.

        Returns:
            matplotlib.figure.Figure.
        """
        from xai.plots.explanations import explanation_figure

        return explanation_figure(self, k=k, **settings)

    def overlay(self, k: int = 0) -> np.ndarray:
        """Return image `k` under its map, (H, W, 3) uint8: dimmed, and coloured where the value is strong.

        Example:
            >>> import xai
            >>> clf = xai.load("example:fashion")
            >>> xai.explain(clf, xai.load_data("example:fashion-test").images[0]).overlay().shape
            (28, 28, 3)
        """
        from xai.plots.explanations import covered

        pixels: np.ndarray = covered(self, k)
        return pixels

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write an image (a path ending in .png, .jpg, .pdf or .svg) or everything (a folder).

        The folder holds overlay.png, values.npz and, written last, manifest.json; `Explanation.load` reads it back.

        Returns:
            The path.

        Raises:
            RecordError: the place cannot be written.
        """
        from xai.plots.explanations import render_explanation

        path = Path(path)
        if path.suffix.lower() in IMAGE_SUFFIXES:
            write_file(path, render_explanation(self, path.suffix.lower().lstrip(".")))
            return path
        return super().save(path)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the arrays, JSON-ready."""
        record = super().to_dict()
        del record["images"]
        detail_names = [sorted(detail) for detail in self.details]
        return record | {"probability": self.probabilities.tolist(), "details": detail_names}

    def _further(self) -> tuple[dict[str, np.ndarray], dict[str, bytes]]:
        from xai.plots.explanations import render_explanation

        heatmaps = {f"heatmap_{k}": heatmap for k, heatmap in enumerate(self.heatmaps)}
        return heatmaps, {"overlay.png": render_explanation(self, "png")}
