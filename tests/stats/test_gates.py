"""Gates err at most as often as their level says: by exact enumeration, not by luck; and catch what they should."""

import numpy as np
import pytest
from scipy import stats

from xai.stats.gates import (
    FAIL,
    INCONCLUSIVE,
    PASS,
    detectable_drop,
    judge_drop,
    judge_interval,
    judge_share,
    judge_shares,
    needed_for_share,
)
from xai.stats.intervals import drop_interval, holm, mcnemar

LEVEL = 0.95
ALPHA = (1 - LEVEL) / 2


def chances(n: int, threshold: float, truth: float, *, at_most: bool = False) -> dict[str, float]:
    """Return how often each verdict falls, exactly but for counts that together fall less than once in 10^11."""
    weights = stats.binom.pmf(np.arange(n + 1), n, truth)
    likely = np.flatnonzero(weights > 1e-15)
    verdicts = [judge_share(int(k), n, threshold, level=LEVEL, at_most=at_most).verdict for k in likely]
    weights = weights[likely]
    return {word: float(weights[[v == word for v in verdicts]].sum()) for word in (PASS, FAIL, INCONCLUSIVE)}


@pytest.mark.parametrize("at_most", [False, True])
@pytest.mark.parametrize("threshold", [0.01, 0.3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("n", [7, 50, 400])
def test_a_share_at_the_threshold_is_judged_wrongly_no_more_often_than_the_level_says(n, threshold, at_most):
    found = chances(n, threshold, threshold, at_most=at_most)
    assert found[FAIL] <= ALPHA
    assert found[PASS] <= ALPHA


def test_five_points_lost_are_caught_with_two_thousand_pictures():
    assert chances(2000, 0.90, 0.85)[FAIL] >= 0.95
    assert chances(2000, 0.55, 0.50)[FAIL] >= 0.95  # the widest spread of all
    assert chances(2000, 0.10, 0.15, at_most=True)[FAIL] >= 0.95


@pytest.mark.parametrize(("n", "threshold"), [(100, 0.9), (2000, 0.5), (30, 0.7)])
def test_the_drop_that_could_be_seen_is_seen_four_times_in_five(n, threshold):
    drop = detectable_drop(n, threshold, LEVEL)
    assert chances(n, threshold, threshold - drop)[FAIL] == pytest.approx(0.8, abs=1e-6)


def test_no_drop_can_be_seen_with_few_pictures():
    assert detectable_drop(3, 0.5, LEVEL) is None  # not even 0 of 3 would fail
    assert judge_share(0, 3, 0.5).verdict == INCONCLUSIVE


@pytest.mark.parametrize(("share", "threshold"), [(0.42, 0.40), (0.38, 0.40), (0.95, 0.90)])
def test_the_pictures_needed_decide_four_times_in_five(share, threshold):
    needed = needed_for_share(share, 50, threshold, LEVEL)
    found = chances(needed, threshold, share)
    assert found[FAIL if share < threshold else PASS] >= 0.8
    fewer = chances(int(0.9 * needed), threshold, share)
    assert fewer[FAIL if share < threshold else PASS] < 0.8


def test_no_number_of_pictures_decides_at_the_threshold_itself():
    assert needed_for_share(0.5, 100, 0.5) is None


@pytest.mark.parametrize(("hits", "n", "threshold"), [(40, 60, 0.8), (58, 60, 0.8), (7, 60, 0.2)])
def test_tails_are_those_of_the_binomial_test(hits, n, threshold):
    gate = judge_share(hits, n, threshold)
    below = stats.binomtest(hits, n, threshold, "less").pvalue
    above = stats.binomtest(hits, n, threshold, "greater").pvalue
    assert gate.p_value == pytest.approx(min(below, above))
    assert (gate.low, gate.high) == pytest.approx(tuple(stats.binomtest(hits, n).proportion_ci(LEVEL, "exact")))


def test_trivial_thresholds():
    assert judge_share(0, 10, 0.0).verdict == PASS
    assert judge_share(10, 10, 1.0).verdict == INCONCLUSIVE  # ten right images do not prove that all are
    assert judge_share(9, 10, 1.0).verdict == FAIL


def outcomes(n: int, lost: float, won: float) -> list[tuple[int, int, float]]:
    """Return numbers of lost and won images with their chance, all that are not next to impossible."""
    b, c = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    b, c = b[b + c <= n], c[b + c <= n]
    weights = stats.multinomial.pmf(np.stack([b, c, n - b - c], 1), n, [lost, won, 1 - lost - won])
    return [(int(x), int(y), float(w)) for x, y, w in zip(b, c, weights, strict=True) if w > 1e-8]


def drop_chances(n: int, lost: float, won: float, most: float) -> dict[str, float]:
    """Return how often each verdict on a pair falls, exactly."""
    found = dict.fromkeys((PASS, FAIL, INCONCLUSIVE), 0.0)
    for b, c, weight in outcomes(n, lost, won):
        found[judge_drop(b, c, n, most, level=LEVEL).verdict] += weight
    return found


@pytest.mark.parametrize(("lost", "won"), [(0.05, 0.05), (0.10, 0.05), (0.06, 0.01), (0.3, 0.2), (0.02, 0.0)])
def test_a_drop_at_the_limit_is_judged_wrongly_no_more_often_than_the_level_says(lost, won):
    found = drop_chances(70, lost, won, lost - won)
    assert found[FAIL] <= ALPHA
    assert found[PASS] <= ALPHA


def test_five_points_lost_against_a_baseline_are_caught_with_two_thousand_pictures():
    rng = np.random.default_rng(0)
    draws = rng.multinomial(2000, [0.09, 0.04, 0.87], 400)
    assert np.mean([judge_drop(b, c, 2000, 0.0).verdict == FAIL for b, c, _ in draws.tolist()]) >= 0.95
    assert np.mean([judge_drop(b, c, 2000, 0.02).verdict == FAIL for b, c, _ in draws.tolist()]) >= 0.95


def test_mcnemar_is_the_binomial_test_of_the_images_that_changed():
    assert mcnemar(15, 5) == pytest.approx(stats.binomtest(15, 20, 0.5, "greater").pvalue)
    assert mcnemar(0, 0) == 1.0
    for more, less in [(15, 5), (4, 9), (6, 6), (0, 3), (0, 0)]:
        expected = stats.binomtest(more, more + less).pvalue if more + less else 1.0
        assert mcnemar(more, less, two_sided=True) == pytest.approx(expected)
    assert judge_drop(0, 0, 50, 0.0).verdict == INCONCLUSIVE  # nothing changed, but 50 images cannot exclude a drop


def test_the_interval_of_a_drop_covers_it():
    n, lost, won, inside = 60, 0.15, 0.05, 0.0
    for b, c, weight in outcomes(n, lost, won):
        low, high = drop_interval(b, c, n, LEVEL)
        inside += weight * (low <= lost - won <= high)
    assert LEVEL <= inside <= 0.99  # exact limits are a little wide, never narrow


@pytest.mark.slow
def test_many_classes_at_the_threshold_do_not_make_false_alarms():
    rng = np.random.default_rng(1)
    names = [str(k) for k in range(10)]
    hits = rng.binomial(100, 0.8, (1500, 10))
    verdicts = [judge_shares(row.tolist(), [100] * 10, names, 0.8).verdict for row in hits]
    assert np.mean([v == FAIL for v in verdicts]) <= ALPHA + 3 * (ALPHA / 1500) ** 0.5
    assert np.mean([v == PASS for v in verdicts]) <= ALPHA
    uncorrected = (stats.binom.cdf(hits, 100, 0.8) <= ALPHA).any(1).mean()
    assert uncorrected > 0.1  # what would happen without the correction


def test_one_weak_class_fails_and_is_named():
    gate = judge_shares([95, 40, 96], [100, 100, 100], ["a", "b", "c"], 0.7)
    assert (gate.verdict, gate.where) == (FAIL, "b")
    assert judge_shares([95, 96], [100, 100], ["a", "b"], 0.7).verdict == PASS
    assert judge_shares([95, 72], [100, 100], ["a", "b"], 0.7).verdict == INCONCLUSIVE
    assert judge_shares([95, 1], [100, 1], ["a", "b"], 0.7).verdict == INCONCLUSIVE  # one image shows nothing


def test_figures_with_intervals():
    assert judge_interval(0.9, 0.85, 0.95, 100, 0.8).verdict == PASS
    assert judge_interval(0.9, 0.85, 0.95, 100, 0.96).verdict == FAIL
    gate = judge_interval(0.9, 0.85, 0.95, 100, 0.88)
    assert gate.verdict == INCONCLUSIVE
    assert gate.needed == pytest.approx(100 * (2.8015 * 0.05 / 1.96 / 0.02) ** 2, rel=0.02)
    assert judge_interval(0.1, 0.05, 0.15, 100, 0.2, at_most=True).verdict == PASS
    assert judge_interval(0.3, 0.25, 0.35, 100, 0.2, at_most=True).verdict == FAIL


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.01, np.nan, 0.5]), [0.02, np.nan, 0.5])
    np.testing.assert_allclose(holm([0.01, 0.2], questions=10), [0.1, 1.0])
    assert holm([0.6, 0.7]).tolist() == [1, 1]
    assert len(holm([])) == 0
