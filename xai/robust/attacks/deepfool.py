"""DeepFool: from one linearised boundary to the next."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from xai.core.validation import check_number, check_whole
from xai.robust.attacks._steps import BISECTIONS, Nearest
from xai.robust.attacks.apgd_t import next_classes
from xai.robust.attacks.base import ATTACKS, Attack, AttackCost
from xai.robust.attacks.search import DUAL, Search, length, steepest, wide

_LEAST = 1e-4  # added to every step, as in the authors' code
_TINY = 1e-12


@ATTACKS.register("deepfool")
@dataclass(frozen=True)
class DeepFool(Attack):
    """Steps to the nearest linearised decision boundary until the prediction flips: quick, and seldom the very nearest.

    Misleads where the boundary is curved: `fmn` and `fab-t` find smaller distances.

    Args:
        steps: most steps.
        candidates: classes tried at each step, the most likely ones besides the true one.
        overshoot: share by which each step is made longer.

    Cost: one forward and one backward row per step and candidate until misclassified, and 10 forwards to draw it
        nearer.
    Source: Moosavi-Dezfooli et al. 2016 (arXiv 1511.04599), algorithm 2. Differs: the overshoot applies to each
    step and the box cuts after each; what was found is drawn towards the clean image by bisection.
    """

    name: ClassVar[str] = "deepfool"
    title: ClassVar[str] = "DeepFool"
    family: ClassVar[str] = "minimal"
    norms: ClassVar[tuple[str, ...]] = ("l2", "linf")
    stochastic: ClassVar[bool] = False
    minimal: ClassVar[bool] = True

    steps: int = 50
    candidates: int = 10
    overshoot: float = 0.02

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            RangeError: counts below 1 or a negative overshoot.
        """
        check_whole("steps", self.steps)
        check_whole("candidates", self.candidates)
        check_number("overshoot", self.overshoot, "[0, inf)")

    @property
    def cost(self) -> AttackCost:
        """Rows for each step and candidate."""
        each = self.steps * self.candidates
        return AttackCost(forward=each + self.steps + BISECTIONS, backward=each)

    def _attack(self, search: Search) -> None:
        nearest, rows = Nearest(search), search.alive()
        classes = next_classes(search, self.candidates)
        images = search.clean
        for _ in range(self.steps):
            step = _nearest_step(search, rows, images, classes[rows])
            images = (images + (1 + self.overshoot) * step).clamp(0, 1)
            misclassified = search.misclassified(search.logits(images), rows)
            nearest.take(rows, images, misclassified)
            rows, images = rows[~misclassified], images[~misclassified]
            if not len(rows):
                break
        nearest.narrow()


def _nearest_step(search: Search, rows: Tensor, images: Tensor, classes: Tensor) -> Tensor:
    """Return the smallest step (n, C, h, w) to a linearised boundary towards one of the classes (n, T)."""
    count, tried = classes.shape
    numbers = torch.arange(count, device=rows.device).repeat_interleave(tried)
    gaps, slopes = _slopes(search, images[numbers], search.labels[rows][numbers], classes.flatten())
    sizes = gaps.abs() / length(slopes, DUAL[search.norm]).clamp_min(_TINY) + _LEAST
    choice = sizes.view(count, tried).argmin(1)
    picked = torch.arange(count, device=rows.device) * tried + choice
    return steepest(slopes[picked], search.norm) * wide(sizes[picked], images)


def _slopes(search: Search, points: Tensor, ground_truth: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Return logit of a class minus the true one (m,), and its gradients; in pieces of a chunk's size."""
    gaps, slopes = [], []
    size = len(search.clean)
    for start in range(0, len(points), size):
        part = slice(start, start + size)
        pair = torch.stack([classes[part], ground_truth[part]], 1)
        _, gap, slope = search.gradient(points[part], partial(_difference, pair))
        gaps.append(gap)
        slopes.append(slope)
    return torch.cat(gaps), torch.cat(slopes)


def _difference(pair: Tensor, logits: Tensor) -> Tensor:
    """Return the logit of the first class of each pair (m, 2) minus that of the second."""
    return -logits.gather(1, pair).diff(dim=1)[:, 0]
