"""Carlini and Wagner's attack in l2."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from xai.core.validation import check_number, check_whole
from xai.robust.attacks._steps import BISECTIONS, Nearest
from xai.robust.attacks.base import ATTACKS, Attack, AttackCost
from xai.robust.attacks.search import Search, wide

_FIRST, _SECOND, _TINY = 0.9, 0.999, 1e-8  # of Adam
_CHECKS, _PROGRESS = 10, 0.9999  # an unfinished run ends when a tenth of its steps gains less than this
_GROWTH = 10.0
_SHARE = 0.1  # of the way to the border, by first order, that one step may go


@ATTACKS.register("cw")
@dataclass(frozen=True)
class CarliniWagner(Attack):
    """Weighs distance against margin by Adam and searches for the weight: small l2 distances, slowly.

    Args:
        steps: most steps for each weight.
        searches: weights tried, by bisection.
        rate: of Adam, in the scale of pixels, at most.
        weight: of the margin at first.
        confidence: margin in logits that adversarials have to reach.

    Cost: one forward and one backward row per step and weight, and 10 forwards to draw it nearer; images leave a
    weight that makes no progress.
    Source: Carlini & Wagner 2017 (arXiv 1608.04644), section V. Differs: pixels are optimised as they are and cut at
    the box, because the tangent of the original cannot move pixels that are exactly 0 or 1; near the border steps are
    shorter than `rate`, because one that jumps over it says nothing about the weight; each image ends its runs by
    itself; what was found is drawn towards the clean image by bisection, unless `confidence` is above 0; with
    `eps`, misclassified images leave at once.
    """

    name: ClassVar[str] = "cw"
    title: ClassVar[str] = "C&W"
    family: ClassVar[str] = "minimal"
    norms: ClassVar[tuple[str, ...]] = ("l2",)
    stochastic: ClassVar[bool] = False
    minimal: ClassVar[bool] = True

    steps: int = 1000
    searches: int = 9
    rate: float = 0.01
    weight: float = 0.001
    confidence: float = 0.0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            RangeError: a count below 1, a rate or weight that is not above 0, or a negative confidence.
        """
        check_whole("steps", self.steps)
        check_whole("searches", self.searches)
        for name in ("rate", "weight"):
            check_number(name, getattr(self, name), "(0, inf)")
        check_number("confidence", self.confidence, "[0, inf)")

    @property
    def cost(self) -> AttackCost:
        """Rows for each step and weight."""
        each = self.steps * self.searches
        return AttackCost(forward=each + BISECTIONS, backward=each)

    def _attack(self, search: Search) -> None:
        nearest = Nearest(search)
        weight = torch.full((len(search.clean),), self.weight, dtype=search.clean.dtype, device=search.clean.device)
        low, high = torch.zeros_like(weight), torch.full_like(weight, torch.inf)
        rate = self._rates(search)
        for _ in range(self.searches):
            rows = nearest.open()
            if not len(rows):
                return
            misclassified = self._descend(nearest, rows, weight, rate)
            high = torch.where(misclassified, torch.minimum(high, weight), high)
            low = torch.where(misclassified, low, torch.maximum(low, weight))
            weight = torch.where(high.isfinite(), (low + high) / 2, weight * _GROWTH)
        if not self.confidence:
            nearest.narrow()

    def _rates(self, search: Search) -> Tensor:
        """Return the rate for each image (N,)."""
        rows = torch.arange(len(search.clean), device=search.clean.device)
        _, gap, slope = search.gradient(search.clean, partial(self._short, search, rows=rows))
        slope = slope.flatten(1)
        way = _SHARE * gap / (slope.norm(dim=1) * slope.shape[1] ** 0.5)
        return torch.where(way > 0, way, torch.inf).clamp_max(self.rate)

    def _descend(self, nearest: Nearest, rows: Tensor, weight: Tensor, rate: Tensor) -> Tensor:
        """Run Adam at one weight for each image; return which were misclassified on the way, for all images (N,)."""
        search, misclassified_before = nearest.search, torch.zeros_like(nearest.sizes, dtype=torch.bool)
        images = search.clean[rows]
        first, second = torch.zeros_like(images), torch.zeros_like(images)
        last = torch.full_like(weight[rows], torch.inf)
        for k in range(self.steps):
            clean = search.clean[rows]
            logits, gap, slope = search.gradient(images, partial(self._short, search, rows=rows))
            misclassified = search.misclassified(logits, rows) & (gap <= 0)
            misclassified_before[rows] |= misclassified
            stay = nearest.take(rows, images, misclassified)
            if k % max(1, self.steps // _CHECKS) == 0:
                loss = (images - clean).flatten(1).square().sum(1) + weight[rows] * gap
                stay, last = stay & ~(loss > _PROGRESS * last), loss
            gradient = 2 * (images - clean) + wide(weight[rows], images) * slope
            first = _FIRST * first + (1 - _FIRST) * gradient
            second = _SECOND * second + (1 - _SECOND) * gradient.square()
            spread = (second / (1 - _SECOND ** (k + 1))).sqrt() + _TINY
            step = wide(rate[rows], images) / (1 - _FIRST ** (k + 1)) * first / spread
            images = (images - step).clamp(0, 1)
            if not bool(stay.all()):
                rows, images, first, second, last = (v[stay] for v in (rows, images, first, second, last))
            if not len(rows):
                break
        return misclassified_before

    def _short(self, search: Search, logits: Tensor, rows: Tensor) -> Tensor:
        """Return how far each answer is from the margin to reach (n,); 0 where it is reached."""
        return (self.confidence - search.past(logits, rows)).clamp_min(0)
