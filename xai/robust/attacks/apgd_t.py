"""Auto-PGD towards the classes that come next."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai.robust.attacks._apgd import AutoPGD, climb
from xai.robust.attacks.base import ATTACKS, AttackCost
from xai.robust.attacks.search import Search, targeted_dlr


@ATTACKS.register("apgd-t")
@dataclass(frozen=True)
class APGDT(AutoPGD):
    """Auto-PGD towards each of the classes ranked next, one after the other.

    What it raises is the targeted difference of logits ratio.

    Args:
        steps: number of steps per class.
        targets: classes tried, the most likely ones first; never more than there are.
        restarts: random starts per class, for those not misclassified before.
        eot: gradients averaged per step, for models that answer at random.

    Cost: one forward and one backward row per step, class and restart while not misclassified.
    Source: Croce & Hein 2020 (arXiv 2003.01690), section 4.2. Differs: misclassified images leave inside the run; fewer
    than four classes take the plain difference of the two logits.
    """

    name: ClassVar[str] = "apgd-t"
    title: ClassVar[str] = "APGD-T"

    steps: int = 100
    targets: int = 9
    restarts: int = 1
    eot: int = 1

    @property
    def cost(self) -> AttackCost:
        """Rows forward and back for each step, class and restart."""
        each = (self.steps + 1) * self.restarts * self.eot * self.targets
        return AttackCost(forward=each, backward=each)

    def _attack(self, search: Search) -> None:
        ranked = next_classes(search, self.targets)
        for restart in range(self.restarts):
            for k in range(ranked.shape[1]):
                rows = search.alive()
                if not len(rows):
                    return
                climb(search, rows, self.steps, _Towards(search, ranked[:, k]), restart * self.targets + k)


def next_classes(search: Search, most: int) -> Tensor:
    """Return the classes (n, T) to try for each image: the one asked for, or those ranked next, most likely first."""
    if search.targets is not None:
        return search.targets[:, None]
    every = torch.arange(len(search.clean), device=search.clean.device)
    logits = search.logits(search.clean)
    others = logits.scatter(1, search.labels[every][:, None], -torch.inf)
    return others.argsort(dim=1, descending=True, stable=True)[:, : min(most, logits.shape[1] - 1)]


class _Towards:
    """The score of one class per image."""

    def __init__(self, search: Search, targets: Tensor) -> None:
        self.search, self.targets = search, targets

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        return targeted_dlr(logits, self.search.labels[rows], self.targets[rows])
