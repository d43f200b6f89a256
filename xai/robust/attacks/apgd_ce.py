"""Auto-PGD on cross-entropy."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xai.robust.attacks._apgd import AutoPGD, climb
from xai.robust.attacks.base import ATTACKS
from xai.robust.attacks.search import Search, cross_entropy


@ATTACKS.register("apgd-ce")
@dataclass(frozen=True)
class APGDCE(AutoPGD):
    """PGD that sets its own step size, on cross-entropy.

    Args:
        steps: number of steps.
        restarts: random starts, for those not fooled before.
        eot: gradients averaged per step, for models that answer at random.

    Cost: one forward and one backward row per step and restart while not fooled.
    Source: Croce & Hein 2020 (arXiv 2003.01690), algorithm 1. Differs: fooled images leave inside the run; targeted,
    the cross-entropy of the target falls.
    """

    name: ClassVar[str] = "apgd-ce"
    title: ClassVar[str] = "APGD-CE"

    steps: int = 100
    restarts: int = 1
    eot: int = 1

    def _attack(self, search: Search) -> None:
        def score(logits: Tensor, rows: Tensor) -> Tensor:
            if search.targets is not None:
                return -cross_entropy(logits, search.targets[rows])
            return cross_entropy(logits, search.labels[rows])

        for restart in range(self.restarts):
            if len(rows := search.alive()):
                climb(search, rows, self.steps, score, restart)
