"""Conformal scores and promises: by hand, by brute force, and coverage inside its Beta interval over 200 seeds."""

import numpy as np
import pytest
import torch
from scipy import stats

from xai.errors import NameLookupError, RangeError, ShapeError
from xai.uncertainty.prediction_sets import aps, conformity, coverage_p, guarantee, needed, raps

HALF = torch.full((1,), 0.5, dtype=torch.float64)


def probabilities(count=20, classes=5, seed=0):
    return (2 * torch.randn(count, classes, generator=torch.Generator().manual_seed(seed))).double().softmax(1)


def test_by_hand():
    row = torch.tensor([[0.5, 0.2, 0.3]]).double()
    np.testing.assert_allclose(conformity("lac", row, HALF), [[0.5, 0.8, 0.7]])
    np.testing.assert_allclose(conformity("aps", row, HALF), [[0.25, 0.9, 0.65]])
    np.testing.assert_allclose(raps(row, HALF, penalty=0.1, free=1), [[0.25, 1.1, 0.75]])


def test_aps_is_the_mass_before_and_a_share_of_its_own():
    rows, draws = probabilities(), torch.rand(20, generator=torch.Generator().manual_seed(1)).double()
    found = aps(rows, draws)
    for n in range(20):
        for k in range(5):
            before = sum(float(p) for p in rows[n] if p > rows[n, k])
            assert float(found[n, k]) == pytest.approx(before + float(draws[n] * rows[n, k]))
    assert torch.equal(raps(rows, draws, penalty=0.0), found)
    assert torch.equal(raps(rows, draws, free=5), found)


@pytest.mark.parametrize(("count", "low", "high"), [(100, 0.911, 0.980), (1000, 0.938, 0.961), (5000, 0.945, 0.955)])
def test_the_interval_of_the_coverage(count, low, high):
    found = guarantee(np.random.default_rng(0).random(count), 0.05)
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-4)
    assert found.sentence.startswith(f"Of 100 new images like the {count} calibration images, ")
    assert f"{100 * found.low:.1f} to {100 * found.high:.1f}" in found.sentence


def test_the_threshold_is_the_usual_quantile():
    for count in (9, 10, 57, 200):
        scores = np.random.default_rng(count).random(count)
        level = np.ceil((count + 1) * 0.9) / count
        wanted = np.quantile(scores, min(level, 1), method="inverted_cdf")
        assert guarantee(scores, 0.1).threshold == wanted


@pytest.mark.parametrize(("alpha", "count"), [(0.1, 9), (0.05, 19), (0.01, 99), (0.3, 3)])
def test_too_small(alpha, count):
    assert needed(alpha) == count
    assert not guarantee(np.zeros(count), alpha).too_small
    small = guarantee(np.zeros(count - 1), alpha)
    assert small.too_small
    assert small.threshold == np.inf
    assert f"at least {count} are needed" in small.sentence
    assert coverage_p(0, 10, small) == 1


@pytest.mark.parametrize("method", ["lac", "aps", "raps"])
def test_coverage_follows_its_beta_law_over_200_seeds(method):
    """The model is wrong on purpose: the promise does not depend on it."""
    count, new, alpha = 100, 3000, 0.1
    rng = np.random.default_rng(0)
    covered, inside = [], 0
    for seed in range(200):
        rows = probabilities(count + new, 4, seed)
        truth = torch.multinomial((0.4 * rows.log()).softmax(1), 1, generator=torch.Generator().manual_seed(seed))
        scores = conformity(method, rows, torch.from_numpy(rng.random(len(rows)))).gather(1, truth)[:, 0].numpy()
        promise = guarantee(scores[:count], alpha)
        share = float((scores[count:] <= promise.threshold).mean())
        covered.append(share)
        inside += promise.low <= share <= promise.high
    assert 165 <= inside <= 195  # nine of ten
    assert stats.kstest(covered, stats.beta(promise.rank, count + 1 - promise.rank).cdf).pvalue > 0.001
    assert np.mean(covered) == pytest.approx(promise.rank / (count + 1), abs=0.01)


def test_the_test_of_coverage_is_uniform_and_sees_another_kind():
    p, other = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        promise = guarantee(rng.random(150), 0.1)
        p.append(coverage_p(int((rng.random(400) <= promise.threshold).sum()), 400, promise))
        other.append(coverage_p(int((rng.random(400) ** 0.3 <= promise.threshold).sum()), 400, promise))
    assert stats.kstest(p, "uniform").pvalue > 0.001
    assert np.mean(np.array(other) < 0.05) > 0.9


def test_bad_input():
    with pytest.raises(NameLookupError, match="lac"):
        conformity("lacc", probabilities(), torch.zeros(20))
    with pytest.raises(ShapeError):
        conformity("lac", probabilities(), torch.zeros(3))
    for alpha in (0, 1, 1.5, True, "0.1"):
        with pytest.raises(RangeError, match="alpha"):
            guarantee([0.5], alpha)
