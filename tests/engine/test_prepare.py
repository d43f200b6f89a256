"""The prepared copy answers as the model does, and low precision is used only when it may be."""

import sys

import pytest
import torch
from torch import nn

from xai.core.classifier import Classifier
from xai.engine import prepare
from xai.engine.fold import fold_batch_norm
from xai.errors import NameLookupError
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


def test_low_precision_is_checked_and_noted(images: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = Classifier(trained_like(), channels=1)
    monkeypatch.setattr(sys.modules["xai.engine.prepare"], "_slow_here", lambda *_: False)
    prepared = prepare(classifier, images, "bf16")
    assert any(note.startswith("bf16 ") and "spread" in note for note in prepared.notes)
    assert prepared.logits(images).dtype == torch.float32


def test_low_precision_is_refused_when_an_answer_changes(images: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["xai.engine.prepare"], "_slow_here", lambda *_: False)
    head = nn.Linear(28 * 28, 2)
    with torch.no_grad():
        head.weight[0] = 1.0
        head.weight[1] = 1.0 + torch.linspace(-1, 1, 28 * 28) * 1e-5  # lost in eight bits of mantissa
        head.bias.zero_()
    prepared = prepare(Classifier(nn.Sequential(nn.Flatten(), head), channels=1), images, "bf16")
    assert prepared.precision == "fp32"
    assert "bf16 not used" in prepared.notes[-1]


def test_unknown_precision(images: torch.Tensor) -> None:
    with pytest.raises(NameLookupError, match="no precision 'fp8'"):
        prepare(Classifier(trained_like(), channels=1), images, "fp8")


def test_a_precision_that_the_processor_lacks_is_not_used(images: torch.Tensor) -> None:
    quick = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    precision = "fp16" if quick else "bf16"
    prepared = prepare(Classifier(trained_like(), channels=1), images, precision)
    assert prepared.precision == "fp32"
    assert f"{precision} not used: this processor is slower in it" in prepared.notes[-1]
