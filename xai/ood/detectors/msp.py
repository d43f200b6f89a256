"""Maximum softmax probability."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xai.ood.detectors.base import DETECTORS, LogitDetector
from xai.ood.detectors.reference import FeatureRows


@DETECTORS.register("msp")
@dataclass(frozen=True)
class MSP(LogitDetector):
    """One minus the probability of the predicted class: the baseline.

    Source: Hendrycks and Gimpel 2017 (arXiv 1610.02136), -max p. Differs: 1 is added, which changes no order, and makes
    scores exact where the probability is 1 to the last bit, so that sure answers are not ties.
    """

    name: ClassVar[str] = "msp"
    title: ClassVar[str] = "Maximum softmax probability"
    unit: ClassVar[str] = "1 - probability"

    def of_logits(self, rows: FeatureRows) -> Tensor:
        """Return 1 - max p (n,), in [0, 1)."""
        return rows.doubt.amin(1)
