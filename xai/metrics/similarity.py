"""How alike two maps are."""

import scipy
import torch
from torch import Tensor


def pearson(first: Tensor, second: Tensor) -> float:
    """Return the linear correlation of two maps of one shape, -1 to 1; 0 when either is constant."""
    a, b = (values.detach().double().cpu().flatten() for values in (first, second))
    a, b = a - a.mean(), b - b.mean()
    scale = float(a.norm() * b.norm())
    return float(a @ b) / scale if scale > 0 else 0.0


def spearman(first: Tensor, second: Tensor) -> float:
    """Return the rank correlation of two maps of one shape, ties sharing their mean rank; 0 when either is constant."""
    a, b = (
        torch.from_numpy(scipy.stats.rankdata(values.detach().double().cpu().flatten().numpy()))
        for values in (first, second)
    )
    return pearson(a, b)


def overlap_of_best(first: Tensor, second: Tensor, share: float = 0.1) -> float:
    """Return the Jaccard index of the best places of two maps: shared ones over all; ties in reading order.

    Args:
        first: (h, w).
        second: (h, w).
        share: of the places that count as best.
    """
    count = max(1, round(share * first.numel()))
    best = [
        set(values.flatten().sort(descending=True, stable=True).indices[:count].tolist()) for values in (first, second)
    ]
    return len(best[0] & best[1]) / len(best[0] | best[1])
