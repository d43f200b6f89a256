"""Radii in another scale than that of pixels are refused or noted, in every verb that takes one."""

from collections.abc import Callable

import pytest
import torch
from small_models import GapCnn
from torch import nn

import xai
from xai.audits.checks.certified_accuracy import CertifiedAccuracy
from xai.audits.checks.robust_accuracy import RobustAccuracy
from xai.core.validation import check_eps, radius_doubts
from xai.errors import RangeError
from xai.robust.attacks.training import AdversarialTraining

IMAGES, LABELS = torch.rand(2, 3, 9, 13, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1])


def flat() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 9 * 13, 4)).eval()


VERBS: dict[str, Callable[[nn.Module, float], object]] = {
    "attack": lambda model, eps: xai.attack(model, IMAGES, LABELS, "fgsm", eps=eps),
    "attack, smallest": lambda model, eps: xai.attack(model, IMAGES, LABELS, "ddn", norm="l2", eps=eps * 10, steps=2),
    "certify": lambda model, eps: xai.certify(model, IMAGES, LABELS, eps=eps, method="ibp"),
    "certify, one each": lambda model, eps: xai.certify(model, IMAGES, LABELS, eps=[0.01, eps], method="ibp"),
    "robustness": lambda model, eps: xai.robustness(model, IMAGES, LABELS, [0.01, eps], attacks=["fgsm"], trust=False),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("make", [flat, GapCnn])
def test_a_radius_above_white_is_refused_or_noted_and_a_large_one_noted(verb: str, make: Callable[[], nn.Module]):
    if "smallest" in verb:
        assert any("from black to white" in note for note in VERBS[verb](make(), 8).notes)
        return
    with pytest.raises(RangeError, match=r"Write 8/255"):
        VERBS[verb](make(), 8)
    assert any("eps 0.7 (linf) is more than 50%" in note for note in VERBS[verb](make(), 0.7).notes)
    assert not any("black to white" in note or "twice" in note for note in VERBS[verb](make(), 0.0314).notes)


@pytest.mark.parametrize("make", [RobustAccuracy, CertifiedAccuracy, lambda eps: AdversarialTraining("pgd", eps=eps)])
def test_checks_and_recipes_refuse_grey_levels(make: Callable[..., object]):
    with pytest.raises(RangeError, match="Write 8/255"):
        make(eps=8)
    make(eps=8 / 255)


def test_treatment_and_smoothing_refuse_grey_levels():
    with pytest.raises(RangeError, match="Write 16/255"):
        xai.treatment(GapCnn(), IMAGES, labels=LABELS, attack="fgsm", eps=16)
    with pytest.raises(RangeError, match=r"0\.25, not 64"):
        xai.certify(GapCnn(), IMAGES, LABELS, eps=0.1, norm="l2", method="smoothing", sigma=64)


@pytest.mark.parametrize(
    ("radii", "norm", "pixels", "count"),
    [
        ([0.1 / 255, 0.25 / 255], "linf", 300, 0),  # certificates use them
        ([0.001, 0.01, 0.5], "linf", 300, 0),
        ([0.5001], "linf", 300, 1),
        ([k / 255**2 for k in (1, 2, 4, 8, 16)], "linf", 300, 5),
        ([8.0], "l2", 28 * 28, 1),  # 0.29 per pixel
        ([8.0], "l2", 3 * 224 * 224, 0),  # 0.02 per pixel
        ([12.0], "l1", 28 * 28, 0),
        ([400.0], "l1", 28 * 28, 1),
    ],
)
def test_which_radii_are_doubted(radii: list[float], norm: str, pixels: int, count: int):
    assert len(radius_doubts(radii, norm, pixels)) == count


def test_what_is_no_radius():
    for eps in (-0.1, float("nan"), float("inf"), True, "8/255", None):
        with pytest.raises(RangeError):
            check_eps(eps, "linf")
    with pytest.raises(RangeError):
        check_eps(1.01, "linf")
    assert check_eps(1, "linf") == 1.0
    assert check_eps(1.01, "l2") == 1.01
