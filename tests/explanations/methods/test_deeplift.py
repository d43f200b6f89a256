"""DeepLIFT: closed forms, captum where captum is right, and completeness where it is not."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from captum.attr import DeepLift
from small_models import GapCnn, LinearModel, Quadratic, ReusedModule, SigmoidHead, pictures, randomise
from torch import Tensor, nn
from torch.nn import functional as F

import xai
from xai.errors import UnsupportedModelError


def deeplift(model: Any, images: Tensor, **settings: Any) -> xai.Explanation:
    return xai.explain(model, images, "deeplift", **{"target": 1, **settings})


def assert_complete(found: xai.Explanation, share: float = 1e-9) -> None:
    """Hold a float64 result to its sum, with the gap that it reports itself."""
    assert found.attribution.dtype == torch.float64
    for attribution, detail in zip(found.attribution, found.details, strict=True):
        assert abs(float(detail["difference"])) > 1e-6
        assert abs(float(attribution.sum() - detail["difference"])) <= share * abs(float(detail["difference"]))
        assert abs(float(detail["gap"])) <= share * abs(float(detail["difference"]))
    assert "completeness gap: below 0.1 %" in " ".join(found.notes)


class Sequence(nn.Module):
    """Convolution, an activation, a pooling, convolution, the activation again, linear."""

    def __init__(self, activation: Callable[[Tensor], Tensor], pool: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3), nn.Linear(5, 3)
        randomise(self, seed=2, scale=2.0)
        self.activation, self.pool = activation, pool or nn.AvgPool2d(2)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.pool(self.activation(self.first(images)))
        return self.head(self.activation(self.second(maps)).mean((2, 3)))


def test_by_hand_on_linear_and_quadratic_models() -> None:
    images = pictures(2).double()
    linear, quadratic = LinearModel().double(), Quadratic().double()
    weights = linear.linear.weight[1].detach().view(3, 16, 16)
    torch.testing.assert_close(deeplift(linear, images, baseline=0.5).attribution, weights * (images - 0.5))
    bend, slope = (part.weight[1].detach().view(3, 16, 16) for part in (quadratic.curve, quadratic.slope))
    wanted = bend * (images.square() - 0.25) / 2 + slope * (images - 0.5)
    torch.testing.assert_close(deeplift(quadratic, images, baseline=0.5).attribution, wanted)


def test_by_hand_on_one_relu() -> None:
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([2.0, -1.0, -0.5]))

        def forward(self, images: Tensor) -> Tensor:
            inside = (images.mean((2, 3)) * self.weight).sum(1, keepdim=True)
            return torch.cat([inside, inside.relu()], 1)

    image = torch.tensor([0.5, 0.25, 0.5]).view(1, 3, 1, 1)  # inside 0.5, baseline white: inside 0.5
    start = torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1)  # inside -1, ReLU 0: the multiplier is 0.5 / 1.5
    found = deeplift(One(), image, baseline=start)
    wanted = torch.tensor([1.0, 0.25, 0.25]).view(1, 3, 1, 1) / 3
    torch.testing.assert_close(found.attribution, wanted)


# captum


@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks")
@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("kind", [nn.ReLU, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Softplus])
def test_equals_captum_where_captum_is_right(kind: type[nn.Module], pooled: bool) -> None:
    torch.manual_seed(1)
    net = nn.Sequential(  # captum's sums are wrong where a max pooling follows an activation directly
        nn.Conv2d(3, 6, 3, padding=1),
        nn.MaxPool2d(2) if pooled else kind(),
        nn.Conv2d(6, 8, 3),
        kind(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 9 if pooled else 8 * 49, 4),
    )
    net, images = net.double().eval(), pictures(3).double()
    given, start = images.clone().requires_grad_(), torch.full_like(images, 0.5)
    theirs = DeepLift(net).attribute(given, start, target=[1, 2, 3]).detach()
    ours = deeplift(net, images, target=[1, 2, 3], baseline=0.5).attribution
    assert float(theirs.abs().max()) > 0
    assert float((ours - theirs).abs().max()) <= 1e-9 * float(theirs.abs().max())


# where captum is not


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize(
    "kind", [nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.Mish, nn.ELU, nn.CELU, nn.LeakyReLU, nn.SELU]
)
def test_activations_are_complete_in_place_and_not(kind: Any, inplace: bool) -> None:
    assert_complete(deeplift(Sequence(kind(inplace=inplace)).double(), pictures(2).double(), baseline="mean"))


CALLS: dict[str, Callable[[Tensor], Tensor]] = {
    "F.relu": F.relu,
    "relu_": torch.relu_,
    "method": lambda values: values.relu(),
    "clamp": lambda values: values.clamp(-0.1, 0.5),
    "clamp_": lambda values: values.clamp_(min=0),
    "in place, result left": lambda values: (F.relu6(values, inplace=True), values)[1],
    "method in place, result left": lambda values: (values.relu_(), values)[1],
    "hardtanh_": F.hardtanh_,
    "elu_": F.elu_,
    "leaky_relu_": F.leaky_relu_,
    "threshold": lambda values: F.threshold(values, 0.1, 0.0),
    "gelu": lambda values: F.gelu(values, approximate="tanh"),
    "swish": lambda values: values * torch.sigmoid(values),
    "swish in place": lambda values: values.mul_(torch.sigmoid(values)),
    "power": lambda values: values**2,
    "abs": torch.abs,
    "exp": lambda values: (values / 4).exp(),
    "softplus": F.softplus,
    "prelu": nn.PReLU(init=0.1),
    "squeeze and excite": lambda values: values * torch.sigmoid(values.mean((2, 3), keepdim=True)),
}


@pytest.mark.parametrize("call", CALLS)
def test_functions_are_complete(call: str) -> None:
    assert_complete(deeplift(Sequence(CALLS[call]).double(), pictures(2).double(), baseline="blur"))


POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "overlapping": nn.MaxPool2d(3, 2, padding=1),
    "apart": nn.MaxPool2d(2),
    "function": lambda values: F.max_pool2d(values, 3, 1),
    "torch's": lambda values: torch.max_pool2d(values, 2, 2),
    "adaptive": nn.AdaptiveMaxPool2d(5),
    "of one axis": lambda values: F.max_pool1d(values.flatten(2), 3, 2, padding=1).unflatten(2, (7, 14)),
    "dilated": nn.MaxPool2d(2, 1, dilation=2),
}


@pytest.mark.parametrize("pool", POOLS)
def test_poolings_are_complete(pool: str) -> None:
    net = Sequence(nn.ReLU(), POOLS[pool]).double()
    assert_complete(deeplift(net, pictures(2).double(), baseline="noise"))


def test_reused_modules_are_complete() -> None:
    assert_complete(deeplift(ReusedModule().double(), pictures(3).double(), baseline=0.3))


def test_values_stay_as_they_are() -> None:
    for net in (Sequence(nn.GELU(), nn.MaxPool2d(3, 2)), Sequence(nn.ReLU6(inplace=True)), ReusedModule()):
        images = pictures(2)
        with torch.no_grad():
            assert torch.equal(deeplift(net, images).logits, net.eval()(images))


def test_probabilities_of_a_sigmoid_head_are_complete() -> None:
    model = xai.Classifier(SigmoidHead().double().eval(), task="multilabel", output="probabilities")
    assert_complete(deeplift(model, pictures(2).double(), score="probability"), share=1e-6)


def test_the_same_picture_and_baseline_differ_in_nothing() -> None:
    image = torch.full((1, 3, 16, 16), 0.25)
    found = deeplift(GapCnn(), image, baseline=0.25)
    assert float(found.attribution.abs().max()) == 0
    assert "completeness gap: below 0.1 %" in " ".join(found.notes)


def test_nearly_the_same_picture_has_the_gradient() -> None:
    net, image = Sequence(torch.tanh).double(), pictures(1).double() * 0.5
    near = image + 1e-12
    slopes = xai.explain(net, image, "saliency", target=1).attribution
    found = deeplift(net, near, baseline=image[0]).attribution / (near - image)
    torch.testing.assert_close(found, slopes, atol=1e-3 * float(slopes.abs().max()), rtol=1e-2)


# what it has no rule for


def test_a_gap_is_measured_and_said() -> None:
    class Norm(Sequence):
        def forward(self, images: Tensor) -> Tensor:
            return self.head(F.layer_norm(self.activation(self.first(images)).mean((2, 3)).repeat(1, 2)[:, :5], (5,)))

    found = deeplift(Norm(nn.GELU()).double(), pictures(3).double())
    for attribution, detail in zip(found.attribution, found.details, strict=True):
        torch.testing.assert_close(attribution.sum() + detail["gap"], detail["difference"])
        assert abs(float(detail["gap"])) > 0.05 * abs(float(detail["difference"]))
    assert "the model has parts that DeepLIFT has no rule for; use integrated_gradients" in " ".join(found.notes)


class TwoWays(GapCnn):
    """Bright images take another way than dark ones."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.relu() if float(images.detach().mean()) > 0.25 else images)


class TwoSizes(GapCnn):
    """Bright images are looked at closer."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images[..., 2:, 2:] if float(images.detach().mean()) > 0.25 else images)


class Longer(GapCnn):
    """Dark images are worked on for longer."""

    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        return logits if float(images.detach().mean()) > 0.25 else logits.tanh()


@pytest.mark.parametrize("kind", [TwoWays, TwoSizes, Longer])
def test_a_network_with_two_ways_is_refused(kind: type[nn.Module]) -> None:
    with pytest.raises(UnsupportedModelError, match=r"pairs each function call .* use occlusion"):
        deeplift(kind(), pictures(1))
