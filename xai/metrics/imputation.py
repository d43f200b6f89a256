"""Removed pixels filled in from those that are left, so that the shape of the hole says as little as possible."""

import torch
from torch import Tensor
from torch.nn import functional as F

_DIAGONAL = 1 / 12  # weight of a neighbour across the corner, half of one beside; ROAD section 4.2
_STEPS = 4  # of conjugate gradients at each size of blocks


def impute(image: Tensor, hidden: Tensor, noise: Tensor | None = None) -> Tensor:
    """Return copies of a picture with hidden pixels replaced by weighted means of their neighbours.

    Each hidden pixel is the weighted mean of its eight neighbours (1/6 beside, 1/12 across the corner), a linear system
    that all copies solve at once, from coarse to fine; plus noise, so that a network cannot tell that it was filled.
    Where everything is hidden the picture's mean colour is taken.

    Args:
        image: (1, C, h, w).
        hidden: (N, h, w) bool.
        noise: (1 or N, C, h, w) added to hidden pixels, or None.

    Returns:
        (N, C, h, w), within [0, 1].

    Cost: about 8 passes of a 3 x 3 filter over (N, C, h, w); none of the network.
    Source: Rong et al. 2022, section 4.2 (arXiv 2202.00449). Differs: solved iteratively, all copies together.
    """
    gone = hidden[:, None]
    known = torch.where(gone, torch.zeros_like(image), image)
    solved = _filled(known, (~gone).to(known.dtype))
    if noise is not None:
        solved = solved + torch.where(gone, noise, torch.zeros_like(noise))
    whole = gone.flatten(1).all(1).view(-1, 1, 1, 1)
    mean = image.mean((2, 3), keepdim=True)
    return torch.where(whole, mean, torch.where(gone, solved, image)).clamp(0, 1)


def _filled(total: Tensor, weight: Tensor) -> Tensor:
    """Return block means; blocks without a pixel are filled from larger blocks, then smoothed towards the solution.

    Starting from the coarsest blocks, few steps are enough at each size (cascadic multigrid).

    Args:
        total: (N, C, h, w) sums of what is seen in each block.
        weight: (N, 1, h, w) how much of each block is seen.
    """
    seen = weight > 0
    found = total / weight.clamp_min(1e-12)
    if max(total.shape[2:]) == 1 or bool(seen.all()):
        return found
    behind = _filled(F.avg_pool2d(total, 2, ceil_mode=True), F.avg_pool2d(weight, 2, ceil_mode=True))
    behind = F.interpolate(behind, total.shape[2:], mode="bilinear", align_corners=False)
    return _solve(torch.where(seen, found, behind), ~seen)


def _neighbours(values: Tensor) -> Tensor:
    """Return the weighted sum of the eight neighbours (N, C, h, w); nothing beyond the border.

    The weights are the product of (1, 2, 1) down and across, less the middle: two passes of additions.
    """
    down = 2 * values
    down[:, :, 1:] += values[:, :, :-1]
    down[:, :, :-1] += values[:, :, 1:]
    across = 2 * down
    across[..., 1:] += down[..., :-1]
    across[..., :-1] += down[..., 1:]
    return across.sub_(values, alpha=4).mul_(_DIAGONAL)


def _solve(start: Tensor, gone: Tensor) -> Tensor:
    """Take conjugate-gradient steps for (D - W) x = 0 on the hidden pixels, all copies and channels at once."""
    degree = _neighbours(torch.ones_like(start[:1, :1]))
    hidden = gone.to(start.dtype)

    def apply(values: Tensor) -> Tensor:
        return (degree * values).sub_(_neighbours(values)).mul_(hidden)

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return torch.einsum("nchw,nchw->nc", a, b)[:, :, None, None]

    found = start.clone()
    rest = -apply(found)
    way, size = rest.clone(), dot(rest, rest)
    for _ in range(_STEPS):
        pushed = apply(way)
        step = size / dot(way, pushed).clamp_min(1e-20)
        found += step * way
        rest -= step * pushed
        new = dot(rest, rest)
        way.mul_(new / size.clamp_min(1e-20)).add_(rest)
        size = new
    return found
