"""A model that answers otherwise in another batch, at random, or changes by answering: seen by every way in."""

from collections.abc import Callable

import pytest
import torch
from small_models import BatchNormNet, GapCnn, pictures
from torch import Tensor, nn

import xai
from xai.errors import UnsupportedModelError

IMAGES = pictures(5, size=(13, 18))
NETS: list[Callable[[], nn.Module]] = [GapCnn, BatchNormNet]


class LessMean(nn.Module):
    """Takes the mean of the batch away, as a layer does that normalises by whatever comes."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.net(images)
        return scores - 0.5 * scores.mean(0, keepdim=True)


class Noisy(LessMean):
    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.net(images)
        return scores + 0.1 * torch.rand_like(scores)


class Counts(LessMean):
    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        self.seen += 1
        scores: Tensor = self.net(images)
        return scores


@pytest.mark.parametrize("net", NETS)
def test_what_depends_on_its_batch_answers_as_it_does_alone(net: Callable[[], nn.Module]) -> None:
    """Alone the mean is the image's own, so that half of each score is left."""
    inner = net().eval()
    found = xai.Classifier(LessMean(inner))
    with torch.no_grad():
        torch.testing.assert_close(found.predict(IMAGES).logits, 0.5 * inner(IMAGES))
    assert found.one_by_one
    assert [note for note in found.notes if "depends on the others in its batch" in note]


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("count", [1, 3])
def test_it_is_said_by_an_explanation_of_a_bare_module(net: Callable[[], nn.Module], count: int) -> None:
    found = xai.explain(LessMean(net()).eval(), IMAGES[:count], "saliency", target=1)
    assert [note for note in found.notes if "depends on the others in its batch" in note]
    random = xai.explain(Noisy(net()).eval(), IMAGES[:count], "saliency", target=1)
    assert [note for note in random.notes if "two outputs for the same image differ" in note]


def test_random_answers_are_no_fault_of_the_batch() -> None:
    found = xai.Classifier(Noisy(GapCnn()))
    found.predict(IMAGES)
    assert not found.one_by_one
    assert not [note for note in found.notes if "batch" in note]


@pytest.mark.parametrize("count", [1, 3])
def test_buffers_that_change_the_answer_are_refused(count: int) -> None:
    """A buffer that is only counted is let through now, see test_forward_state.py; one that matters still is not."""

    class Drifts(Counts):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) * (1 + 1e-5 * self.seen)

    with pytest.raises(UnsupportedModelError, match="changes its own buffers while it predicts"):
        xai.Classifier(Drifts(GapCnn())).predict(IMAGES[:count])
    norm = nn.BatchNorm2d(3, track_running_stats=False)
    with pytest.raises(UnsupportedModelError, match=r"keep no running statistics.*Use running statistics"):
        xai.Classifier(nn.Sequential(norm, GapCnn())).predict(IMAGES[:count])


@pytest.mark.parametrize("net", NETS)
def test_the_fingerprint_and_the_settings_stay_what_they_were(net: Callable[[], nn.Module]) -> None:
    found = xai.Classifier(LessMean(net()), input_size=(13, 18))
    before = found.fingerprint
    found.predict(IMAGES)
    again = xai.Classifier(found.module, **found.preprocessing)
    again.predict(IMAGES)
    assert found.fingerprint == before
    assert found.one_by_one
    assert not found.preprocessing["one_by_one"]  # it is found again, and was not asked for
    assert again.one_by_one


def test_ordinary_models_say_nothing() -> None:
    found = xai.Classifier(GapCnn())
    found.predict(IMAGES[:1])
    assert not found.one_by_one
    assert not found.notes


def test_a_bare_module_is_asked_again_once() -> None:
    calls: list[int] = []
    net = GapCnn()
    net.register_forward_hook(lambda _m, inputs, _o: calls.append(len(inputs[0])))
    for _ in range(3):
        xai.Classifier(net).predict(IMAGES[:2])
    assert calls == [2, 1, 1, 2, 1, *[2] * (len(calls) - 5)]
    net.head = nn.Sequential(net.head, LessMean(nn.Identity()))  # another module by now
    found = xai.Classifier(net)
    found.predict(IMAGES)
    assert found.one_by_one


class ByPlace(LessMean):
    """The first image of a batch is answered as if it were alone, the others are not."""

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.net(images)
        return scores + torch.arange(len(images))[:, None]


class Sometimes(LessMean):
    noise = 0.0

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.net(images)
        return scores + self.noise * torch.rand_like(scores)


def test_all_places_of_a_batch_are_compared() -> None:
    found = xai.Classifier(ByPlace(GapCnn()))
    plain = xai.Classifier(found.module.net).predict(IMAGES).logits
    torch.testing.assert_close(found.predict(IMAGES).logits, plain)
    assert found.one_by_one


def test_what_was_found_is_forgotten_when_the_module_changes() -> None:
    net = Sometimes(GapCnn())
    assert not any("two outputs" in note for note in xai.explain(net, IMAGES, "saliency", target=1).notes)
    net.noise = 0.3
    assert any("two outputs" in note for note in xai.explain(net, IMAGES, "saliency", target=1).notes)
    net.noise = 0.0
    assert not any("two outputs" in note for note in xai.explain(net, IMAGES, "saliency", target=1).notes)


def test_a_buffer_that_holds_nan_is_no_change() -> None:
    net = Sometimes(GapCnn())
    net.register_buffer("missing", torch.tensor([1.0, float("nan")]))
    found = xai.Classifier(net).predict(IMAGES)
    assert found.logits.shape == (5, 4)
    assert not any("writes" in note for note in found.notes)
