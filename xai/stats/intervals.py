"""Intervals and exact tests of shares, means and differences, and p-values of several tests."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike

_BLOCKS = 4096  # images that change sides together: bounds the work, and any group of swaps keeps the test exact
Interval = tuple[float, float]


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


def wilson_interval(successes: Any, total: Any, level: float = 0.95) -> tuple[float, float]:
    """Return the Wilson interval of one share as two floats."""
    low, high = wilson(successes, total, level).tolist()
    return low, high


def newcombe(first: Any, first_ends: Any, second: Any, second_ends: Any, correlation: float = 0.0) -> np.ndarray:
    """Return intervals (..., 2) of `first - second` from the intervals of both shares, by squaring and adding.

    Args:
        first: share, or an array of shares.
        first_ends: lower and upper end of its interval.
        second: the other share.
        second_ends: lower and upper end of its interval.
        correlation: of the two estimates; 0 for independent samples.

    Source: Newcombe 1998, method 10 of both papers (independent and paired samples).
    """

    def reach(own: Any, other: Any) -> Any:
        return np.sqrt(own**2 - 2 * correlation * own * other + other**2)

    (first_low, first_high), (second_low, second_high), gap = first_ends, second_ends, first - second
    low = gap - reach(first - first_low, second_high - second)
    high = gap + reach(first_high - first, second - second_low)
    return np.stack([np.maximum(-1.0, low), np.minimum(1.0, high)], -1)


def clopper_pearson(successes: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share: it covers the truth at least as often as it says."""
    if total == 0:
        return 0.0, 1.0
    tail = (1 - level) / 2
    low = scipy.special.betaincinv(successes, total - successes + 1, tail) if successes else 0.0
    high = scipy.special.betainccinv(successes + 1, total - successes, tail) if successes < total else 1.0
    return float(low), float(high)


def paired_mean(before: np.ndarray, after: np.ndarray, level: float = 0.95) -> tuple[float, float, float, float]:
    """Return the mean of after - before (N,), its interval and the p-value of no difference (paired t-test)."""
    difference = after - before
    count = len(difference)
    error = float(difference.std(ddof=1)) / count**0.5 if count > 1 else 0.0
    return _student(float(difference.mean()), error, count - 1, level)


def welch_mean(first: np.ndarray, second: np.ndarray, level: float = 0.95) -> tuple[float, float, float, float]:
    """Return the mean of `second` minus that of `first`, independent samples, its interval and p-value (Welch)."""
    parts = [float(values.var(ddof=1)) / len(values) for values in (first, second)]
    total = sum(parts)
    weights = sum(part**2 / (len(values) - 1) for part, values in zip(parts, (first, second), strict=True))
    free = total**2 / weights if weights > 0 else 1.0
    return _student(float(second.mean() - first.mean()), total**0.5, free, level)


def _student(mean: float, error: float, free: float, level: float) -> tuple[float, float, float, float]:
    """Return mean, interval and p-value; a mean without spread is taken at its word."""
    if error <= 1e-12 * abs(mean) or error == 0:
        return mean, mean, mean, 1.0 if mean == 0 else 0.0
    half = float(scipy.stats.t.ppf((1 + level) / 2, free)) * error
    return mean, mean - half, mean + half, float(2 * scipy.stats.t.sf(abs(mean) / error, free))


def swapped_error_p(
    before: np.ndarray, after: np.ndarray, correct: np.ndarray, *, bins: int = 15, draws: int = 999, seed: int = 0
) -> float:
    """Return the p-value, two-sided, of two confidences with the same calibration error.

    Were they exchangeable, changing sides for any images would change nothing: the difference of the two errors
    (equal width) is compared with what it is after random swaps.

    Args:
        before: (N,) confidences.
        after: (N,) others for the same predictions.
        correct: (N,) bool.
        bins: of equal width.
        draws: of swaps.
        seed: of the swaps.
    """
    rng = np.random.default_rng(abs(seed))
    blocks = min(_BLOCKS, len(before))
    member = rng.permutation(len(before)) % blocks
    inner = np.linspace(0, 1, bins + 1)[1:-1]
    first, two = (_block_sums(confidence, correct, member, blocks, inner) for confidence in (before, after))
    turned = rng.integers(0, 2, (draws, blocks)).astype(np.float64) @ (two - first)
    null = np.abs(two.sum(0) - turned).sum(1) - np.abs(first.sum(0) + turned).sum(1)
    value = np.abs(two.sum(0)).sum() - np.abs(first.sum(0)).sum()
    return float((1 + (np.abs(null) >= abs(value) - 1e-9).sum()) / (draws + 1))


def _block_sums(
    confidence: np.ndarray, correct: np.ndarray, member: np.ndarray, blocks: int, inner: np.ndarray
) -> np.ndarray:
    """Return the sums of confidence minus correctness by block and bin (blocks, bins)."""
    size = len(inner) + 1
    codes = member * size + np.searchsorted(inner, confidence)
    return np.bincount(codes, confidence - correct, blocks * size).reshape(blocks, size)


def holm(p_values: ArrayLike, weights: np.ndarray | None = None, *, questions: int | None = None) -> np.ndarray:
    """Return p-values (T,) adjusted by the step-down procedure, weighted or not.

    At level alpha, the chance that any true null hypothesis is rejected is at most alpha, whatever the dependence.

    Args:
        p_values: (T,); nan stays nan and does not count.
        weights: (T,) not negative, given beforehand; the larger, the easier a question is answered. 0: never.
        questions: number of tests where more were made than are listed; the others count with p = 1. Unweighted only.

    Source: Holm 1979, sections 2 and 3.
    """
    given = np.asarray(p_values, dtype=np.float64)
    counted = ~np.isnan(given)
    if weights is None:
        unlisted = 0 if questions is None else questions - int(counted.sum())
        return _adjusted(given, counted.astype(np.float64), lambda ratio, ones: _step_down(ratio, ones, unlisted))
    return _adjusted(given, np.where(counted, weights, 0.0), _step_down)


def benjamini_hochberg(p_values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return p-values (T,) adjusted so that, of what is rejected at alpha, a share of at most alpha is false.

    For independent or positively dependent p-values.

    Args:
        p_values: (T,).
        weights: (T,) as in `holm`.

    Source: Benjamini & Hochberg 1995; weights by Genovese, Roeder & Wasserman 2006.
    """
    return _adjusted(p_values, weights, _step_up)


CORRECTIONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"holm": holm, "bh": benjamini_hochberg}


def _adjusted(p_values: np.ndarray, weights: np.ndarray, steps: Callable[..., np.ndarray]) -> np.ndarray:
    adjusted, tested = np.where(np.isnan(p_values), np.nan, 1.0), np.flatnonzero(weights > 0)
    ratio = p_values[tested] / weights[tested]
    order = np.argsort(ratio, kind="stable")
    adjusted[tested[order]] = np.minimum(1, steps(ratio[order], weights[tested][order]))
    return adjusted


def _step_down(ratio: np.ndarray, weights: np.ndarray, unlisted: int = 0) -> np.ndarray:
    remaining = np.cumsum(weights[::-1])[::-1] + unlisted
    return np.maximum.accumulate(ratio * remaining)


def _step_up(ratio: np.ndarray, weights: np.ndarray) -> np.ndarray:
    rank = np.arange(1, len(ratio) + 1)
    return np.minimum.accumulate((ratio * weights.sum() / rank)[::-1])[::-1]


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


def difference_interval(first: Any, total: int, second: Any, other_total: int, level: float = 0.95) -> np.ndarray:
    """Return intervals (..., 2) of `second / other_total - first / total`, independent samples.

    Source: Newcombe 1998, method 10 (two Wilson intervals put together).
    """
    share, other_share = np.asarray(first) / total, np.asarray(second) / other_total
    ends, other_ends = wilson(first, total, level), wilson(second, other_total, level)
    return newcombe(other_share, np.moveaxis(other_ends, -1, 0), share, np.moveaxis(ends, -1, 0))


def fisher_p(first: Any, total: int, second: Any, other_total: int) -> np.ndarray:
    """Return Fisher's exact p-value for each class: is its share the same in both samples?"""
    pairs = zip(np.asarray(first).tolist(), np.asarray(second).tolist(), strict=True)
    tables = [[[a, total - a], [b, other_total - b]] for a, b in pairs]
    return np.array([float(scipy.stats.fisher_exact(table).pvalue) for table in tables])


def homogeneity_p(first: Any, second: Any, *, draws: int = 999, seed: int = 0) -> tuple[float, float]:
    """Return chi-squared of two rows of counts (K,) and its exact p-value, by drawing tables with their margins."""
    first_counts, two = np.asarray(first, dtype=np.int64), np.asarray(second, dtype=np.int64)
    margin = (first_counts + two)[first_counts + two > 0]
    expected = margin * (first_counts.sum() / margin.sum())

    def chi2(rows: np.ndarray) -> np.ndarray:
        spread = expected * (1 - first_counts.sum() / margin.sum())
        distance: np.ndarray = ((rows - expected) ** 2 / np.maximum(spread, 1e-12)).sum(-1)
        return distance

    value = float(chi2(first_counts[first_counts + two > 0]))
    drawn = np.random.default_rng(abs(seed)).multivariate_hypergeometric(margin, int(first_counts.sum()), draws)
    return value, (1 + int((chi2(drawn) >= value - 1e-9).sum())) / (draws + 1)


def detectable_difference(share: Any, total: int, other_total: int, *, alpha: float = 0.05, power: float = 0.8) -> Any:
    """Return the smallest difference of a share that a two-sided test at `alpha` finds with `power`."""
    spread = np.sqrt(np.asarray(share) * (1 - np.asarray(share)) * (1 / total + 1 / other_total))
    return (scipy.stats.norm.isf(alpha / 2) + scipy.stats.norm.ppf(power)) * spread
