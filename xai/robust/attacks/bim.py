"""The basic iterative method."""

from dataclasses import dataclass
from typing import ClassVar

from xai.robust.attacks._steps import Stepper
from xai.robust.attacks.base import ATTACKS


@ATTACKS.register("bim")
@dataclass(frozen=True)
class BIM(Stepper):
    """Small steps along the gradient from the clean image.

    Args:
        steps: number of steps.
        loss: "ce", "margin" or "dlr".
        step_size: in the scale of pixels; None takes 2.5 radii over `steps`.

    Cost: one forward and one backward row per step while not misclassified.
    Source: Kurakin et al. 2017 (arXiv 1607.02533). Differs: the step follows from radius and number of steps.
    """

    name: ClassVar[str] = "bim"
    title: ClassVar[str] = "BIM"
    stochastic: ClassVar[bool] = False

    steps: int = 10
    loss: str = "ce"
    step_size: float | None = None
