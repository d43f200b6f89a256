"""Pictures at several scales: the octaves of a dream, and a gradient whose scales count alike."""

import torch
from torch import Tensor
from torch.nn import functional as F

Size = tuple[int, int]
SMALLEST = 8  # pixels; the shorter side of an octave or of a level is no less
_KERNEL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)  # the binomial kernel of Burt & Adelson


def octave_sizes(size: Size, octaves: int, scale: float) -> list[Size]:
    """Return the sizes of the octaves, smallest first; the last is `size`, none but it is narrower than 8 pixels."""
    shrunk = [(round(size[0] / scale**k), round(size[1] / scale**k)) for k in range(octaves - 1, 0, -1)]
    kept = [found for found in shrunk if min(found) >= SMALLEST and found != size]
    return [*dict.fromkeys(kept), size]


def resize(pictures: Tensor, size: Size) -> Tensor:
    """Return pictures (N, C, h, w) at another size: bilinear, with a wider filter where they shrink."""
    if tuple(pictures.shape[2:]) == size:
        return pictures
    return F.interpolate(pictures, size, mode="bilinear", align_corners=False, antialias=True)


def split(picture: Tensor) -> list[Tensor]:
    """Return the levels of a Laplacian pyramid, finest first; `merge` adds them up to the picture again.

    Source: Burt & Adelson 1983, The Laplacian pyramid as a compact image code.
    """
    levels = []
    while min(picture.shape[2:]) >= 2 * SMALLEST:
        coarse = _blurred(picture)[:, :, ::2, ::2]
        levels.append(picture - _grown(coarse, picture))
        picture = coarse
    return [*levels, picture]


def merge(levels: list[Tensor]) -> Tensor:
    """Return the picture whose levels these are."""
    picture = levels[-1]
    for level in reversed(levels[:-1]):
        picture = level + _grown(picture, level)
    return picture


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


def _blurred(picture: Tensor) -> Tensor:
    channels, kernel = picture.shape[1], picture.new_tensor(_KERNEL)
    padded = F.pad(picture, (2, 2, 2, 2), mode="reflect")
    down = F.conv2d(padded, kernel.view(1, 1, 5, 1).expand(channels, 1, 5, 1), groups=channels)
    return F.conv2d(down, kernel.view(1, 1, 1, 5).expand(channels, 1, 1, 5), groups=channels)
