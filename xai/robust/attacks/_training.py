"""The loop of adversarial training, its settings and formulas."""

import copy
import time
from collections.abc import Callable, Sized
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import lr_scheduler

from xai.core.images.inputs import ImageLike
from xai.core.labels import check_labels
from xai.core.model.classifier import Classifier
from xai.core.model.hooks import borrowed
from xai.core.results.message import Message
from xai.core.runtime.batching import Progress, ShouldStop
from xai.core.runtime.randomness import image_key
from xai.core.validation import check_eps, check_number, check_whole
from xai.errors import NameLookupError, NonFiniteError, ShapeError, Stopped, UnsupportedModelError
from xai.robust.attacks.base import DEFAULT_EPS
from xai.robust.attacks.pgd import PGD
from xai.robust.attacks.search import (
    Eps,
    Search,
    check_norm,
    cross_entropy,
    divergence,
    normal,
    project,
    seeds_of,
    steepest,
)
from xai.stats.intervals import wilson

METHODS = ("pgd", "trades", "plain")
_NUDGE = 0.001  # TRADES starts this far from the image: at the image itself its gradient is zero


def _adamw(weights: list[nn.Parameter], recipe: "Recipe") -> torch.optim.Optimizer:
    return torch.optim.AdamW(weights, recipe.learning_rate, weight_decay=recipe.weight_decay)


def _sgd(weights: list[nn.Parameter], recipe: "Recipe") -> torch.optim.Optimizer:
    return torch.optim.SGD(weights, recipe.learning_rate, momentum=0.9, weight_decay=recipe.weight_decay)


OPTIMISERS = {"adamw": _adamw, "sgd": _sgd}
SCHEDULES: dict[str, Callable[[torch.optim.Optimizer, float, int], lr_scheduler.LRScheduler]] = {
    "cycle": lambda optimiser, rate, steps: lr_scheduler.OneCycleLR(optimiser, rate, steps),
    "cosine": lambda optimiser, _rate, steps: lr_scheduler.CosineAnnealingLR(optimiser, steps),
    "steps": lambda optimiser, _rate, steps: lr_scheduler.MultiStepLR(optimiser, [steps // 2, steps * 3 // 4]),
    "constant": lambda optimiser, _rate, _steps: lr_scheduler.ConstantLR(optimiser, 1.0),
}


@dataclass(frozen=True)
class Recipe:
    """The settings; `xai.robust.attacks.training.AdversarialTraining` says what each means."""

    method: str = "trades"
    eps: float | None = None
    norm: str = "linf"
    steps: int = 10
    step_size: float | None = None
    beta: float = 6.0
    epochs: int = 20
    batch_size: int = 128
    optimiser: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 5e-4
    schedule: str = "cycle"
    validation_steps: int = 20

    def __post_init__(self) -> None:
        """Check the settings."""
        check_norm(self.norm)
        for name, known in (("method", METHODS), ("optimiser", OPTIMISERS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in known:
                raise NameLookupError(name, getattr(self, name), known)
        for name in ("steps", "epochs", "batch_size", "validation_steps"):
            check_whole(name, getattr(self, name))
        for name in ("beta", "weight_decay"):
            check_number(name, getattr(self, name), "[0, inf)")
        check_number("learning_rate", self.learning_rate, "(0, inf)")
        if self.step_size is not None:
            check_number("step_size", self.step_size, "(0, inf)")
        if self.eps is not None:
            check_eps(self.eps, self.norm)

    @property
    def radius(self) -> float:
        """The radius used."""
        return DEFAULT_EPS[self.norm] if self.eps is None else float(self.eps)

    def search(self, learner: Classifier, clean: Tensor, labels: Tensor, seeds: Tensor, draw: int) -> Tensor:
        """Return the images (B, C, h, w) in the balls around `clean` that the training is done on.

        Args:
            learner: in the mode in which it is to answer.
            clean: (B, C, h, w) in [0, 1].
            labels: (B,) the truth.
            seeds: (B,) int64, of the images.
            draw: which random start, one per epoch.
        """
        if self.method == "plain":
            return clean
        search = Search(learner, clean, labels, None, self.radius, self.norm, seeds)
        rows = torch.arange(len(clean), device=clean.device)
        if self.method == "pgd":
            images = search.start(rows, draw)
        else:
            images = nudged(clean, self.radius, self.norm, seeds, draw)
            clean_logits = search.logits(clean)
        step = 2.5 * self.radius / self.steps if self.step_size is None else self.step_size

        def score(logits: Tensor) -> Tensor:
            return cross_entropy(logits, labels) if self.method == "pgd" else divergence(logits, clean_logits)

        for _ in range(self.steps):
            _, _, gradient = search.gradient(images, score)
            images = search.inside(images + step * steepest(gradient, self.norm), rows)
        return images

    def loss(self, learner: Classifier, clean: Tensor, harder: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is minimised, and the logits (B, K) of `harder`."""
        if self.method != "trades":
            logits = learner.raw_logits(harder)
            return F.cross_entropy(logits, labels), logits
        clean_logits, logits = learner.raw_logits(clean), learner.raw_logits(harder)
        return F.cross_entropy(clean_logits, labels) + self.beta * divergence(logits, clean_logits).mean(), logits


def nudged(clean: Tensor, eps: Eps, norm: str, seeds: Tensor, draw: int) -> Tensor:
    """Return images next to `clean`, inside ball and box: where TRADES begins."""
    return project(clean + _NUDGE * normal(seeds, draw, clean.shape[1:]).to(clean), clean, eps, norm)


Augment = Callable[[Tensor, Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Epoch:
    """One pass over the training images.

    Attributes:
        number: counted from 1.
        loss: mean of what was minimised.
        train_accuracy: share of the training rows, as they were trained on, answered right before their step.
        learning_rate: of the last step.
        clean: accuracy on the validation images; None without any.
        clean_interval: 95 % Wilson interval of it.
        robust: the same under PGD.
        robust_interval: 95 % Wilson interval of it.
        seconds: wall time, validation included.
    """

    number: int
    loss: float
    train_accuracy: float
    learning_rate: float
    clean: float | None
    clean_interval: tuple[float, float] | None
    robust: float | None
    robust_interval: tuple[float, float] | None
    seconds: float


OnEpoch = Callable[[Epoch, Classifier], object]


class TrainingImages:
    """Training images by number: held in memory, or read when asked for."""

    def __init__(self, classifier: Classifier, images: ImageLike, labels: Any) -> None:
        self._classifier, self._images, self._ready = classifier, images, None
        if isinstance(images, Tensor | np.ndarray):
            self._ready = classifier.prepare(images).inputs
        elif not isinstance(images, Sized) or not hasattr(images, "__getitem__") or isinstance(images, str | bytes):
            raise ShapeError(f"Expected many images to train on, but got {type(images).__name__}. Give (N, C, H, W).")
        count = len(images if self._ready is None else self._ready)
        if not count:
            raise ShapeError("Expected at least one image to train on, but got none.")
        first = self.images(torch.arange(1))
        classifier.check_images(first)
        classifier.count_classes(first)
        self.labels = check_labels(classifier, labels, count)

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, rows: Tensor) -> Tensor:
        """Return inputs (B, C, h, w) by number."""
        if self._ready is not None:
            return self._ready[rows.to(self._ready.device)]
        return self._classifier.prepare([self._images[k] for k in rows.tolist()]).inputs


def held_out(classifier: Classifier, images: ImageLike, labels: Any) -> tuple[Tensor, Tensor]:
    """Return validation images as inputs, and the truth."""
    inputs = classifier.prepare(images).inputs
    classifier.check_images(inputs)
    return inputs, check_labels(classifier, labels, len(inputs))


@dataclass(eq=False)
class TrainingRun:
    """One training: the loop, the curve, the best weights."""

    recipe: Recipe
    learner: Classifier
    images: TrainingImages
    validation: tuple[Tensor, Tensor] | None
    augment: Augment | None
    seed: int
    on_epoch: OnEpoch | None
    should_stop: ShouldStop | None
    history: list[Epoch] = field(default_factory=list)
    best: int = 0

    def run(self, report: Progress | None) -> None:
        """Train all epochs and go back to the best one."""
        recipe, module = self.recipe, self.learner.module
        weights = [parameter for parameter in module.parameters() if parameter.requires_grad]
        if not weights:
            raise UnsupportedModelError(
                f"The model {self.learner.name!r} has no parameter to train. Call `requires_grad_(True)` on what is to "
                "be trained."
            )
        self.size = min(recipe.batch_size, len(self.images))
        self.total = recipe.epochs * (len(self.images) // self.size)
        self.optimiser = OPTIMISERS[recipe.optimiser](weights, recipe)
        self.schedule = SCHEDULES[recipe.schedule](self.optimiser, recipe.learning_rate, self.total)
        self.source, self.done, self.report = torch.Generator().manual_seed(self.seed), 0, report
        best_weights: dict[str, Any] | None = None
        for number in range(1, recipe.epochs + 1):
            self.history.append(self._epoch(number))
            if self._is_best():
                self.best = number
                best_weights = copy.deepcopy(module.state_dict()) if self.validation else None
            if self.on_epoch is not None:
                with borrowed(module):
                    self.on_epoch(self.history[-1], self.learner)
        if best_weights is not None:
            module.load_state_dict(best_weights)

    def _is_best(self) -> bool:
        """Whether the last epoch beats all before it: in robust accuracy, then in clean; for "plain" in clean first."""
        if self.validation is None or not self.best:
            return True
        aims = ("clean", "robust") if self.recipe.method == "plain" else ("robust", "clean")
        last, best = ([getattr(self.history[k], aim) for aim in aims] for k in (-1, self.best - 1))
        return last > best

    def _epoch(self, number: int) -> Epoch:
        began = time.perf_counter()
        order = torch.randperm(len(self.images), generator=self.source)
        steps = len(order) // self.size
        total, right, rate = 0.0, 0, 0.0
        try:
            for rows in order[: steps * self.size].split(self.size):  # type: ignore[no-untyped-call]
                if self.should_stop is not None and self.should_stop():
                    raise Stopped(f"Stopped in epoch {number} of {self.recipe.epochs}, as asked.")
                rate = self.optimiser.param_groups[0]["lr"]
                loss, hits = self._step(rows, number)
                total, right = total + loss, right + hits
            curve = self._curve()
        except NonFiniteError as error:
            raise NonFiniteError(f"The training diverged in epoch {number}: lower `learning_rate`. {error}") from error
        seconds = time.perf_counter() - began
        return Epoch(number, total / steps, right / (steps * self.size), float(rate), *curve, seconds)

    def _step(self, rows: Tensor, number: int) -> tuple[float, int]:
        """Take one step; return its loss and how many rows were answered right."""
        learner, given = self.learner, self.images.images(rows)
        seeds = seeds_of(self.seed, [image_key(image) for image in given], learner.device)
        clean = given if self.augment is None else self.augment(given, rows, self.source)
        learner.check_images(clean)
        clean = clean.to(device=learner.device, dtype=torch.promote_types(learner.dtype, torch.float32))
        labels = self.images.labels[rows].to(learner.device)
        harder = self.recipe.search(learner, clean, labels, seeds, number - 1)
        learner.module.train()
        loss, logits = self.recipe.loss(learner, clean, harder, labels)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.schedule.step()
        learner.module.eval()
        self.done += 1
        if self.report is not None:
            self.report(self.done, self.total)
        return float(loss.detach()), int((logits.argmax(1) == labels).sum())

    def _curve(self) -> tuple[float | None, tuple[float, float] | None, float | None, tuple[float, float] | None]:
        """Return clean and robust accuracy on the validation images, each with its interval."""
        if self.validation is None:
            self.learner.logits_of(self.images.images(torch.arange(1)))  # the last step may have diverged
            return None, None, None, None
        images, labels = self.validation
        recipe = self.recipe
        result = PGD(steps=recipe.validation_steps).run(
            self.learner,
            images,
            labels,
            eps=recipe.radius,
            norm=recipe.norm,
            seed=self.seed,
            should_stop=self.should_stop,
        )
        low, high = wilson(int((result.clean_predictions == result.labels).sum()), len(result))
        return result.clean_accuracy, (float(low), float(high)), result.robust_accuracy, result.interval

    def notes(self) -> tuple[str, ...]:
        """Return what to beware of."""
        if self.validation is None:
            return (Message("no validation images: the weights are those of the last epoch"),)
        return (Message("the epoch was chosen on the validation images: report its accuracies on others"),)
