"""Generalised entropy."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xai.core.validation import check_number, check_whole
from xai.ood.detectors.base import DETECTORS, LogitDetector
from xai.ood.detectors.reference import FeatureRows

_TINY = 1e-300  # the slope of a power below 1 is infinite at 0


@DETECTORS.register("gen")
@dataclass(frozen=True)
class GEN(LogitDetector):
    """Generalised entropy of the largest probabilities: the best score of logits alone on networks of every kind.

    Args:
        gamma: power of p (1 - p); small ones see small probabilities.
        top: number of largest probabilities that count; None takes 100, or all where there are fewer.
        floor: probabilities are kept this far from 0 and 1; 0 leaves them. pytorch-ood takes 1e-7, which flattens the
            score where the confidence is high.

    Source: Liu, Lochman and Zach 2023 (CVPR), eq. (5).
    """

    name: ClassVar[str] = "gen"
    title: ClassVar[str] = "Generalised entropy"
    unit: ClassVar[str] = "entropy"

    gamma: float = 0.1
    top: int | None = None
    floor: float = 0.0

    def __post_init__(self) -> None:
        """Check the settings."""
        check_number("gamma", self.gamma, "[1e-6, 100]")
        check_whole("top", self.top, optional=True)
        check_number("floor", self.floor, "[0, 0.4]")

    def of_logits(self, rows: FeatureRows) -> Tensor:
        """Return the sum of (p (1 - p))^gamma over the largest probabilities (n,)."""
        count = min(self.top or 100, rows.logits.shape[1])
        place = rows.logits.topk(count, dim=1).indices
        both = [values.gather(1, place) for values in (rows.probabilities, rows.doubt)]
        share, doubt = (values.clamp(self.floor or _TINY, 1 - self.floor) for values in both)
        return (share.pow(self.gamma) * doubt.pow(self.gamma)).sum(1)
