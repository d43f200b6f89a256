"""Counters and caches that a forward writes: no part of what a model is, unless an answer depends on them."""

import copy
from collections.abc import Callable

import pytest
import torch
from small_models import BatchNormNet, GapCnn, pictures
from torch import Tensor, nn

import xai
from xai.core.classifier import Classifier
from xai.core.fingerprint import fingerprint_module
from xai.core.forward_state import may_write, state_of
from xai.core.hooks import copied, parts_of
from xai.errors import UnsupportedModelError

IMAGES = pictures(5, size=(13, 18))
NETS: list[Callable[[], nn.Module]] = [GapCnn, BatchNormNet]


class Wrapped(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        self.write(images)
        return self.net(images)

    def write(self, images: Tensor) -> None: ...


class Calls(Wrapped):
    calls = 0

    def write(self, images: Tensor) -> None:
        self.calls += 1


class LastMean(Wrapped):
    last: float | None = None

    def write(self, images: Tensor) -> None:
        self.last = float(images.detach().mean())


class Words(Wrapped):
    def write(self, images: Tensor) -> None:
        setattr(self, "shape", str(tuple(images.shape)))  # noqa: B010 (as user code may write it)


class Inside(Wrapped):
    def write(self, images: Tensor) -> None:
        self.net.seen = getattr(self.net, "seen", 0) + len(images)


class Counter(Wrapped):
    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def write(self, images: Tensor) -> None:
        self.seen += len(images)


class Average(Wrapped):
    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.register_buffer("average", torch.zeros(3))

    def write(self, images: Tensor) -> None:
        self.average.lerp_(images.mean((0, 2, 3)), 0.1)


class Features(Wrapped):
    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.register_buffer("kept", torch.zeros(1, 4), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        scores = self.net(images)
        self.kept = scores.detach().clone()
        return scores


class Cache(Wrapped):
    """A mask by the number of images, made when it is first needed, and used."""

    def forward(self, images: Tensor) -> Tensor:
        name = f"mask{len(images)}"
        if name not in self._buffers:
            self.register_buffer(name, torch.ones(len(images), 1), persistent=False)
        return self.net(images) * self._buffers[name]


KINDS = [Calls, LastMean, Words, Inside, Counter, Average, Features, Cache]


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_forward_writes_is_no_part_of_the_fingerprint(kind: type[Wrapped], net: Callable[[], nn.Module]) -> None:
    module = kind(net())
    untouched = Classifier(copy.deepcopy(module), input_size=(13, 18))
    classifier = Classifier(module, input_size=(13, 18))
    prints = {untouched.fingerprint, classifier.fingerprint}
    predicted = classifier.predict(IMAGES)
    torch.testing.assert_close(predicted.logits, net()(IMAGES).detach())
    assert [note for note in predicted.notes if note.startswith("the model writes '") and "no prediction" in note]
    prints.add(classifier.fingerprint)
    labels = predicted.logits.argmax(1)
    xai.attack(classifier, IMAGES, labels, "fgsm", eps=0.01)
    for method in ("gradcam", "saliency"):
        assert xai.explain(classifier, IMAGES[:2], method, target=1).model["fingerprint"] in prints
    prints.add(classifier.fingerprint)
    if kind is not Cache:  # a copy of a filled cache cannot be told from one that was made so
        prints.add(Classifier(copied(module), input_size=(13, 18)).fingerprint)
    assert len(prints) == 1
    module.net.head.bias.data += 1
    assert classifier.fingerprint not in prints


@pytest.mark.parametrize("kind", [Calls, Counter, Cache])
def test_it_is_looked_at_once(kind: type[Wrapped]) -> None:
    module, calls = kind(GapCnn()), list[int]()
    Classifier(module).predict(IMAGES[:2])
    state = state_of(module)
    module.register_forward_hook(lambda *_: calls.append(1))
    Classifier(module).predict(IMAGES[:2])  # another hook: another module, looked at again
    first = len(calls)
    Classifier(module).predict(IMAGES[:2])
    assert len(calls) - first == 2  # what it means, and the prediction
    assert state_of(module)[1] == state[1]


def test_other_settings_and_buffers_of_a_class_that_counts_stay() -> None:
    class Scaled(Counter):
        def __init__(self, net: nn.Module, scale: float) -> None:
            super().__init__(net)
            self.scale = scale
            self.register_buffer("shift", torch.tensor(scale))

        def forward(self, images: Tensor) -> Tensor:
            return self.scale * super().forward(images) + self.shift

    one, other, third = (Classifier(Scaled(GapCnn(), scale)) for scale in (1.0, 2.0, 1.0))
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint == third.fingerprint
    third.module.shift += 1
    assert one.fingerprint != third.fingerprint


class Cools(Calls):
    """Scores grow with the calls."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * (1 + 0.00001 * self.calls)


class Switches(Counter):
    """Answers otherwise from its thousandth image on."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + (self.seen > 1000) * torch.arange(4)


class Centred(Average):
    """Takes away a running mean of all that it saw."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images - self.average[:, None, None])


def test_plain_numbers_that_answers_depend_on_stay_in_the_fingerprint_and_are_told() -> None:
    found = Classifier(Cools(GapCnn()))
    before = found.fingerprint
    notes = found.predict(IMAGES).notes
    assert "the model writes 'calls' while it answers, and its predictions change with it" in notes
    assert found.fingerprint != before


@pytest.mark.parametrize("kind", [Switches, Centred])
def test_buffers_that_answers_depend_on_are_refused_now_or_later(kind: type[Wrapped]) -> None:
    module = kind(GapCnn())
    with pytest.raises(UnsupportedModelError, match="changes its own buffers while it answers in evaluation mode"):
        Classifier(module).predict(IMAGES)
    assert not isinstance(module, Switches) or int(module.seen) < 1000  # set back after the look ahead


def test_noise_is_no_dependence_on_what_is_counted() -> None:
    class Noisy(Counter):
        def forward(self, images: Tensor) -> Tensor:
            scores = super().forward(images)
            return scores + 0.1 * torch.rand_like(scores)

    notes = Classifier(Noisy(GapCnn())).predict(IMAGES).notes
    assert [note for note in notes if "two answers to the same picture differ" in note]
    assert [note for note in notes if "no prediction depends on it" in note]


def test_a_cache_made_without_gradients_allows_gradients_later() -> None:
    net = Classifier(Cache(GapCnn()), input_size=(13, 18))
    net.predict(IMAGES)
    assert xai.attack(net, IMAGES, net.predict(IMAGES).logits.argmax(1), "pgd", eps=0.1).adversarial.shape


def test_code_that_writes_nothing_runs_no_forward_for_a_fingerprint() -> None:
    calls: list[int] = []
    for net in (GapCnn(), BatchNormNet(), nn.Sequential(nn.BatchNorm2d(3), GapCnn()), Wrapped(GapCnn())):
        net.register_forward_hook(lambda *_: calls.append(1))
        assert not may_write(parts_of(net))
        assert len(Classifier(net).fingerprint) == len(fingerprint_module(net)) == 64
    assert not calls
