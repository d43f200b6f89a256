"""Adversarial training: the formulas by hand, what it gains, what it leaves alone."""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from model_state import lived_in, snapshot
from scipy.special import rel_entr, softmax
from sklearn.datasets import load_digits
from small_models import LinearModel, pictures
from torch import Tensor, nn
from torch.nn import functional as F

import xai
from xai.core.runtime.randomness import image_key
from xai.errors import (
    NameLookupError,
    NonFiniteError,
    RangeError,
    ShapeError,
    Stopped,
    TargetError,
    UnsupportedModelError,
)
from xai.robust.attacks._training import TrainingRun, nudged
from xai.robust.attacks.base import ATTACKS
from xai.robust.attacks.search import divergence, length, random_start, seeds_of
from xai.robust.attacks.training import AdversarialTraining, TrainingResult


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing from a second thread, and lose much by waiting for it on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def digits(first: int, last: int) -> tuple[Tensor, Tensor]:
    data = load_digits()
    return torch.tensor(data.images / 16, dtype=torch.float32)[first:last, None], torch.tensor(data.target)[first:last]


def network(seed: int = 0, *, dropout: float = 0.0) -> xai.Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()),
            *(nn.Flatten(), nn.Dropout(dropout), nn.Linear(256, 10)),
        )
    return xai.Classifier(net, channels=1, mean=[0.3], std=[0.4])


def linear() -> xai.Classifier:
    return xai.Classifier(LinearModel())


def batch_for(classifier: xai.Classifier) -> tuple[Tensor, Tensor]:
    if classifier.channels == 1:
        return digits(0, 24)
    return pictures(24), torch.arange(24) % 3


def weights(classifier: xai.Classifier) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in classifier.module.state_dict().items()}


SHORT = AdversarialTraining("pgd", eps=0.1, steps=3, epochs=2, batch_size=8, learning_rate=0.01)


def test_divergence_is_that_of_scipy_and_of_the_code_of_its_authors() -> None:
    source = torch.Generator().manual_seed(0)
    clean, moved = (3 * torch.randn(6, 5, generator=source, dtype=torch.float64) for _ in range(2))
    wanted = rel_entr(softmax(clean.numpy(), 1), softmax(moved.numpy(), 1)).sum(1)
    np.testing.assert_allclose(divergence(moved, clean).numpy(), wanted, rtol=1e-12)
    theirs = F.kl_div(moved.log_softmax(1), clean.softmax(1), reduction="batchmean")
    assert float(divergence(moved, clean).mean()) == pytest.approx(float(theirs), rel=1e-12)
    assert bool(divergence(clean, clean).abs().max() < 1e-12)


def plain_search(recipe: AdversarialTraining, classifier: xai.Classifier, clean: Tensor, truth: Tensor, start: Tensor):
    """The inner problem in the l-inf ball as the papers write it."""
    net = lambda x: classifier.module(classifier.normalise(x))  # noqa: E731
    step, found = recipe.step_size or 2.5 * recipe.radius / recipe.steps, start
    answers = net(clean).softmax(1).detach()
    for _ in range(recipe.steps):
        leaf = found.detach().requires_grad_()
        if recipe.method == "pgd":
            score = F.cross_entropy(net(leaf), truth, reduction="sum")
        else:
            score = F.kl_div(net(leaf).log_softmax(1), answers, reduction="sum")
        (gradient,) = torch.autograd.grad(score, leaf)
        found = leaf.detach() + step * gradient.sign()
        found = torch.minimum(torch.maximum(found, clean - recipe.radius), clean + recipe.radius).clamp(0, 1)
    return found


def plain_training(recipe: AdversarialTraining, given: xai.Classifier, images: Tensor, truth: Tensor, seed: int):
    """The whole training as a loop of ten lines, with plain SGD; returns the weights."""
    classifier = copy.deepcopy(given)
    module, source = classifier.module, torch.Generator().manual_seed(seed)
    optimiser = torch.optim.SGD(module.parameters(), recipe.learning_rate, momentum=0.9, weight_decay=5e-4)
    keys = [image_key(image) for image in images]
    for epoch in range(recipe.epochs):
        for rows in torch.randperm(len(images), generator=source).split(recipe.batch_size):
            clean, labels = images[rows], truth[rows]
            seeds = seeds_of(seed, [keys[k] for k in rows.tolist()], torch.device("cpu"))
            begin = random_start if recipe.method == "pgd" else nudged
            start = begin(clean, recipe.radius, "linf", seeds, epoch)
            module.eval()
            found = clean if recipe.method == "plain" else plain_search(recipe, classifier, clean, labels, start)
            module.train()
            if recipe.method == "trades":
                logits = module(classifier.normalise(clean))
                moved = module(classifier.normalise(found)).log_softmax(1)
                natural = F.cross_entropy(logits, labels)
                loss = natural + recipe.beta * F.kl_div(moved, logits.softmax(1), reduction="batchmean")
            else:
                loss = F.cross_entropy(module(classifier.normalise(found)), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return weights(classifier)


@pytest.mark.parametrize("make", [network, linear])
@pytest.mark.parametrize("method", ["pgd", "trades", "plain"])
def test_some_steps_equal_the_plain_formulas(method: str, make: Callable[[], xai.Classifier]) -> None:
    recipe = replace(SHORT, method=method, optimiser="sgd", schedule="constant", learning_rate=0.02)
    classifier = make()
    classifier.module.double()  # or the sign of a gradient next to zero depends on the order of a sum
    images, labels = batch_for(classifier)
    images = images.double()
    found = weights(recipe.run(classifier, images, labels, seed=5).classifier)
    wanted = plain_training(recipe, classifier, images, labels, 5)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12)
    assert any(not torch.equal(value, weights(classifier)[name]) for name, value in found.items())


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_search_ends_where_the_attack_ends_on_pictures_that_it_cannot_fool(norm: str) -> None:
    classifier = network()
    classifier.module.eval()
    images, _ = digits(0, 40)
    labels = classifier.predict(images).index
    eps = {"linf": 0.02, "l2": 0.15, "l1": 0.7}[norm]
    recipe = AdversarialTraining("pgd", eps=eps, norm=norm, steps=7, step_size=eps / 5)
    seeds = seeds_of(3, [image_key(image) for image in images], torch.device("cpu"))
    found = recipe.search(classifier, images, torch.as_tensor(labels), seeds, 0)
    attack = ATTACKS["pgd"](steps=7, step_size=eps / 5).run(classifier, images, labels, eps=eps, norm=norm, seed=3)
    assert 5 < int(attack.robust.sum()) < 40
    torch.testing.assert_close(found[attack.robust], attack.adversarial[attack.robust], rtol=0, atol=2e-5)


@pytest.mark.parametrize("method", ["pgd", "trades"])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_search_stays_inside_and_beats_random_points(method: str, norm: str) -> None:
    classifier = network()
    classifier.module.eval()
    images, labels = digits(0, 16)
    eps = {"linf": 0.1, "l2": 0.7, "l1": 3.0}[norm]
    recipe = AdversarialTraining(method, eps=eps, norm=norm, steps=10)
    seeds = seeds_of(0, [image_key(image) for image in images], torch.device("cpu"))
    found = recipe.search(classifier, images, labels, seeds, 0)
    assert bool((length(found.double() - images.double(), norm) <= eps * (1 + 1e-6) + 1e-6).all())
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    answers = classifier.logits(images)

    def score(at: Tensor) -> Tensor:
        logits = classifier.logits(at)
        if method == "trades":
            return divergence(logits, answers).detach()
        return F.cross_entropy(logits, labels, reduction="none").detach()

    randoms = torch.stack([score(random_start(images, eps, norm, seeds, k)) for k in range(1, 30)]).amax(0)
    assert float((score(found) > randoms).double().mean()) > 0.9
    assert not torch.equal(found, recipe.search(classifier, images, labels, seeds, 1))


@pytest.fixture(scope="module")
def trained() -> dict[str, TrainingResult]:
    images, labels = digits(0, 900)
    base = AdversarialTraining(eps=0.1, steps=5, epochs=6, batch_size=50, learning_rate=0.02, validation_steps=10)
    return {
        method: replace(base, method=method).run(network(), images, labels, validation=digits(900, 1200))
        for method in ("plain", "pgd", "trades")
    }


@pytest.mark.parametrize("method", ["pgd", "trades"])
def test_robust_accuracy_goes_up(method: str, trained: dict[str, TrainingResult]) -> None:
    images, labels = digits(1200, 1600)
    attack = ATTACKS["pgd"](steps=20)
    plain, robust = (attack.run(trained[k].classifier, images, labels, eps=0.1) for k in ("plain", method))
    assert plain.clean_accuracy > 0.85
    assert robust.clean_accuracy > 0.75
    assert robust.interval[0] > plain.interval[1] + 0.1


def test_curve_tells_what_an_attack_tells(trained: dict[str, TrainingResult]) -> None:
    images, labels = digits(900, 1200)
    for result in trained.values():
        chosen = result.history[result.best - 1]
        again = ATTACKS["pgd"](steps=10).run(result.classifier, images, labels, eps=0.1)
        assert chosen.robust == again.robust_accuracy
        assert chosen.robust_interval == again.interval
        assert chosen.clean == again.clean_accuracy
        assert chosen.clean_interval[0] < chosen.clean < chosen.clean_interval[1]
        aim = "clean" if result.settings["method"] == "plain" else "robust"
        assert getattr(chosen, aim) == max(getattr(epoch, aim) for epoch in result.history)
        assert [epoch.number for epoch in result.history] == [1, 2, 3, 4, 5, 6]
        assert result.history[-1].loss < result.history[0].loss
        assert result.history[-1].train_accuracy > result.history[0].train_accuracy
        assert "report its accuracies on others" in result.notes[0]


@pytest.mark.parametrize(
    ("method", "curve", "best"),
    [
        ("trades", [(0.9, 0.3), (0.7, 0.5), (0.95, 0.4)], 2),
        ("pgd", [(0.9, 0.3), (0.7, 0.5), (0.8, 0.5)], 3),
        ("pgd", [(0.9, 0.5), (0.9, 0.5), (0.9, 0.1)], 1),
        ("plain", [(0.9, 0.3), (0.7, 0.5), (0.95, 0.1)], 3),
    ],
)
def test_the_best_epoch_comes_back(
    method: str, curve: list[tuple[float, float]], best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, seen = iter(curve), []
    monkeypatch.setattr(TrainingRun, "_curve", lambda _self: tuple(x for v in next(told) for x in (v, (0.0, 1.0))))
    images, labels = digits(0, 40)
    result = replace(SHORT, method=method, epochs=3).run(
        network(), images, labels, validation=(images, labels), on_epoch=lambda _, made: seen.append(made.fingerprint)
    )
    assert result.best == best
    assert len(set(seen)) == 3
    assert result.model["fingerprint"] == result.classifier.fingerprint == seen[best - 1]


def test_without_validation_the_last_epoch_counts() -> None:
    images, labels = digits(0, 60)
    result = SHORT.run(network(), images, labels)
    assert result.best == 2
    assert result.history[-1].clean is None
    assert result.history[-1].robust_interval is None
    assert "last epoch" in result.notes[0]


def test_the_seed_decides() -> None:
    images, labels = digits(0, 60)

    def run(seed: int, **given: Any) -> dict[str, Tensor]:
        return weights(SHORT.run(network(dropout=0.5), images, labels, seed=seed, **given).classifier)

    def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
        return all(torch.equal(value, second[name]) for name, value in first.items())

    wanted = run(0)
    torch.rand(7)
    assert same(run(0), wanted)
    assert not same(run(1), wanted)
    drawn = run(0, on_epoch=lambda *_: torch.rand(5), progress=lambda *_: None)
    assert same(drawn, wanted), "what a callback draws must not matter"
    held = replace(SHORT, epochs=1).run(network(dropout=0.5), images, labels, validation=digits(60, 90))
    alone = replace(SHORT, epochs=1).run(network(dropout=0.5), images, labels)
    assert same(weights(held.classifier), weights(alone.classifier)), "validation must not change the training"


class Lazy:
    """Images that are read one by one, as those of a data set."""

    def __init__(self, images: Tensor) -> None:
        self.images, self.most, self.read = images, 0, 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, k: int) -> Tensor:
        self.read += 1
        return self.images[k]


def test_pictures_are_read_batch_by_batch() -> None:
    images, labels = digits(0, 61)
    lazy = Lazy(images)
    found = SHORT.run(network(), lazy, labels)
    assert lazy.read == 2 * 56 + 3  # seven full batches of eight in each epoch; the first image for the checks
    wanted = SHORT.run(network(), images, labels)
    assert found.model["fingerprint"] == wanted.model["fingerprint"]
    arrays = SHORT.run(network(), images.movedim(1, -1).numpy(), labels.numpy())
    assert arrays.model["fingerprint"] == wanted.model["fingerprint"]


def test_augmentation_sees_rows_and_generator() -> None:
    images, labels = digits(0, 40)
    seen: list[Tensor] = []

    def mirrored(given: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        assert torch.equal(given, images[rows])
        seen.append(rows)
        return given.flip(-1) if float(torch.rand(1, generator=generator)) < 0.5 else given

    result = SHORT.run(network(), images, labels, augment=mirrored)
    assert torch.equal(torch.cat(seen[:5]).sort().values, torch.arange(40))
    assert "mirrored" in result.settings["augment"]
    assert result.model["fingerprint"] == SHORT.run(network(), images, labels, augment=mirrored).model["fingerprint"]
    assert result.model["fingerprint"] != SHORT.run(network(), images, labels).model["fingerprint"]
    with pytest.raises(RangeError, match="images"):
        SHORT.run(network(), images, labels, augment=lambda given, _rows, _generator: given * 2)


@pytest.mark.parametrize("schedule", ["cycle", "cosine", "steps", "constant"])
def test_schedules(schedule: str) -> None:
    images, labels = digits(0, 80)
    result = replace(SHORT, method="plain", schedule=schedule, epochs=4).run(network(), images, labels)
    rates = [epoch.learning_rate / 0.01 for epoch in result.history]
    wanted = {
        "constant": [1, 1, 1, 1],
        "steps": [1, 1, 0.1, 0.01],
        "cosine": [(1 + np.cos(np.pi * k / 40)) / 2 for k in (9, 19, 29, 39)],
    }
    if schedule == "cycle":
        assert rates[0] > 0.5 > rates[2] > rates[3]
        assert rates[3] < 1e-4
    else:
        assert rates == pytest.approx(wanted[schedule])


@pytest.mark.parametrize("schedule", ["cycle", "cosine", "steps", "constant"])
@pytest.mark.parametrize("count", [1, 3])
def test_few_pictures(schedule: str, count: int) -> None:
    images, labels = digits(0, count)
    result = replace(SHORT, schedule=schedule, epochs=1).run(network(), images, labels)
    assert all(bool(torch.isfinite(value).all()) for value in weights(result.classifier).values())


def test_progress_counts_steps() -> None:
    calls: list[tuple[int, int]] = []
    images, labels = digits(0, 35)
    SHORT.run(network(), images, labels, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(k, 8) for k in range(1, 9)]


def test_the_model_stays_as_it_was() -> None:
    net = lived_in(network().module)
    classifier = xai.Classifier(net, channels=1)
    images, labels = digits(0, 30)
    before, fixed = snapshot(net), {n for n, p in net.named_parameters() if not p.requires_grad}
    result = SHORT.run(classifier, images, labels, validation=digits(30, 40))
    assert snapshot(net) == before
    made = result.classifier.module
    assert not any(part.training for part in made.modules())
    assert all(parameter.grad is None for parameter in made.parameters())
    assert fixed
    for name, value in net.named_parameters():
        assert torch.equal(value, dict(made.named_parameters())[name]) == (name in fixed)
    answers = iter([False] * 5 + [True] * 5)
    with pytest.raises(Stopped, match="epoch 2 of 2, as asked"):
        SHORT.run(classifier, images, labels, should_stop=lambda: next(answers))
    assert snapshot(net) == before


def test_works_inside_inference_mode() -> None:
    images, labels = digits(0, 16)
    with torch.inference_mode():
        result = SHORT.run(network(), images, labels)
    assert result.model["fingerprint"] == SHORT.run(network(), images, labels).model["fingerprint"]


def test_the_record_is_plain() -> None:
    images, labels = digits(0, 16)
    classifier = network()
    result = AdversarialTraining("trades", epochs=1, steps=1).run(
        classifier, images, labels, validation=(images, labels)
    )
    told = json.loads(json.dumps(result.to_dict()))
    assert told["settings"]["eps"] == pytest.approx(8 / 255)
    assert told["settings"]["method"] == "trades"
    assert told["start"] == classifier.fingerprint != told["model"]["fingerprint"]
    assert len(told["history"][0]["robust_interval"]) == 2
    assert told["versions"]["torch"]


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images.detach().flatten(1))


def test_bad_input_is_refused() -> None:
    images, labels = digits(0, 8)
    with pytest.raises(ShapeError, match="label"):
        SHORT.run(network(), images, labels[:3])
    with pytest.raises(TargetError, match="class index from 0 to 9"):
        SHORT.run(network(), images, labels + 5)
    with pytest.raises(RangeError, match="Divide by 255"):
        SHORT.run(network(), images * 255, labels)
    with pytest.raises(ShapeError, match="input_size"):  # grey images are given to it in colour, and are too small
        SHORT.run(linear(), images, labels)
    with pytest.raises(ShapeError, match="many images"):
        SHORT.run(network(), "image.png", labels)
    with pytest.raises(ShapeError, match="at least one image"):
        SHORT.run(network(), [], [])
    with pytest.raises(ShapeError, match="label"):
        SHORT.run(network(), images, labels, validation=(images, labels[:2]))
    with pytest.raises(UnsupportedModelError, match="requires_grad_"):
        SHORT.run(xai.Classifier(network().module.requires_grad_(False), channels=1), images, labels)
    with pytest.raises(UnsupportedModelError, match="No gradient reaches the pixels"):
        SHORT.run(xai.Classifier(Detached(), channels=1), images, labels)
    with pytest.raises(RangeError, match="seed"):
        SHORT.run(network(), images, labels, seed=0.5)


def test_divergence_of_the_training_is_named() -> None:
    images, labels = digits(0, 64)
    wild = replace(SHORT, method="plain", optimiser="sgd", schedule="constant", learning_rate=1e38)
    with pytest.raises(NonFiniteError, match="diverged in epoch 1: lower `learning_rate`"):
        wild.run(network(), images, labels)
    with pytest.raises(NonFiniteError, match="diverged in epoch 1"):
        replace(wild, batch_size=64).run(network(), images, labels)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"method": "trade"}, NameLookupError),
        ({"norm": "l0"}, NameLookupError),
        ({"optimiser": "adam"}, NameLookupError),
        ({"schedule": "linear"}, NameLookupError),
        ({"eps": -1.0}, RangeError),
        ({"steps": 0}, RangeError),
        ({"step_size": 0.0}, RangeError),
        ({"beta": -1.0}, RangeError),
        ({"beta": float("nan")}, RangeError),
        ({"epochs": 0}, RangeError),
        ({"batch_size": 2.5}, RangeError),
        ({"learning_rate": 0}, RangeError),
        ({"learning_rate": float("inf")}, RangeError),
        ({"learning_rate": "1e-3"}, RangeError),
        ({"weight_decay": True}, RangeError),
        ({"validation_steps": 0}, RangeError),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(settings))):
        AdversarialTraining(**settings)
