"""Plasma: clouds by the diamond-square algorithm, many at once."""

import torch
from torch import Tensor

from xai.corruptions._base import Draws


def plasma(size: tuple[int, int], decay: float, draws: Draws) -> Tensor:
    """Return clouds (N, 1, H, W) in [0, 1], the top left of a square whose side is the next power of two.

    Each step doubles the grid: the middle of each square, then of each diamond, is the mean of its corners plus uniform
    noise whose range falls by `decay` from step to step. The square wraps around at its border.

    Source: as `plasma_fractal` of ImageNet-C, from the same numbers in another order of drawing.
    """
    side = 1 << (max(size) - 1).bit_length()
    noise = draws.uniform(max(1, side * side - 1)).sub_(0.5)
    corners, used, wibble = noise.new_zeros(len(noise), 1, 1), 0, 100.0
    while corners.shape[-1] < side:
        cells = corners.shape[-1]
        fields = noise[:, used : used + 3 * cells**2].mul_(2 * wibble**2).view(-1, 3, cells, cells)
        corners = _finer(corners, *fields.unbind(1))
        used += 3 * cells**2
        wibble /= decay
    low, high = corners.flatten(1).aminmax(dim=1, keepdim=True)
    scale = 1 / (high - low).clamp_min(1e-12)
    cut = corners[:, None, : size[0], : size[1]]
    return cut.sub(low[..., None, None]).mul_(scale[..., None, None])


def _finer(corners: Tensor, middle: Tensor, above: Tensor, beside: Tensor) -> Tensor:
    """Return the grid (N, 2 m, 2 m) from (N, m, m) and noise for the three new points of each cell."""
    right, down = corners.roll(-1, 2).add_(corners), corners.roll(-1, 1).add_(corners)
    middle.add_(right.roll(-1, 1).add_(right), alpha=0.25)
    above.add_(middle.roll(1, 1).add_(middle).add_(right), alpha=0.25)
    beside.add_(middle.roll(1, 2).add_(middle).add_(down), alpha=0.25)
    upper, lower = torch.stack((corners, above), -1).flatten(-2), torch.stack((beside, middle), -1).flatten(-2)
    return torch.stack((upper, lower), 2).flatten(1, 2)
