"""The fast minimum-norm attack."""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from xai.core.validation import check_number, check_whole
from xai.robust.attacks._steps import Nearest, NearestStepper
from xai.robust.attacks.base import ATTACKS
from xai.robust.attacks.search import DUAL, Search, length, project, steepest

_LAST_GAMMA, _LAST_STEP = 0.001, 0.01
_TINY = 1e-12


@ATTACKS.register("fmn")
@dataclass(frozen=True)
class FMN(NearestStepper):
    """Gradient steps in a ball whose radius follows the linearised distance to the boundary: small distances, quickly.

    Args:
        steps: number of steps.
        step: length of the first step, in the scale of pixels (l2); the last one is a hundredth of it.
        gamma: share by which the radius changes at first; it ends at 0.001.

    Cost: one forward and one backward row per step, and 10 forwards to draw it nearer.
    Source: Pintor et al. 2021 (arXiv 2102.12827), algorithm 1. Differs: the linearised distance is
    overshot by `gamma`, without which walks end just before the boundary; the l1 projection knows the box; what was
    found is drawn towards the clean image by bisection; with `eps`, misclassified images leave at once.
    """

    name: ClassVar[str] = "fmn"
    title: ClassVar[str] = "FMN"
    stochastic: ClassVar[bool] = False

    steps: int = 100
    step: float = 1.0
    gamma: float = 0.05

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            RangeError: a count, length or share outside what is possible.
        """
        check_whole("steps", self.steps)
        check_number("step", self.step, "(0, inf)")
        check_number("gamma", self.gamma, "(0, 1)")

    def _attack(self, search: Search) -> None:
        nearest, rows = Nearest(search), search.alive()
        images = search.clean
        radius = torch.full((len(rows),), torch.inf, dtype=images.dtype, device=images.device)
        for k in range(self.steps):
            logits, gap, gradient = search.gradient(images, partial(search.past, rows=rows))
            misclassified = search.misclassified(logits, rows)
            stay = nearest.take(rows, images, misclassified)
            rows, images, gap, gradient, radius, misclassified = (
                v[stay] for v in (rows, images, gap, gradient, radius, misclassified)
            )
            if not len(rows):
                return
            gradient = _inward(images, gradient)
            share = (1 + math.cos(math.pi * k / self.steps)) / 2
            gamma = _LAST_GAMMA + (self.gamma - _LAST_GAMMA) * share
            radius = _radius(nearest, rows, images, misclassified, gap, gradient, radius, gamma)
            step = self.step * (_LAST_STEP + (1 - _LAST_STEP) * share)
            images = project(images + step * steepest(gradient, "l2"), search.clean[rows], radius, search.norm)
        nearest.take(rows, images, search.misclassified(search.logits(images), rows))
        nearest.narrow()


def _inward(images: Tensor, gradient: Tensor) -> Tensor:
    """Return gradients without what would push pixels out of the box."""
    outward = ((images <= 0) & (gradient < 0)) | ((images >= 1) & (gradient > 0))
    return gradient.masked_fill(outward, 0)


def _radius(
    nearest: Nearest,
    rows: Tensor,
    images: Tensor,
    misclassified: Tensor,
    gap: Tensor,
    gradient: Tensor,
    radius: Tensor,
    gamma: float,
) -> Tensor:
    """Return the next radii (n,): smaller where misclassified, larger where it was, to the boundary where never."""
    norm, clean = nearest.search.norm, nearest.search.clean[rows]
    least = nearest.sizes[rows].to(radius)
    slope = length(gradient, DUAL[norm]).clamp_min(_TINY)
    reach = (length(images - clean, norm) + gap.abs() / slope) * (1 + gamma)
    missed = torch.where(least.isfinite(), radius * (1 + gamma), reach)
    radii = torch.where(misclassified, torch.minimum(radius * (1 - gamma), least), missed)
    return torch.minimum(radii, length(torch.maximum(clean, 1 - clean), norm))
