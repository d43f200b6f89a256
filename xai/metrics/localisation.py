"""Is a map where it should be? Against masks of the object."""

from torch import Tensor


def hits(heatmaps: Tensor, masks: Tensor) -> Tensor:
    """Return whether the largest value of each map lies inside its mask (N,) bool: the pointing game.

    Args:
        heatmaps: (N, h, w).
        masks: (N, h, w) bool.

    Source: Zhang et al. 2016 (arXiv 1608.00507). Differs: no tolerance around the mask.
    """
    best = heatmaps.flatten(1).argmax(1)
    return masks.flatten(1).gather(1, best[:, None])[:, 0].bool()


def mass_inside(heatmaps: Tensor, masks: Tensor) -> Tensor:
    """Return the share (N,) of each map's positive values that lies inside its mask; 0 for maps without any.

    Args:
        heatmaps: (N, h, w).
        masks: (N, h, w) bool.
    """
    positive = heatmaps.clamp_min(0).flatten(1)
    total = positive.sum(1)
    inside = (positive * masks.flatten(1)).sum(1)
    return inside / total.clamp_min(1e-30)
