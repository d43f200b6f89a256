"""The pictures of a data set as small grey ones, and those that are broken."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from xai.core.door import open_data
from xai.core.images import Picture, read_pictures
from xai.core.rows import Progress, ShouldStop
from xai.errors import ImageError, InputError, ShapeError, Stopped
from xai.fairness.records import Plain

CONSTANT = "constant"
LARGEST = 32  # side of the small pictures
_SMALLEST = 8
_FLAT = 2 / 255  # range of a picture in which there is nothing to see
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Broken(Plain):
    """A picture that shows nothing.

    Attributes:
        split: "data" or "train".
        row: number in it.
        name: identifier.
        reason: "constant", or why it cannot be read.
    """

    split: str
    row: int
    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class Pictures:
    """N pictures that can be compared.

    Attributes:
        rows: (N,) numbers in their data set.
        names: (N,) identifiers.
        small: (N, s, s) float32 grey in [0, 1].
        colour: (N, 3) mean colour.
        broken: those that are not among them.
        readable: (M,) numbers of all that can be read, constant ones included.
    """

    rows: np.ndarray
    names: tuple[str, ...] = field(repr=False)
    small: np.ndarray = field(repr=False)
    colour: np.ndarray = field(repr=False)
    broken: tuple[Broken, ...]
    readable: np.ndarray = field(repr=False)


def side_of(data: Any) -> int:
    """Return the side of the small pictures of a data set: that of the first pictures, between 8 and 32."""
    sides = [min(picture.size) for picture, _ in _first(_pictures(data), 16) if picture is not None]
    return int(np.clip(np.median(sides), _SMALLEST, LARGEST)) if sides else LARGEST


def read_small(
    data: Any, split: str, side: int, report: Progress | None = None, should_stop: ShouldStop | None = None
) -> Pictures:
    """Return the pictures of a data set made small, with those that are constant or cannot be read apart.

    Raises:
        Stopped: `should_stop()` was true.
    """
    names, total = getattr(data, "ids", None), len(images_of(data))
    rows: dict[int, tuple[Tensor, Tensor]] = {}
    broken, readable = [], []
    for row, (picture, reason) in enumerate(_pictures(data)):
        if should_stop is not None and row % 64 == 0 and should_stop():
            raise Stopped(f"Stopped after {row} of {total} pictures, as asked.")
        if picture is not None:
            readable.append(row)
        if picture is None or _is_flat(picture.pixels):
            broken.append(Broken(split, row, _name(names, row), reason or CONSTANT))
        else:
            rows[row] = _shrink(picture.pixels, side)
        if report is not None:
            report(row + 1, total)
    return Pictures(
        np.array(list(rows), dtype=np.int64),
        tuple(_name(names, row) for row in rows),
        np.stack([grey.numpy() for grey, _ in rows.values()]) if rows else np.zeros((0, side, side), np.float32),
        np.stack([colour.numpy() for _, colour in rows.values()]) if rows else np.zeros((0, 3), np.float32),
        tuple(broken),
        np.array(readable, dtype=np.int64),
    )


def images_of(data: Any) -> Any:
    """Return what has one picture at each number.

    Raises:
        InputError: there are not several pictures.
    """
    given = open_data(data)
    if getattr(given, "single", False):
        raise InputError(f"Expected a data set or several pictures, but got {type(data).__name__}. Pass a list.")
    return given.images


def _pictures(data: Any) -> Iterator[tuple[Picture | None, str]]:
    """Yield each picture, or None and why it cannot be read."""
    images = images_of(data)
    for row in range(len(images)):
        try:
            yield (images.pictures([row])[0] if hasattr(images, "pictures") else read_pictures([images[row]])[0][0]), ""
        except (ImageError, ShapeError, OSError) as error:
            yield None, f"cannot be read: {error}"


def _first(pairs: Iterator[tuple[Picture | None, str]], count: int) -> Iterator[tuple[Picture | None, str]]:
    for _, pair in zip(range(count), pairs, strict=False):
        yield pair


def _name(names: Sequence[str] | None, row: int) -> str:
    return f"image {row}" if names is None else str(names[row])


def _is_flat(pixels: Tensor) -> bool:
    low, high = torch.aminmax(pixels[:3].flatten(1), dim=1)
    return bool((high - low).max() < _FLAT)


def _shrink(pixels: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return a picture (s, s) grey and its mean colour (3,); the shape of the sides is not kept."""
    colour = pixels[:3].float().cpu()
    colour = colour if len(colour) == 3 else colour.mean(0, keepdim=True).expand(3, -1, -1)
    grey = (colour * colour.new_tensor(_LUMA).view(3, 1, 1)).sum(0, keepdim=True)
    small = F.interpolate(grey[None], size=(side, side), mode="bilinear", antialias=True, align_corners=False)
    return small[0, 0], colour.mean((1, 2))


def counted(progress: Progress | None, before: int, total: int) -> Progress | None:
    """Return what reports `before` + done of `total`, whatever the total of its own, or None."""
    if progress is None:
        return None
    told = progress
    return lambda done, _own: told(before + done, total)
