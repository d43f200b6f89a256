"""The decoupled direction and norm attack."""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from xai.core.validation import check_number, check_whole
from xai.robust.attacks._steps import Nearest, NearestStepper
from xai.robust.attacks.base import ATTACKS
from xai.robust.attacks.search import Search, cross_entropy, length, margin, normal, steepest, wide

_LAST_STEP = 0.01
_TRACE = 1e-6
_TINY = 1e-12


@ATTACKS.register("ddn")
@dataclass(frozen=True)
class DDN(NearestStepper):
    """Gradient steps on a sphere that shrinks while the image is adversarial and grows while it is not.

    Finds small l2 distances in few steps.

    Args:
        steps: number of steps.
        gamma: share by which the radius changes at each step.
        radius: of the sphere at first, in the scale of pixels.
        levels: rounds images to so many values per pixel, 256 for 8 bit; None leaves them as they are.

    Cost: one forward and one backward row per step, and 10 forwards to draw it nearer.
    Source: Rony et al. 2019 (arXiv 1811.09600), algorithm 1. Differs: what was found is drawn towards the clean image
    by bisection, unless rounded; where the cross-entropy is saturated the margin gives the direction; with `eps`,
    misclassified images leave at once.
    """

    name: ClassVar[str] = "ddn"
    title: ClassVar[str] = "DDN"
    norms: ClassVar[tuple[str, ...]] = ("l2",)

    steps: int = 100
    gamma: float = 0.05
    radius: float = 1.0
    levels: int | None = None

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            RangeError: a count, share or radius outside what is possible.
        """
        check_whole("steps", self.steps)
        check_number("gamma", self.gamma, "(0, 1)")
        check_number("radius", self.radius, "(0, inf)")
        check_whole("levels", self.levels, 2, optional=True)

    def _attack(self, search: Search) -> None:
        nearest, rows = Nearest(search), search.alive()
        images = search.clean
        radius = torch.full((len(rows),), self.radius, dtype=images.dtype, device=images.device)
        for k in range(self.steps):
            logits, _, gradient = search.gradient(images, partial(_score, search, rows=rows))
            misclassified = search.misclassified(logits, rows)
            stay = nearest.take(rows, images, misclassified)
            rows, images, gradient, radius, misclassified = (
                v[stay] for v in (rows, images, gradient, radius, misclassified)
            )
            if not len(rows):
                return
            radius = radius * torch.where(misclassified, 1 - self.gamma, 1 + self.gamma)
            images, radius = self._step(search, rows, images, gradient, radius, k)
        nearest.take(rows, images, search.misclassified(search.logits(images), rows))
        if self.levels is None:
            nearest.narrow()

    def _step(
        self, search: Search, rows: Tensor, images: Tensor, gradient: Tensor, radius: Tensor, k: int
    ) -> tuple[Tensor, Tensor]:
        """Return the images on their new spheres, cut at the box, and the radii, none larger than the box."""
        clean = search.clean[rows]
        share = _LAST_STEP + (1 - _LAST_STEP) * (1 + math.cos(math.pi * k / self.steps)) / 2
        delta = images - clean + share * _direction(search, rows, gradient, k)
        radius = torch.minimum(radius, length(torch.maximum(clean, 1 - clean), "l2"))
        delta = delta * wide(radius / length(delta, "l2").clamp_min(_TINY), delta)
        images = (clean + delta).clamp(0, 1)
        return (images if self.levels is None else (images * (self.levels - 1)).round() / (self.levels - 1)), radius


def _score(search: Search, logits: Tensor, rows: Tensor) -> Tensor:
    """Return the cross-entropy; where it is saturated, a trace of the margin gives the direction."""
    if search.targets is not None:
        targets = search.targets[rows]
        return -cross_entropy(logits, targets) - _TRACE * margin(logits, targets)
    labels = search.labels[rows]
    return cross_entropy(logits, labels) + _TRACE * margin(logits, labels)


def _direction(search: Search, rows: Tensor, gradient: Tensor, k: int) -> Tensor:
    """Return gradients of length one; a random direction where there is none."""
    none = length(gradient, "l2") < _TINY
    if bool(none.any()):
        drawn = normal(search.seeds[rows[none]], k, gradient.shape[1:])
        gradient = gradient.index_put((none,), drawn.to(gradient))
    return steepest(gradient, "l2")
