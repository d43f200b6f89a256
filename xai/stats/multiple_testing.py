"""P-values corrected for the number of tests: Holm, and Benjamini and Hochberg."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike


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
