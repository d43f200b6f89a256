"""Intervals for shares and means."""

from typing import Any

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


_BLOCKS = 4096  # images that change sides together: bounds the work, and any group of swaps keeps the test exact


def paired_mean(before: np.ndarray, after: np.ndarray, level: float = 0.95) -> tuple[float, float, float, float]:
    """Return the mean of after - before (N,), its interval and the p-value of no difference (paired t-test)."""
    difference = after - before
    count = len(difference)
    error = float(difference.std(ddof=1)) / count**0.5 if count > 1 else 0.0
    return _student(float(difference.mean()), error, count - 1, level)


def welch_mean(first: np.ndarray, second: np.ndarray, level: float = 0.95) -> tuple[float, float, float, float]:
    """Return the mean of `second` less that of `first`, independent samples, its interval and p-value (Welch)."""
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
    """Return the sums of confidence less correctness by block and bin (blocks, bins)."""
    size = len(inner) + 1
    codes = member * size + np.searchsorted(inner, confidence)
    return np.bincount(codes, confidence - correct, blocks * size).reshape(blocks, size)
