"""Intervals for shares."""

import numpy as np
import scipy
from numpy.typing import ArrayLike


def wilson(successes: ArrayLike, total: ArrayLike, level: float = 0.95) -> np.ndarray:
    """Return the interval (..., 2) of shares `successes / total`; [0, 1] where there was nothing to count.

    Source: Wilson 1927; agrees with scipy.stats.binomtest(...).proportion_ci(method="wilson").
    """
    hits, count = np.asarray(successes, dtype=np.float64), np.asarray(total, dtype=np.float64)
    z2 = float(scipy.special.ndtri((1 + level) / 2)) ** 2
    middle = (hits + z2 / 2) / (count + z2)
    half = np.sqrt(z2 * (hits * (count - hits) / np.maximum(count, 1) + z2 / 4)) / (count + z2)
    share = np.where(count > 0, hits / np.maximum(count, 1), middle)  # rounding may leave it just outside
    return np.stack([np.clip(middle - half, 0, share), np.clip(middle + half, share, 1)], -1)


def clopper_pearson(successes: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share: it covers the truth at least as often as it says."""
    if total == 0:
        return 0.0, 1.0
    tail = (1 - level) / 2
    low = scipy.special.betaincinv(successes, total - successes + 1, tail) if successes else 0.0
    high = scipy.special.betainccinv(successes + 1, total - successes, tail) if successes < total else 1.0
    return float(low), float(high)
