"""Shares of classes in two samples: differences with intervals, exact tests, power."""

from typing import Any

import numpy as np
import scipy

from xai.stats.intervals import newcombe, wilson


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
