"""Proper scores, temperature and risk-coverage against scikit-learn, scipy, closed forms and enumeration."""

from itertools import pairwise, permutations

import numpy as np
import pytest
import torch
from scipy import optimize, stats
from sklearn.metrics import brier_score_loss, log_loss

from xai.errors import NonFiniteError, RangeError, ShapeError
from xai.uncertainty import calibration_scores as scores_module
from xai.uncertainty.calibration_error import expected_calibration_error
from xai.uncertainty.calibration_result import risk_coverage
from xai.uncertainty.calibration_scores import LIMITS, fit_temperature, score


def planted(count, classes, seed=0, temperature=1.0):
    """Return logits and labels; divided by `temperature` the logits are calibrated."""
    source = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, classes, generator=source)
    labels = torch.multinomial(logits.softmax(1), 1, generator=source)[:, 0]
    return logits * temperature, labels


@pytest.mark.parametrize("classes", [2, 5, 40])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_brier_and_nll_are_those_of_scikit_learn(classes, temperature):
    logits, labels = planted(300, classes)
    found = score(logits, labels, temperature=temperature)
    probabilities = (logits.double() / temperature).softmax(1).numpy()
    every = list(range(classes))
    wanted = brier_score_loss(labels, probabilities, labels=every, scale_by_half=False)
    assert found.brier.mean() == pytest.approx(wanted)
    assert found.nll.mean() == pytest.approx(log_loss(labels, probabilities, labels=every))
    np.testing.assert_array_equal(found.predicted, probabilities.argmax(1))
    np.testing.assert_allclose(found.confidence, probabilities.max(1))


@pytest.mark.parametrize("bins", [1, 10, 33])
@pytest.mark.parametrize("classes", [2, 7, 100])
def test_the_parts_of_the_brier_score_add_up(classes, bins):
    logits, labels = planted(500, classes, temperature=2)
    parts = score(logits, labels, bins=bins).parts
    total = parts.reliability - parts.resolution + parts.uncertainty + parts.spread - parts.covariance
    assert total == pytest.approx(parts.value, abs=1e-12)
    share = torch.bincount(labels, minlength=classes).double() / 500
    assert parts.uncertainty == pytest.approx(float((share * (1 - share)).sum()))
    assert min(parts.reliability, parts.resolution, parts.spread) >= -1e-12


def test_without_variety_in_the_bins_the_parts_are_murphys():
    probabilities = torch.tensor([[0.8, 0.2]] * 10 + [[0.3, 0.7]] * 10).double()
    labels = torch.tensor([0] * 7 + [1] * 3 + [0] * 2 + [1] * 8)
    parts = score(probabilities.log(), labels, bins=10).parts
    assert (parts.spread, parts.covariance) == pytest.approx((0, 0), abs=1e-12)
    assert parts.reliability == pytest.approx(2 * (0.5 * (0.8 - 0.7) ** 2 + 0.5 * (0.3 - 0.2) ** 2))
    assert parts.resolution == pytest.approx(2 * (0.5 * (0.7 - 0.45) ** 2 + 0.5 * (0.2 - 0.45) ** 2))
    assert parts.uncertainty == pytest.approx(2 * 0.45 * 0.55)


def test_classwise_error_is_that_of_each_class_alone():
    logits, labels = planted(400, 4, temperature=2)
    found = score(logits, labels, bins=12)
    probabilities = logits.double().softmax(1).numpy()
    for k in range(4):
        alone = expected_calibration_error(probabilities[:, k], labels.numpy() == k, 12, draws=0)
        assert found.classwise[k] == pytest.approx(alone.value)
        assert found.excess[k] == pytest.approx(probabilities[:, k].mean() - (labels.numpy() == k).mean())
    assert found.count.sum() == 1600


def test_excess_is_uniform_when_calibrated_and_small_when_not():
    p = np.array([score(*planted(200, 3, seed)).excess_p[0] for seed in range(150)])
    assert stats.kstest(p, "uniform").pvalue > 0.001
    logits, labels = planted(400, 3)
    logits[:, 0] += 1
    assert score(logits, labels).excess_p[0] < 1e-6
    assert np.isnan(score(logits[:4], labels[:4]).excess_p).all()


def test_chunks_change_nothing(monkeypatch):
    logits, labels = planted(101, 6)
    whole = score(logits, labels)
    monkeypatch.setattr(scores_module, "_ENTRIES", 50)
    parts = score(logits, labels)
    for name in ("nll", "brier", "count", "expected", "squares", "true", "hit"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-12, atol=1e-12)
    assert fit_temperature(logits, labels).value > 0


def test_large_logits_stay_finite():
    logits = torch.tensor([[1000.0, 0.0], [0.0, 1000.0]])
    found = score(logits, torch.tensor([0, 0]))
    np.testing.assert_allclose(found.nll, [0, 1000])
    np.testing.assert_allclose(found.brier, [0, 2])


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("truth", [0.5, 1.0, 3.0])
def test_the_temperature_is_found(truth, classes):
    logits, labels = planted(4000, classes, temperature=truth)
    found = fit_temperature(logits, labels)
    assert found.low < truth < found.high
    assert found.high / found.low < 1.25

    def nll(value):
        return log_loss(labels, (logits.double() / value).softmax(1).numpy(), labels=list(range(classes)))

    best = optimize.minimize_scalar(nll, bracket=(0.3, 4), options={"xtol": 1e-6})
    assert found.value == pytest.approx(best.x, rel=1e-3)
    assert nll(found.value) <= nll(1.0) + 1e-12
    assert torch.equal((logits / found.value).argmax(1), logits.argmax(1))
    assert not found.at_limit


def test_the_temperature_interval_covers():
    hits = 0
    for seed in range(100):
        found = fit_temperature(*planted(400, 4, seed, temperature=1.5))
        hits += found.low <= 1.5 <= found.high
    assert 88 <= hits <= 100


def test_temperatures_without_an_end():
    logits = torch.eye(3).repeat(5, 1) * 4
    sure = fit_temperature(logits, torch.arange(3).repeat(5))
    assert (sure.value, sure.at_limit) == (LIMITS[0], True)
    wrong = fit_temperature(logits, (torch.arange(3).repeat(5) + 1) % 3)
    assert (wrong.value, wrong.at_limit) == (LIMITS[1], True)


@pytest.mark.parametrize(
    ("logits", "labels", "error"),
    [
        (torch.zeros(3), torch.zeros(3).long(), ShapeError),
        (torch.zeros(3, 2), torch.zeros(2).long(), ShapeError),
        (torch.zeros(0, 2), torch.zeros(0).long(), ShapeError),
        (torch.zeros(3, 2), torch.tensor([0, 1, 2]), RangeError),
        (torch.full((2, 2), torch.nan), torch.tensor([0, 1]), NonFiniteError),
    ],
)
def test_bad_logits(logits, labels, error):
    for work in (score, fit_temperature):
        with pytest.raises(error):
            work(logits, labels)


def slow_area(said, right):
    """Return the mean over all orders of ties of the mean risk over coverages."""
    areas = []
    for order in permutations(range(len(said))):
        if all(said[a] >= said[b] for a, b in pairwise(order)):
            wrong = np.cumsum([not right[k] for k in order])
            areas.append(np.mean(wrong / np.arange(1, len(said) + 1)))
    return np.mean(areas)


@pytest.mark.parametrize("seed", range(6))
def test_the_area_is_the_mean_over_all_orders_of_ties(seed):
    rng = np.random.default_rng(seed)
    said, right = rng.integers(0, 4, 7) / 4, rng.random(7) < 0.6
    assert risk_coverage(said, right, draws=0).aurc == pytest.approx(slow_area(said, right))


def test_the_ends_of_the_area():
    right = np.arange(100) % 4 > 0
    best, worst = (risk_coverage(said, right, draws=0) for said in (right * 1.0, 1.0 - right))
    assert best.aurc == pytest.approx(best.best)
    assert best.excess == pytest.approx(0)
    assert worst.aurc > worst.random == 0.25
    assert risk_coverage(np.ones(100), right, draws=0).aurc == pytest.approx(0.25)
    assert best.coverage[-1] == 1
    assert best.risk[-1] == 0.25
    assert best.coverage_at(0.1) == pytest.approx(0.76, abs=0.03)
    assert risk_coverage([0.5], [True]).aurc == 0


def test_the_interval_of_the_area_is_that_of_a_plain_bootstrap():
    rng = np.random.default_rng(0)
    said = rng.random(600)
    right = rng.random(600) < 0.5 + said / 2
    found = risk_coverage(said, right)
    again = []
    for _ in range(100):
        rows = rng.integers(0, 600, 600)
        again.append(risk_coverage(said[rows], right[rows], draws=0).aurc)
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(np.std(again), rel=0.2)


@pytest.mark.parametrize(("worst", "count"), [(0.1, 100), (0.04, 200), (1.0, 100)])  # accuracy .95, .98, .5
def test_the_interval_of_the_area_covers_also_with_few_errors(worst, count):
    """With confidence u uniform and an error at rate w (1 - u) the area is w / 4 exactly."""
    rng, covered = np.random.default_rng(0), 0
    for k in range(150):
        said = rng.random(count)
        found = risk_coverage(said, rng.random(count) >= worst * (1 - said), draws=200, seed=k)
        covered += found.low <= worst / 4 <= found.high
    assert covered >= 0.9 * 150  # .95 less three standard errors


def test_no_error_leaves_room_for_some():
    found = risk_coverage(np.linspace(0, 1, 100), np.ones(100, bool))
    assert (found.aurc, found.low) == (0, 0)
    assert found.high == pytest.approx(stats.chi2.ppf(0.975, 1) / 100)


def test_bad_confidences():
    with pytest.raises(ShapeError):
        risk_coverage([0.5, 0.4], [True])
