"""Guided backpropagation and Guided Grad-CAM: by hand, against captum, and for every way to write a ReLU."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from captum.attr import GuidedBackprop, GuidedGradCam
from small_models import GapCnn, ReusedModule, inplace_relu, pictures, relu_twins
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision_cpu import import_torchvision

import xai


class ByHand(torch.autograd.Function):
    """ReLU with an upper bound, going back through positive inputs and positive gradients alone."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, top: float) -> Tensor:
        ctx.save_for_backward(values)
        ctx.top = top
        return values.clamp(0, top)

    @staticmethod
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor, None]:
        (values,) = ctx.saved_tensors
        return slopes * (slopes > 0) * (values > 0) * (values < ctx.top), None


def by_hand(net: GapCnn, images: Tensor, target: int, top: float = torch.inf) -> Tensor:
    pixels = images.clone().requires_grad_()
    maps = ByHand.apply(net.conv1(pixels), top)
    maps = ByHand.apply(net.conv2(net.pool(maps)), top)
    return torch.autograd.grad(net.head(maps.mean((2, 3)))[:, target].sum(), pixels)[0]


def guided(net: nn.Module, images: Tensor, target: int = 1) -> xai.Explanation:
    return xai.explain(net, images, "guided_backprop", target=target)


@pytest.mark.parametrize("kind", ["module", "in place", "functional"])
def test_equals_the_rule_by_hand(kind: str) -> None:
    net, images = relu_twins()[kind], pictures(3)
    found = guided(net, images)
    torch.testing.assert_close(found.attribution, by_hand(GapCnn(), images, 1))
    plain = xai.explain(net, images, "saliency", target=1).attribution
    assert float((found.attribution - plain).abs().max()) > 0.1 * float(plain.abs().max())
    assert "2 ReLU(s) guided" in " ".join(found.notes)


SPELLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "method": lambda values: values.relu(),
    "method in place": lambda values: values.relu_(),
    "F.relu in place": lambda values: F.relu(values, inplace=True),
    "clamp": lambda values: values.clamp(min=0),
    "clamp in place": lambda values: values.clamp_(min=0),
    "clamp_min": lambda values: values.clamp_min(0.0),
    "threshold": lambda values: F.threshold(values, 0.0, 0.0),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_relu_is_guided(spelling: str) -> None:
    net = GapCnn()
    net.relu1 = net.relu2 = nn.Module()
    net.relu1.forward = net.relu2.forward = SPELLINGS[spelling]
    torch.testing.assert_close(guided(net, pictures(2)).attribution, by_hand(GapCnn(), pictures(2), 1))


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace")
def test_relus_inside_torchscript_are_guided() -> None:
    traced = torch.jit.trace(GapCnn(), pictures(1), check_trace=False)
    found = guided(traced, pictures(2))
    torch.testing.assert_close(found.attribution, by_hand(GapCnn(), pictures(2), 1))


@pytest.mark.parametrize(
    "relu6",
    [nn.ReLU6, lambda: nn.ReLU6(inplace=True), lambda: nn.Hardtanh(0.0, 0.4)],
    ids=["module", "in place", "0.4"],
)
def test_relu_with_an_upper_bound_is_guided(relu6: Callable[[], nn.Module]) -> None:
    net, top = GapCnn(relu=relu6), relu6().max_val
    torch.testing.assert_close(guided(net, pictures(2)).attribution, by_hand(GapCnn(), pictures(2), 1, top))


def test_a_bound_that_is_not_zero_is_no_relu() -> None:
    net = GapCnn(relu=lambda: nn.Hardtanh(-1.0, 1.0))
    plain = xai.explain(net, pictures(2), "saliency", target=1)
    found = guided(net, pictures(2))
    assert torch.equal(found.attribution, plain.attribution)
    assert "no ReLU in this model" in " ".join(found.notes)


@pytest.mark.parametrize(("kind", "name"), [(nn.GELU, "GELU"), (nn.SiLU, "SiLU"), (nn.LeakyReLU, "leaky ReLU")])
def test_without_relu_it_is_the_plain_gradient_and_says_so(kind: type[nn.Module], name: str) -> None:
    net = GapCnn(relu=kind)
    found, plain = guided(net, pictures(2)), xai.explain(net, pictures(2), "saliency", target=1)
    assert torch.equal(found.attribution, plain.attribution)
    assert f"no ReLU in this model ({name}): this is the plain gradient, nothing is guided" in found.notes


def test_what_is_not_guided_beside_relus_is_named() -> None:
    net = GapCnn()
    net.relu2 = nn.GELU()
    assert "1 ReLU(s) guided, counted per call" in guided(net, pictures(1)).notes
    assert "not guided, because the rule is for ReLU alone: GELU" in guided(net, pictures(1)).notes


def test_each_call_of_a_reused_relu_is_guided() -> None:
    assert "3 ReLU(s) guided, counted per call" in guided(ReusedModule(), pictures(1)).notes


class PartInPlace(GapCnn):
    """The ReLU of the second layer works in place on a part of its maps."""

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv2(self.pool(self.relu1(self.conv1(images))))
        maps[:, :3].relu_()
        return self.head(maps.mean((2, 3)))


def test_what_cannot_be_guided_is_said() -> None:
    assert "an operation in place on a part of a tensor" in " ".join(guided(PartInPlace(), pictures(1)).notes)


def resnet() -> xai.Classifier:
    torch.manual_seed(0)
    module = import_torchvision().models.resnet18(num_classes=20).eval()
    return xai.Classifier(module, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])


class Pixels(nn.Module):
    """A classifier as a module, for captum."""

    def __init__(self, model: xai.Classifier) -> None:
        super().__init__()
        self.inner, self.model = model.module, [model]

    def forward(self, images: Tensor) -> Tensor:
        return self.model[0].logits(images)


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU activations")
def test_equals_captum_where_relus_are_modules() -> None:
    model, images = resnet(), pictures(2, size=(64, 64))
    given, wrapped = images.clone().requires_grad_(), Pixels(model).eval()
    theirs = GuidedBackprop(wrapped).attribute(given, target=[3, 7]).detach()
    ours = guided(model, images, target=[3, 7])
    assert float((ours.attribution - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max())
    assert "17 ReLU(s) guided" in " ".join(ours.notes)
    cam = GuidedGradCam(wrapped, model.module.layer4)
    theirs = cam.attribute(given, target=[3, 7], interpolate_mode="bilinear").detach()
    ours = xai.explain(model, images, "guided_gradcam", target=[3, 7])
    assert ours.layer == "layer4"
    assert float(theirs.abs().max()) > 0
    assert float((ours.attribution - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max())


@pytest.mark.parametrize("relu", [nn.ReLU, inplace_relu, None], ids=["module", "in place", "functional"])
def test_guided_gradcam_is_the_product_of_both(relu: Any) -> None:
    net, images = GapCnn(relu=relu), pictures(2)
    found = xai.explain(net, images, "guided_gradcam", target=2, layer="conv2")
    cam = xai.explain(net, images, "gradcam", target=2, layer="conv2")
    torch.testing.assert_close(found.attribution, guided(net, images, 2).attribution * cam.attribution)
    torch.testing.assert_close(found.coarse, cam.coarse)
    assert any("layer 'conv2'" in note for note in found.notes)
