"""Resizing, cropping and padding into the model's input, and their exact inverse.

Batches carry the inverse of each image.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from xai.core.images.border import all_images
from xai.core.images.inputs import ImageLike, InputImage, decode_images, in_channels
from xai.core.results.message import Message
from xai.errors import NameLookupError, ShapeError

RESIZES = ("crop", "squash", "pad")
Size = tuple[int, int]
_STRIP = 32  # a resized image of this many times the window's area is never made as a whole


@dataclass(frozen=True)
class Geometry:
    """Resize to `resized`, then take the window of `size` at `offset` (negative: padding).

    All sizes are (height, width) in pixels.
    """

    original: Size
    resized: Size
    offset: Size
    size: Size

    @property
    def identity(self) -> bool:
        """True when the model sees the image as it is."""
        return self.original == self.resized == self.size

    @property
    def seen(self) -> tuple[float, float, float, float]:
        """Top, left, bottom, right of what the model sees, in pixels of the original image."""
        edges = []
        for axis in (0, 1):
            scale = self.original[axis] / self.resized[axis]
            first = max(0.0, self.offset[axis] * scale)
            last = min(float(self.original[axis]), (self.offset[axis] + self.size[axis]) * scale)
            edges.append((first, last))
        return edges[0][0], edges[1][0], edges[0][1], edges[1][1]

    @property
    def share_seen(self) -> float:
        """Share of the original image's area that the model sees."""
        top, left, bottom, right = self.seen
        return (bottom - top) * (right - left) / (self.original[0] * self.original[1])

    def apply(self, pixels: Tensor, fill: Tensor) -> Tensor:
        """Return the model's input (C, h, w) of an original image (C, H, W); `fill` (C, 1, 1) is the padding."""
        if self.identity:
            return pixels
        if math.prod(self.resized) > _STRIP * math.prod(self.size):
            return self._middle(pixels)
        if self.resized != self.original:
            resized = F.interpolate(pixels[None], self.resized, mode="bilinear", align_corners=False, antialias=True)
            pixels = resized[0].clamp(0, 1)
        take, put = [], []
        for offset, size, have in zip(self.offset, self.size, self.resized, strict=True):
            first, last = max(0, offset), min(have, offset + size)
            take.append(slice(first, last))
            put.append(slice(first - offset, last - offset))
        cut = pixels[:, take[0], take[1]]
        if cut.shape[1:] == self.size:
            return cut
        canvas = fill.expand(-1, *self.size).clone()
        canvas[:, put[0], put[1]] = cut
        return canvas

    def _middle(self, pixels: Tensor) -> Tensor:
        """Return the crop of a strip without making all of its resized form, which would not fit into memory."""
        for axis in (0, 1):
            scale = self.original[axis] / self.resized[axis]
            centre = (torch.arange(self.size[axis], dtype=torch.float64) + 0.5 + self.offset[axis]) * scale
            weights = _triangle(centre, self.original[axis], scale)
            used = weights.sum(0).nonzero()[:, 0]
            first, last = int(used[0]), int(used[-1]) + 1
            part = pixels.narrow(axis + 1, first, last - first).movedim(axis + 1, 1)
            pixels = torch.einsum("ij,cj...->ci...", weights[:, first:last].to(pixels), part).movedim(1, axis + 1)
        return pixels.clamp(0, 1)

    def back(self, heatmap: Tensor) -> Tensor:
        """Return a map (..., h, w) in the pixels of the original image (..., H, W); 0 where the model saw nothing.

        Bilinear when it grows, an area-weighted triangle filter when it shrinks; pixel centres at half integers.
        """
        if self.identity:
            return heatmap
        rows, columns = (self._matrix(axis).to(heatmap) for axis in (0, 1))
        return rows @ heatmap @ columns.T

    def _matrix(self, axis: int) -> Tensor:
        """Return weights (original, input) of one axis."""
        original, size = self.original[axis], self.size[axis]
        scale = self.resized[axis] / original
        centre = (torch.arange(original, dtype=torch.float64) + 0.5) * scale - self.offset[axis]
        seen = (centre > 0) & (centre < size)
        return _triangle(centre, size, scale) * seen[:, None]


def _triangle(centre: Tensor, count: int, scale: float) -> Tensor:
    """Return weights (places, count) of the pixels near each place; wider than a pixel where the image shrinks."""
    distance = (torch.arange(count, dtype=torch.float64) + 0.5 - centre[:, None]).abs()
    weights = (1 - distance / max(1.0, scale)).clamp_min(0)
    return weights / weights.sum(1, keepdim=True).clamp_min(1e-12)


def plan_geometry(original: Size, size: Size | None, resize: str = "crop", crop_ratio: float = 0.875) -> Geometry:
    """Return the way from an image of `original` size to an input of `size`.

    An image that has the input's size already is taken as it is. "crop" resizes the shorter side to
    size / crop_ratio and cuts the middle, "squash" ignores the aspect ratio, "pad" fits the longer side and fills
    the rest.

    Raises:
        NameLookupError: no such `resize`.
    """
    if size is None or original == size:
        return Geometry(original, original, (0, 0), original)
    if resize == "squash":
        return Geometry(original, size, (0, 0), size)
    if resize == "crop":
        scale = max(size[axis] / crop_ratio / original[axis] for axis in (0, 1))
    elif resize == "pad":
        scale = min(size[axis] / original[axis] for axis in (0, 1))
    else:
        raise NameLookupError("way to resize", resize, RESIZES)
    resized = tuple(max(1, int(original[axis] * scale + 1e-6)) for axis in (0, 1))
    if resize == "crop":
        resized = tuple(max(have, want) for have, want in zip(resized, size, strict=True))
    offset = tuple(round((have - want) / 2) for have, want in zip(resized, size, strict=True))
    return Geometry(original, (resized[0], resized[1]), (offset[0], offset[1]), size)


_DARK = 2 / 255


@dataclass(frozen=True, eq=False)
class Batch:
    """Model inputs (N, C, h, w) in [0, 1], the images they come from, the way back, and notes of the model."""

    inputs: Tensor
    images: tuple[InputImage, ...]
    geometries: tuple[Geometry, ...]
    single: bool
    model_notes: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known of the model and what was done to the images, each once."""
        cropped = [g for g in self.geometries if g.share_seen < 0.999]
        notes = [*self.model_notes, *(note for image in self.images for note in image.notes)]
        notes += filter(None, {note_of_bands(int(self.inputs.shape[1]))})
        if cropped:
            share = min(g.share_seen for g in cropped)
            template = "the model sees the middle of the image ({share:.0%} of its area); outside the map is 0"
            notes.append(Message(template, share=share))
        notes += pixel_doubts(self.inputs)
        return tuple(dict.fromkeys(notes))


def note_of_bands(bands: int) -> str | None:
    """Say how an image of so many bands is shown; None for grey and colours, which need no word."""
    if bands in (1, 3):
        return None
    if bands == 2:
        return Message("images of {bands} bands are shown by their mean", bands=bands)
    return Message("images of {bands} bands are shown by the first three as red, green and blue", bands=bands)


def pixel_doubts(inputs: Tensor) -> list[str]:
    """Return what looks mistaken in pixels (N, C, h, w) of a permitted range."""
    if not inputs.numel():
        return []
    low, high = inputs.detach().flatten(1).aminmax(dim=1)
    if 0 < (brightest := float(high.max())) < _DARK:
        template = "no pixel is brighter than {brightest:.2g}: were the images divided by 255 twice?"
        return [Message(template, brightest=brightest)]
    flat = bool((low == high).any())
    return ["there are images with one value everywhere: nothing is to be seen in them"] if flat else []


def prepare_batch(
    images: ImageLike,
    *,
    input_size: Size | None,
    channels: int,
    resize: str,
    crop_ratio: float,
    fill: Sequence[float],
) -> Batch:
    """Read images in any form and bring them to one size.

    Raises:
        ShapeError: images of different sizes and no `input_size`.
    """
    if isinstance(images, Tensor) and images.ndim == 4 and images.is_floating_point() and images.shape[1] == channels:
        quick = _ready(images, input_size)
        if quick is not None:
            return quick
    given, single = decode_images(all_images(images))
    decoded = in_channels(given, channels)
    originals = [(p.pixels.shape[-2], p.pixels.shape[-1]) for p in decoded]
    geometries = tuple(plan_geometry(original, input_size, resize, crop_ratio) for original in originals)
    sizes = {g.size for g in geometries}
    if len(sizes) > 1:
        raise ShapeError(
            f"Expected images of one size, but got {sorted(sizes)[:4]}. Set `input_size` of the classifier."
        )
    padding = torch.tensor(list(fill), dtype=torch.float32).view(-1, 1, 1)
    inputs = [g.apply(p.pixels, padding.to(p.pixels)) for g, p in zip(geometries, decoded, strict=True)]
    return Batch(torch.stack(inputs), decoded, geometries, single)


def _ready(images: Tensor, input_size: Size | None) -> Batch | None:
    """Take a tensor that needs nothing done to it without copying it; None when it does need something."""
    size = (int(images.shape[-2]), int(images.shape[-1]))
    if len(images) == 0 or (input_size is not None and size != input_size):
        return None
    decoded, _ = decode_images(images)
    return Batch(images.detach(), tuple(decoded), (plan_geometry(size, None),) * len(decoded), single=False)
