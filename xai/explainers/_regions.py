"""Superpixels: a picture cut into regions numbered 0 to K - 1."""

from typing import Any

import numpy as np
import skimage
import torch
from torch import Tensor

from xai.errors import NameLookupError, RangeError, ShapeError

SEGMENTS = ("slic", "quickshift", "felzenszwalb", "grid")
Segments = str | np.ndarray | Tensor
_PIXELS = 4  # of the smallest regions asked for
_FEWEST, _MANY = 4, 10  # regions of a segmentation that can be used: at least, and at most times those asked for
_LARGEST, _LARGEST_EVEN = 0.9, 0.5  # share of the image in one region; slic's are meant to be of one size


def find_regions(image: Tensor, segments: Segments, regions: int) -> tuple[Tensor, tuple[str, ...]]:
    """Return the region of each pixel (h, w) int64, numbered 0 to K - 1 without gaps, and what is to be said of them.

    Whatever numbering comes in, from a library or from the caller, is renumbered: a region without a column in the
    design, or a column without a region, would silently explain nothing. Where a segmentation finds no regions to
    compare (one for nearly the whole image, as on noise, or a thousand specks) a grid takes its place, and the note
    says so; a label map of the caller is taken as it is.

    Args:
        image: (1, C, h, w) in [0, 1].
        segments: "slic" (compactness 10), "quickshift" (lime's settings), "felzenszwalb" (scale 100), "grid", or a
            label map (h, w) with any numbers.
        regions: about how many, for slic and grid.

    Raises:
        NameLookupError: no such segmentation.
        RangeError: fewer than one region.
        ShapeError: a label map of another size.
    """
    if isinstance(regions, bool) or not isinstance(regions, int) or regions < 1:
        raise RangeError(f"Expected `regions` as a whole number from 1, but got {regions!r}.")
    found = _segment(image, segments, regions) if isinstance(segments, str) else np.asarray(segments)
    if found.shape != tuple(image.shape[2:]):
        raise ShapeError(
            f"Expected `segments` of shape {tuple(image.shape[2:])}, one number per pixel, but got {found.shape}."
        )
    fault = _fault(found, segments, regions) if isinstance(segments, str) and segments != "grid" else None
    notes: tuple[str, ...] = ()
    if fault is not None:
        height, width = found.shape
        found = _grid(height, width, _fitting(regions, height, width))
        notes = (f"{segments} {fault}: a grid is used instead",)
    _, numbers = np.unique(found, return_inverse=True)
    return torch.from_numpy(numbers.reshape(found.shape).astype(np.int64)).to(image.device), notes


def _fault(found: np.ndarray, segments: str, regions: int) -> str | None:
    """Say what is wrong with a segmentation that leaves nothing to compare; None when it can be used."""
    sizes = np.unique(found, return_counts=True)[1]
    fewest = min(_FEWEST, _fitting(regions, found.shape[0], found.shape[1]))
    if len(sizes) < fewest:
        return f"finds {len(sizes)} region(s)"
    share = sizes.max() / found.size
    if fewest == _FEWEST and share > (_LARGEST_EVEN if segments == "slic" else _LARGEST):
        return f"finds one region for {share:.0%} of the image"
    if len(sizes) > max(_FEWEST, min(_MANY * regions, found.size // _PIXELS)):
        return f"finds {len(sizes)} regions of {found.size // len(sizes)} pixels on average"
    return None


def _fitting(regions: int, height: int, width: int) -> int:
    """Return how many regions of four pixels and more an image has room for, at most as many as asked for."""
    return min(regions, max(1, height * width // _PIXELS))


def _segment(image: Tensor, segments: str, regions: int) -> np.ndarray:
    if segments not in SEGMENTS:
        raise NameLookupError("segmentation", segments, SEGMENTS)
    height, width = image.shape[2:]
    regions = _fitting(regions, height, width)
    if segments == "grid":
        return _grid(height, width, regions)
    pixels = image[0].permute(1, 2, 0).detach().cpu().double().numpy()
    if pixels.shape[2] != 3:
        pixels = np.repeat(pixels.mean(2, keepdims=True), 3, 2)
    cut = skimage.segmentation
    call: Any = {
        "slic": lambda: cut.slic(pixels, n_segments=regions, compactness=10, start_label=0, channel_axis=2),
        "quickshift": lambda: cut.quickshift(pixels, kernel_size=4, max_dist=200, ratio=0.2),  # type: ignore[no-untyped-call]
        "felzenszwalb": lambda: cut.felzenszwalb(pixels, scale=100, sigma=0.5, min_size=max(1, height * width // 500)),
    }[segments]
    return np.asarray(call())


def _grid(height: int, width: int, regions: int) -> np.ndarray:
    down = min(height, max(1, round((regions * height / width) ** 0.5)))
    across = min(width, max(1, round(regions / down)))
    rows, columns = np.arange(height) * down // height, np.arange(width) * across // width
    found: np.ndarray = rows[:, None] * across + columns
    return found


class Hidden:
    """Copies of a picture with some of its regions hidden, made on the device.

    Args:
        image: (1, C, h, w).
        filled: (1, C, h, w), what shows where regions are hidden.
        labels: (h, w) of `find_regions`.
    """

    def __init__(self, image: Tensor, filled: Tensor, labels: Tensor) -> None:
        self.labels, self.count = labels, int(labels.max()) + 1
        self.filled = filled[0].permute(1, 2, 0).contiguous()
        self.change = image[0].permute(1, 2, 0).contiguous() - self.filled

    def copies(self, shown: Tensor) -> Tensor:
        """Return pictures (r, C, h, w), channels last in memory, that show the regions of each row of (r, K)."""
        seen = shown.to(self.change)[:, self.labels]
        return torch.addcmul(self.filled, seen[..., None], self.change).permute(0, 3, 1, 2)

    @property
    def nothing_changes(self) -> bool:
        """Whether hiding changes no pixel, as with mean colours on a flat picture."""
        return not bool(self.change.abs().max() > 1e-6)


def mean_colours(image: Tensor, labels: Tensor) -> Tensor:
    """Return the picture (1, C, h, w) with each region in its mean colour."""
    flat, where = image[0].flatten(1), labels.flatten()
    count = torch.bincount(where).to(image)
    total = torch.zeros(flat.shape[0], len(count), dtype=image.dtype, device=image.device).index_add_(1, where, flat)
    return (total / count)[:, labels][None]
