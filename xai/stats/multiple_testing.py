"""Many questions at once: p-values adjusted so that their number cries no wolf."""

from collections.abc import Callable

import numpy as np


def holm(p_values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return p-values (T,) adjusted by the weighted step-down procedure.

    At level alpha, the chance that any true null hypothesis is rejected is at most alpha, whatever the dependence.

    Args:
        p_values: (T,).
        weights: (T,) not negative, given beforehand; the larger, the easier a question is answered. 0: never.

    Source: Holm 1979, section 3; with equal weights the usual Holm.
    """
    return _adjusted(p_values, weights, _step_down)


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
    found, asked = np.ones(len(p_values)), np.flatnonzero(weights > 0)
    ratio = p_values[asked] / weights[asked]
    order = np.argsort(ratio, kind="stable")
    found[asked[order]] = np.minimum(1, steps(ratio[order], weights[asked][order]))
    return found


def _step_down(ratio: np.ndarray, weights: np.ndarray) -> np.ndarray:
    left = np.cumsum(weights[::-1])[::-1]
    return np.maximum.accumulate(ratio * left)


def _step_up(ratio: np.ndarray, weights: np.ndarray) -> np.ndarray:
    rank = np.arange(1, len(ratio) + 1)
    return np.minimum.accumulate((ratio * weights.sum() / rank)[::-1])[::-1]
