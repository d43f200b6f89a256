"""DeepFool: from one linearised boundary to the next."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from xai.attacks._balls import length
from xai.attacks._base import ATTACKS, Attack, Cost
from xai.attacks._nearest import BISECTIONS, Nearest
from xai.attacks._planes import step_to_plane
from xai.attacks._search import Search
from xai.attacks._steps import check_count
from xai.attacks.apgd_t import next_classes
from xai.errors import RangeError

_TINY = 1e-12


@ATTACKS.register("deepfool")
@dataclass(frozen=True)
class DeepFool(Attack):
    """Steps to the nearest linearised decision boundary until the answer changes: quick, and seldom the very nearest.

    Misleads where the boundary is curved: `fmn` and `fab-t` find smaller distances.

    Args:
        steps: most steps.
        candidates: classes tried at each step, the most likely ones besides the true one.
        overshoot: share by which the sum of the steps is made longer.

    Cost: one forward and one backward row per step and candidate until fooled, and 10 forwards to draw it nearer.
    Source: Moosavi-Dezfooli et al. 2016 (arXiv 1511.04599), algorithm 2. Differs: each step is the smallest one inside
    the box; what was found is drawn towards the clean picture by bisection.
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
        check_count(self.steps, "steps")
        check_count(self.candidates, "candidates")
        if not 0 <= self.overshoot < float("inf"):
            raise RangeError(f"Expected `overshoot` of at least 0, but got {self.overshoot!r}.")

    @property
    def cost(self) -> Cost:
        """Rows for each step and candidate."""
        each = self.steps * self.candidates
        return Cost(forward=each + self.steps + BISECTIONS, backward=each)

    def _attack(self, search: Search) -> None:
        nearest, rows = Nearest(search), search.alive()
        classes = next_classes(search, self.candidates)
        images = search.clean
        for _ in range(self.steps):
            step = _nearest_step(search, rows, images, classes[rows])
            images = (images + (1 + self.overshoot) * step).clamp(0, 1)
            fooled = search.fooled(search.logits(images), rows)
            nearest.take(rows, images, fooled)
            rows, images = rows[~fooled], images[~fooled]
            if not len(rows):
                break
        nearest.narrow()


def _nearest_step(search: Search, rows: Tensor, images: Tensor, classes: Tensor) -> Tensor:
    """Return the smallest step (n, C, h, w) to a linearised boundary towards one of the classes (n, T)."""
    count, tried = classes.shape
    numbers = torch.arange(count, device=rows.device).repeat_interleave(tried)
    points = images[numbers]
    gaps, slopes = _slopes(search, points, search.labels[rows][numbers], classes.flatten())
    steps = step_to_plane(points.flatten(1), slopes.flatten(1), -gaps, search.norm)
    reached = (steps * slopes.flatten(1)).sum(1)
    sizes = length(steps, search.norm) * (-gaps / reached.clamp_min(_TINY)).clamp_min(1)
    choice = sizes.nan_to_num(torch.inf).view(count, tried).argmin(1)
    picked = torch.arange(count, device=rows.device) * tried + choice
    return steps[picked].view_as(images)


def _gap(pair: Tensor, logits: Tensor) -> Tensor:
    """Return the first logit of each pair less the second."""
    return -logits.gather(1, pair).diff(dim=1)[:, 0]


def _slopes(search: Search, points: Tensor, truth: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Return logit of a class less the true one (m,), and its gradients; in pieces of a chunk's size."""
    gaps, slopes = [], []
    size = len(search.clean)
    for start in range(0, len(points), size):
        part = slice(start, start + size)
        pair = torch.stack([classes[part], truth[part]], 1)
        _, gap, slope = search.gradient(points[part], partial(_gap, pair))
        gaps.append(gap)
        slopes.append(slope)
    return torch.cat(gaps), torch.cat(slopes)
