"""Auto-PGD, an attack without settings to tune.

Step size and restarts from the best point follow from the course of the loss.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import ClassVar

import torch
from torch import Tensor

from xai.core.validation import check_whole
from xai.robust.attacks.base import Attack, AttackCost
from xai.robust.attacks.search import (
    LOSSES,
    Eps,
    Search,
    border_start,
    cross_entropy,
    length,
    project,
    random_start,
    wide,
)

_RHO, _MOMENTUM = 0.75, 0.75
_FIRST, _SHRINK, _LEAST = 0.22, 0.03, 0.06  # checkpoints, as shares of the steps
_FIRST_L1, _TOP_L1, _SLOWER_L1, _SLOWEST_L1 = 0.04, 0.2, 1.5, 10.0
_TINY = 1e-12
Score = Callable[[Tensor, Tensor], Tensor]
"""Of logits and the numbers of the images, (n,)."""


class AutoPGD(Attack):
    """What the forms of Auto-PGD share."""

    family: ClassVar[str] = "gradient"
    loss: ClassVar[str]

    steps: int
    restarts: int = 1
    eot: int = 1

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            RangeError: counts below 1.
        """
        for f in fields(self):  # type: ignore[arg-type]
            check_whole(f.name, getattr(self, f.name))

    @property
    def cost(self) -> AttackCost:
        """Rows forward and back for each step and restart."""
        each = (self.steps + 1) * self.restarts * self.eot
        return AttackCost(forward=each, backward=each)

    def _attack(self, search: Search) -> None:
        loss = LOSSES[self.loss]

        def score(logits: Tensor, rows: Tensor) -> Tensor:
            if search.targets is not None:
                return -cross_entropy(logits, search.targets[rows])
            return loss(logits, search.labels[rows])

        for restart in range(self.restarts):
            if len(rows := search.alive()):
                climb(search, rows, self.steps, score, restart)


def climb(search: Search, rows: Tensor, steps: int, score: Score, draw: int) -> None:
    """Raise a score from a random start; l1 in three rounds of shrinking radius, as AutoAttack does.

    Source: Croce & Hein 2020 (arXiv 2003.01690), algorithm 1; l1: Croce & Hein 2021 (arXiv 2103.01208).
    """
    first = random_start if search.norm == "l1" else border_start
    start = first(search.clean[rows], search.radius(rows), search.norm, search.seeds[rows], draw)
    if search.norm != "l1":
        _Climb(search, rows, start, search.radius(rows), steps, score).run()
        return
    for factor, share in ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4)):
        radius = search.radius(rows) * factor
        wide_ball = project(start, search.clean[rows], radius, "l1")
        walk = _Climb(search, rows, wide_ball, radius, max(1, round(share * steps)), score, real=factor == 1)
        walk.run()
        left = ~search.done[rows]
        rows, start = rows[left], walk.best_of(rows[left])
        if not len(rows):
            return


@dataclass(eq=False)
class _Climb:
    """One run; every tensor has a line for each image that is not misclassified yet."""

    search: Search
    rows: Tensor
    images: Tensor
    radius: Eps
    steps: int
    score: Score
    real: bool = True  # False: the ball is larger than allowed, so nothing found here counts
    history: list[Tensor] = field(default_factory=list)

    def run(self) -> None:
        """Climb until the steps are spent or nobody is left."""
        sparse = self.search.norm == "l1"
        count = len(self.rows)
        self.before = self.images
        self.best_points = (self.rows.clone(), self.images.clone())
        _, value, self.gradient = self._evaluate()
        self.best, self.best_value, self.best_gradient = self.images, value, self.gradient
        self.step = torch.as_tensor(self.radius, dtype=value.dtype, device=value.device).expand(count).clone()
        self.step = self.step * (1.0 if sparse else 2.0)
        self.top = torch.full_like(self.step, _TOP_L1)
        self.sparsity = torch.full_like(self.step, float(self.images[0].numel()))
        self.reduced = torch.ones(count, dtype=torch.bool, device=value.device)
        self.last_best = value
        period = max(1, int((_FIRST_L1 if sparse else _FIRST) * self.steps))
        since = 0
        self._leave()
        for k in range(self.steps):
            if not len(self.rows):
                return
            self._move(first=k == 0)
            _, value, self.gradient = self._evaluate()
            self._remember(value)
            since += 1
            if since == period:
                self._adapt(period)
                since = 0
                period = (
                    period
                    if sparse
                    else max(period - max(1, int(_SHRINK * self.steps)), max(1, int(_LEAST * self.steps)))
                )
            self._leave()

    def best_of(self, rows: Tensor) -> Tensor:
        """Return the best point of some images, wherever they are now."""
        numbers, images = self.best_points
        place = {int(row): k for k, row in enumerate(numbers)}
        return images[[place[int(row)] for row in rows]]

    def _evaluate(self) -> tuple[Tensor, Tensor, Tensor]:
        logits, value, gradient = self.search.gradient(self.images, lambda z: self.score(z, self.rows))
        if self.real:
            self.search.keep(self.images, self.rows, logits)
        return logits, value, gradient

    def _move(self, *, first: bool) -> None:
        """Take a step with momentum."""
        search, images, before = self.search, self.images, self.before
        clean, radius = search.clean[self.rows], self._radius()
        self.before = images
        if search.norm == "l1":
            self.images = project(images + self._sparse_step(), clean, radius, "l1")
            return
        gradient = self.gradient
        direction = (
            gradient.sign() if search.norm == "linf" else gradient / wide(length(gradient, "l2") + _TINY, gradient)
        )
        ahead = project(images + wide(self.step, images) * direction, clean, radius, search.norm)
        share = 1.0 if first else _MOMENTUM
        self.images = project(
            images + share * (ahead - images) + (1 - share) * (images - before), clean, radius, search.norm
        )

    def _sparse_step(self) -> Tensor:
        flat = self.gradient.flatten(1)
        size = flat.abs()
        order = size.sort(1).values
        place = ((1 - self.top) * flat.shape[1]).clamp(0, flat.shape[1] - 1).long()
        chosen = flat.sign() * (size >= order.gather(1, place[:, None]))
        chosen = chosen / chosen.abs().sum(1, keepdim=True).clamp_min(1)
        return chosen.view_as(self.images) * wide(self.step, self.images)

    def _remember(self, value: Tensor) -> None:
        """Keep the best point so far."""
        better = value > self.best_value
        self.history.append(value)
        self.best = torch.where(wide(better, self.images).bool(), self.images, self.best)
        self.best_gradient = torch.where(wide(better, self.images).bool(), self.gradient, self.best_gradient)
        self.best_value = torch.where(better, value, self.best_value)

    def _adapt(self, period: int) -> None:
        """At a checkpoint, go on from the best point with a smaller step where the loss runs badly."""
        if self.search.norm == "l1":
            back = self._adapt_sparse()
        else:
            values = torch.stack(self.history[-period - 1 :])
            rises = (values[1:] > values[:-1]).sum(0)
            stuck = ~self.reduced & (self.last_best >= self.best_value)
            back = (rises <= _RHO * period) | stuck
            self.reduced = back
            self.step = torch.where(back, self.step / 2, self.step)
        self.last_best = self.best_value
        which = wide(back, self.images).bool()
        self.images = torch.where(which, self.best, self.images)
        self.gradient = torch.where(which, self.best_gradient, self.gradient)

    def _adapt_sparse(self) -> Tensor:
        """Follow how many pixels the best point changes; return which rows start again from it."""
        clean, radius = self.search.clean[self.rows], torch.as_tensor(self._radius()).to(self.step)
        now = ((self.best - clean).abs() > 0).flatten(1).sum(1).to(self.step)
        fewer = now / self.sparsity.clamp_min(1) < 0.95
        self.top = now / self.best[0].numel() / 1.5
        slower = (self.step / _SLOWER_L1).clamp_min(radius / _SLOWEST_L1)
        self.step = torch.where(fewer, radius.expand_as(slower), torch.minimum(slower, radius))
        self.sparsity = now
        return fewer

    def _radius(self) -> Eps:
        return self.radius

    def _leave(self) -> None:
        """Let the misclassified ones go."""
        self.best_points[1][self._places()] = self.best
        stay = ~self.search.done[self.rows]
        if bool(stay.all()):
            return
        for name in (
            "rows",
            "images",
            "before",
            "gradient",
            "best",
            "best_value",
            "best_gradient",
            "step",
            "top",
            "sparsity",
            "reduced",
            "last_best",
        ):
            setattr(self, name, getattr(self, name)[stay])
        self.radius = self.radius[stay] if isinstance(self.radius, Tensor) else self.radius
        self.history = [values[stay] for values in self.history]

    def _places(self) -> Tensor:
        return torch.searchsorted(self.best_points[0], self.rows)
