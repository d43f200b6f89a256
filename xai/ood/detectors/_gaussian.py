"""Gaussians of features: shrunk covariances, one mean per class."""

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import scipy
import torch
from torch import Tensor

from xai.core.results.message import Message, joined
from xai.core.validation import check_number
from xai.ood.detectors.base import Detector, Learned, Parts, State
from xai.ood.detectors.reference import FeatureRows, Moments, Reference

_WORST = 1e12  # condition number beyond which digits are lost to rounding
_FLOOR = 1e-10  # of the mean variance, added where a covariance stays singular


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A factored covariance.

    Attributes:
        factor: (d, d) lower triangle L with L @ L.T the covariance.
        shrinkage: weight of the mean variance times the identity.
        before: condition number of the covariance as it was; infinite when singular.
        after: condition number of what is used.
        notes: what to beware of.
    """

    factor: Tensor = field(repr=False)
    shrinkage: float
    before: float
    after: float
    notes: tuple[str, ...]

    def facts(self, name: str = "") -> dict[str, float | None]:
        """Return the figures, JSON-ready; None stands for an infinite condition number."""
        before = self.before if math.isfinite(self.before) else None
        return {f"{name}shrinkage": self.shrinkage, f"{name}condition": before, f"{name}condition_used": self.after}


def whiten(factor: Tensor, rows: Tensor) -> Tensor:
    """Return rows (n, d) times the inverse of the factor: their squared norm is the squared Mahalanobis distance."""
    whitened: Tensor = torch.linalg.solve_triangular(factor, rows.T, upper=False)
    return whitened.T


def fit_gaussian(covariance: Tensor, count: int, shrinkage: float | None = None) -> Gaussian:
    """Factor a covariance (d, d) of `count` rows, float64.

    Args:
        covariance: symmetric, about a mean.
        count: number of rows.
        shrinkage: 0 to 1; None takes the oracle approximating one, 0 leaves the covariance as it is.

    Source: Chen, Wiesel, Eldar and Hero 2010, eq. (23), as `sklearn.covariance.oas` has it; condition numbers are
    LAPACK's estimates in the 1-norm.
    """
    weight = oas(covariance, count) if shrinkage is None else float(shrinkage)
    scale, (_, before) = float(covariance.diagonal().mean()), factored(covariance)
    identity = torch.eye(len(covariance)).to(covariance)
    if scale <= 0:
        note = Message("the features are constant: distances are Euclidean")
        return Gaussian(identity, weight, before, 1.0, (note,))
    used = (1 - weight) * covariance + weight * scale * identity
    (factor, after), ridge = factored(used), 0.0
    while not after < _WORST:
        ridge = max(10 * ridge, _FLOOR * scale)
        factor, after = factored(used + ridge * identity)
    return Gaussian(factor, weight, before, after, _notes(covariance, before, weight, ridge / scale))


def _notes(covariance: Tensor, before: float, weight: float, ridge: float) -> tuple[str, ...]:
    """Say that a covariance was singular, and what was done about it."""
    if before < _WORST:
        return ()
    constant = int((covariance.diagonal() <= 0).sum())
    values = {"number": before, "constant": constant, "total": len(covariance), "weight": weight, "ridge": ridge}
    reasons = ["condition number {number:.0e}" if math.isfinite(before) else "no inverse"]
    reasons += ["{constant} of {total} features are constant"] * bool(constant)
    cures = ["shrunk by {weight:.2g} towards its mean variance"] * bool(weight)
    cures += ["{ridge:.0e} of its mean variance added to the diagonal"] * bool(ridge)
    reason, cure = (joined([Message(part, **values) for part in parts], ", ") for parts in (reasons, cures))
    return (Message("the covariance is singular ({reason}): {cure}", reason=reason, cure=cure),)


def oas(covariance: Tensor, count: int) -> float:
    """Return the oracle approximating shrinkage of a covariance (d, d) of `count` rows, 0 to 1."""
    width, mean = len(covariance), float(covariance.diagonal().mean())
    square = float(covariance.square().mean())
    below = (count + 1) * (square - mean**2 / width)
    return 1.0 if below <= 0 else min(1.0, (square + mean**2) / below)


def factored(matrix: Tensor) -> tuple[Tensor, float]:
    """Return the lower factor of a symmetric matrix and its condition number, infinite when not positive definite."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if bool(failed) or not bool(torch.isfinite(factor).all()):
        return factor, math.inf
    size = float(matrix.abs().sum(0).max())
    share, _ = scipy.linalg.lapack.dpocon(factor.cpu().numpy(), size, uplo="L")
    return factor, 1 / share if share > 0 else math.inf


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
        check_number("shrinkage", self.shrinkage, "[0, 1]", optional=True)

    @abstractmethod
    def _moments(self, reference: Reference) -> Moments | None:
        """Return the sums that the Gaussians are made of."""

    @abstractmethod
    def _points(self, rows: FeatureRows) -> Tensor:
        """Return the features (n, d), float64."""

    def _fit(self, reference: Reference) -> Learned:
        moments = self._moments(reference)
        assert moments is not None
        shape = fit_gaussian(moments.within(), moments.total, self.shrinkage)
        state = {"origin": moments.mean, "factor": shape.factor}
        state["centres"] = whiten(shape.factor, moments.class_means() - moments.mean)
        return Learned(state, shape.facts(), shape.notes)

    def _parts(self, state: State, rows: FeatureRows) -> Parts:
        return {"nearest class": self._nearest(state, rows)}

    def _nearest(self, state: State, rows: FeatureRows) -> Tensor:
        return squared_distances(whiten(state["factor"], self._points(rows) - state["origin"]), state["centres"]).amin(
            1
        )


def squared_distances(rows: Tensor, centres: Tensor) -> Tensor:
    """Return squared Euclidean distances (n, k) of rows (n, d) and centres (k, d)."""
    sums = rows.square().sum(1, keepdim=True) + centres.square().sum(1)
    return torch.addmm(sums, rows, centres.T, alpha=-2).clamp_min(0)
