"""Two-sample tests: closed forms, double loops, scikit-learn, uniform p-values without a difference, power with one."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from xai.errors import NonFiniteError, ShapeError
from xai.stats import two_sample
from xai.stats.intervals import detectable_difference, difference_interval, fisher_p, homogeneity_p
from xai.stats.two_sample import classifier_test, detectable_shift, kernel_test, mmd2, principal
from xai.uncertainty.drift_tests import label_shift


def normal(count, size=4, seed=0, shift=0.0):
    rows = torch.randn(count, size, generator=torch.Generator().manual_seed(seed))
    rows[:, 0] += shift
    return rows


def slow_mmd2(first, second, widths):
    def kernel(a, b):
        return np.mean([np.exp(-float((a - b).square().sum()) / (2 * width**2)) for width in widths])

    m, n = len(first), len(second)
    same = sum(kernel(a, b) for i, a in enumerate(first) for j, b in enumerate(first) if i != j) / (m * (m - 1))
    other = sum(kernel(a, b) for i, a in enumerate(second) for j, b in enumerate(second) if i != j) / (n * (n - 1))
    return same + other - 2 * sum(kernel(a, b) for a in first for b in second) / (m * n)


@pytest.mark.parametrize("widths", [[1.0], [0.5, 2.0, 7.0]])
def test_mmd_is_the_double_loop(widths, monkeypatch):
    first, second = normal(9), normal(13, seed=1, shift=1) + 50  # far from the origin
    second -= 49
    wanted = slow_mmd2(first.double(), second.double(), widths)
    assert mmd2(first, second, widths) == pytest.approx(wanted, rel=1e-4, abs=1e-6)
    monkeypatch.setattr(two_sample, "_ENTRIES", 50)
    assert mmd2(first, second, widths) == pytest.approx(wanted, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(("shift", "width"), [(0.0, 1.0), (1.0, 1.0), (0.7, 3.0)])
def test_mmd_of_normal_samples_is_the_closed_form(shift, width):
    size = 3
    base = (width**2 / (width**2 + 2)) ** (size / 2)
    wanted = 2 * base * (1 - np.exp(-(shift**2) / (2 * (width**2 + 2))))
    found = [mmd2(normal(500, size, k), normal(500, size, 50 + k, shift), [width]) for k in range(16)]
    assert np.mean(found) == pytest.approx(wanted, abs=4.5 * np.std(found, ddof=1) / 16**0.5)


def test_an_unbiased_estimate_may_be_negative_and_is_zero_on_average():
    found = [mmd2(normal(20, seed=k), normal(30, seed=500 + k), [2.0]) for k in range(200)]
    assert min(found) < 0
    assert abs(np.mean(found)) < 4 * np.std(found) / 200**0.5


def p_values(test, repeats, first=24, second=36):
    return [test(normal(first, 3, k), normal(second, 3, 9000 + k), draws=39, seed=k).p_value for k in range(repeats)]


@pytest.mark.parametrize("test", [classifier_test, kernel_test])
def test_p_is_uniform_without_a_difference(test):
    p = np.array(p_values(test, 120))
    assert stats.kstest(p - 1 / 80, "uniform").pvalue > 0.001
    assert (p <= 0.05).mean() <= 0.05 + 3 * (0.05 * 0.95 / 120) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(24, 36), (30, 200), (100, 100)])
@pytest.mark.parametrize("test", [classifier_test, kernel_test])
def test_the_size_of_the_tests_over_many_data_sets(test, sizes):
    p = np.array(p_values(test, 1000, *sizes))
    for alpha in (0.05, 0.1, 0.5):
        assert abs((p <= alpha).mean() - alpha) < 4 * (alpha * (1 - alpha) / 1000) ** 0.5


@pytest.mark.parametrize("test", [classifier_test, kernel_test])
def test_a_shift_is_found(test):
    found = [test(normal(200, 8, k), normal(200, 8, 900 + k, 0.6), draws=99, seed=k) for k in range(10)]
    assert np.mean([one.p_value <= 0.05 for one in found]) >= 0.9


def test_a_change_of_scale_is_left_to_the_kernel():
    wide = [(normal(150, 3, k), 2 * normal(150, 3, 70 + k)) for k in range(5)]
    assert all(kernel_test(*pair, draws=99).p_value == 0.01 for pair in wide)
    assert np.mean([classifier_test(*pair, draws=99).value for pair in wide]) < 0.6


def test_the_classifier_is_as_good_as_a_cross_validated_discriminant():
    first, second = normal(400, 6), normal(300, 6, 1, 1.0)
    second[:, 1] += 0.5 * second[:, 0]
    found = classifier_test(first, second, draws=19)
    rows, labels = torch.cat([first, second]).numpy(), np.arange(700) >= 400
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    scores = cross_val_predict(LinearDiscriminantAnalysis(), rows, labels, cv=folds, method="decision_function")
    assert found.value == pytest.approx(roc_auc_score(labels, scores), abs=0.01)
    assert roc_auc_score(labels, found.scores) == pytest.approx(found.value, abs=0.01)
    assert np.corrcoef(found.scores, scores)[0, 1] > 0.97
    assert found.low < found.value < found.high
    assert ((found.scores > 0) == labels).mean() > 0.65


def test_the_interval_of_the_area_covers():
    truth, hits = stats.norm.cdf(1.5 / 2**0.5), 0  # the best a linear classifier can do, which many images reach
    for seed in range(60):
        found = classifier_test(normal(250, 1, seed), normal(250, 1, 300 + seed, 1.5), draws=1)
        hits += found.low <= truth <= found.high
    assert hits >= 52


def test_samples_that_never_mix_give_no_sure_one():
    found = classifier_test(normal(40, 1, 0), normal(30, 1, 1, 50.0), draws=1)
    assert found.value == found.high == 1
    assert found.low == pytest.approx(stats.binomtest(30, 30).proportion_ci(0.95, "exact").low)


def test_ties_count_half():
    scores = np.random.default_rng(0).integers(0, 4, (5, 40)).astype(float)
    labels = np.random.default_rng(1).random((5, 40)) < 0.4
    wanted = [roc_auc_score(truth, row) for truth, row in zip(labels, scores, strict=True)]
    np.testing.assert_allclose(two_sample._auroc(scores, labels), wanted)
    assert two_sample._auroc(scores[:1], np.ones((1, 40), dtype=bool)).tolist() == [0.5]


@pytest.mark.parametrize("rows", [torch.zeros(40, 3), torch.full((40, 2), 7.0)])
def test_features_that_never_vary_tell_nothing(rows):
    for test in (classifier_test, kernel_test):
        assert test(rows[:20], rows[20:], draws=19).p_value == 1
    assert classifier_test(rows[:20], rows[20:], draws=19).value == 0.5


def test_dead_and_doubled_features_do_no_harm():
    first, second = normal(60), normal(60, seed=1)
    more = [torch.cat([part, part[:, :2], torch.zeros(60, 3)], 1) for part in (first, second)]
    assert np.isfinite(classifier_test(*more, draws=19).value)
    assert classifier_test(*more, draws=19).value == pytest.approx(
        classifier_test(first, second, draws=19).value, abs=0.1
    )


def test_blocks_of_labels_change_nothing(monkeypatch):
    first, second = normal(30), normal(30, seed=3, shift=0.5)
    whole = classifier_test(first, second, draws=30), kernel_test(first, second, draws=30)
    monkeypatch.setattr(two_sample, "_ENTRIES", 400)
    parts = classifier_test(first, second, draws=30), kernel_test(first, second, draws=30)
    for one, two in zip(whole, parts, strict=True):
        assert (one.value, one.p_value, one.null_high) == pytest.approx(
            (two.value, two.p_value, two.null_high), abs=1e-6
        )


def test_components_keep_what_they_can():
    first, second = normal(200, 40, 0, 3.0), normal(200, 40, 1)
    a, b, share = principal(first, second, 40)
    assert (share, a.shape, b.shape) == (1.0, (200, 40), (200, 40))
    first[:, 10:] *= 1e-3
    mixed = torch.cat([first, second])
    mixed[:, 20:] = mixed[:, :20] + 1e-3 * mixed[:, 20:]
    a, b, share = principal(mixed[:200], mixed[200:], 20)
    assert share > 0.9999
    standard = (mixed - mixed.mean(0)) / mixed.std(0, correction=0)
    np.testing.assert_allclose(torch.pdist(torch.cat([a, b])), torch.pdist(standard), rtol=0.02, atol=0.02)


def test_the_detectable_shift_is_found_as_often_as_it_says():
    assert detectable_shift(50, 50, 99) == np.inf
    for first, second in ((20, 20), (15, 60)):
        shift = detectable_shift(first, second, 1)
        free, noncentral = first + second - 2, shift * (first * second / (first + second)) ** 0.5
        limit = stats.t.isf(0.025, free)
        power = stats.nct.sf(limit, free, noncentral) + stats.nct.cdf(-limit, free, noncentral)
        assert power == pytest.approx(0.8, abs=1e-4)
    shift = detectable_shift(80, 80, 6)
    found = [classifier_test(normal(80, 6, k), normal(80, 6, 700 + k, shift), draws=39).p_value for k in range(60)]
    assert 0.55 < np.mean(np.array(found) <= 0.05) < 0.95


@pytest.mark.parametrize(
    ("first", "second", "error"),
    [
        (torch.zeros(20, 3), torch.zeros(20, 4), ShapeError),
        (torch.zeros(20), torch.zeros(20), ShapeError),
        (torch.zeros(1, 3), torch.zeros(20, 3), ShapeError),
        (torch.full((20, 3), torch.inf), torch.zeros(20, 3), NonFiniteError),
    ],
)
def test_bad_features(first, second, error):
    for test in (classifier_test, kernel_test):
        with pytest.raises(error):
            test(first, second)


def test_newcombes_own_example():
    """Newcombe 1998, table II: 56/70 against 48/80, method 10."""
    low, high = difference_interval(48, 80, 56, 70)
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert difference_interval(0, 10, 0, 10).tolist() == pytest.approx([-0.2775, 0.2775], abs=5e-5)


def test_shares_are_tested_exactly():
    assert fisher_p([3], 10, [9], 10)[0] == pytest.approx(stats.fisher_exact([[3, 7], [9, 1]]).pvalue)
    rng = np.random.default_rng(0)
    margins = rng.multinomial(300, [0.2, 0.3, 0.5], 2)
    value, p = homogeneity_p(*margins, draws=4999)
    asymptotic = stats.chi2_contingency(margins, correction=False)
    assert (value, p) == pytest.approx((asymptotic.statistic, asymptotic.pvalue), abs=0.02)
    drawn = [homogeneity_p(*rng.multinomial(60, [0.02, 0.3, 0.68], 2), draws=99, seed=k)[1] for k in range(200)]
    assert np.mean(np.array(drawn) <= 0.05) <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5
    assert homogeneity_p([5, 0, 0], [0, 5, 0])[1] < 0.05
    assert homogeneity_p([5, 0], [7, 0])[1] == 1


def test_the_detectable_difference_has_its_power():
    limit = float(detectable_difference(0.5, 400, 400))
    rng = np.random.default_rng(0)
    first, second = rng.binomial(400, 0.5 - limit / 2, 4000), rng.binomial(400, 0.5 + limit / 2, 4000)
    z = (second - first) / 400 / np.sqrt(2 * 0.25 / 400)
    assert np.mean(np.abs(z) > 1.96) == pytest.approx(0.8, abs=0.03)


def confused(shares, count, seed):
    """Return labels and predictions of a classifier that is right in 7 of 10 cases."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(len(shares), count, p=shares)
    return labels, np.where(rng.random(count) < 0.7, labels, rng.choice(len(shares), count))


def test_label_shift_is_undone():
    shares = np.array([0.6, 0.3, 0.1])
    labels, predicted = confused([1 / 3] * 3, 20_000, 0)
    _, others = confused(shares, 20_000, 1)
    found = label_shift(predicted, labels, others, 3)
    np.testing.assert_allclose(found.second, shares, atol=0.02)
    np.testing.assert_allclose(found.first, [1 / 3] * 3, atol=0.02)
    assert ((found.low < shares) & (shares < found.high)).all()
    assert found.condition < 3
    assert abs(np.bincount(others) / 20_000 - shares).max() > 0.05  # what the answers alone would say


def test_label_shift_intervals_cover():
    shares, hits = np.array([0.6, 0.3, 0.1]), 0
    for seed in range(60):
        labels, predicted = confused([1 / 3] * 3, 400, seed)
        found = label_shift(predicted, labels, confused(shares, 300, 1000 + seed)[1], 3, draws=200)
        hits += found.low[0] <= 0.6 <= found.high[0]
    assert hits >= 52


@pytest.mark.parametrize("right", [0.95, 1.0])
def test_label_shift_intervals_cover_where_mistakes_are_few(right):
    """Of 50 images 2 or 3 are mistaken, or none: a bootstrap that draws no mistakes is too sure."""
    rng, hits = np.random.default_rng(3), 0
    for seed in range(120):
        labels, truth = (rng.random((2, 50)) < [[0.5], [0.05]]).astype(int)
        predicted, others = (np.where(rng.random(50) < right, rows, 1 - rows) for rows in (labels, truth))
        found = label_shift(predicted, labels, others, 2, draws=200, seed=seed)
        hits += found.low[1] <= 0.05 <= found.high[1]
    assert hits / 120 >= 0.95 - 2 * (0.95 * 0.05 / 120) ** 0.5


def test_label_shift_that_cannot_be_told():
    labels = np.array([0, 0, 1, 1])
    assert label_shift(np.zeros(4, dtype=int), labels, np.zeros(5, dtype=int), 2) is None
    assert label_shift(labels, labels, labels, 3) is None
    with pytest.raises(ShapeError):
        label_shift(labels, labels[:2], labels, 2)
