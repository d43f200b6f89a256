"""The momentum iterative method."""

from dataclasses import dataclass
from typing import ClassVar

from xai.robust.attacks._steps import Stepper
from xai.robust.attacks.base import ATTACKS


@ATTACKS.register("mifgsm")
@dataclass(frozen=True)
class MIFGSM(Stepper):
    """Iterated steps along a running sum of normalised gradients; made to carry over to other models.

    Args:
        steps: number of steps.
        decay: of the running sum.
        loss: "ce", "margin" or "dlr".
        step_size: in the scale of pixels; None takes the radius over `steps`.

    Cost: one forward and one backward row per step while not misclassified.
    Source: Dong et al. 2018 (arXiv 1710.06081), algorithm 1.
    """

    name: ClassVar[str] = "mifgsm"
    title: ClassVar[str] = "MI-FGSM"
    stochastic: ClassVar[bool] = False

    steps: int = 10
    decay: float | None = 1.0
    loss: str = "ce"
    step_size: float | None = None

    def _share(self) -> float:
        return 1 / self.steps
