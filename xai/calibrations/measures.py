"""All figures of one table of probabilities, with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any, Self

import numpy as np
import scipy

from xai.core.intervals import wilson
from xai.metrics.calibration import Bin, CalibrationError, expected_calibration_error
from xai.metrics.proportions import holm
from xai.metrics.scores import Brier, Scores
from xai.metrics.selective import RiskCoverage, risk_coverage


@dataclass(frozen=True)
class ClassCalibration:
    """How far the probability of one class can be taken at its word.

    Attributes:
        name: of the class.
        count: pictures of it.
        expected: pictures of it by the probabilities.
        error: mean distance of its probability and its frequency over bins.
        excess: mean probability less frequency.
        p_value: of `excess`, adjusted for all classes (Holm); None with too few pictures to tell.
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
        count: pictures.
        accuracy: share of right predictions.
        accuracy_interval: its Wilson interval.
        confidence: mean probability of the prediction.
        ece: over bins of equal width.
        ece_mass: over bins of equal mass.
        classwise_ece: mean over classes of the error of their probabilities.
        classes: each class by itself.
        brier: with its parts.
        brier_interval: of the mean over pictures, normal.
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

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """Return what `dataclasses.asdict` was given."""
        curves = {name: _error(kept[name]) for name in ("ece", "ece_mass")}
        spans = {name: tuple(kept[name]) for name in ("accuracy_interval", "brier_interval", "nll_interval")}
        risk: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list | tuple) else v for name, v in kept["selective"].items()
        }
        return cls(
            **{
                **kept,
                **curves,
                **spans,
                "classes": tuple(ClassCalibration(**one) for one in kept["classes"]),
                "brier": Brier(**kept["brier"]),
                "selective": RiskCoverage(**risk),
            }
        )


def _error(kept: Mapping[str, Any]) -> CalibrationError:
    return CalibrationError(**{**kept, "bins": tuple(Bin(**one) for one in kept["bins"])})


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
        accuracy_interval=_pair(wilson(right, count, level)),
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
    counts, expected = scores.true.sum(1), scores.said.sum(1)
    columns = zip(names, counts, expected, scores.classwise, scores.excess, holm(scores.excess_p), strict=True)
    return tuple(
        ClassCalibration(name, int(count), float(sum_), float(error), float(excess), None if isnan(p) else float(p))
        for name, count, sum_, error, excess, p in columns
    )


def _normal(values: np.ndarray, level: float) -> tuple[float, float]:
    """Return the interval of the mean of non-negative values."""
    mean, half = values.mean(), scipy.stats.norm.ppf((1 + level) / 2) * values.std() / len(values) ** 0.5
    return max(0.0, float(mean - half)), float(mean + half)


def _pair(values: np.ndarray) -> tuple[float, float]:
    low, high = values.tolist()
    return low, high
