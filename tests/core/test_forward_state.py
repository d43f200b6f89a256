"""Counters and caches that a forward writes: no part of what a model is, unless an answer depends on them."""

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_models import BatchNormNet, GapCnn, pictures
from torch import Tensor, nn
from torch.nn.utils import prune

import xai
from xai.core.model.classifier import Classifier
from xai.core.model.fingerprint import fingerprint_module, may_write, parts_of, state_of
from xai.core.model.hooks import copied
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
    assert [note for note in predicted.notes if note.startswith("the model writes '")]
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
    assert "the model writes 'calls' while it predicts, and its predictions change with it" in notes
    assert found.fingerprint != before


@pytest.mark.parametrize("kind", [Switches, Centred])
def test_buffers_that_answers_depend_on_are_refused_now_or_later(kind: type[Wrapped]) -> None:
    module = kind(GapCnn())
    with pytest.raises(UnsupportedModelError, match="changes its own buffers while it predicts in evaluation mode"):
        Classifier(module).predict(IMAGES)
    assert not isinstance(module, Switches) or int(module.seen) < 1000  # set back after the look ahead


def test_noise_is_no_dependence_on_what_is_counted() -> None:
    class Noisy(Counter):
        def forward(self, images: Tensor) -> Tensor:
            scores = super().forward(images)
            return scores + 0.1 * torch.rand_like(scores)

    notes = Classifier(Noisy(GapCnn())).predict(IMAGES).notes
    assert [note for note in notes if "two outputs for the same image differ" in note]
    assert [note for note in notes if "no prediction was seen to depend on it" in note]


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


@dataclass
class Scale:
    scale: float


class Keeps(Wrapped):
    """Keeps something that its answers depend on in an attribute that is no weight and no buffer."""

    def __init__(self, kept: object) -> None:
        super().__init__(GapCnn())
        self.kept = kept

    def forward(self, images: Tensor) -> Tensor:
        value = self.kept
        if callable(value):
            return value(self.net(images))
        if isinstance(value, SimpleNamespace | Scale):
            value = value.scale
        if isinstance(value, np.ndarray):
            value = value.astype(np.float32)
        while isinstance(value, dict | list | tuple):
            value = next(iter(value.values())) if isinstance(value, dict) else value[0]
        return self.net(images) * torch.as_tensor(value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.tensor(1.0), torch.tensor(2.0)),
        (np.array([1.0, 2, 3, 4], np.float32), np.array([1.0, 2, 3, 5], np.float32)),
        (np.arange(4.0)[::-1].copy()[::-1], np.arange(1.0, 5.0)[::-1]),  # turned
        (np.frombuffer(b"\1\2\3\4", np.uint8), np.frombuffer(b"\1\2\3\5", np.uint8)),  # locked
        (np.arange(4, dtype=">f4"), np.arange(1, 5, dtype=">f4")),
        (SimpleNamespace(scale=1.0), SimpleNamespace(scale=2.0)),
        (Scale(1.0), Scale(2.0)),
        ((1.0, 1.0), (2.0, 1.0)),
        ([1.0], [2.0]),
        ({"scale": [1.0]}, {"scale": [2.0]}),
        (torch.relu, torch.tanh),
        (lambda z: z * 2, lambda z: z * 3),
        (functools.partial(torch.mul, other=2.0), functools.partial(torch.mul, other=3.0)),
    ],
)
def test_whatever_a_model_keeps_is_in_its_fingerprint(one: object, other: object) -> None:
    module = Keeps(one)
    classifier = Classifier(module, input_size=(13, 18))
    first, logits = classifier.fingerprint, classifier.logits(IMAGES)
    assert Classifier(copy.deepcopy(module), input_size=(13, 18)).fingerprint == first
    module.kept = other
    assert not torch.equal(classifier.logits(IMAGES), logits)
    assert classifier.fingerprint != first
    module.kept = one
    assert classifier.fingerprint == first


def test_strides_and_what_appears_later_are_in_the_fingerprint() -> None:
    class Scaled(Calls):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) * getattr(self, "scale", 1.0)

    module = Scaled(GapCnn())
    classifier = Classifier(module, input_size=(13, 18))
    classifier.predict(IMAGES)
    prints = [classifier.fingerprint]
    module.scale = 5.0
    prints.append(classifier.fingerprint)
    layer = next(part for part in module.modules() if isinstance(part, nn.Conv2d))
    prune.random_unstructured(layer, "weight", 0.3)
    prints.append(classifier.fingerprint)
    layer.weight_mask.copy_(torch.rand(layer.weight_mask.shape) > 0.9)
    prints.append(classifier.fingerprint)
    layer.stride = (2, 2)
    prints.append(classifier.fingerprint)
    assert len(set(prints)) == 5


def test_what_the_first_images_set_is_in_the_fingerprint_and_told() -> None:
    class Initialised(Wrapped):
        def __init__(self) -> None:
            super().__init__(GapCnn())
            self.register_buffer("mean", torch.zeros(3, 1, 1))
            self.ready = False

        def forward(self, images: Tensor) -> Tensor:
            if not self.ready:
                self.mean.copy_(images.mean((0, 2, 3))[:, None, None])
                self.ready = True
            return self.net(images - self.mean)

    found = []
    for first in (IMAGES, IMAGES.square()):
        module = Initialised()
        module(first)
        found.append(Classifier(module, input_size=(13, 18)).fingerprint)
    assert len(set(found)) == 2
    notes = Classifier(Initialised(), input_size=(13, 18)).predict(IMAGES).notes
    assert [note for note in notes if "when it first predicts" in note and "'mean'" in note]


@pytest.mark.parametrize("period", [2, 7, 100])
def test_counters_that_matter_by_turns_or_late_are_no_harmless_ones(period: int) -> None:
    class Turns(Wrapped):
        def __init__(self) -> None:
            super().__init__(GapCnn())
            self.register_buffer("seen", torch.zeros(2, dtype=torch.long))

        def forward(self, images: Tensor) -> Tensor:
            self.seen += 1
            return self.net(images) * (1 + self.seen[0] // period % 2)

    with pytest.raises(UnsupportedModelError, match="changes its own buffers"):
        Classifier(Turns(), input_size=(13, 18)).predict(IMAGES)
