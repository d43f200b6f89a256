"""The fast gradient sign method."""

from dataclasses import dataclass
from typing import ClassVar

from xai.robust.attacks._steps import Stepper
from xai.robust.attacks.base import ATTACKS


@ATTACKS.register("fgsm")
@dataclass(frozen=True)
class FGSM(Stepper):
    """One step of full length along the gradient: quick, and exact on linear models.

    Misleads when the loss is curved: a model that survives it may fall to two steps. l2 and l1 take the steepest step
    of that norm.

    Args:
        loss: "ce", "margin" or "dlr".

    Cost: one forward and one backward row, and a forward to judge.
    Source: Goodfellow et al. 2015 (arXiv 1412.6572), section 4.
    """

    name: ClassVar[str] = "fgsm"
    title: ClassVar[str] = "FGSM"
    stochastic: ClassVar[bool] = False

    loss: str = "ce"

    @property
    def steps(self) -> int:  # type: ignore[override]  # the others let the caller choose
        """One."""
        return 1
