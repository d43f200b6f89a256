"""Mahalanobis distance of normalised features."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xai.ood.detectors._gaussian import ClassGaussians
from xai.ood.detectors.base import DETECTORS
from xai.ood.detectors.reference import FeatureRows, Moments, Reference


@DETECTORS.register("mahalanobis++")
@dataclass(frozen=True)
class MahalanobisPlusPlus(ClassGaussians):
    """Mahalanobis distance of features whose norm is made 1 first: far better on near classes, most for transformers.

    Args:
        shrinkage: 0 to 1, towards the mean variance; None takes the oracle approximating one; 0 none.

    Source: Mueller and Hein 2025 (arXiv 2505.18032). Differs: float64, shrinkage.
    """

    name: ClassVar[str] = "mahalanobis++"
    title: ClassVar[str] = "Mahalanobis++"
    reads: ClassVar[frozenset[str]] = frozenset({"unit"})

    def _moments(self, reference: Reference) -> Moments | None:
        return reference.unit

    def _points(self, rows: FeatureRows) -> Tensor:
        return rows.unit.double()
