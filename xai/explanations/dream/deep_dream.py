"""The result of a dream: the image, how it came about, and all that is needed to repeat it."""

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from xai.core.results.codec import write_file
from xai.core.results.result import Result

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".gif": "GIF"}
_PAUSE = 120  # milliseconds of a frame in a GIF


@dataclass(frozen=True, eq=False, repr=False)
class DeepDream(Result):
    """An image that a network was made to like.

    Attributes:
        image: (H, W, 3) float32 in [0, 1]; grey classifiers see the mean of three equal channels.
        frames: images on the way, all of the final size, the last of them `image`.
        objective: (steps,) float64, what was raised, as the network saw it before each step.
        octave: (steps,) int64, number of the octave of each step, from 0; values of different octaves are taken at
            different sizes.
        sizes: height and width of each octave.
        goal: what was raised, in words.
        start: "noise", or the name of the image.
        layer: looked at, or None.
        channel: of the layer, or None.
        target: index of the class, or None.
        label: name of the class, or None.
        probability: that the model gives the class for the saved image (8 bits), or None.
        predicted: name of the class that the model gives the saved image, or None where no class was asked for.
        provenance: model, settings as used, seed and versions.
        notes: what was chosen and what to beware of.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> dream = xai.deep_dream(clf, octaves=1, steps=2, size=32)
        >>> dream.image.shape, len(dream.objective)
        ((32, 32, 3), 2)
    """

    _kind: ClassVar[str] = "dream"
    _listed: ClassVar[tuple[str, ...]] = ("objective", "octave")

    image: np.ndarray
    frames: tuple[np.ndarray, ...]
    objective: np.ndarray
    octave: np.ndarray
    sizes: tuple[tuple[int, int], ...]
    goal: str
    start: str
    layer: str | None
    channel: int | None
    target: int | None
    label: str | None
    probability: float | None
    predicted: str | None

    def __repr__(self) -> str:
        """Goal, size and model."""
        height, width = self.image.shape[:2]
        return f"DeepDream({self.goal!r}, {height} x {width}, {len(self.objective)} steps, {self.model.get('name')})"

    @property
    def pixels(self) -> np.ndarray:
        """The image as it is saved, (H, W, 3) uint8."""
        return _bytes(self.image)

    def plot(self) -> Any:
        """Draw the image and the objective of each step; return the matplotlib figure."""
        from xai.plots.explanations import dream_figure

        return dream_figure(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the image (.png, .jpg), the frames as a film (.gif), or everything (a folder).

        The folder holds dream.png, values.npz and, written last, manifest.json; `DeepDream.load` reads it back.

        Returns:
            The path.

        Raises:
            RecordError: the place cannot be written.
        """
        path = Path(path)
        kind = _FORMATS.get(path.suffix.lower())
        if kind is None:
            return super().save(path)
        images = [_bytes(frame) for frame in self.frames] if kind == "GIF" else [self.pixels]
        write_file(path, _encoded(images, kind))
        return path

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the images, JSON-ready."""
        return super().to_dict() | {"size": list(self.image.shape[:2]), "frames": len(self.frames)}

    def _further(self) -> tuple[dict[str, np.ndarray], dict[str, bytes]]:
        return {}, {"dream.png": _encoded([self.pixels], "PNG")}


def _bytes(image: np.ndarray) -> np.ndarray:
    return np.asarray((np.clip(image, 0, 1) * 255).round(), dtype=np.uint8)


def _encoded(images: list[np.ndarray], kind: str) -> bytes:
    """Return the bytes of an image file, or of a film of several images."""
    stream = io.BytesIO()
    first, *rest = [Image.fromarray(image) for image in images]
    film = {"save_all": True, "append_images": rest, "duration": _PAUSE, "loop": 0} if kind == "GIF" else {}
    quality = {"quality": 95} if kind == "JPEG" else {}
    first.save(stream, kind, **film, **quality)
    return stream.getvalue()
