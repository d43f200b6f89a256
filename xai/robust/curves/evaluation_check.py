"""What the checks of an evaluation look at, and what one of them says."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from xai.core.model.classifier import Classifier
from xai.core.model.hooks import copied
from xai.core.results.message import Message
from xai.core.runtime.randomness import noise_like
from xai.robust.attacks.base import ATTACKS, Attack
from xai.robust.attacks.search import cross_entropy, margin
from xai.robust.curves.stages import CurveWork, ImageBounds

PASSED, FIRED, EXPLAINED, NOT_CHECKED = "passed", "fired", "explained", "not checked"
NONE_CORRECT = Message("no image is predicted correctly")
SAMPLE = 32  # images for what is asked of each
SEARCHED = 64  # images for searches that are made for a check alone


@dataclass(frozen=True)
class EvaluationCheck:
    """One check of an evaluation.

    Attributes:
        name: of the flag that it raises.
        status: "passed", "fired", "explained" (it would have fired, as a consequence of a flag) or "not checked".
        value: what was measured, None where nothing was.
        threshold: beyond which it fires, None where there is none.
        reason: what was measured.
        next_step: what to do about it.
    """

    name: str
    status: str
    value: float | None
    threshold: float | None
    reason: str
    next_step: str

    def explained(self, cause: str) -> "EvaluationCheck":
        """Return the check as a consequence of another one; only a fired one becomes one."""
        if self.status != FIRED:
            return self
        reason = Message("{reason} This follows from {cause}.", reason=self.reason, cause=cause)
        return replace(self, status=EXPLAINED, reason=reason)


def judged(name: str, value: float, threshold: float, reason: Message, next_step: Message) -> EvaluationCheck:
    """Return a check that fires above its threshold."""
    return EvaluationCheck(name, FIRED if value > threshold else PASSED, float(value), threshold, reason, next_step)


def not_checked(name: str, why: Message) -> EvaluationCheck:
    """Return a check that could not be made."""
    return EvaluationCheck(name, NOT_CHECKED, None, None, why, "")


@dataclass(eq=False)
class Evaluation:
    """One evaluation, to be looked at from all sides; the module is borrowed.

    Attributes:
        classifier: the model.
        bounds: what the attacks and certificates found.
        norm: "linf", "l2" or "l1".
        seed: of everything random.
        keys: one per image.
        work: the stages that were done.
        attacks: those that were asked for.
        clean: (N,) classes of the clean images.
        training: whether a part of the module is in training mode when it is not borrowed.
    """

    classifier: Classifier
    bounds: ImageBounds
    norm: str
    seed: int
    keys: Sequence[bytes]
    work: CurveWork
    attacks: Sequence[Attack]
    clean: Tensor
    training: bool

    @cached_property
    def rows(self) -> Tensor:
        """Images that are right to begin with, the first few (n,)."""
        return (self.clean == self.bounds.labels).nonzero()[:SAMPLE, 0]

    @cached_property
    def images(self) -> Tensor:
        """Clean inputs of `rows`, on the model's device."""
        return self.bounds.images[self.rows].to(self.classifier.device)

    @cached_property
    def labels(self) -> Tensor:
        """The truth of `rows`, on the model's device."""
        return self.bounds.labels[self.rows].to(self.classifier.device)

    @cached_property
    def probes(self) -> Tensor:
        """Three random directions of length one (3 n, C, h, w)."""
        every = [
            noise_like(self.images, [self.keys[k] for k in self.rows.tolist()], seed=self.seed, draw=d)
            for d in range(3)
        ]
        directions = torch.cat(every)
        lengths: Tensor = directions.flatten(1).norm(dim=1)
        return directions / lengths.view(-1, 1, 1, 1)

    @cached_property
    def exact(self) -> Classifier | None:
        """The model in float64; None where it cannot compute in it."""
        exact = copy.copy(self.classifier)
        try:
            exact.module = copied(self.classifier.module).double()
            with torch.no_grad():
                exact.raw_logits(self.images[:1])
        except (RuntimeError, TypeError, ValueError):
            return None
        return exact

    @cached_property
    def counterexample_rows(self) -> Tensor:
        """Images with a counterexample other than the image itself (m,)."""
        distance = self.bounds.distance
        return (distance.isfinite() & (distance > 0)).nonzero()[:, 0]

    def slope(self, loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor | None:
        """Return gradients of a loss towards `images`; None when none reaches them."""
        leaf = self.images.detach().clone().requires_grad_()
        logits = self.classifier.raw_logits(leaf)
        if not logits.requires_grad:
            return None
        (gradient,) = torch.autograd.grad(loss(logits, self.labels).sum(), leaf, allow_unused=True)
        return gradient

    @cached_property
    def margin_slope(self) -> Tensor | None:
        """Gradients of the margin."""
        return self.slope(margin)

    @cached_property
    def entropy_slope(self) -> Tensor | None:
        """Gradients of the cross-entropy."""
        return self.slope(cross_entropy)

    def search(self, name: str, rows: Tensor, level: int, **settings: Any) -> Tensor:
        """Attack some images at one radius; note what is found; return the numbers of those misclassified."""
        return self.attempt(name, rows, self.bounds.eps[level], **settings)

    def attempt(self, name: str, rows: Tensor, eps: float, norm: str | None = None, **settings: Any) -> Tensor:
        """Attack some images in a ball; what lies in the curve's balls is noted."""
        if not len(rows):
            return rows
        attack = ATTACKS[name](**settings)
        bounds = self.bounds
        result = attack.run(
            self.classifier,
            bounds.images[rows],
            bounds.labels[rows],
            eps=eps,
            norm=norm or self.norm,
            seed=self.seed + 1,
            keys=[self.keys[row] for row in rows.tolist()],
            should_stop=self.work.clock.should_stop,
        )
        if norm is None:
            names = result.broken_by
            bounds.take(rows, result.adversarial, result.distance, result.predictions, names, result.success)
        return rows[result.success]
