"""What adversarial training searches and minimises: its settings and formulas."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import lr_scheduler

from xai.attacks._balls import Eps, check_norm, project, steepest
from xai.attacks._base import DEFAULT_EPS
from xai.attacks._losses import cross_entropy, divergence
from xai.attacks._random import normal
from xai.attacks._search import Search
from xai.attacks._steps import check_count
from xai.core.classifier import Classifier
from xai.core.radii import check_eps
from xai.errors import NameLookupError, RangeError

METHODS = ("pgd", "trades", "plain")
_NUDGE = 0.001  # TRADES starts this far from the picture: at the picture itself its gradient is zero


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
    """The settings; `xai.attacks.training.AdversarialTraining` says what each means."""

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
            check_count(getattr(self, name), name)
        for name in ("beta", "weight_decay"):
            _check_number(getattr(self, name), name, zero=True)
        _check_number(self.learning_rate, "learning_rate")
        if self.step_size is not None:
            _check_number(self.step_size, "step_size")
        if self.eps is not None:
            check_eps(self.eps, self.norm)

    @property
    def radius(self) -> float:
        """The radius used."""
        return DEFAULT_EPS[self.norm] if self.eps is None else float(self.eps)

    def search(self, learner: Classifier, clean: Tensor, labels: Tensor, seeds: Tensor, draw: int) -> Tensor:
        """Return the pictures (B, C, h, w) in the balls around `clean` that the training is done on.

        Args:
            learner: in the mode in which it is to answer.
            clean: (B, C, h, w) in [0, 1].
            labels: (B,) the truth.
            seeds: (B,) int64, of the pictures.
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
            answers = search.logits(clean)
        step = 2.5 * self.radius / self.steps if self.step_size is None else self.step_size

        def score(logits: Tensor) -> Tensor:
            return cross_entropy(logits, labels) if self.method == "pgd" else divergence(logits, answers)

        for _ in range(self.steps):
            _, _, gradient = search.gradient(images, score)
            images = search.inside(images + step * steepest(gradient, self.norm), rows)
        return images

    def loss(self, learner: Classifier, clean: Tensor, harder: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is minimised, and the logits (B, K) of `harder`."""
        if self.method != "trades":
            logits = learner.raw_logits(harder)
            return F.cross_entropy(logits, labels), logits
        answers, logits = learner.raw_logits(clean), learner.raw_logits(harder)
        return F.cross_entropy(answers, labels) + self.beta * divergence(logits, answers).mean(), logits


def nudged(clean: Tensor, eps: Eps, norm: str, seeds: Tensor, draw: int) -> Tensor:
    """Return pictures next to `clean`, inside ball and box: where TRADES begins."""
    return project(clean + _NUDGE * normal(seeds, draw, clean.shape[1:]).to(clean), clean, eps, norm)


def _check_number(value: object, name: str, *, zero: bool = False) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value < float("inf") or not (zero or value):  # type: ignore[operator]
        wanted = "of at least 0" if zero else "above 0"
        raise RangeError(f"Expected `{name}` as a number {wanted}, but got {value!r}.")
