"""Calibration errors: hand-made cases, scikit-learn's bins, brute force, and honest intervals by simulation."""

import numpy as np
import pytest
from scipy import stats
from sklearn.calibration import calibration_curve

from xai.errors import NameLookupError, RangeError, ShapeError
from xai.stats.intervals import paired_mean, swapped_error_p, welch_mean
from xai.uncertainty.calibration_error import bin_edges, expected_calibration_error


def drawn(count, seed, bend=lambda c: c):
    """Return confidences and whether each is right, with the probability `bend(confidence)`."""
    rng = np.random.default_rng(seed)
    said = 0.2 + 0.8 * rng.beta(4, 1, count)
    return said, rng.random(count) < bend(said)


def true_error(bend, bins=15):
    said, _ = drawn(300_000, 99)
    place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], said)
    return float(np.abs(np.bincount(place, said - bend(said))).sum() / len(said))


def plain(said, right, bins=15):
    """Return the ECE the slow way: bins (a, b], 0 in the first and 1 in the last."""
    total = 0.0
    for k in range(bins):
        low, high = k / bins, (k + 1) / bins
        inside = ((said > low) | ((k == 0) & (said == 0))) & (said <= high)
        total += abs((said - right)[inside].sum()) / len(said)
    return total


@pytest.mark.parametrize("said", [0.1, 0.55, 2 / 3, 1.0])
@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("equal", ["width", "mass"])
def test_one_confidence(said, share, equal):
    right = np.arange(40) < 40 * share
    found = expected_calibration_error(np.full(40, said), right, equal=equal)
    assert found.value == pytest.approx(abs(said - share))
    assert found.largest == pytest.approx(abs(said - share))
    assert len(found.bins) == 1
    assert found.bins[0].count == 40


def test_confidence_one_lies_in_the_last_bin():
    said = np.array([1.0, 1.0, 0.96, 0.94])
    found = expected_calibration_error(said, np.array([True, False, True, False]), bins=10)
    assert [one.count for one in found.bins] == [4]
    assert found.bins[0].upper == 1
    assert found.value == pytest.approx(abs(said.mean() - 0.5))


@pytest.mark.parametrize("bins", [1, 7, 15, 40])
def test_against_the_slow_way(bins):
    said, right = drawn(500, 1, np.square)
    assert expected_calibration_error(said, right, bins).value == pytest.approx(plain(said, right, bins), abs=1e-12)


@pytest.mark.parametrize(("equal", "strategy"), [("width", "uniform"), ("mass", "quantile")])
def test_bins_are_those_of_scikit_learn(equal, strategy):
    said, right = drawn(700, 2, lambda c: c**1.5)
    said[:50] = 0.8  # ties
    found = expected_calibration_error(said, right, 11, equal)
    true, mean = calibration_curve(right, said, n_bins=11, strategy=strategy)
    np.testing.assert_allclose([one.accuracy for one in found.bins], true)
    np.testing.assert_allclose([one.confidence for one in found.bins], mean)


def test_bins_of_equal_mass_are_equally_full():
    said, right = drawn(1500, 3)
    counts = [one.count for one in expected_calibration_error(said, right, 15, "mass").bins]
    assert sum(counts) == 1500
    assert max(counts) - min(counts) <= 2
    assert len(bin_edges(np.full(9, 0.3), 15, "mass")) == 3


def test_bins_carry_wilson_intervals():
    said, right = drawn(400, 4)
    for one in expected_calibration_error(said, right, level=0.9).bins:
        span = stats.binomtest(round(one.accuracy * one.count), one.count).proportion_ci(0.9, method="wilson")
        assert (one.low, one.high) == pytest.approx((span.low, span.high))


def test_neither_order_nor_seed_of_the_order_matter():
    said, right = drawn(600, 5, np.square)
    shuffled = np.random.default_rng(0).permutation(600)
    one, two = expected_calibration_error(said, right), expected_calibration_error(said[shuffled], right[shuffled])
    assert one.value == pytest.approx(two.value)
    assert (one.low, one.high, one.p_value) == pytest.approx((two.low, two.high, two.p_value))


def test_chance_is_what_calibrated_models_show():
    said, _ = drawn(800, 6)
    rng = np.random.default_rng(1)
    drawn_again = [plain(said, rng.random(800) < said) for _ in range(400)]
    found = expected_calibration_error(said, rng.random(800) < said)
    assert found.chance == pytest.approx(np.mean(drawn_again), rel=0.04)
    assert found.detectable == pytest.approx(np.quantile(drawn_again, 0.95), rel=0.08)


def test_debiasing_brings_the_value_nearer_to_the_truth():
    def bend(c):
        return c - 0.01

    pairs = [expected_calibration_error(*drawn(1000, seed, bend), draws=0) for seed in range(60)]
    usual, debiased = np.mean([one.value for one in pairs]), np.mean([one.debiased for one in pairs])
    assert abs(debiased - 0.01) < 0.55 * abs(usual - 0.01)


def coverage(bend, count, repeats):
    truth = true_error(bend)
    found = [expected_calibration_error(*drawn(count, seed, bend), draws=99) for seed in range(repeats)]
    return np.mean([one.low <= truth <= one.high for one in found]), found


def test_the_interval_covers_and_p_is_uniform_when_calibrated():
    covered, found = coverage(lambda c: c, 500, 120)
    assert covered >= 0.92
    assert stats.kstest([one.p_value for one in found], "uniform").pvalue > 0.001
    assert all((one.low == 0) == (one.p_value > 0.05) for one in found)
    assert all(one.low <= one.debiased <= one.high for one in found)


def test_the_interval_covers_a_real_error():
    covered, found = coverage(lambda c: c - 0.05, 1000, 80)
    assert covered >= 0.9
    assert np.mean([one.low > 0 for one in found]) > 0.9


BENDS = {
    "calibrated": lambda c: c,
    "small": lambda c: c - 0.01,
    "constant": lambda c: c - 0.03,
    "bent": lambda c: c**1.3,
    "wave": lambda c: np.clip(c + 0.02 * np.sin(20 * c), 0, 1),
    "overconfident": lambda c: 0.6 * c,
    "underconfident": lambda c: c + 0.5 * (1 - c),
    "slightly under": lambda c: c + 0.2 * (1 - c),
    "crossing": lambda c: np.clip(0.75 + 0.4 * (c - 0.75), 0, 1),
}


@pytest.mark.parametrize(("name", "count"), [("underconfident", 60), ("overconfident", 150), ("crossing", 60)])
def test_the_interval_covers_with_few_pictures(name, count):
    covered, found = coverage(BENDS[name], count, 150)
    assert covered >= 0.94
    assert np.mean([one.high - one.low for one in found]) < 2.6 * count**-0.5  # and is no empty promise


@pytest.mark.slow
@pytest.mark.parametrize("count", [60, 150, 500, 2000])
@pytest.mark.parametrize("name", BENDS)
def test_the_interval_covers_everywhere(name, count):
    assert coverage(BENDS[name], count, 800)[0] >= 0.94 - 2 * (0.95 * 0.05 / 800) ** 0.5


def test_one_bin_has_the_interval_of_a_share():
    for right in (0, 3, 20, 37):  # confidence 1: the error is the share of wrong answers
        found = expected_calibration_error(np.ones(40), np.arange(40) < right, draws=4000)
        span = stats.binomtest(40 - right, 40).proportion_ci(0.95, "exact")
        assert (found.low, found.high) == pytest.approx((span.low, span.high), abs=0.02)


def test_one_picture_says_next_to_nothing():
    found = expected_calibration_error([0.9], [True])
    assert found.low == 0
    assert found.high > 0.8  # it may have been luck


@pytest.mark.parametrize(
    ("said", "right", "error"),
    [
        ([0.5], [True, False], ShapeError),
        ([], [], ShapeError),
        ([1.2], [True], RangeError),
        ([np.nan], [True], RangeError),
    ],
)
def test_bad_input(said, right, error):
    with pytest.raises(error):
        expected_calibration_error(said, right)


def test_unknown_bins():
    with pytest.raises(NameLookupError, match="mass"):
        expected_calibration_error([0.5], [True], equal="masss")
    with pytest.raises(RangeError, match="at least one bin"):
        expected_calibration_error([0.5], [True], bins=0)


def test_the_paired_mean_is_the_t_test():
    rng = np.random.default_rng(0)
    one, two = rng.normal(0, 1, 50), rng.normal(0.3, 1, 50)
    found = stats.ttest_rel(two, one)
    mean, low, high, p = paired_mean(one, two)
    assert (mean, p) == pytest.approx((two.mean() - one.mean(), found.pvalue))
    assert (low, high) == pytest.approx(tuple(found.confidence_interval()))
    assert paired_mean(one, one) == (0, 0, 0, 1)


def test_the_difference_of_means_is_welchs():
    rng = np.random.default_rng(0)
    one, two = rng.normal(0, 1, 20), rng.normal(0.3, 3, 50)
    found = stats.ttest_ind(two, one, equal_var=False)
    mean, low, high, p = welch_mean(one, two)
    assert (mean, p) == pytest.approx((two.mean() - one.mean(), found.pvalue))
    assert (low, high) == pytest.approx(tuple(found.confidence_interval()))
    assert welch_mean(np.ones(5), np.ones(9)) == (0, 0, 0, 1)
    assert welch_mean(np.ones(5), np.zeros(9)) == (-1, -1, -1, 0)


def swapped(seed, shift=0.0, count=400):
    """Return the p-value for two noisy copies of one confidence, the second moved by `shift`."""
    rng = np.random.default_rng(seed)
    said, right = drawn(count, seed)
    one, two = (np.clip(said + rng.normal(0, 0.05, count), 0, 1) for _ in range(2))
    return swapped_error_p(one, np.clip(two - shift, 0, 1), right, draws=199, seed=seed)


def test_swaps_are_uniform_under_the_null_and_see_a_shift():
    assert stats.kstest([swapped(seed) for seed in range(150)], "uniform").pvalue > 0.001
    assert np.median([swapped(seed, 0.1) for seed in range(10)]) <= 0.01
