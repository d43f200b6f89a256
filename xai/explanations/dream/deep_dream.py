"""The settings, octaves and result of a dream, and statistics of photographs.

Both statistics are a covariance: of space 1 / f^2 at spatial frequency f, and of colour a 3 x 3 matrix. A gradient
multiplied by a power of it prefers natural images among all that please the network. Power 1 is plain ascent on
decorrelated coordinates; Adam on them, which divides by the size of each gradient, is nearer to 1/2.

Source: Olah, Mordvintsev & Schubert 2017, Feature visualization (preconditioning); the colour matrix is that of its
code, Lucid 0.3.
"""

import io
import os
from dataclasses import dataclass, fields, replace
from operator import index
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from xai.core.results.codec import write_file
from xai.core.results.result import Result
from xai.core.validation import check_flag, check_number, check_whole
from xai.errors import RangeError, ShapeError

Size = tuple[int, int]
SMALLEST = 8  # pixels; the shorter side of an octave or of a level is no less
_KERNEL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)  # the binomial kernel of Burt & Adelson


def octave_sizes(size: Size, octaves: int, scale: float) -> list[Size]:
    """Return the sizes of the octaves, smallest first; the last is `size`, none but it is narrower than 8 pixels."""
    shrunk = [(round(size[0] / scale**k), round(size[1] / scale**k)) for k in range(octaves - 1, 0, -1)]
    distinct = [smaller for smaller in shrunk if min(smaller) >= SMALLEST and smaller != size]
    return [*dict.fromkeys(distinct), size]


def resize(images: Tensor, size: Size) -> Tensor:
    """Return images (N, C, h, w) at another size: bilinear, with a wider filter where they shrink."""
    if tuple(images.shape[2:]) == size:
        return images
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)


def split(image: Tensor) -> list[Tensor]:
    """Return the levels of a Laplacian pyramid, finest first; `merge` adds them up to the image again.

    Source: Burt & Adelson 1983, The Laplacian pyramid as a compact image code.
    """
    levels = []
    while min(image.shape[2:]) >= 2 * SMALLEST:
        coarse = _blurred(image)[:, :, ::2, ::2]
        levels.append(image - _grown(coarse, image))
        image = coarse
    return [*levels, image]


def merge(levels: list[Tensor]) -> Tensor:
    """Return the image whose levels these are."""
    image = levels[-1]
    for level in reversed(levels[:-1]):
        image = level + _grown(image, level)
    return image


def equalised(gradient: Tensor) -> Tensor:
    """Return a gradient whose levels all have the same strength, so that coarse shapes grow as fast as fine ones."""
    return merge([unit(level) for level in split(gradient)])


def unit(values: Tensor) -> Tensor:
    """Return values with a root mean square of 1; zeros stay zeros."""
    tiny = torch.finfo(values.dtype).tiny
    values = values / values.abs().max().clamp_min(tiny)  # first, because squares of small numbers are 0
    return values / values.square().mean().sqrt().clamp_min(tiny)


def _grown(coarse: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(coarse, like.shape[2:], mode="bilinear", align_corners=False)


def _blurred(image: Tensor) -> Tensor:
    channels, kernel = image.shape[1], image.new_tensor(_KERNEL)
    padded = F.pad(image, (2, 2, 2, 2), mode="reflect")
    down = F.conv2d(padded, kernel.view(1, 1, 5, 1).expand(channels, 1, 5, 1), groups=channels)
    return F.conv2d(down, kernel.view(1, 1, 1, 5).expand(channels, 1, 1, 5), groups=channels)


_POWER = 0.75
_COLOUR = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))  # a root of the covariance over ImageNet


def smooth_space(gradient: Tensor) -> Tensor:
    """Return a gradient (N, C, h, w) in which each frequency f counts as much as in photographs."""
    size = (int(gradient.shape[2]), int(gradient.shape[3]))
    weights = frequencies(size).pow(-2 * _POWER).to(gradient)
    smooth: Tensor = torch.fft.irfft2(torch.fft.rfft2(gradient) * weights, s=size)
    return smooth


def mix_colours(gradient: Tensor) -> Tensor:
    """Return a gradient (N, 3, h, w) whose colours move together as much as in photographs."""
    root = torch.tensor(_COLOUR, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(root @ root.T)
    mixed = vectors @ torch.diag(values.clamp_min(0).pow(_POWER)) @ vectors.T
    return torch.einsum("ij,njhw->nihw", (mixed / values.max() ** _POWER).to(gradient), gradient)


def frequencies(size: Size) -> Tensor:
    """Return the spatial frequencies of `rfft2` in cycles per pixel, (h, w // 2 + 1); that of the mean as the next."""
    rows, columns = torch.fft.fftfreq(size[0])[:, None], torch.fft.rfftfreq(size[1])[None]
    magnitudes: Tensor = (rows.square() + columns.square()).sqrt().clamp_min(1 / max(size))
    return magnitudes


def pink(noise: Tensor) -> Tensor:
    """Return white noise (N, C, h, w) as noise with the spectrum 1 / f of photographs, root mean square 1."""
    size = (int(noise.shape[2]), int(noise.shape[3]))
    return unit(torch.fft.irfft2(torch.fft.rfft2(noise) / frequencies(size).to(noise), s=size))


TILE = 512
_LEAST_TILE = 32
_FROM_IMAGE = {"octaves": 4, "steps": 15, "tv": 0.0, "decorrelated": False, "fourier": False}
_FROM_NOISE = {"octaves": 6, "steps": 25, "tv": 0.15, "decorrelated": True, "fourier": False}


@dataclass(frozen=True)
class Settings:
    """How a dream is made; None takes what suits the start and the goal, see `filled`.

    Attributes:
        octaves: number of sizes, each `octave_scale` times the one before.
        steps: at each octave.
        size: height and width of the result, or one number for the longer side; None takes the image's, or the
            classifier's input.
        octave_scale: more than 1.
        step_size: root mean square of an octave's first step, in the [0, 1] pixel scale; its last is a fifth of it.
        jitter: pixels of the full size by which the network's view moves at most, each step anew.
        laplacian: whether all scales of the gradient are made equally strong.
        tile: largest side that the network is shown at once; larger images are looked at piece by piece.
        tv: strength of the pull towards smoothness (total variation), as a share of the step.
        decorrelated: whether colours move together as in photographs.
        fourier: whether frequencies count as in photographs, in place of `laplacian`; a noise start has their spectrum.
        frames_every: steps between two frames; None keeps the last of each octave.
        until: probability of the class at which the dream ends early.
        patience: steps without a higher objective after which an octave ends early.
        least_confidence: probability that a class image shall have at the end; 0 leaves it as it comes.

    Raises:
        RangeError: a number outside its range.
        ShapeError: a size that is none.
    """

    octaves: int | None = None
    steps: int | None = None
    size: Any = None
    octave_scale: float = 1.4
    step_size: float = 0.025
    jitter: int | None = None
    laplacian: bool = True
    tile: int | None = None
    tv: float | None = None
    decorrelated: bool | None = None
    fourier: bool | None = None
    frames_every: int | None = None
    until: float | None = None
    patience: int | None = None
    least_confidence: float = 0.95

    def __post_init__(self) -> None:
        """Check every number."""
        for name, least in {"octaves": 1, "steps": 1, "jitter": 0, "tile": _LEAST_TILE, "frames_every": 1}.items():
            check_whole(name, getattr(self, name), least, optional=True)
        check_whole("patience", self.patience, optional=True)
        check_number("octave_scale", self.octave_scale, "(1, 10]")
        check_number("step_size", self.step_size, "(0, 1]", cure="It is in the scale of pixels in [0, 1].")
        check_number("least_confidence", self.least_confidence, "[0, 1)")
        check_number("tv", self.tv, "[0, 100]", optional=True)
        check_number("until", self.until, "(0, 1)", optional=True)
        for name in ("laplacian", "decorrelated", "fourier"):
            check_flag(name, getattr(self, name), optional=True)
        _check_size(self.size)

    def filled(self, *, image: bool, classes: bool, colour: bool, size: Size) -> "Settings":
        """Return the settings without None, but for those where None has a meaning.

        Args:
            image: an image to start from was given; otherwise noise is.
            classes: the goal is a class.
            colour: the classifier looks at three channels.
            size: of the result.

        Raises:
            RangeError: decorrelated colours of a grey image.
        """
        if self.decorrelated and not colour:
            raise RangeError("Expected no `decorrelated`: it needs three colours, and this classifier looks at grey.")
        usual: dict[str, Any] = _FROM_IMAGE if image else _FROM_NOISE | {"fourier": classes}
        usual = {**usual, "tile": TILE, "jitter": min(size) // 16}
        if not colour:
            usual["decorrelated"] = False
        missing = {f.name for f in fields(self) if getattr(self, f.name) is None}
        return replace(self, **{name: value for name, value in usual.items() if name in missing})


def result_size(size: Any, given: Size) -> Size:
    """Return the size of the result: as asked, or a number for the longer side of an image `given` large."""
    if size is None:
        return given
    if isinstance(size, tuple | list):
        return int(size[0]), int(size[1])
    scale = index(size) / max(given)
    return max(1, round(given[0] * scale)), max(1, round(given[1] * scale))


def _check_size(size: Any) -> None:
    sides = list(size) if isinstance(size, tuple | list) else [size]
    good = all(hasattr(side, "__index__") and not isinstance(side, bool) and index(side) >= SMALLEST for side in sides)
    if size is not None and (not good or len(sides) != (2 if isinstance(size, tuple | list) else 1)):
        raise ShapeError(
            f"Expected `size` as (height, width), or one number for the longer side, of at least {SMALLEST} pixels, "
            f"but got {size!r}."
        )


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
        target_name: name of the class, or None.
        probability: that the model gives the class for the saved image (8 bits), or None.
        prediction: name of the class that the model gives the saved image, or None where no class was asked for.
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
    target_name: str | None
    probability: float | None
    prediction: str | None

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
