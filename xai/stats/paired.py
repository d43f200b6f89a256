"""Paired shares: exact tests and intervals."""

from collections.abc import Sequence

import numpy as np
import scipy

from xai.stats.intervals import clopper_pearson, newcombe, wilson_interval

Interval = tuple[float, float]


def share(hits: np.ndarray) -> tuple[float, Interval]:
    """Return a share of (n,) bool and its 95 % Wilson interval; nan when there is nothing to count."""
    return (float(hits.mean()) if len(hits) else float("nan")), wilson_interval(hits.sum(), len(hits))


def discordant(first: np.ndarray, second: np.ndarray) -> tuple[int, int]:
    """Return how many images only the first and only the second of two (n,) bool holds for."""
    return int((first & ~second).sum()), int((second & ~first).sum())


def mcnemar(more: int, less: int, *, two_sided: bool = False) -> float:
    """Return the exact p-value that, of the images that differ, `more` are no more than half.

    Args:
        more: images for which only the first answer holds.
        less: images for which only the second holds.
        two_sided: test for any difference instead.

    Source: McNemar 1947, in its binomial form.
    """
    if two_sided:
        return min(1.0, 2 * mcnemar(max(more, less), min(more, less)))
    return float(scipy.stats.binom.sf(more - 1, more + less, 0.5)) if more + less else 1.0


def drop_interval(lost: int, won: int, total: int, level: float = 0.95) -> Interval:
    """Return the interval of (lost - won) / total, of the same images.

    Source: Newcombe 1998 with exact limits and the correlation of two counts that share one total: conservative.
    """
    lost_share, won_share = lost / total, won / total
    root = ((1 - lost_share) * (1 - won_share)) ** 0.5
    tied = (lost_share * won_share) ** 0.5 / root if root > 0 else 1.0
    ends = clopper_pearson(lost, total, level), clopper_pearson(won, total, level)
    low, high = newcombe(lost_share, ends[0], won_share, ends[1], -tied).tolist()
    return low, high


def difference(more: np.ndarray, less: np.ndarray) -> tuple[float, Interval]:
    """Return the difference of two shares (n,) bool of the same images and its 95 % interval.

    Source: Bonett and Price 2012, Wald's interval with one more image on either side.
    """
    count = len(more)
    if count == 0:
        return float("nan"), (-1.0, 1.0)
    up, down = ((first & ~other).sum() + 1 for first, other in ((more, less), (less, more)))
    up, down, size = up / (count + 2), down / (count + 2), count + 2
    middle, half = up - down, scipy.stats.norm.ppf(0.975) * np.sqrt((up + down - (up - down) ** 2) / size)
    interval = (float(max(-1.0, middle - half)), float(min(1.0, middle + half)))
    return float(more.mean() - less.mean()), interval


def mean(values: np.ndarray) -> tuple[float, Interval]:
    """Return a mean (n,) and its 95 % interval by Student's t; the whole line for fewer than two values."""
    if len(values) < 2:
        return (float(values.mean()) if len(values) else float("nan")), (-float("inf"), float("inf"))
    half = float(scipy.stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)
    return float(values.mean()), (float(values.mean()) - half, float(values.mean()) + half)


def crossing(strengths: Sequence[float], shares: np.ndarray, level: float) -> float | None:
    """Return the smallest strength at which a share reaches a level, linear between strengths; None where none does.

    The share at strength 0 is 0.
    """
    xs, ys = np.array([0.0, *strengths]), np.maximum.accumulate([0.0, *shares])
    above = np.flatnonzero(ys >= level)
    if len(above) == 0:
        return None
    k = int(above[0])
    part = (level - ys[k - 1]) / (ys[k] - ys[k - 1])
    return float(xs[k - 1] + part * (xs[k] - xs[k - 1]))
