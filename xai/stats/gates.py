"""Is a figure beyond a threshold? Pass, fail or inconclusive, with what could have been detected.

A gate at level 0.95 fails or passes wrongly in at most 2.5 % of the audits each, whatever the truth: shares are judged
by exact binomial tests, drops of a pair by McNemar's exact test and an interval made of exact limits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy

from xai.stats.intervals import clopper_pearson, drop_interval, holm, mcnemar

PASS, FAIL, INCONCLUSIVE = "pass", "fail", "inconclusive"
POWER = 0.8  # a drop counts as one that could have been seen when it would have been found this often
_MOST = 1 << 30


@dataclass(frozen=True)
class Gate:
    """A verdict on one figure.

    Attributes:
        verdict: "pass", "fail" or "inconclusive".
        value: the figure.
        low: lower end of its interval.
        high: upper end.
        p_value: one-sided, of the verdict's opposite: how likely a figure like this is if it were wrong; None where
            only an interval is known.
        detectable: how far beyond the threshold the truth must be to fail four times in five; None: no truth would.
        needed: images that would decide four times in five, were the truth the figure; None where it is decided, or
            where the figure is the threshold itself.
        where: the class or group that decides, "" for none.
    """

    verdict: str
    value: float
    low: float
    high: float
    p_value: float | None = None
    detectable: float | None = None
    needed: int | None = None
    where: str = ""


def judge_share(hits: int, total: int, threshold: float, *, level: float = 0.95, at_most: bool = False) -> Gate:
    """Judge whether the share that `hits` of `total` estimate is at least, or at most, a threshold.

    Source: exact binomial tests, which agree with the interval of Clopper & Pearson 1934.
    """
    if at_most:
        return _mirrored(judge_share(total - hits, total, 1 - threshold, level=level))
    alpha, value = (1 - level) / 2, hits / total if total else float("nan")
    low, high = clopper_pearson(hits, total, level)
    worse, better = _tails(hits, total, threshold)
    if threshold <= 0 or better <= alpha:
        return Gate(PASS, value, low, high, better, detectable_drop(total, threshold, level))
    verdict = FAIL if worse <= alpha else INCONCLUSIVE
    needed = needed_for_share(value, total, threshold, level) if verdict == INCONCLUSIVE else None
    return Gate(verdict, value, low, high, min(worse, better), detectable_drop(total, threshold, level), needed)


def judge_shares(
    hits: Sequence[int], totals: Sequence[int], names: Sequence[str], threshold: float, *, level: float = 0.95
) -> Gate:
    """Judge whether every one of several shares is at least a threshold.

    It fails when one share is below after correction for their number (Holm), and passes when each is above by itself:
    both are wrong at most as often as the level says. `needed` counts images of the class or group in `where`.
    """
    alpha, tails = (1 - level) / 2, [_tails(h, n, threshold) for h, n in zip(hits, totals, strict=True)]
    adjusted = holm([worse for worse, _ in tails])
    values = [h / n if n else float("nan") for h, n in zip(hits, totals, strict=True)]
    open_ = [k for k, (_, better) in enumerate(tails) if better > alpha and threshold > 0]
    first = int(np.argmin(adjusted))
    verdict = PASS if not open_ else FAIL if adjusted[first] <= alpha else INCONCLUSIVE
    worst = first if verdict == FAIL else min(open_ or range(len(values)), key=lambda k: (totals[k] > 0, values[k]))
    low, high = clopper_pearson(hits[worst], totals[worst], level)
    smallest = min(totals)
    needed = [needed_for_share(values[k], totals[k], threshold, level) for k in open_ if totals[k]]
    seen = detectable_drop(smallest, threshold, 1 - (1 - level) / len(hits))
    most = max((n for n in needed if n is not None), default=None) if verdict == INCONCLUSIVE else None
    p_value = float(adjusted[first]) if verdict == FAIL else max(better for _, better in tails)
    return Gate(verdict, values[worst], low, high, p_value, seen, most, names[worst])


def judge_drop(lost: int, won: int, total: int, most: float, *, level: float = 0.95) -> Gate:
    """Judge whether the drop (lost - won) / total between two answers to the same images is at most `most`.

    It fails only if McNemar's exact test finds a drop at all and the interval lies beyond `most`.

    Args:
        lost: images that were right before and are wrong now.
        won: the other way round.
        total: images.
        most: the largest drop allowed.
        level: of the interval.

    Source: McNemar 1947; interval by the square-and-add method of Newcombe 1998 with exact limits and the correlation
    of the two counts, which makes it conservative.
    """
    alpha, drop = (1 - level) / 2, (lost - won) / total
    low, high = drop_interval(lost, won, total, level)
    p_value = mcnemar(lost, won)
    fails = low > most and p_value <= alpha
    verdict = FAIL if fails else PASS if high <= most else INCONCLUSIVE
    reach = float(scipy.stats.norm.isf(alpha) + scipy.stats.norm.ppf(POWER))
    spread = max(lost + won, 1) / total - drop**2
    seen = reach * (spread / total) ** 0.5 + most
    gap = abs(drop - most)
    needed = int(np.ceil(spread * (reach / gap) ** 2)) if verdict == INCONCLUSIVE and gap > 0 else None
    return Gate(verdict, drop, low, high, p_value, seen, None if needed is None else max(needed, total + 1))


def judge_interval(
    value: float, low: float, high: float, n: int, threshold: float, *, level: float = 0.95, at_most: bool = False
) -> Gate:
    """Judge a figure by its interval alone; what could be seen and what it would take follow from its width."""
    if at_most:
        return _flipped(judge_interval(-value, -high, -low, n, -threshold, level=level))
    verdict = PASS if low >= threshold else FAIL if high < threshold else INCONCLUSIVE
    ordinary = float(scipy.stats.norm.isf((1 - level) / 2))
    error = (high - low) / 2 / ordinary
    reach, gap = (ordinary + float(scipy.stats.norm.ppf(POWER))) * error, abs(value - threshold)
    known = np.isfinite(reach)
    needed = max(n + 1, int(np.ceil(n * (reach / gap) ** 2))) if known and gap > 1e-12 else None
    return Gate(verdict, value, low, high, None, reach if known else None, needed if verdict == INCONCLUSIVE else None)


@lru_cache(maxsize=1024)  # an audit judges many shares of as many images by one threshold
def detectable_drop(total: int, threshold: float, level: float = 0.95, power: float = POWER) -> float | None:
    """Return how far below `threshold` a share must be for the gate to fail with `power`; None: it never would."""
    least = _most_failing(total, threshold, (1 - level) / 2)
    if least < 0:
        return None
    share = float(scipy.stats.beta.isf(power, least + 1, total - least)) if least < total else 1.0
    return max(0.0, threshold - share)


def needed_for_share(share: float, total: int, threshold: float, level: float = 0.95) -> int | None:
    """Return how many images would decide with power 0.8 were `share` the truth; None at the threshold itself."""
    if not np.isfinite(share) or share == threshold:
        return None
    alpha = (1 - level) / 2

    def decides(n: int) -> bool:
        if share < threshold:
            return bool(scipy.stats.binom.cdf(_most_failing(n, threshold, alpha), n, share) >= POWER)
        return bool(scipy.stats.binom.cdf(_most_failing(n, 1 - threshold, alpha), n, 1 - share) >= POWER)

    return _first(decides, max(total, 1))


def _first(decides: Callable[[int], bool], start: int) -> int | None:
    """Return about the smallest number from `start` on that decides, within half a percent."""
    low, high = start, start
    while not decides(high):
        low, high = high, 2 * high
        if high > _MOST:
            return None
    while high - low > max(1, high // 200):
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high


def _tails(hits: int, total: int, threshold: float) -> tuple[float, float]:
    """Return the chance of as few hits, and of as many, were the threshold the truth."""
    p = min(1.0, max(0.0, threshold))
    return float(scipy.stats.binom.cdf(hits, total, p)), float(scipy.stats.binom.sf(hits - 1, total, p))


@lru_cache(maxsize=1024)
def _most_failing(total: int, threshold: float, alpha: float) -> int:
    """Return the largest number of hits that still fails, -1 for none."""
    p = min(1.0, max(0.0, threshold))
    most = int(scipy.stats.binom.ppf(alpha, total, p))
    while most >= 0 and scipy.stats.binom.cdf(most, total, p) > alpha:
        most -= 1
    return most


def _mirrored(gate: Gate) -> Gate:
    """Return a verdict on a share of misses as one on the share of hits."""
    seen = (gate.p_value, gate.detectable, gate.needed, gate.where)
    return Gate(gate.verdict, 1 - gate.value, 1 - gate.high, 1 - gate.low, *seen)


def _flipped(gate: Gate) -> Gate:
    return Gate(
        gate.verdict, -gate.value, -gate.high, -gate.low, gate.p_value, gate.detectable, gate.needed, gate.where
    )
