"""One Gaussian per class with a covariance for all of them: closed form, whitened once."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai.detectors._base import Detector, Learned, Parts, State
from xai.detectors._checks import check_number
from xai.detectors._gaussian import fit_gaussian, whiten
from xai.detectors._moments import Moments
from xai.detectors._reference import Reference
from xai.detectors._rows import Rows


@dataclass(frozen=True)
class ClassGaussians(Detector):
    """Squared Mahalanobis distance to the nearest class.

    Rows and class means are whitened once by the factor of the covariance; distances are then plain ones, so that a row
    costs d^2 + K d and not K d^2.
    """

    family: ClassVar[str] = "distance"
    needs: ClassVar[tuple[str, ...]] = ("features",)
    unit: ClassVar[str] = "squared distance"

    shrinkage: float | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        check_number("shrinkage", self.shrinkage, 0, 1, optional=True)

    @abstractmethod
    def _moments(self, reference: Reference) -> Moments | None:
        """Return the sums that the Gaussians are made of."""

    @abstractmethod
    def _points(self, rows: Rows) -> Tensor:
        """Return the features (n, d), float64."""

    def _fit(self, reference: Reference) -> Learned:
        held = self._moments(reference)
        assert held is not None
        shape = fit_gaussian(held.within(), held.total, self.shrinkage)
        state = {"origin": held.mean, "factor": shape.factor}
        state["centres"] = whiten(shape.factor, held.class_means() - held.mean)
        return Learned(state, shape.facts(), shape.notes)

    def _parts(self, state: State, rows: Rows) -> Parts:
        return {"nearest class": self._nearest(state, rows)}

    def _nearest(self, state: State, rows: Rows) -> Tensor:
        return squared_distances(whiten(state["factor"], self._points(rows) - state["origin"]), state["centres"]).amin(
            1
        )


def squared_distances(rows: Tensor, centres: Tensor) -> Tensor:
    """Return squared Euclidean distances (n, k) of rows (n, d) and centres (k, d)."""
    sums = rows.square().sum(1, keepdim=True) + centres.square().sum(1)
    return torch.addmm(sums, rows, centres.T, alpha=-2).clamp_min(0)
