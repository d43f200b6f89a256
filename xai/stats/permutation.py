"""Do hits fall on all groups alike? Exact permutation inference for one rate, from hits and totals per group."""

from dataclasses import dataclass, field
from functools import cache
from typing import Self

import numpy as np
import scipy

from xai.stats.intervals import newcombe, wilson

_SAME = 1e-9  # scores that differ by less are ties
_REACH = 12  # standard deviations beyond which a count never occurs
_HALVINGS = 12
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)  # of a normal distribution
_WEIGHTS /= _WEIGHTS.sum()


@dataclass(frozen=True, eq=False)
class PermutationResult:
    """What is known of one measure over G groups; nan where a group is too small to be compared.

    Attributes:
        values: (G,) the measure in each group.
        totals: (G,) images it was measured on.
        intervals: (G, 2) 95 % interval of each value by itself.
        compared: (G,) bool, groups that are large enough.
        scores: (G,) deviation from all others in standard errors, studentised by the permutation distribution.
        p_groups: (G,) p-value of each deviation, corrected for all groups.
        p: of the largest deviation.
        gap: largest minus smallest value.
        interval: of the gap, simultaneous over all pairs of groups: of the pair that is named and of the largest.
        chance: (B,) gaps of data in which the group does not matter.
        detectable: (G,) smallest deviation that each group would show at least four times in five.
    """

    values: np.ndarray
    totals: np.ndarray
    intervals: np.ndarray
    compared: np.ndarray
    scores: np.ndarray
    p_groups: np.ndarray
    p: float
    gap: float
    interval: tuple[float, float]
    chance: np.ndarray = field(repr=False)
    detectable: np.ndarray

    def complement(self) -> "PermutationResult":
        """Return the outcome of the misses."""
        changed = {**vars(self), "values": 1 - self.values, "scores": -self.scores}
        return PermutationResult(**changed | {"intervals": 1 - self.intervals[:, ::-1]})


@dataclass(frozen=True, eq=False)
class RateTest:
    """Hits of totals in G groups, and the question whether the group matters.

    Under the null hypothesis all hits of the compared groups are spread over them at random: hypergeometric.

    Args:
        hits: (G,) int64.
        totals: (G,) int64.
        least: groups with a smaller total are not compared.
    """

    hits: np.ndarray
    totals: np.ndarray
    least: int = 1

    @property
    def compared(self) -> np.ndarray:
        """Groups (G,) bool that are large enough."""
        is_compared: np.ndarray = self.totals >= max(1, self.least)
        return is_compared

    @property
    def possible(self) -> bool:
        """Whether any deviation could occur: two groups, and both hits and misses."""
        hits, totals = self._compared_counts()
        return len(totals) > 1 and 0 < hits.sum() < totals.sum()

    @property
    def key(self) -> tuple[bytes, bytes]:
        """The same for hits and for misses: one question asked twice."""
        return self.totals.tobytes(), min(self.hits.tobytes(), (self.totals - self.hits).tobytes())

    @property
    def canonical(self) -> Self:
        """This test, or that of the misses: whichever stands for both."""
        misses = self.totals - self.hits
        return self if self.hits.tobytes() <= misses.tobytes() else type(self)(misses, self.totals, self.least)

    def run(self, rng: np.random.Generator, *, replicates: int, alpha: float, level: float = 0.95) -> PermutationResult:
        """Return everything that can be said.

        Args:
            rng: draws the replicates.
            replicates: B.
            alpha: level at which this question is judged in the end; for `detectable` alone.
            level: of the intervals.
        """
        hits, totals = self._compared_counts()
        values = np.divide(self.hits, self.totals, out=np.full(len(self.hits), np.nan), where=self.totals > 0)
        scores, own, p, chance = self._permute(rng, replicates)
        low, high = gap_interval(hits, totals, level)
        return PermutationResult(
            values=values,
            totals=self.totals,
            intervals=wilson(self.hits, self.totals, level),
            compared=self.compared,
            scores=self._spread(scores),
            p_groups=self._spread(own),
            p=p,
            gap=float(np.ptp(hits / totals)) if len(totals) > 1 else np.nan,
            interval=(low, high),
            chance=chance,
            detectable=self._spread(detectable(hits, totals, alpha)),
        )

    def _permute(self, rng: np.random.Generator, replicates: int) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
        """Return scores (G,), their p-values, that of the largest, and the gaps (B,)."""
        hits, totals = self._compared_counts()
        if not self.possible:
            return np.zeros(len(hits)), np.ones(len(hits)), 1.0, np.zeros(replicates if len(hits) > 1 else 0)
        drawn = rng.multivariate_hypergeometric(totals, int(hits.sum()), size=replicates, method="marginals")
        tails = [Tail(int(n), int(hits.sum()), int(totals.sum()), int(x)) for n, x in zip(totals, hits, strict=True)]
        scores = np.array([tail.score(x) for tail, x in zip(tails, hits, strict=True)])
        null = np.max([np.abs(tail.score(column)) for tail, column in zip(tails, drawn.T, strict=True)], 0)
        own = np.array([_p_value(abs(score), null, tails) for score in scores])
        return scores, own, float(own.min()), np.ptp(drawn / totals, 1).astype(np.float32)

    def _compared_counts(self) -> tuple[np.ndarray, np.ndarray]:
        return self.hits[self.compared], self.totals[self.compared]

    def _spread(self, values: np.ndarray) -> np.ndarray:
        whole = np.full(len(self.totals), np.nan)
        whole[self.compared] = values
        return whole


class Tail:
    """The hypergeometric distribution of one group's hits, as a table of scores.

    The score of a count is the normal deviate with the same two-sided tail probability, signed: it means the same in
    groups of ten and of ten thousand.

    Args:
        size: of the group.
        hits: in all groups together.
        total: images in all groups together.
        seen: the count observed; inside the table however improbable.
    """

    def __init__(self, size: int, hits: int, total: int, seen: int) -> None:
        mean = size * hits / total
        spread = np.sqrt(mean * (1 - hits / total) * (total - size) / max(1, total - 1))
        first, last = max(0, hits - (total - size)), min(size, hits)
        low = max(first, min(seen, int(mean - _REACH * spread) - 5))
        high = min(last, max(seen, int(mean + _REACH * spread) + 5))
        counts = np.arange(low, high + 1)
        self.first, self.mean = low, mean
        self.probability = np.exp(
            _log_choose(hits, counts) + _log_choose(total - hits, size - counts) - _log_choose(total, size)
        )
        below, above = np.cumsum(self.probability), np.cumsum(self.probability[::-1])[::-1]
        both = np.minimum(1, 2 * np.minimum(below, above))
        self.scores = np.sign(counts - mean) * np.abs(scipy.special.ndtri(np.maximum(both, 1e-300) / 2))

    def score(self, counts: np.ndarray) -> np.ndarray:
        """Return the signed scores of counts."""
        scores: np.ndarray = self.scores[np.clip(counts - self.first, 0, len(self.scores) - 1)]
        return scores

    def beyond(self, score: float) -> float:
        """Return the exact probability of a score at least as far from 0."""
        return float(self.probability[np.abs(self.scores) >= score - _SAME].sum())


def _log_choose(n: int, k: np.ndarray | int) -> np.ndarray:
    logarithm: np.ndarray = (
        scipy.special.gammaln(n + 1)
        - scipy.special.gammaln(np.add(k, 1))
        - scipy.special.gammaln(np.subtract(n, k) + 1)
    )
    return logarithm


def _p_value(score: float, null: np.ndarray, tails: list[Tail]) -> float:
    """Return the p-value of a score among the largest scores of the replicates.

    Where no replicate comes as far, the sum of the exact tails of all groups takes over: an upper bound, so that the
    p-value stays valid at every level and is not held up by the number of replicates.
    """
    count = int((null >= score - _SAME).sum())
    floor = (1 + count) / (1 + len(null))
    return floor if count else min(floor, sum(tail.beyond(score) for tail in tails))


@cache
def tukey(groups: int, level: float = 0.95) -> float:
    """Return how many standard errors make intervals of all pairs of groups hold together.

    Source: Tukey-Kramer; conservative for unequal sizes (Hayter 1984).
    """
    return float(scipy.stats.studentized_range.ppf(level, max(2, groups), np.inf)) / 2**0.5


def gap_interval(hits: np.ndarray, totals: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of largest minus smallest rate over groups, (nan, nan) for fewer than two.

    It holds, at once, the difference of the two groups that look furthest apart, which chance has chosen, and the true
    largest difference of any two: the lower end is that of the pair named, below 0 where their order may be the other
    way round, the upper end the largest of all pairs.

    Source: Newcombe 1998 (method 10) for each pair, at the Tukey-Kramer level: all pairs hold at once.
    """
    if len(totals) < 2:
        return np.nan, np.nan
    wide = 2 * float(scipy.special.ndtr(tukey(len(totals), level))) - 1
    rate, (low, high) = hits / totals, np.moveaxis(wilson(hits, totals, wide), -1, 0)
    pairs = newcombe(rate[:, None], (low[:, None], high[:, None]), rate, (low, high))
    return float(pairs[rate.argmax(), rate.argmin(), 0]), float(pairs[..., 1].max())


def detectable(hits: np.ndarray, totals: np.ndarray, alpha: float, power: float = 0.8) -> np.ndarray:
    """Return how far each group (G,) must truly be from the others to be found at level `alpha` with this power.

    The exact test of each group against all others, corrected for the number of groups, in the direction in which there
    is more room; infinite where nothing would be found.
    """
    count, total = len(totals), int(totals.sum())
    if count < 2:
        return np.full(count, np.inf)
    pooled = int(np.clip(hits.sum(), 1, total - 1))
    share = max(pooled, total - pooled) / total  # of the commoner: there is more room for fewer of these
    tail = alpha / (2 * count if count > 2 else 2)  # of two groups, one deviates as the other does
    difference = _detectable(totals, share, np.full(count, share), tail, power)
    return _detectable(totals, share, share - np.minimum(difference, share) * totals / total, tail, power)


def _detectable(sizes: np.ndarray, share: float, pooled: np.ndarray, tail: float, power: float) -> np.ndarray:
    """Return by halving how far each group must be from the others, whose rate is `share`, to be found.

    A count is found when its hypergeometric tail, with the rate `pooled` of all together, is at most `tail`; the rate
    of the others varies as in a sample of theirs.
    """
    others = sizes.sum() - sizes
    hits = np.round(pooled * sizes.sum()).astype(np.int64)
    limits = [_least_found(int(n), int(x), int(sizes.sum()), tail) for n, x in zip(sizes, hits, strict=True)]
    rest = np.clip(share + np.sqrt(share * (1 - share) / others)[:, None] * _NODES, 0, 1)
    counts = np.floor(sizes[:, None] * (rest + np.array(limits)[:, None]) + _SAME)
    counts = np.minimum(counts, sizes[:, None] - 1)
    known, size = np.maximum(counts, 0), sizes[:, None]

    def power_at(own: np.ndarray) -> np.ndarray:
        return np.where(counts < 0, 0.0, scipy.special.bdtr(known, size, own[:, None])) @ _WEIGHTS

    low, high = np.zeros(len(sizes)), np.full(len(sizes), share)
    visible = power_at(low) >= power
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        enough = power_at(middle) >= power
        low, high = np.where(enough, middle, low), np.where(enough, high, middle)
    return np.where(visible, share - low, np.inf)


def _least_found(size: int, hits: int, total: int, tail: float) -> float:
    """Return the difference to the others from which on a group of this size is found; -infinity when none is."""
    null = Tail(size, hits, total, size * hits // total)
    most = null.first + int(np.searchsorted(np.cumsum(null.probability), tail, side="right")) - 1
    others = total - size
    return most / size - (hits - most) / others if most >= max(0, hits - others) else -np.inf
