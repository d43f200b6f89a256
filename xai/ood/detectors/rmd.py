"""Relative Mahalanobis distance."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xai.ood.detectors._gaussian import ClassGaussians, fit_gaussian, whiten
from xai.ood.detectors.base import DETECTORS, Learned, Parts, State
from xai.ood.detectors.reference import FeatureRows, Moments, Reference


@DETECTORS.register("rmd")
@dataclass(frozen=True)
class RMD(ClassGaussians):
    """Mahalanobis distance to the nearest class, minus that to all images together: what no class has stops counting.

    Args:
        shrinkage: 0 to 1, towards the mean variance; None takes the oracle approximating one; 0 none.
        normalise: makes the norm of the features 1 first: RMD++.

    Source: Ren et al. 2021 (arXiv 2106.09022), eq. (2). Differs: float64, shrinkage.
    """

    name: ClassVar[str] = "rmd"
    title: ClassVar[str] = "Relative Mahalanobis"
    reads: ClassVar[frozenset[str]] = frozenset({"moments", "unit"})

    normalise: bool = False

    def _moments(self, reference: Reference) -> Moments | None:
        return reference.unit if self.normalise else reference.moments

    def _points(self, rows: FeatureRows) -> Tensor:
        return (rows.unit if self.normalise else rows.pooled).double()

    def _fit(self, reference: Reference) -> Learned:
        near, moments = super()._fit(reference), self._moments(reference)
        assert moments is not None
        shape = fit_gaussian(moments.covariance(), moments.total, self.shrinkage)
        state = {**near.state, "background": shape.factor}
        alone = ("only one class has fit images: the score is 0 for every image",) if len(moments.present) == 1 else ()
        notes = tuple(dict.fromkeys((*near.notes, *shape.notes, *alone)))
        return Learned(state, {**near.facts, **shape.facts("background_")}, notes)

    def _parts(self, state: State, rows: FeatureRows) -> Parts:
        away = whiten(state["background"], self._points(rows) - state["origin"]).square().sum(1)
        return {"nearest class": self._nearest(state, rows), "minus all classes": -away}
