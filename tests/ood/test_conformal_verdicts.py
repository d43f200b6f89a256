"""Conformal p-values and what they promise: by hand, uniform on ordinary images, inside the Beta interval."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from xai.errors import RangeError
from xai.ood.judgement import guarantee, p_values, threshold


def draw(seed: int, count: int) -> torch.Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed)).double().exp()


def test_p_values_by_hand() -> None:
    calibration = torch.tensor([1.0, 2.0, 2.0, 4.0]).double()
    found = p_values(torch.tensor([0.0, 2.0, 3.0, 4.0, 5.0]).double(), calibration)
    torch.testing.assert_close(found, torch.tensor([5.0, 4.0, 2.0, 2.0, 1.0]).double() / 5)


def test_p_values_are_uniform_on_ordinary_pictures() -> None:
    found = np.array([float(p_values(draw(seed + 5000, 1), draw(seed, 19))[0]) for seed in range(2000)])
    counts = np.bincount((found * 20).round().astype(int), minlength=21)[1:]
    assert stats.chisquare(counts).pvalue > 0.001
    assert (found <= 0.05).mean() == pytest.approx(0.05, abs=0.015)


def test_monotone_maps_change_no_p_value() -> None:
    calibration, scores = draw(0, 50), draw(1, 20)
    torch.testing.assert_close(p_values(scores.log(), calibration.log()), p_values(scores, calibration))


@pytest.mark.parametrize(("count", "alpha"), [(100, 0.05), (37, 0.1), (500, 0.05), (19, 0.05)])
def test_realised_rejection_lies_in_its_interval_as_often_as_it_says(count: int, alpha: float) -> None:
    promise, inside = guarantee(alpha, count), 0
    for seed in range(200):
        limit = threshold(draw(seed, count), alpha)
        rejected = stats.norm.sf(math.log(limit))  # exactly, as scores are log-normal
        inside += promise.low <= rejected <= promise.high
    assert stats.binomtest(inside, 200, 0.95).pvalue > 0.001


def test_threshold_and_p_values_say_the_same() -> None:
    calibration, scores = draw(0, 83), draw(1, 400)
    for alpha in (0.02, 0.05, 0.5):
        rejected = p_values(scores, calibration) <= alpha
        assert torch.equal(rejected, scores > threshold(calibration, alpha))


def test_the_interval_is_that_of_the_handbook() -> None:
    for count, low, high in [(100, 0.911, 0.980), (1000, 0.938, 0.961), (5000, 0.945, 0.955)]:
        promise = guarantee(0.05, count, level=0.9)
        assert 1 - promise.high == pytest.approx(low, abs=5e-4)
        assert 1 - promise.low == pytest.approx(high, abs=5e-4)


def test_the_sentence_names_the_numbers() -> None:
    said = guarantee(0.05, 1000).sentence
    assert said.startswith("Expect 4 to 6 of 100 in-distribution images to be rejected (95% interval for 1000")


def test_too_few_calibration_pictures_are_said() -> None:
    promise = guarantee(0.05, 18)
    assert promise.sentence == (
        "Nothing can be rejected at alpha 0.05 with 18 calibration images: at least 19 are needed."
    )
    assert threshold(draw(0, 18), 0.05) == math.inf
    assert guarantee(0.05, 19).high > 0
    assert float(p_values(torch.tensor([1e9]).double(), draw(0, 18)).min()) > 0.05


@pytest.mark.parametrize("alpha", [0, 1, -0.1, "0.05", True, math.nan])
def test_alpha_is_checked(alpha: object) -> None:
    with pytest.raises(RangeError, match="`alpha` above 0 and below 1"):
        guarantee(alpha, 100)  # type: ignore[arg-type]
