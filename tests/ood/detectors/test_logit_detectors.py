"""Scores of logits: closed forms, shifts, saturation, sigmoid heads."""

import math

import pytest
import torch
from detector_cases import fitted, of_logits
from torch import Tensor

from xai.errors import NameLookupError, RangeError
from xai.ood.detectors.base import DETECTORS
from xai.ood.detectors.energy import Energy
from xai.ood.detectors.gen import GEN


def logits(count: int = 50, classes: int = 10, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(count, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def score(name: str, values: Tensor, kind: str = "softmax", **settings: object) -> Tensor:
    return fitted(DETECTORS[name](**settings)).score(of_logits(values, kind))


def test_msp_is_one_less_the_largest_probability() -> None:
    values = logits()
    torch.testing.assert_close(score("msp", values), 1 - values.softmax(1).amax(1))


def test_msp_orders_sure_answers_that_are_ties_in_float32() -> None:
    values = torch.tensor([[40.0, 0.0], [60.0, 0.0], [500.0, 0.0]])
    assert len(values.softmax(1).amax(1).unique()) == 1
    torch.testing.assert_close(score("msp", values), (-values[:, 0].double()).exp(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["msp", "gen"])
def test_a_constant_on_all_logits_changes_nothing(name: str) -> None:
    values = logits()
    torch.testing.assert_close(score(name, values + 7.5), score(name, values), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_energy_falls_by_a_constant_on_all_logits(temperature: float) -> None:
    values = logits()
    shifted, plain = (score("energy", v, temperature=temperature) for v in (values + 7.5, values))
    torch.testing.assert_close(shifted, plain - 7.5)


def test_energy_of_equal_logits_is_known() -> None:
    torch.testing.assert_close(score("energy", torch.full((1, 8), 2.5)), torch.tensor([-(2.5 + math.log(8))]).double())


def test_energy_of_one_large_logit_is_max_logit() -> None:
    values = torch.tensor([[90.0, 0.0, 1.0]])
    torch.testing.assert_close(score("energy", values), score("maxlogit", values))


def test_gen_at_equal_probabilities_is_known() -> None:
    found = score("gen", torch.zeros(1, 10))
    torch.testing.assert_close(found, torch.tensor([10 * (0.1 * 0.9) ** 0.1]).double())
    assert float(found) / 10 == pytest.approx(0.786003, abs=1e-6)  # the handbook's figure


def test_gen_is_the_formula_on_the_largest_probabilities() -> None:
    share = logits(classes=6).softmax(1).sort(1, descending=True).values[:, :3]
    wanted = (share**0.3 * (1 - share) ** 0.3).sum(1)
    torch.testing.assert_close(score("gen", logits(classes=6), gamma=0.3, top=3), wanted)


def test_gen_with_a_floor_is_that_of_pytorch_ood() -> None:
    values = 20 * logits(classes=6)
    share = values.softmax(1).clamp(1e-7, 1 - 1e-7)
    wanted = (share**0.1 * (1 - share) ** 0.1).sum(1)
    torch.testing.assert_close(score("gen", values, floor=1e-7), wanted)


def test_scores_of_huge_logits_are_finite() -> None:
    values = torch.tensor([[1e6, -1e6, 0.0], [-1e6, -1e6, -1e6]])
    for name in ("msp", "maxlogit", "energy", "gen"):
        assert bool(torch.isfinite(score(name, values)).all()), name


def test_classes_by_themselves() -> None:
    values = logits(classes=3)
    chance = values.sigmoid()
    torch.testing.assert_close(score("msp", values, "sigmoid"), 1 - chance.amax(1))
    torch.testing.assert_close(score("energy", values, "sigmoid"), (1 - chance).log().sum(1))
    wanted = (chance**0.1 * (1 - chance) ** 0.1).sum(1)
    torch.testing.assert_close(score("gen", values, "sigmoid"), wanted)


def test_more_of_everything_foreign_scores_higher() -> None:
    sure, unsure = torch.tensor([[9.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.5, 0.0]])
    for name in ("msp", "maxlogit", "energy", "gen"):
        assert float(score(name, unsure)) > float(score(name, sure)), name


@pytest.mark.parametrize(
    "make", [lambda: Energy(temperature=0), lambda: GEN(gamma=-1), lambda: GEN(top=0), lambda: GEN(floor=0.7)]
)
def test_settings_are_checked(make: object) -> None:
    with pytest.raises(RangeError, match="Expected `"):
        make()  # type: ignore[operator]


def test_shaping_takes_any_score_of_logits_and_no_other() -> None:
    with pytest.raises(NameLookupError, match="score of logits 'knn'"):
        DETECTORS["react"](score="knn")
