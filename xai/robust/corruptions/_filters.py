"""Filters as a few large operations, edges and distances to them, many images at once."""

from collections.abc import Sequence
from functools import lru_cache
from math import ceil, cos, floor, pi, sin, sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

_BLOCK = 32  # rows filtered by one small matrix
_MASK = 8  # the reference's disks up to this radius lie in a mask of 17 x 17


def gaussian(images: Tensor, sigma: float, truncate: float = 4.0) -> Tensor:
    """Blur (N, C, H, W) by a Gaussian of `sigma` pixels, border pixels repeated, as skimage.filters.gaussian does."""
    return gaussian_axes(images, (sigma, sigma), truncate)


def gaussian_axes(images: Tensor, sigmas: tuple[float, float], truncate: float = 4.0, border: str = "edge") -> Tensor:
    """As `gaussian`, with one sigma down and one across; `border` as in `border_index`."""
    for axis, sigma in zip((2, 3), sigmas, strict=True):
        images = _along(images, _taps(sigma, truncate), axis, border)
    return images.clone()


@lru_cache(maxsize=64)
def _taps(sigma: float, truncate: float) -> tuple[float, ...]:
    """Return the weights of a Gaussian that adds up to 1, as scipy.ndimage cuts it."""
    radius = int(truncate * sigma + 0.5)
    if radius == 0:
        return (1.0,)
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float64) / sigma) ** 2)
    return tuple((weights / weights.sum()).tolist())


def gain(sigma: float, truncate: float = 4.0) -> float:
    """Return the standard deviation that white noise of deviation 1 keeps along one blurred axis."""
    return sqrt(sum(tap * tap for tap in _taps(sigma, truncate)))


def _along(images: Tensor, taps: tuple[float, ...], axis: int, border: str) -> Tensor:
    """Correlate (N, C, H, W) with 2 r + 1 taps along an axis: blocks of 32 pixels times one small banded matrix.

    Windows overlap in memory; nothing is unfolded.
    """
    if len(taps) == 1:
        return images
    size, radius = images.shape[axis], len(taps) // 2
    blocks, reach, matrix = ceil(size / _BLOCK), _BLOCK + 2 * radius, _band(taps).to(images)
    padded = pad_axis(images, axis, radius, radius + blocks * _BLOCK - size, border).contiguous().flatten(0, 1)
    planes, rows, columns = padded.shape
    if axis == 2:
        windows = padded.as_strided((planes, blocks, reach, columns), (rows * columns, _BLOCK * columns, columns, 1))
        filtered = matrix @ windows
    else:
        lines = planes * rows
        windows = padded.as_strided((blocks, lines, reach), (_BLOCK, columns, 1))
        filtered = torch.bmm(windows, matrix.T.expand(blocks, -1, -1)).transpose(0, 1)
    shape = [side if number != axis else blocks * _BLOCK for number, side in enumerate(images.shape)]
    return filtered.reshape(shape).narrow(axis, 0, size)


@lru_cache(maxsize=64)
def _band(taps: tuple[float, ...]) -> Tensor:
    """Return the matrix (_BLOCK, _BLOCK + 2 r) with the taps in each row, one further right than in the row above."""
    matrix = torch.zeros(_BLOCK, _BLOCK + len(taps) - 1, dtype=torch.float64)
    for row in range(_BLOCK):
        matrix[row, row : row + len(taps)] = torch.tensor(taps, dtype=torch.float64)
    return matrix


def border_index(places: Tensor, size: int, border: str) -> Tensor:
    """Bring places outside 0..size-1 inside: "edge" aaa|abc, "reflect" cba|abc, "mirror" dcb|abc; any distance."""
    if border == "edge" or size == 1:
        return places.clamp(0, size - 1)
    period = 2 * size if border == "reflect" else 2 * (size - 1)
    wrapped = places.remainder(period)
    other = period - 1 - wrapped if border == "reflect" else period - wrapped
    return torch.where(wrapped < size, wrapped, other)


def pad(images: Tensor, by: int, border: str) -> Tensor:
    """Add `by` pixels on every side, beyond the border as `border_index` has it."""
    return pad_axis(pad_axis(images, 2, by, by, border), 3, by, by, border)


def pad_axis(images: Tensor, axis: int, before: int, after: int, border: str) -> Tensor:
    """Add pixels at both ends of an axis."""
    size = images.shape[axis]
    if border == "edge" or (border == "mirror" and max(before, after) < size):
        amounts = (0, 0, before, after) if axis == 2 else (before, after, 0, 0)
        return F.pad(images, amounts, mode="replicate" if border == "edge" else "reflect")
    index = border_index(torch.arange(-before, size + after), size, border)
    return images.index_select(axis, index.to(images.device))


def disk(images: Tensor, radius: float, soften: float) -> Tensor:
    """Blur by a disk of `radius` pixels, softened at its edge by a Gaussian of sigma `soften`; borders are mirrored.

    Between whole radii the two next to it are mixed. A disk is a box in each row, and a box is a difference of running
    sums, so the cost is linear in the radius.
    """
    low, share = floor(radius), radius - floor(radius)
    blurred = _whole_disk(images, low, soften) if share < 1 else images
    return blurred if share == 0 else torch.lerp(blurred, _whole_disk(images, low + 1, soften), share)


def _whole_disk(images: Tensor, radius: int, soften: float) -> Tensor:
    if radius == 0:
        return images.clone()
    taps = _softening(radius, soften)
    reach = len(taps) // 2
    height, width = images.shape[-2:]
    padded = pad(images, radius + reach, "mirror")
    padded = narrow(padded, taps) if max(taps) < 1 - 1e-6 else padded[..., reach:-reach, reach:-reach]
    sums = F.pad(padded.cumsum(-1), (1, 0))
    sums_of_disk, cells = torch.zeros_like(images), 0
    for half, rows in _runs(radius).items():
        left = radius - half
        box = sums[..., left + 2 * half + 1 :][..., :width] - sums[..., left : left + width]
        for row in rows:
            sums_of_disk += box[..., radius + row : radius + row + height, :]
        cells += len(rows) * (2 * half + 1)
    return sums_of_disk.mul_(_mass(radius, soften) / cells)


@lru_cache(maxsize=32)
def _softening(radius: int, soften: float) -> tuple[float, ...]:
    """Return three taps of a Gaussian, five beyond radius 8, as the reference has them."""
    reach = 2 if radius > _MASK else 1
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / max(soften, 1e-3)) ** 2)
    return tuple((taps / taps.sum()).tolist())


@lru_cache(maxsize=32)
def _mass(radius: int, soften: float) -> float:
    """Return what the reference's disk adds up to: a disk that touches its mask's border gains there, up to 1.3 %.

    Softening mirrors the mask at its border. Images of ImageNet-C are brighter by that much, so ours are too.
    """
    side = max(radius, _MASK)
    rows = torch.arange(-side, side + 1)
    mask = (rows[:, None] ** 2 + rows**2 <= radius * radius).float()[None, None]
    taps = _softening(radius, soften)
    return float(narrow(pad(mask, len(taps) // 2, "mirror"), taps).sum() / mask.sum())


@lru_cache(maxsize=32)
def _runs(radius: int) -> dict[int, list[int]]:
    """Return the rows of a disk by the half width of their box."""
    rows: dict[int, list[int]] = {}
    for row in range(-radius, radius + 1):
        rows.setdefault(int(sqrt(radius * radius - row * row)), []).append(row)
    return rows


def narrow(images: Tensor, taps: Sequence[float]) -> Tensor:
    """Correlate with a few taps along both axes; the result is smaller by the reach of the taps on every side."""
    for axis in (2, 3):
        inner = images.shape[axis] - len(taps) + 1
        blurred = images.narrow(axis, 0, inner) * taps[0]
        for k, tap in enumerate(taps[1:], 1):
            blurred.add_(images.narrow(axis, k, inner), alpha=tap)
        images = blurred
    return images


def motion(images: Tensor, radius: float, sigma: float, angles: Sequence[float]) -> Tensor:
    """Smear each of (N, C, H, W) along its own angle (degrees): half a Gaussian of 2 radius + 1 taps, borders repeated.

    One slice per tap and image; no kernel is ever made.
    """
    height, width = images.shape[-2:]
    weights = _half_gaussian(radius, sigma)
    reach = len(weights)
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    smeared = torch.zeros_like(images)
    for k, angle in enumerate(angles):
        down, across = sin(angle * pi / 180), cos(angle * pi / 180)
        for place, weight in enumerate(weights):
            top, left = reach + ceil(place * down - 0.5), reach + ceil(place * across - 0.5)
            smeared[k].add_(padded[k, :, top : top + height, left : left + width], alpha=weight)
    return smeared


def _half_gaussian(radius: float, sigma: float) -> list[float]:
    """Return taps that add up to 1; the last counts by the share of it that `radius` reaches."""
    places = range(ceil(2 * radius) + 1)
    weights = [2.718281828459045 ** (-(place**2) / (2 * max(sigma, 1e-3) ** 2)) for place in places]
    weights[-1] *= 1 - (ceil(2 * radius) - 2 * radius)
    return [weight / sum(weights) for weight in weights]


def clipped_zoom(images: Tensor, factor: float) -> Tensor:
    """Enlarge the middle by `factor`; the result is as large as `images` or a few pixels larger, as the reference's."""
    crop = images
    for axis in (2, 3):
        size = images.shape[axis]
        length = ceil(size / factor)
        crop = crop.narrow(axis, (size - length) // 2, length)
    return enlarged(crop, factor)


def enlarged(images: Tensor, factor: float) -> Tensor:
    """Enlarge by bilinear interpolation, corner pixels staying in the corners."""
    size = [round(side * factor) for side in images.shape[-2:]]
    return F.interpolate(images, size, mode="bilinear", align_corners=True)


_FOLLOWED = 8  # steps that a weak edge is followed from a strong one
_TANGENT = 0.4142135623730951  # of 22.5 degrees


def canny(images: Tensor, low: float, high: float) -> Tensor:
    """Return whether each pixel of (N, 1, H, W) is on an edge: Canny's method as OpenCV has it (3 x 3, L1 strength).

    Differs: a weak edge is followed for at most 8 pixels.
    """
    down, across = _slopes(images)
    strength = down.abs() + across.abs()
    edge = (strength > low) & (strength > _beside(strength, down, across))
    edges = (edge & (strength > high)).to(torch.uint8)
    weak = edge.to(torch.uint8)
    for _ in range(_FOLLOWED):
        edges = _grown(edges).mul_(weak)
    return edges.bool()


def _grown(marks: Tensor) -> Tensor:
    """Mark the eight neighbours of what is marked."""
    for axis in (2, 3):
        size = marks.shape[axis]
        wider = marks.clone()
        for start in (0, 1):  # from the one side, from the other
            there = wider.narrow(axis, 1 - start, size - 1)
            torch.maximum(there, marks.narrow(axis, start, size - 1), out=there)
        marks = wider
    return marks


def _slopes(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return Sobel's derivatives down and across."""
    padded = pad(images, 1, "edge")
    rows = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
    columns = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    return columns[..., 2:, :] - columns[..., :-2, :], rows[..., 2:] - rows[..., :-2]


def _beside(strength: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Return what a ridge has to exceed: the stronger of the two neighbours in the direction of the slope.

    Strengths are whole numbers; along rows and columns the second neighbour may be as strong, hence the half.
    """
    padded = F.pad(strength, (1, 1, 1, 1))
    height, width = strength.shape[-2:]

    def near(row: int, column: int) -> Tensor:
        return padded[..., 1 + row : 1 + row + height, 1 + column : 1 + column + width]

    tall, wide = down.abs(), across.abs()
    steep, flat = _positive(wide * _TANGENT - tall), _positive(tall * _TANGENT - wide)
    falling = _positive(down * across)  # the slope points down right, or up left
    slanted = 1 - steep - flat
    beside = torch.maximum(near(0, -1), near(0, 1) - 0.5).mul_(steep)
    above = torch.maximum(near(-1, 0), near(1, 0) - 0.5).mul_(flat)
    falling_ridge = torch.maximum(near(-1, -1), near(1, 1)).mul_(falling)
    other = torch.maximum(near(-1, 1), near(1, -1)).mul_(1 - falling)
    return falling_ridge.add_(other).mul_(slanted).add_(beside).add_(above)


def _positive(values: Tensor) -> Tensor:
    """Return 1 where a value is above 0, else 0: on a CPU many times faster than a comparison."""
    return values.sign().clamp_min_(0)


def distance(edges: Tensor, most: int) -> Tensor:
    """Return the distance (N, 1, H, W) of each pixel to the nearest edge, float32, at most about `most` pixels.

    First down the columns, then across the rows: the smallest of (distance down)^2 + (distance across)^2.
    """
    far, width = 2 * most, edges.shape[-1]
    squares = _down(edges, most, far).square_()
    nearest = squares.clone()
    padded = squares.new_full((*squares.shape[:3], width + 2 * most), far * far)
    padded[..., most : most + width] = squares
    for step in range(1, most + 1):
        both = torch.minimum(
            padded[..., most + step : most + step + width], padded[..., most - step : most - step + width]
        )
        torch.minimum(nearest, both.add_(step * step), out=nearest)
    return nearest.float().sqrt_()


def _down(edges: Tensor, most: int, far: int) -> Tensor:
    """Return the distance (N, 1, H, W) int16 to the nearest edge in the same column, exact up to `most`, at most `far`.

    Looks 1, 2, 4, ... pixels up and down: every distance is a sum of those.
    """
    distances = (~edges).to(torch.int16).mul_(far)
    step, size = 1, edges.shape[2]
    while step <= min(most, size - 1):
        further = distances + step
        upper, lower = distances[:, :, : size - step], distances[:, :, step:]
        torch.minimum(upper, further[:, :, step:], out=upper)
        torch.minimum(lower, further[:, :, : size - step], out=lower)
        step *= 2
    return distances
