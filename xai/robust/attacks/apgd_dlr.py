"""Auto-PGD on the difference of logits ratio."""

from dataclasses import dataclass
from typing import ClassVar

from xai.robust.attacks._apgd import AutoPGD
from xai.robust.attacks.base import ATTACKS


@ATTACKS.register("apgd-dlr")
@dataclass(frozen=True)
class APGDDLR(AutoPGD):
    """PGD that sets its own step size, on the difference of logits ratio, which is blind to the scale of the logits.

    Args:
        steps: number of steps.
        restarts: random starts, for those not misclassified before.
        eot: gradients averaged per step, for models that answer at random.

    Cost: one forward and one backward row per step and restart while not misclassified.
    Source: Croce & Hein 2020 (arXiv 2003.01690), algorithm 1. Differs: misclassified images leave inside the run;
    targeted, the cross-entropy of the target falls.
    """

    name: ClassVar[str] = "apgd-dlr"
    loss: ClassVar[str] = "dlr"
    title: ClassVar[str] = "APGD-DLR"

    steps: int = 100
    restarts: int = 1
    eot: int = 1
