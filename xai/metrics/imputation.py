"""Removed pixels filled in from those that are left, so that the shape of the hole says as little as possible."""

import torch
from torch import Tensor
from torch.nn import functional as F

_DIRECT, _DIAGONAL = 1 / 6, 1 / 12  # weights of the neighbours, ROAD section 4.2
_STEPS, _CLOSE = 60, 1e-3


def impute(image: Tensor, hidden: Tensor, noise: Tensor | None = None) -> Tensor:
    """Return copies of a picture with hidden pixels replaced by weighted means of their neighbours.

    Each hidden pixel is the weighted mean of its eight neighbours (1/6 beside, 1/12 across the corner), a linear system
    that all copies solve at once by conjugate gradients; plus noise, so that a network cannot tell that it was filled.
    Where everything is hidden the picture's mean colour is taken.

    Args:
        image: (1, C, h, w).
        hidden: (N, h, w) bool.
        noise: (1 or N, C, h, w) added to hidden pixels, or None.

    Returns:
        (N, C, h, w), within [0, 1].

    Cost: at most 60 steps of a 3 x 3 filter over (N, C, h, w); none of the network.
    Source: Rong et al. 2022, section 4.2 (arXiv 2202.00449). Differs: solved iteratively, all copies together.
    """
    gone = hidden[:, None]
    known = torch.where(gone, torch.zeros_like(image), image)
    start = torch.where(gone, _pulled(known, ~gone), image)
    solved = _solve(start, gone)
    if noise is not None:
        solved = solved + torch.where(gone, noise, torch.zeros_like(noise))
    whole = gone.flatten(1).all(1).view(-1, 1, 1, 1)
    mean = image.mean((2, 3), keepdim=True)
    return torch.where(whole, mean, torch.where(gone, solved, image)).clamp(0, 1)


def _pulled(known: Tensor, seen: Tensor) -> Tensor:
    """Return a first guess: means of ever larger blocks, as far as each is needed."""
    return _next(known, seen.to(known.dtype))


def _next(total: Tensor, weight: Tensor) -> Tensor:
    """Return block means, filled from larger blocks where a block has no pixel."""
    found = total / weight.clamp_min(1e-12)
    if max(total.shape[2:]) == 1 or bool((weight > 0).all()):
        return found
    behind = _next(F.avg_pool2d(total, 2, ceil_mode=True), F.avg_pool2d(weight, 2, ceil_mode=True))
    return torch.where(weight > 0, found, F.interpolate(behind, total.shape[2:]))


def _neighbours(values: Tensor) -> Tensor:
    """Return the weighted sum of the eight neighbours (N, C, h, w); nothing beyond the border."""
    channels = values.shape[1]
    kernel = values.new_tensor(
        [[_DIAGONAL, _DIRECT, _DIAGONAL], [_DIRECT, 0.0, _DIRECT], [_DIAGONAL, _DIRECT, _DIAGONAL]]
    )
    return F.conv2d(values, kernel.expand(channels, 1, 3, 3), padding=1, groups=channels)


def _solve(start: Tensor, gone: Tensor) -> Tensor:
    """Conjugate gradients for (D - W) x = 0 on the hidden pixels, all copies and channels at once."""
    degree = _neighbours(torch.ones_like(start[:1, :1]))
    hidden = gone.to(start.dtype)

    def apply(values: Tensor) -> Tensor:
        return hidden * (degree * values - _neighbours(values))

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum((2, 3), keepdim=True)

    found = start
    rest = -apply(found)
    way, size = rest, dot(rest, rest)
    enough = (_CLOSE**2 * hidden.sum((2, 3), keepdim=True)).clamp_min(1e-12)
    for _ in range(_STEPS):
        if bool((size <= enough).all()):
            break
        pushed = apply(way)
        step = size / dot(way, pushed).clamp_min(1e-20)
        found, rest = found + step * way, rest - step * pushed
        new = dot(rest, rest)
        way, size = rest + new / size.clamp_min(1e-20) * way, new
    return found
