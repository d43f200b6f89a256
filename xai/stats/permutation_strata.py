"""Group differences with every true class treated alike: rates with the mix of classes held fixed."""

from dataclasses import dataclass

import numpy as np

_FIRST = 5  # a fifth of the replicates, unless they leave it open
_ENOUGH = 20  # exceedances that settle a p-value
_TINY = 1e-12
_TILTS = np.geomspace(1e-3, 1e2, 60)  # of Chernoff's bound, over the largest weight


@dataclass(frozen=True, eq=False)
class MixOutcome:
    """What equal treatment of each true class makes of a rate.

    Attributes:
        expected: (G,) mean value of each group; nan where it is not compared.
        p_groups: (G,) p-value of each group's deviation from it, corrected for all groups.
        p: of the largest deviation.
    """

    expected: np.ndarray
    p_groups: np.ndarray
    p: float


@dataclass(frozen=True, eq=False)
class MixTest:
    """A rate as hits within each true class, and the question whether the group matters once the class is known.

    Under the null hypothesis the hits of each true class are spread at random over the images of that class in all
    groups, so that groups differ only by how often each class occurs in them. Precision, selection rate, accuracy and,
    with more than two classes, false positives then differ although nobody is treated differently.

    Args:
        hits: (L, G) of each true class and group.
        totals: (L, G) images of each true class and group.
        counted: (L,) 1 where hits of the class count for the rate, else 0.
        size: (G,) what the rate is a share of; None: all hits, as for precision.
        compared: (G,) bool, groups that are large enough.

    Source: Chouldechova 2017, Kleinberg et al. 2017 (why such gaps follow from base rates); conditional permutation.
    """

    hits: np.ndarray
    totals: np.ndarray
    counted: np.ndarray
    size: np.ndarray | None
    compared: np.ndarray

    @property
    def informative(self) -> bool:
        """Whether more than one true class is involved: otherwise the plain test asks the same."""
        return int((self.totals[:, self.compared].sum(1) > 0).sum()) > 1

    def run(self, rng: np.random.Generator, *, replicates: int) -> MixOutcome:
        """Return expected values and p-values, by draws and, where none comes as far, by an upper bound.

        Cost: one hypergeometric draw per true class with hits, group and replicate; a fifth where that settles it.
        """
        compared = self.compared
        hits, totals = self.hits[:, compared], self.totals[:, compared]
        used = (hits.sum(1) > 0) & (totals.sum(1) > 0)
        hits, totals, counted = hits[used], totals[used], self.counted[used]
        seen, size = self._rate(hits, counted), None if self.size is None else self.size[compared]
        drawn = np.empty((0, hits.shape[1]))
        for part in (replicates // _FIRST, replicates - replicates // _FIRST):
            drawn = np.concatenate([drawn, self._draw(hits, totals, counted, rng, part)])
            every = np.concatenate([drawn, np.where(np.isnan(seen), drawn.mean(0), seen)[None]])
            mean, spread = every.mean(0), every.std(0)  # with what was seen, so that all are alike under the null
            null = np.abs(_scores(drawn, mean, spread)).max(1, initial=0)
            own = np.abs(_scores(seen, mean, spread))
            count = (null[:, None] >= own - 1e-9).sum(0)
            if count.min(initial=0) >= _ENOUGH:
                break
        p_values = (1 + count) / (1 + len(drawn))
        for k in np.flatnonzero(count == 0):
            ends = [(sign, mean + sign * own[k] * spread) for sign in (1, -1)]
            groups = range(len(mean))
            bound = sum(_tail(hits, totals, counted, size, end[g], sign, g) for sign, end in ends for g in groups)
            p_values[k] = min(p_values[k], bound)
        return MixOutcome(self._spread(mean), self._spread(p_values), float(p_values.min(initial=1)))

    def _rate(self, hits: np.ndarray, counted: np.ndarray) -> np.ndarray:
        """Return the rates (..., G) of hits (..., L, G); nan where nothing was counted."""
        above = (hits * counted[:, None]).sum(-2)
        below = hits.sum(-2) if self.size is None else np.broadcast_to(self.size[self.compared], above.shape)
        rates: np.ndarray = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
        return rates

    def _draw(
        self, hits: np.ndarray, totals: np.ndarray, counted: np.ndarray, rng: np.random.Generator, count: int
    ) -> np.ndarray:
        """Return rates (count, G) with the hits of each class spread at random; without hits, their mean."""
        above, below = np.zeros((2, count, hits.shape[1]))
        for class_hits, total, weight in zip(hits.sum(1), totals, counted, strict=True):
            drawn = rng.multivariate_hypergeometric(total, int(class_hits), size=count, method="marginals")
            above += weight * drawn
            below += drawn
        below = below if self.size is None else np.broadcast_to(self.size[self.compared], below.shape)
        rates: np.ndarray = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
        return np.where(np.isnan(rates), np.nan_to_num(np.nanmean(rates, 0)), rates)

    def _spread(self, values: np.ndarray) -> np.ndarray:
        whole = np.full(len(self.compared), np.nan)
        whole[self.compared] = values
        return whole


def _scores(values: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    away = np.nan_to_num(values - mean)
    scores: np.ndarray = np.divide(away, spread, out=np.zeros_like(away), where=spread > _TINY)
    return scores


def _tail(
    hits: np.ndarray,
    totals: np.ndarray,
    counted: np.ndarray,
    size: np.ndarray | None,
    value: float,
    sign: int,
    group: int,
) -> float:
    """Bound how likely a group's rate is at least `value`, or at most where `sign` is -1.

    Source: Chernoff's bound of a sum of hypergeometric counts, by the binomial moments above theirs (Hoeffding 1963).
    """
    weights = sign * (counted - (value if size is None else 0.0))
    level = 0.0 if size is None else sign * value * float(size[group])
    share, many = hits.sum(1) / totals.sum(1), totals[:, group]
    tilts = _TILTS / max(float(np.abs(weights).max(initial=0)), _TINY)
    moved = share[:, None] * np.expm1(np.minimum(weights[:, None] * tilts, 500))
    grown = np.log1p(np.maximum(moved, _TINY - 1))
    exponent = (many[:, None] * grown).sum(0) - tilts * level
    return float(np.exp(min(0.0, exponent.min())))
