"""The prepared copy answers as the model does, and low precision is used only when it may be."""

import importlib
from collections.abc import Callable

import pytest
import torch
from torch import nn

import xai
from xai.core.model.classifier import Classifier
from xai.engine import prepare as prepare_module
from xai.engine.prepare import Prepared, compared, fold_batch_norm, in_low_precision, prepare
from xai.models.networks import SmallNet


def trained_like(seed: int = 0) -> SmallNet:
    """Return a network whose batch norms have statistics of their own."""
    torch.manual_seed(seed)
    net = SmallNet(width=8)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            part.weight.data.uniform_(0.5, 2)
            part.bias.data.normal_()
    return net.eval()


class Branching(nn.Module):
    """A forward that cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.net = trained_like()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if float(images.mean()) > 100:
            return self.net(images * 0)
        return self.net(images)


class SharedNorm(nn.Module):
    """One convolution read by two norms: nothing may be folded."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 4, 3)
        self.one, self.two = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.one.running_mean.normal_()
        self.two.running_mean.normal_()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.conv(images)
        return (self.one(maps) - 2 * self.two(maps)).mean((2, 3))


class OnlyFloat(nn.Module):
    """Reads its pixels as float32 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.net = trained_like()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images.float())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that is quick in bf16, whichever this one is."""
    rooms = importlib.import_module("xai.engine.prepare")
    monkeypatch.setattr(rooms, "can_join", lambda *_: False)  # joined layers need the real thing
    monkeypatch.setattr(rooms, "_cache", type(rooms._cache)())
    monkeypatch.setattr(prepare_module, "quick_type", lambda _device: torch.bfloat16)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(12, 1, 28, 28, generator=torch.Generator().manual_seed(1))


def test_fold_is_exact_and_counts(images: torch.Tensor) -> None:
    net = trained_like()
    wanted = net.double()(images.double())
    folded, count = fold_batch_norm(trained_like().double())
    assert count == 4
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())
    torch.testing.assert_close(folded(images.double()), wanted, atol=1e-12, rtol=1e-12)


def test_a_shared_convolution_is_not_folded(images: torch.Tensor) -> None:
    folded, count = fold_batch_norm(SharedNorm().eval())
    assert count == 0
    torch.testing.assert_close(folded(images), SharedNorm().eval()(images))


@pytest.mark.parametrize(
    "module", [trained_like(), Branching(), SharedNorm().eval()], ids=["folded", "untraceable", "shared"]
)
def test_prepared_answers_the_same(module: nn.Module, images: torch.Tensor) -> None:
    classifier = Classifier(module, channels=1, mean=[0.3], std=[0.4])
    prepared = prepare(classifier, images)
    torch.testing.assert_close(prepared.logits(images), classifier.logits(images).detach(), atol=1e-4, rtol=1e-4)
    assert prepared.precision == "fp32"
    assert prepared.notes
    assert prepared.classifier.module is not module


def test_untraceable_is_said(images: torch.Tensor) -> None:
    assert "cannot be traced" in prepare(Classifier(Branching(), channels=1), images).notes[0]


def test_the_original_is_untouched(images: torch.Tensor) -> None:
    net = trained_like().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    prepare(Classifier(net, channels=1), images).logits(images)
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_cached_until_the_weights_change(images: torch.Tensor) -> None:
    classifier = Classifier(trained_like(), channels=1)
    first = prepare(classifier, images)
    assert prepare(classifier, images) is first
    classifier.module.features[3].weight.data.view(-1)[5] += 1.0  # an inner value, written past the version counter
    second = prepare(classifier, images)
    assert second is not first
    torch.testing.assert_close(second.logits(images), classifier.logits(images).detach(), atol=1e-4, rtol=1e-4)


def falls_of(images: torch.Tensor) -> Callable[[Prepared], torch.Tensor]:
    """Falls of every class when the image gets darker, as a method would ask for them."""
    steps = torch.linspace(0, 1, 12)[:, None, None, None]
    return lambda prepared: prepared.logits(images[:1]) - prepared.logits(images[:1] * steps)


def test_low_precision_is_checked_and_noted(quick: None) -> None:
    classifier, images = xai.load("example:fashion"), xai.load_data("example:fashion-test").images[:12]
    full = prepare(classifier, images)
    low, note = in_low_precision(full, falls_of(images))
    assert low.precision == "bf16", note
    assert note.startswith("fast: bf16 used, by a sample it correlates 0.99")
    assert low.logits(images).dtype == torch.float32
    assert low.row_limit(images.repeat(2, 1, 1, 1), most=16) >= 1  # in its own number type
    assert not torch.equal(low.logits(images), full.logits(images))


def test_low_precision_is_refused_when_the_answers_are_lost(images: torch.Tensor, quick: None) -> None:
    head = nn.Linear(28 * 28, 2)
    with torch.no_grad():
        head.weight[0] = 1.0
        head.weight[1] = 1.0 + torch.linspace(-1, 1, 28 * 28) * 1e-5  # lost in eight bits of mantissa
        head.bias.zero_()
    full = prepare(Classifier(nn.Sequential(nn.Flatten(), head), channels=1), images)

    def margins(prepared: Prepared) -> torch.Tensor:
        logits = prepared.logits(images)
        return (logits[:, :1] - logits[:, 1:])[1:]

    same, note = in_low_precision(full, margins)
    assert same is full
    assert "bf16 not used, by a sample" in note


@pytest.mark.parametrize("change", [lambda v: 1.3 * v, lambda v: v + 0.5 * v.abs().max(), lambda v: v.flip(0)])
def test_scale_offset_and_order_are_compared(change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    exact = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    assert compared(exact * 1.01, exact)[0]
    assert not compared(change(exact), exact)[0]


def test_one_bad_class_among_many_is_seen() -> None:
    exact = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    found = exact.clone()
    found[:, 2] = found[:, 2].flip(0)
    assert not compared(found, exact)[0]


def test_a_model_that_cannot_compute_in_it_is_left_alone(images: torch.Tensor, quick: None) -> None:
    full = prepare(Classifier(OnlyFloat(), channels=1), images)
    same, note = in_low_precision(full, falls_of(images))
    assert same is full
    assert "cannot compute in it" in note


def test_a_precision_that_the_processor_lacks_is_not_used(
    images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare_module, "quick_type", lambda _device: None)
    full = prepare(Classifier(trained_like(), channels=1), images)
    same, note = in_low_precision(full, falls_of(images))
    assert same is full
    assert "no quicker" in note
