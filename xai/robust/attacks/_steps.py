"""Iterated gradient steps, and the nearest adversarial example of each image."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from xai.core.validation import check_choice, check_number, check_whole
from xai.robust.attacks.base import Attack, AttackCost
from xai.robust.attacks.search import LOSSES, Search, cross_entropy, distance, length, steepest, wide

_WARM_STEPS, _WARM_SHARE = 2, 0.3  # few and large: either the hint is good, or the search begins as ever


class Stepper(Attack):
    """Steps of one length along the gradient, back into the ball after each."""

    family: ClassVar[str] = "gradient"

    steps: int
    loss: str = "ce"
    step_size: float | None = None
    restarts: int = 1
    random_start: bool = False
    decay: float | None = None
    eot: int = 1

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            NameLookupError: unknown loss.
            RangeError: counts below 1 or a step size that is not above 0.
        """
        check_choice("loss", self.loss, LOSSES)
        for name in ("steps", "restarts", "eot"):
            check_whole(name, getattr(self, name))
        check_number("step_size", self.step_size, "(0, inf)", optional=True)

    @property
    def cost(self) -> AttackCost:
        """Rows forward and back for each step, and one to judge the last."""
        each = self.steps * self.restarts * self.eot
        return AttackCost(forward=each + self.restarts * self.eot, backward=each)

    def _attack(self, search: Search) -> None:
        known = search.hinted()
        if self.random_start and len(known):
            assert search.warm is not None
            self._walk(search, known, search.inside(search.warm[known], known), _WARM_STEPS, _WARM_SHARE)
        for restart in range(self.restarts):
            rows = search.alive()
            if not len(rows):
                return
            images = search.start(rows, restart) if self.random_start else search.clean[rows]
            self._walk(search, rows, images, self.steps, self._share())

    def _walk(self, search: Search, rows: Tensor, images: Tensor, steps: int, share: float) -> None:
        momentum = torch.zeros_like(images)
        for _ in range(steps):
            logits, _, gradient = search.gradient(images, self._score(search, rows))
            stay = ~search.keep(images, rows, logits)
            if not bool(stay.all()):
                rows, images, gradient, momentum = rows[stay], images[stay], gradient[stay], momentum[stay]
                if not len(rows):
                    return
            if self.decay is not None:
                size = length(gradient, "l1").clamp_min(1e-12)
                momentum = self.decay * momentum + gradient / wide(size, gradient)
                gradient = momentum
            images = images + self._step(search, rows, gradient, share)
            images = search.inside(images, rows)
        search.look(images, rows)

    def _score(self, search: Search, rows: Tensor) -> Callable[[Tensor], Tensor]:
        if search.targets is not None:
            targets = search.targets[rows]
            return lambda logits: -cross_entropy(logits, targets)
        loss, labels = LOSSES[self.loss], search.labels[rows]
        return lambda logits: loss(logits, labels)

    def _step(self, search: Search, rows: Tensor, gradient: Tensor, share: float) -> Tensor:
        direction = steepest(gradient, search.norm)
        if self.step_size is not None:
            return direction * self.step_size
        return search.scaled(direction, rows, share)

    def _share(self) -> float:
        """Return the default step as a share of the radius."""
        return 1.0 if self.steps == 1 else 2.5 / self.steps


BISECTIONS = 10


class Nearest:
    """The nearest adversarials so far.

    Attributes:
        images: (n, C, h, w); the clean image where none is known.
        sizes: (n,) float64 distances; infinite where none is known.
    """

    def __init__(self, search: Search) -> None:
        self.search = search
        self.images = search.clean.clone()
        self.sizes = torch.full((len(search.clean),), torch.inf, dtype=torch.float64, device=search.clean.device)
        self.bounded = bool(torch.isfinite(torch.as_tensor(search.eps)).all())

    def open(self) -> Tensor:
        """Return the numbers of the images to search: all, or with a finite `eps` those still right inside it."""
        return self.search.alive() if self.bounded else torch.arange(len(self.sizes), device=self.sizes.device)

    def take(self, rows: Tensor, images: Tensor, misclassified: Tensor) -> Tensor:
        """Keep the misclassified ones that are nearer than before; return which stay in the search."""
        search = self.search
        sizes = distance(images, search.clean[rows], search.norm)
        better = misclassified & (sizes < self.sizes[rows])
        which = rows[better]
        self.images[which], self.sizes[which] = images[better], sizes[better]
        inside = which[self.sizes[which] <= torch.as_tensor(search.radius(which)).to(self.sizes)]
        search.best[inside] = self.images[inside]
        search.done[inside] = True
        return ~search.done[rows] if self.bounded else torch.ones_like(better)

    def narrow(self) -> None:
        """Draw what was found towards the clean image by bisection of the line between them."""
        rows = self.open()
        rows = rows[self.sizes[rows].isfinite()]
        low, high = (torch.full((len(rows),), v, dtype=self.images.dtype, device=rows.device) for v in (0.0, 1.0))
        clean, far = self.search.clean[rows], self.images[rows]
        for _ in range(BISECTIONS):
            if not len(rows):
                return
            middle = (low + high) / 2
            images = (clean + (far - clean) * wide(middle, clean)).clamp(0, 1)
            misclassified = self.search.misclassified(self.search.logits(images), rows)
            stay = self.take(rows, images, misclassified)
            low, high = torch.where(misclassified, low, middle), torch.where(misclassified, middle, high)
            rows, low, high, clean, far = rows[stay], low[stay], high[stay], clean[stay], far[stay]


class NearestStepper(Attack):
    """One gradient step at a time towards the nearest adversarial, and a bisection at the end."""

    family: ClassVar[str] = "minimal"
    minimal: ClassVar[bool] = True

    steps: int

    @property
    def cost(self) -> AttackCost:
        """Rows for each step."""
        return AttackCost(forward=self.steps + 1 + BISECTIONS, backward=self.steps)
