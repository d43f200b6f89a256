"""Auto-PGD on cross-entropy."""

from dataclasses import dataclass
from typing import ClassVar

from xai.robust.attacks._apgd import AutoPGD
from xai.robust.attacks.base import ATTACKS


@ATTACKS.register("apgd-ce")
@dataclass(frozen=True)
class APGDCE(AutoPGD):
    """PGD that sets its own step size, on cross-entropy.

    Args:
        steps: number of steps.
        restarts: random starts, for those not misclassified before.
        eot: gradients averaged per step, for models that answer at random.

    Cost: one forward and one backward row per step and restart while not misclassified.
    Source: Croce & Hein 2020 (arXiv 2003.01690), algorithm 1. Differs: misclassified images leave inside the run;
    targeted, the cross-entropy of the target falls.
    """

    name: ClassVar[str] = "apgd-ce"
    loss: ClassVar[str] = "ce"
    title: ClassVar[str] = "APGD-CE"

    steps: int = 100
    restarts: int = 1
    eot: int = 1
