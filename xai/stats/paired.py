"""Paired shares: exact tests, intervals, and corrections for many questions."""

from collections.abc import Sequence

import numpy as np
import scipy

from xai.stats.intervals import wilson

Interval = tuple[float, float]


def share(hits: np.ndarray) -> tuple[float, Interval]:
    """Return a share of (n,) bool and its 95 % Wilson interval; nan when there is nothing to count."""
    low, high = wilson(hits.sum(), len(hits))
    return (float(hits.mean()) if len(hits) else float("nan")), (float(low), float(high))


def mcnemar(more: np.ndarray, less: np.ndarray) -> float:
    """Return the exact one-sided p-value that `more` (n,) bool is true no more often than `less` on the same pictures.

    Source: McNemar 1947, in its binomial form.
    """
    for_it, against = int((more & ~less).sum()), int((less & ~more).sum())
    return float(scipy.stats.binom.sf(for_it - 1, for_it + against, 0.5))


def difference(more: np.ndarray, less: np.ndarray) -> tuple[float, Interval]:
    """Return the difference of two shares (n,) bool of the same pictures and its 95 % interval.

    Source: Bonett and Price 2012, Wald's interval with one more picture on either side.
    """
    count = len(more)
    if count == 0:
        return float("nan"), (-1.0, 1.0)
    up, down = ((one & ~other).sum() + 1 for one, other in ((more, less), (less, more)))
    up, down, size = up / (count + 2), down / (count + 2), count + 2
    middle, half = up - down, scipy.stats.norm.ppf(0.975) * np.sqrt((up + down - (up - down) ** 2) / size)
    found = (float(max(-1.0, middle - half)), float(min(1.0, middle + half)))
    return float(more.mean() - less.mean()), found


def mean(values: np.ndarray) -> tuple[float, Interval]:
    """Return a mean (n,) and its 95 % interval by Student's t; the whole line for fewer than two values."""
    if len(values) < 2:
        return (float(values.mean()) if len(values) else float("nan")), (-float("inf"), float("inf"))
    half = float(scipy.stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)
    return float(values.mean()), (float(values.mean()) - half, float(values.mean()) + half)


def holm(p_values: Sequence[float], questions: int) -> np.ndarray:
    """Return p-values corrected for all questions asked, of which those not listed count with p = 1.

    Source: Holm 1979.
    """
    order = np.argsort(p_values)
    stepped = np.asarray(p_values, dtype=np.float64)[order] * (questions - np.arange(len(order)))
    found = np.empty(len(order))
    found[order] = np.minimum(1, np.maximum.accumulate(stepped))
    return found


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
