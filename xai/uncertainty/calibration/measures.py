"""All figures of one table of probabilities, with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np
import scipy

from xai.errors import ShapeError
from xai.stats.intervals import wilson, wilson_interval
from xai.stats.multiple_testing import holm
from xai.uncertainty.calibration.error import CalibrationError, expected_calibration_error
from xai.uncertainty.calibration.scores import Brier, Scores

_GROUPS = 500  # of neighbours in the order of confidence, drawn as one: bounds the bootstrap
_POINTS = 100  # of the curve that is kept


@dataclass(frozen=True)
class RiskCoverage:
    """Share of wrong answers when only the most confident are given.

    Attributes:
        coverage: shares of images answered, increasing to 1.
        risk: share of wrong answers among these.
        risk_low: lower ends of the pointwise Wilson intervals of `risk`.
        risk_high: upper ends.
        aurc: area under the curve, the mean risk over all coverages; less is better.
        low: lower end of its interval.
        high: upper end.
        best: area of the best order, with all wrong answers last.
        random: area of a random order, the share of wrong answers.
    """

    coverage: tuple[float, ...]
    risk: tuple[float, ...]
    risk_low: tuple[float, ...]
    risk_high: tuple[float, ...]
    aurc: float
    low: float
    high: float
    best: float
    random: float

    @property
    def excess(self) -> float:
        """Area above that of the best order (E-AURC)."""
        return self.aurc - self.best

    def coverage_at(self, risk: float) -> float:
        """Return the largest coverage whose risk is at most `risk` by the upper end of its interval; 0: none."""
        coverages = [c for c, high in zip(self.coverage, self.risk_high, strict=True) if high <= risk]
        return max(coverages, default=0.0)


def risk_coverage(
    confidence: Any, correct: Any, *, level: float = 0.95, draws: int = 1000, seed: int = 0
) -> RiskCoverage:
    """Return the risk-coverage curve and its area.

    Equal confidences have no order: the curve is the mean over all orders of ties.

    Args:
        confidence: (N,), in any scale; more is surer.
        correct: (N,) bool.
        level: of the intervals.
        draws: of the bootstrap for the area; 0 leaves its interval at 0 to 1.
        seed: of the draws.

    Raises:
        ShapeError: not two vectors of one length, or empty.

    Cost: one sort; draws x 1,000 whatever N.
    Source: Geifman, Uziel and El-Yaniv 2019 (AURC and E-AURC), ties by their mean; the interval after Fay and Feuer
        1997 with the mean weight of Tiwari et al. 2006, and the bootstrap's variance, which is smaller than Poisson's.
    """
    confidences, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if confidences.ndim != 1 or confidences.shape != right.shape or len(confidences) == 0:
        raise ShapeError(f"Expected two vectors (N,), but got shapes {confidences.shape} and {right.shape}.")
    errors = _expected_errors(confidences, 1 - right)
    total, wrong = len(confidences), round(float((1 - right).sum()))
    taken = np.arange(1, total + 1)
    area = float((errors / taken).mean())
    low, high = _interval(errors, area, level, draws, seed)
    ranks = np.unique(np.ceil(np.linspace(1 / _POINTS, 1, _POINTS) * total).astype(int)) - 1
    spans = np.concatenate([wilson(errors[k], int(k) + 1, level)[None] for k in ranks])
    return RiskCoverage(
        tuple((taken[ranks] / total).tolist()),
        tuple((errors[ranks] / taken[ranks]).tolist()),
        tuple(spans[:, 0].tolist()),
        tuple(spans[:, 1].tolist()),
        area,
        low,
        high,
        float((np.arange(1, wrong + 1) / taken[total - wrong :]).sum() / total),
        wrong / total,
    )


def _expected_errors(confidences: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Return how many of the k most confident answers are wrong, k = 1 to N, ties in their mean order."""
    order = np.argsort(-confidences, kind="stable")
    _, start, size = np.unique(-confidences[order], return_index=True, return_counts=True)
    rate = np.add.reduceat(wrong[order], start) / size
    return np.cumsum(np.repeat(rate, size))


def _interval(errors: np.ndarray, area: float, level: float, draws: int, seed: int) -> tuple[float, float]:
    """Return an interval of the area; its variance is by bootstrap over groups of neighbours in the order."""
    if draws == 0:
        return 0.0, 1.0
    total = len(errors)
    edges = np.unique(np.linspace(0, total, min(_GROUPS, total) + 1).astype(int))
    wrong = np.diff(np.concatenate([[0.0], errors])[edges])
    right = np.diff(edges) - wrong
    shares = np.clip(np.concatenate([wrong, right]), 0, None) / total
    again = np.random.default_rng(abs(seed)).multinomial(total, shares / shares.sum(), draws)
    lost = np.cumsum(again[:, : len(wrong)], 1)
    answered = lost + np.cumsum(again[:, len(wrong) :], 1)
    risk = lost / np.maximum(answered, 1)
    areas = (risk * np.diff(answered, axis=1, prepend=0)).sum(1) / total
    return _gamma(area, float(areas.var()), level, total)


def _gamma(area: float, spread: float, level: float, total: int) -> tuple[float, float]:
    """Return the gamma interval of an area with its variance, as of a weighted sum of few errors; wide near 0.

    An error of an image drawn from N adds on average 1/N, squared 2/N^2, since the weights -log(rank/N)/N have the mean
    and the square mean of an exponential variable: what one more error would add to the upper end.
    """
    tail, above = (1 - level) / 2, area + 1 / total
    more = spread + 2 / total**2
    low = spread / (2 * area) * float(scipy.stats.chi2.ppf(tail, 2 * area**2 / spread)) if spread > 0 else area
    high = more / (2 * above) * float(scipy.stats.chi2.ppf(1 - tail, 2 * above**2 / more))
    return max(0.0, low), min(1.0, high)


@dataclass(frozen=True)
class ClassCalibration:
    """How far the probability of one class can be taken at its word.

    Attributes:
        name: of the class.
        count: images of it.
        expected: images of it by the probabilities.
        error: mean distance of its probability and its frequency over bins.
        excess: mean probability less frequency.
        p_value: of `excess`, adjusted for all classes (Holm); None with too few images to tell.
    """

    name: str
    count: int
    expected: float
    error: float
    excess: float
    p_value: float | None


@dataclass(frozen=True)
class Measures:
    """What N probabilities are worth.

    Attributes:
        count: images.
        accuracy: share of right predictions.
        accuracy_interval: its Wilson interval.
        confidence: mean probability of the prediction.
        ece: over bins of equal width.
        ece_mass: over bins of equal mass.
        classwise_ece: mean over classes of the error of their probabilities.
        classes: each class by itself.
        brier: with its parts.
        brier_interval: of the mean over images, normal.
        nll: mean negative log-likelihood of the truth, in nats.
        nll_interval: of the mean, normal.
        selective: risk when only the most confident answers are given.
    """

    count: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    confidence: float
    ece: CalibrationError
    ece_mass: CalibrationError
    classwise_ece: float
    classes: tuple[ClassCalibration, ...]
    brier: Brier
    brier_interval: tuple[float, float]
    nll: float
    nll_interval: tuple[float, float]
    selective: RiskCoverage


def measure(scores: Scores, names: Sequence[str], bins: int, level: float, seed: int) -> Measures:
    """Return all figures of some scores."""
    count, right = len(scores), int(scores.correct.sum())
    errors = {
        equal: expected_calibration_error(scores.confidence, scores.correct, bins, equal, level=level, seed=seed)
        for equal in ("width", "mass")
    }
    return Measures(
        count=count,
        accuracy=right / count,
        accuracy_interval=wilson_interval(right, count, level),
        confidence=float(scores.confidence.mean()),
        ece=errors["width"],
        ece_mass=errors["mass"],
        classwise_ece=float(scores.classwise.mean()),
        classes=_classes(scores, names),
        brier=scores.parts,
        brier_interval=_normal(scores.brier, level),
        nll=float(scores.nll.mean()),
        nll_interval=_normal(scores.nll, level),
        selective=risk_coverage(scores.confidence, scores.correct, level=level, seed=seed),
    )


def _classes(scores: Scores, names: Sequence[str]) -> tuple[ClassCalibration, ...]:
    counts, expected = scores.true.sum(1), scores.expected.sum(1)
    columns = zip(names, counts, expected, scores.classwise, scores.excess, holm(scores.excess_p), strict=True)
    return tuple(
        ClassCalibration(name, int(count), float(sum_), float(error), float(excess), None if isnan(p) else float(p))
        for name, count, sum_, error, excess, p in columns
    )


def _normal(values: np.ndarray, level: float) -> tuple[float, float]:
    """Return the interval of the mean of non-negative values."""
    mean, half = values.mean(), scipy.stats.norm.ppf((1 + level) / 2) * values.std() / len(values) ** 0.5
    return max(0.0, float(mean - half)), float(mean + half)
