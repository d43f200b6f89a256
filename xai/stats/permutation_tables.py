"""Permutation tests of tables with fixed margins, within strata of images that share a class.

Images are sorted into cells; under the null hypothesis the table of cells x groups is any with the same margins.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import scipy

from xai.stats.permutation import PermutationResult, tukey

_FIRST = 5  # a fifth of the replicates, unless they leave it open
_ENOUGH = 20  # exceedances that settle a p-value
_TINY = 1e-12
_TILTS = np.geomspace(1e-3, 1e2, 60)  # of Chernoff's bound, over the largest weight
BINS = 15
_LEVELS = 20  # cells of a mean
_SIMULATIONS = 500


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


Statistic = Callable[[np.ndarray], np.ndarray]


def random_tables(cells: np.ndarray, sizes: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    """Return random tables (count, M, G) whose margins are `cells` (M,) and `sizes` (G,); both add up to the same.

    Source: fills cell by cell, each a multivariate hypergeometric draw from what the groups have left.
    """
    tables = np.zeros((count, len(cells), len(sizes)), dtype=np.int64)
    left = np.tile(sizes.astype(np.int64), (count, 1))
    order = np.argsort(cells, kind="stable")  # the largest cell takes what remains
    for cell in order[:-1]:
        need, rest = np.full(count, cells[cell]), left.sum(1)
        for group in range(len(sizes) - 1):
            rest = rest - left[:, group]
            drawn = rng.hypergeometric(left[:, group], rest, need)
            tables[:, cell, group] = drawn
            need = need - drawn
        tables[:, cell, -1] = need
        left -= tables[:, cell]
    tables[:, order[-1]] = left
    return tables


@dataclass(frozen=True, eq=False)
class TableTest:
    """A statistic per group, of a table of cells x groups, and the question whether the group matters.

    Args:
        table: (M, G) counts.
        statistic: from tables (..., M, G) to values (..., G).
        values: (G,) exact, before images were sorted into cells.
        errors: (G,) standard errors of the values.
        excess: (G,) by how much chance alone may raise the values; 0 but for calibration errors.
        spread: (G,) standard deviation of that; of the values where there is none.
        totals: (G,) images.
        limits: of the values.
        least: groups with fewer images are not compared.
        places: (N,) cell of each image, for `within`.
        strata: (S, M, G) counts by stratum, whose margins the null hypothesis keeps each; None for one.
    """

    table: np.ndarray
    statistic: Statistic
    values: np.ndarray
    errors: np.ndarray
    excess: np.ndarray
    spread: np.ndarray
    totals: np.ndarray
    limits: tuple[float, float]
    least: int = 1
    places: np.ndarray | None = field(default=None, repr=False)
    strata: np.ndarray | None = field(default=None, repr=False)

    def within(self, strata: np.ndarray, codes: np.ndarray) -> Self:
        """Return the same test with the stratum (N,) of each image of group (N,) held fixed.

        A value that the group's mix of strata explains is no deviation any more.
        """
        assert self.places is not None
        kinds, number = np.unique(strata, return_inverse=True)
        shape = (len(kinds), *self.table.shape)
        place = np.ravel_multi_index((number, self.places, codes), shape)
        return replace(self, strata=np.bincount(place, minlength=int(np.prod(shape))).reshape(shape))

    @property
    def compared(self) -> np.ndarray:
        """Groups (G,) bool that are large enough."""
        is_compared: np.ndarray = self.totals >= max(2, self.least)
        return is_compared

    @property
    def possible(self) -> bool:
        """Whether any deviation could occur: two groups and two cells."""
        inside = self.table[:, self.compared]
        return inside.shape[1] > 1 and int((inside.sum(1) > 0).sum()) > 1

    def run(self, rng: np.random.Generator, *, replicates: int, alpha: float, level: float = 0.95) -> PermutationResult:
        """Return everything that can be said; arguments as of `RateTest.run`."""
        compared = self.compared
        figures = {name: np.full(len(compared), np.nan) for name in ("scores", "p_groups", "detectable")}
        p, chance = 1.0, np.zeros(replicates if compared.sum() > 1 else 0)
        figures["scores"][compared], figures["p_groups"][compared], figures["detectable"][compared] = 0.0, 1.0, np.inf
        if self.possible:
            scores, own, spread, chance = self._permute(rng, replicates)
            quantile = scipy.stats.norm.isf(alpha / (2 * compared.sum())) + scipy.stats.norm.ppf(0.8)
            figures["scores"][compared], figures["p_groups"][compared], figures["detectable"][compared] = (
                scores,
                own,
                quantile * spread,
            )
            p = float(own.min())
        return PermutationResult(
            values=self.values,
            totals=self.totals,
            intervals=self._intervals(level),
            compared=compared,
            p=p,
            gap=float(np.ptp(self.values[compared])) if compared.sum() > 1 else np.nan,
            interval=self._gap_interval(level),
            chance=chance.astype(np.float32),
            **figures,
        )

    def _permute(self, rng: np.random.Generator, replicates: int) -> tuple[np.ndarray, ...]:
        """Return scores (G,), their p-values, the standard deviations (G,) of the statistic, and gaps (B,).

        A p-value that is settled by a fifth of the replicates takes no more (Besag & Clifford 1991).
        """
        table = self.table[:, self.compared]
        occupied = table.sum(1) > 0
        table = table[occupied]
        strata = table[None] if self.strata is None else self.strata[:, occupied][:, :, self.compared]
        seen = self._statistic(table)
        drawn = np.empty((0, table.shape[1]))
        for part in (replicates // _FIRST, replicates - replicates // _FIRST):
            drawn = np.concatenate([drawn, self._statistic(_shuffled(strata, rng, part))])
            every = np.concatenate([drawn, seen[None]])
            spread = every.std(0)
            scores = np.divide(every - every.mean(0), spread, out=np.zeros_like(every), where=spread > 1e-12)
            null = np.abs(scores[:-1]).max(1)
            count = (null[:, None] >= np.abs(scores[-1]) - 1e-9).sum(0)
            if count.min() >= _ENOUGH:
                break
        return scores[-1], (1 + count) / (1 + len(drawn)), spread, np.ptp(drawn, 1)

    def _statistic(self, tables: np.ndarray) -> np.ndarray:
        """Return the statistic of the compared groups; tables have the occupied cells only."""
        occupied = self.table[:, self.compared].sum(1) > 0
        whole = np.zeros((*tables.shape[:-2], len(occupied), tables.shape[-1]))
        whole[..., occupied, :] = tables
        statistic: np.ndarray = self.statistic(whole)
        return statistic

    def _intervals(self, level: float) -> np.ndarray:
        """Return the interval (G, 2) of each value by itself."""
        times = scipy.stats.norm.ppf((1 + level) / 2)
        low = self.values - self.excess - times * self.spread
        intervals: np.ndarray = np.clip(np.stack([low, self.values + times * self.errors], -1), *self.limits)
        return intervals

    def _gap_interval(self, level: float) -> tuple[float, float]:
        """Return the interval of the gap: normal, as `gap_interval` has it; a value may be too large by its excess."""
        compared = self.compared
        if compared.sum() < 2:
            return np.nan, np.nan
        value, error, excess, spread = (part[compared] for part in (self.values, self.errors, self.excess, self.spread))
        apart, times = value[:, None] - value[None], tukey(int(compared.sum()), level)
        lows = apart - excess[:, None] - times * np.hypot(spread[:, None], error[None])
        highs = apart + excess[None] + times * np.hypot(error[:, None], spread[None])
        widest = self.limits[1] - self.limits[0]
        return max(-widest, float(lows[value.argmax(), value.argmin()])), min(widest, float(highs.max()))


def _shuffled(strata: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    """Return sums (count, M, G) of random tables with the margins of each stratum (S, M, G)."""
    sums = np.zeros((count, *strata.shape[1:]), dtype=np.int64)
    for table in strata:
        filled = np.flatnonzero(table.sum(1))
        if len(filled):
            sums[:, filled] += random_tables(table[filled].sum(1), table.sum(0), rng, count)
    return sums


def mean_test(values: np.ndarray, codes: np.ndarray, groups: int, least: int) -> TableTest:
    """Return the test of the mean of `values` (N,) in each group; nan values are left out.

    The test sees values as the mean of their cell, one of at most twenty with equally many images.
    """
    known = ~np.isnan(values)
    values, codes = values[known], codes[known]
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _LEVELS + 1)[1:-1])) if len(values) else np.empty(0)
    cells = np.searchsorted(edges, values, side="right")
    table, totals = _counts(cells, codes, len(edges) + 1, groups), np.bincount(codes, minlength=groups)
    inside = np.bincount(cells, minlength=len(table))
    centres = np.bincount(cells, values, len(table)) / np.maximum(inside, 1)
    mean, deviation = _moments(values, codes, totals)
    heavier = scipy.stats.t.ppf(0.975, np.maximum(totals - 1, 1)) / scipy.stats.norm.ppf(0.975)
    error = np.where(totals > 1, heavier * deviation / np.sqrt(np.maximum(totals, 1)), np.inf)
    limits = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)

    def statistic(tables: np.ndarray) -> np.ndarray:
        means: np.ndarray = np.einsum("m,...mg->...g", centres, tables) / tables.sum(-2)
        return means

    return TableTest(table, statistic, mean, error, np.zeros(groups), error, totals, limits, least, cells)


def _moments(values: np.ndarray, codes: np.ndarray, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation (G,) of each group; nan where there is nothing."""
    count = np.where(totals > 0, totals, np.nan)
    mean = np.bincount(codes, values, len(totals)) / count
    square = np.bincount(codes, (values - mean[codes]) ** 2, len(totals))
    return mean, np.sqrt(square / np.maximum(totals - 1, 1))


def _counts(cells: np.ndarray, codes: np.ndarray, size: int, groups: int) -> np.ndarray:
    return np.bincount(cells * groups + codes, minlength=size * groups).reshape(size, groups)


def calibration_test(
    confidence: np.ndarray, correct: np.ndarray, codes: np.ndarray, groups: int, least: int, rng: np.random.Generator
) -> TableTest:
    """Return the test of the expected calibration error of each group.

    Fifteen bins of equal width, closed on the right, so that confidence 1.0 is in the last. The test sees confidences
    as the mean of their bin among right, or among wrong, answers.

    Source: Naeini et al. 2015, Guo et al. 2017.
    """
    bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    cells = 2 * bins + correct
    table = _counts(cells, codes, 2 * BINS, groups)
    totals = np.bincount(codes, minlength=groups)
    off = np.bincount(bins * groups + codes, correct - confidence, BINS * groups).reshape(BINS, groups)
    values = np.abs(off).sum(0) / np.where(totals > 0, totals, np.nan)
    centres = np.bincount(cells, correct - confidence, 2 * BINS) / np.maximum(np.bincount(cells, minlength=2 * BINS), 1)

    def statistic(tables: np.ndarray) -> np.ndarray:
        shift = (tables * centres[:, None]).reshape(*tables.shape[:-2], BINS, 2, -1).sum(-2)
        errors: np.ndarray = np.abs(shift).sum(-2) / tables.sum(-2)
        return errors

    excess, spread, error = _noise(table, totals, rng)
    return TableTest(table, statistic, values, error, excess, spread, totals, (0.0, 1.0), least, cells)


def _noise(table: np.ndarray, totals: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Return what chance does to the calibration error of each group, (G,) each.

    A calibration error is a sum of absolute values: by the triangle inequality chance raises it by at most the sum of
    the absolute errors of the bins, of which mean and standard deviation are returned first; it lowers it by no more
    than the errors themselves add up to, of which the standard deviation is last. Bins err as binomials with the
    accuracy of all groups together, so that a group of few, all right by luck, does not look exact.
    """
    right, wrong = table[1::2], table[::2]
    inside = right + wrong
    share = ((right.sum(1) + 1) / (inside.sum(1) + 2))[:, None]
    drawn = rng.binomial(inside, share, size=(_SIMULATIONS, *inside.shape)) - inside * share
    count = np.maximum(totals, 1)
    raised, moved = np.abs(drawn).sum(1) / count, drawn.sum(1) / count
    return raised.mean(0), raised.std(0), moved.std(0)
