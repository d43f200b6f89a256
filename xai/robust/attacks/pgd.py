"""Projected gradient descent."""

from dataclasses import dataclass
from typing import ClassVar

from xai.robust.attacks._steps import Stepper
from xai.robust.attacks.base import ATTACKS


@ATTACKS.register("pgd")
@dataclass(frozen=True)
class PGD(Stepper):
    """Small steps along the gradient from a random point of the ball: the usual baseline.

    Misleads when the step size or the number of steps does not suit the model: it then reports robustness that is not
    there. `autoattack` needs no tuning.

    Args:
        steps: number of steps.
        loss: "ce", "margin" or "dlr".
        step_size: in the scale of pixels; None takes 2.5 radii over `steps`.
        restarts: random starts, for those not misclassified before.
        random_start: False starts at the clean image.
        eot: forwards and gradients averaged per step, for models that answer at random.

    Cost: one forward and one backward row per step, restart and `eot` while not misclassified.
    Source: Madry et al. 2018 (arXiv 1706.06083). Differs: an image leaves at its first adversarial iterate.
    """

    name: ClassVar[str] = "pgd"
    title: ClassVar[str] = "PGD"

    steps: int = 40
    loss: str = "ce"
    step_size: float | None = None
    restarts: int = 1
    random_start: bool = True
    eot: int = 1
