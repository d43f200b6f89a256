"""Gaps that follow from base rates alone: closed forms, exact enumeration, and the level by simulation."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

import xai
from xai.stats.permutation import RateTest, gap_interval
from xai.stats.permutation_tables import MixTest

RATES = {
    "two groups": [[0.8, 0.2], [0.5, 0.5]],
    "rare": [[0.97, 0.03], [0.7, 0.3]],
    "three classes, three groups": [[0.6, 0.3, 0.1], [0.1, 0.3, 0.6], [0.3, 0.4, 0.3]],
}


def drawn(rates, count, seed, errors=0.1, hard=1.0):
    """Return labels, predictions, groups and confidences; errors by class, times `hard` in the last group."""
    rng = np.random.default_rng(seed)
    groups, classes = rng.integers(0, len(rates), count), len(rates[0])
    labels = (rng.random(count)[:, None] > np.cumsum(rates, 1)[groups][:, :-1]).sum(1)
    chance = errors * np.where(groups == len(rates) - 1, hard, 1.0) * (1 + 0.5 * (labels == 0))
    wrong = rng.random(count) < chance
    predictions = np.where(wrong, (labels + rng.integers(1, classes, count)) % classes, labels)
    sure = np.where(predictions == 1, rng.beta(6, 1, count), rng.beta(4, 2, count))
    return labels, predictions, groups, sure


def judged(rates, count, seed, **more):
    labels, predictions, groups, sure = drawn(rates, count, seed, **more)
    names = [str(k) for k in range(len(rates[0]))]
    return xai.bias_of_predictions(labels, predictions, {"site": groups}, sure, class_names=names, replicates=1000)


def test_equal_errors_and_other_base_rates_are_not_unfair():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 2, 20_000)
    labels = (rng.random(20_000) < np.where(groups, 0.5, 0.2)).astype(int)
    predictions = np.where(rng.random(20_000) < 0.1, 1 - labels, labels)
    found = xai.bias_of_predictions(labels, predictions, {"site": groups}, replicates=2000)
    assert found.findings == ()
    by = {(gap.metric, gap.label): gap for gap in found.gaps}
    closed = {  # precision p (1 - e) / (p (1 - e) + (1 - p) e), selection p (1 - e) + (1 - p) e
        ("precision", "1"): 0.45 / 0.5 - 0.18 / 0.26,
        ("selection_rate", "1"): 0.5 - 0.26,
    }
    for key, gap in closed.items():
        assert by[key].explained == pytest.approx(gap, abs=0.025)
        assert by[key].gap == pytest.approx(gap, abs=0.025)
        assert "explained by how often each class occurs in the groups" in by[key].headline
        assert "equal error rates for each class would make a gap of" in by[key].reason
    assert {one.measure: one.verdict for one in found.parities}["demographic parity"] == "no evidence"


@pytest.mark.parametrize("name", RATES)
def test_the_level_holds_with_other_base_rates(name):
    wrong = sum(judged(RATES[name], 600, seed).verdict == "unfair" for seed in range(12))
    assert wrong <= 3


@pytest.mark.slow
@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("count", [300, 600, 5000])
def test_the_level_holds_with_other_base_rates_everywhere(name, count):
    wrong = sum(judged(RATES[name], count, seed).verdict == "unfair" for seed in range(200))
    assert wrong / 200 <= 0.06 + 2 * (0.05 * 0.95 / 200) ** 0.5


@pytest.mark.parametrize("name", RATES)
def test_other_error_rates_are_still_unfair(name):
    metrics = {gap.metric for gap in judged(RATES[name], 5000, 0, hard=3.0).findings}
    assert {"accuracy", "recall", "precision"} <= metrics


def exact(test):
    """Return the p-value of the largest studentised deviation over all ways to spread the hits of each class."""
    ways = []
    for hits, totals in zip(test.hits, test.totals, strict=True):
        own = [c for c in product(*(range(n + 1) for n in totals)) if sum(c) == hits.sum()]
        ways.append([(np.array(c), stats.multivariate_hypergeom.pmf(c, totals, hits.sum())) for c in own])
    counts = [(np.stack([c for c, _ in way]), np.prod([p for _, p in way])) for way in product(*ways)]
    rates = np.array([test._rate(c, test.counted) for c, _ in counts])
    chance = np.array([p for _, p in counts])
    mean = chance @ rates
    spread = np.sqrt(chance @ (rates - mean) ** 2)
    seen = np.abs(test._rate(test.hits, test.counted) - mean) / spread
    return float(chance[(np.abs(rates - mean) / spread).max(1) >= seen.max() - 1e-6].sum()), mean


@pytest.mark.parametrize("size", [None, np.array([9, 12])])
def test_p_values_are_those_of_all_ways_to_spread_the_hits(size):
    hits, totals = np.array([[1, 6], [4, 2]]), np.array([[3, 7], [6, 5]])  # no two ways are mirrored: no ties
    counted = np.array([1.0, 0.0]) if size is None else np.ones(2)
    test = MixTest(hits, totals, counted, size, np.ones(2, dtype=bool))
    found, (p_value, mean) = test.run(np.random.default_rng(0), replicates=20_000), exact(test)
    assert found.p == pytest.approx(p_value, abs=0.015)
    np.testing.assert_allclose(found.expected, mean, atol=0.01)


def test_beyond_the_draws_the_bound_is_above_the_exact_tail():
    hits, totals = np.array([[20, 180], [30, 270]]), np.array([[100, 300], [100, 300]])
    found = MixTest(hits, totals, np.ones(2), np.array([200, 600]), np.ones(2, dtype=bool)).run(
        np.random.default_rng(0), replicates=500
    )
    one, two = (stats.hypergeom(400, int(h.sum()), 100) for h in hits)
    tail = sum(one.pmf(k) * two.cdf(50 - k) for k in range(51))
    assert tail <= found.p < 1e-6


def test_one_class_asks_the_plain_question():
    test = MixTest(np.array([[3, 5], [0, 0]]), np.array([[9, 9], [0, 0]]), np.ones(2), None, np.ones(2, dtype=bool))
    assert not test.informative


@pytest.mark.parametrize("rates", [[0.8] * 4, [0.95, 0.9, 0.85, 0.8], [0.5, 0.5, 0.5, 0.6]])
def test_the_interval_holds_the_pair_that_is_named(rates):
    rng, sizes = np.random.default_rng(0), np.array([400, 120, 40, 25])
    held = largest = 0
    for hits in rng.binomial(sizes, rates, (400, 4)):
        low, high = gap_interval(hits, sizes)
        named = hits / sizes
        held += low <= rates[named.argmax()] - rates[named.argmin()] <= high
        largest += low <= np.ptp(rates) <= high
    assert min(held, largest) / 400 >= 0.95


def test_a_rate_of_one_class_keeps_its_exact_test():
    test = RateTest(np.array([5, 9]), np.array([20, 20]))
    found = test.run(np.random.default_rng(0), replicates=4000, alpha=0.05)
    assert found.p == pytest.approx(stats.fisher_exact([[5, 15], [9, 11]])[1], abs=0.03)
