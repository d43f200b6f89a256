"""Mahalanobis distance."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xai.ood.detectors._gaussian import ClassGaussians
from xai.ood.detectors.base import DETECTORS
from xai.ood.detectors.reference import FeatureRows, Moments, Reference


@DETECTORS.register("mahalanobis")
@dataclass(frozen=True)
class Mahalanobis(ClassGaussians):
    """Squared Mahalanobis distance to the nearest class, with one covariance for all classes.

    Sees strange images of high confidence, such as inverted ones; weak on near classes of convolutional nets.

    Args:
        shrinkage: 0 to 1, towards the mean variance; None takes the oracle approximating one; 0 none.

    Source: Lee et al. 2018 (arXiv 1807.03888), without its input step and its layers. Differs: float64, shrinkage.
    """

    name: ClassVar[str] = "mahalanobis"
    title: ClassVar[str] = "Mahalanobis"
    reads: ClassVar[frozenset[str]] = frozenset({"moments"})

    def _moments(self, reference: Reference) -> Moments | None:
        return reference.moments

    def _points(self, rows: FeatureRows) -> Tensor:
        return rows.pooled.double()
