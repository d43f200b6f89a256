"""Maximum logit."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xai.ood.detectors.base import DETECTORS, LogitDetector
from xai.ood.detectors.reference import FeatureRows


@DETECTORS.register("maxlogit")
@dataclass(frozen=True)
class MaxLogit(LogitDetector):
    """Minus the largest logit: what the softmax divides away stays in.

    Source: Hendrycks et al. 2022 (arXiv 1911.11132).
    """

    name: ClassVar[str] = "maxlogit"
    title: ClassVar[str] = "Maximum logit"
    unit: ClassVar[str] = "-logit"

    def of_logits(self, rows: FeatureRows) -> Tensor:
        """Return -max f (n,)."""
        return -rows.logits.amax(1)
