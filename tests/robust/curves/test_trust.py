"""Planted defences: each raises exactly its flag; honest networks raise none."""

from collections.abc import Callable

import pytest
import torch
from small_models import LinearModel, fragile, pictures
from torch import Tensor, nn
from torch.nn import functional as F

from xai.core.model.classifier import Classifier
from xai.core.results.codec import decode, encode
from xai.robust.attacks.base import ATTACKS as ATTACKS_BY_NAME
from xai.robust.curves.result import RobustnessCurve
from xai.robust.curves.robustness import robustness
from xai.robust.curves.trust import CHECKS, EXPLAINED, EXPLAINS, NOT_CHECKED, PASSED, Trust

EPS = (2 / 255, 8 / 255, 16 / 255)
ATTACKS = ("fgsm", "pgd", "apgd-t")


class Around(nn.Module):
    """A defence around an honest network."""

    def __init__(
        self, before: Callable[[Tensor], Tensor] = lambda x: x, after: Callable[[Tensor], Tensor] = lambda z: z
    ):
        super().__init__()
        self.net, self.before, self.after = fragile(), before, after

    def forward(self, images: Tensor) -> Tensor:
        return self.after(self.net(self.before(images)))


class Reversed(torch.autograd.Function):
    """The identity with a backward of its own that says the opposite."""

    @staticmethod
    def forward(_ctx: object, images: Tensor) -> Tensor:
        return images.clone()

    @staticmethod
    def backward(_ctx: object, slope: Tensor) -> Tensor:
        return -slope


class Killed(torch.autograd.Function):
    """The identity without gradient."""

    @staticmethod
    def forward(_ctx: object, images: Tensor) -> Tensor:
        return images.clone()

    @staticmethod
    def backward(_ctx: object, slope: Tensor) -> Tensor:
        return torch.zeros_like(slope)


def resized(images: Tensor) -> Tensor:
    """Shrink by a random number of pixels and pad."""
    side = int(torch.randint(11, 16, ()))
    small = F.interpolate(images, size=(side, side))
    return F.pad(small, (0, 16 - side, 0, 16 - side))


class Dropping(nn.Module):
    """An honest network with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.net = nn.Dropout(0.5), fragile()

    def forward(self, images: Tensor) -> Tensor:
        return self.net(self.drop(images))


def quantised(images: Tensor) -> Tensor:
    return (images * 255).round() / 255


def through(images: Tensor) -> Tensor:
    """Quantise, with the gradient of the identity."""
    return images + (quantised(images) - images).detach()


def evaluated(net: nn.Module, count: int = 40, output: str | None = None, **settings: object) -> RobustnessCurve:
    images = quantised(pictures(count, seed=3))
    with torch.no_grad():
        training = net.training
        labels = net.eval()(images).argmax(1)
        net.train(training)
    torch.manual_seed(0)
    settings = {"attacks": ATTACKS, "certificates": ()} | settings
    return robustness(net if output is None else Classifier(net, output=output), images, labels, EPS, **settings)


PLANTED = {
    "softmax_outputs": lambda: Around(after=lambda z: (50 * z).softmax(1)).eval(),
    "zero_gradients": lambda: Around(before=Killed.apply).eval(),
    "scaled_logits": lambda: Around(after=lambda z: 1e5 * z).eval(),
    "train_mode": lambda: Dropping().train(),
    "masked_gradients": lambda: Around(before=quantised).eval(),
    "random_outputs": lambda: Around(before=resized).eval(),
    "wrong_gradients": lambda: Around(before=Reversed.apply).eval(),
}


@pytest.mark.parametrize("flag", PLANTED)
def test_a_planted_defence_raises_exactly_its_flag(flag: str) -> None:
    said = "logits" if flag == "softmax_outputs" else None  # which is recognised where nothing is said
    trust = evaluated(PLANTED[flag](), output=said).trust
    assert trust is not None
    assert trust.flags == (flag,)
    check = trust[flag]
    assert check.reason
    assert check.next_step
    assert check.value > check.threshold


@pytest.mark.parametrize(
    "make",
    [fragile, LinearModel, lambda: Dropping().eval(), PLANTED["softmax_outputs"]],
    ids=["network", "linear", "dropout off", "a softmax that is recognised"],
)
def test_an_honest_network_raises_none(make: Callable[[], nn.Module]) -> None:
    curve = evaluated(make().eval(), attacks=ATTACKS)
    assert curve.trust is not None
    assert curve.trust.flags == ()
    assert str(curve.trust).startswith("Evaluation checks: no problem found")
    assert curve.trust["wrong_gradients"].value == 0


def test_a_network_without_gradient_is_one_without_gradient() -> None:
    curve = evaluated(Around(before=Tensor.detach).eval())
    assert curve.trust is not None
    assert curve.trust.flags == ("zero_gradients",)
    assert any("No gradient reaches the pixels" in note for note in curve.notes)


def test_a_quantiser_with_a_smooth_backward_is_seen() -> None:
    trust = evaluated(Around(before=through).eval()).trust
    assert trust is not None
    assert trust.flags == ("masked_gradients",)


def test_consequences_are_named_and_raise_no_flag() -> None:
    trust = evaluated(PLANTED["zero_gradients"](), attacks=("fgsm",)).trust
    assert trust is not None
    told = [check for check in trust.checks if check.status == EXPLAINED]
    assert "wrong_gradients" in [check.name for check in told]
    assert all("This follows from zero_gradients." in check.reason for check in told)


def test_a_weak_attack_is_seen() -> None:
    trust = evaluated(fragile(), attacks=("noise",)).trust
    assert trust is not None
    assert "loss_still_rising" in trust.flags
    assert trust["black_box_beats_white_box"].status == NOT_CHECKED


def test_attacks_without_gradients_that_win_are_seen() -> None:
    attacks = ATTACKS_BY_NAME["pgd"](steps=1, step_size=1e-6), ATTACKS_BY_NAME["square"](queries=500)
    trust = evaluated(fragile(), attacks=attacks).trust
    assert trust is not None
    assert "black_box_beats_white_box" in trust.flags


def test_few_pictures_and_odd_scales_are_seen() -> None:
    few = evaluated(fragile(), count=10).trust
    assert few is not None
    assert few.flags == ("too_few_images",)
    assert "10 image(s)" in few["too_few_images"].reason
    net, images = fragile(), pictures(40)
    odd = robustness(net, images, net(images).argmax(1), [0.1 / 255, 0.6], attacks=ATTACKS, certificates=()).trust
    assert odd is not None
    assert odd.flags == ("scale_mistaken",)
    assert "eps 0.6" in odd["scale_mistaken"].reason
    assert "eps 0.00039" not in odd["scale_mistaken"].reason  # small radii are of use to certificates
    assert any(
        "eps 0.6 (linf)" in note
        for note in robustness(
            net, images, net(images).argmax(1), [0.6], attacks=["fgsm"], certificates=(), trust=False
        ).notes
    )
    twice = robustness(net, images, net(images).argmax(1), [8 / 255 / 255], attacks=["fgsm"], certificates=()).trust
    assert twice is not None
    assert "8/255/255" in twice["scale_mistaken"].reason
    dark = robustness(
        net, images / 255, net(images / 255).argmax(1), [2 / 255], attacks=["fgsm"], certificates=()
    ).trust
    assert dark is not None
    assert "scale_mistaken" in dark.flags


def test_the_order_of_causes() -> None:
    names = [check.__name__ for check in CHECKS]
    assert len(set(names)) == 19
    for cause, consequences in EXPLAINS.items():
        assert all(names.index(cause) < names.index(name) for name in consequences)


def test_what_was_said_is_saved() -> None:
    trust = evaluated(fragile()).trust
    assert trust is not None
    assert decode(Trust, *encode(trust)) == trust
    assert {check.status for check in trust.checks} <= {PASSED, NOT_CHECKED}
