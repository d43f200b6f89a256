"""Is the confidence of a classifier how often it is right? Bins, calibration errors, and what chance alone gives."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from xai.core.intervals import wilson
from xai.errors import NameLookupError, RangeError, ShapeError
from xai.metrics.calibration_interval import BinnedAnswers, error_interval

EQUAL = ("width", "mass")
_FINE = 250  # steps of confidence within which pictures are drawn as one: costs no more for a million pictures


@dataclass(frozen=True)
class Bin:
    """Pictures of like confidence.

    Attributes:
        lower: confidences are above it (at 0: from it on).
        upper: confidences are at most this; 1.0 belongs to the last bin.
        count: pictures, at least one.
        confidence: their mean confidence.
        accuracy: how often they are right.
        low: lower end of the Wilson interval of `accuracy`.
        high: upper end.
    """

    lower: float
    upper: float
    count: int
    confidence: float
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class CalibrationError:
    """The expected calibration error: mean distance of confidence and accuracy over bins, weighted by pictures.

    Attributes:
        value: as it is usually reported; never below 0 and biased upwards, see `chance`.
        debiased: minus the bias that the noise of each bin's accuracy adds, to first order; inside the interval.
        low: lower end of the interval of the error that infinitely many images would show over these bins; 0 exactly
            when `p_value` is above 1 - level. Over finer bins a true error can only be larger.
        high: upper end.
        chance: mean value of a perfectly calibrated model with the same confidences and as many pictures.
        detectable: value that such a model exceeds in 5 % of cases: smaller errors cannot be told from none.
        p_value: of perfect calibration.
        largest: largest distance of any bin.
        equal: "width" or "mass".
        bins: those that hold pictures.
    """

    value: float
    debiased: float
    low: float
    high: float
    chance: float
    detectable: float
    p_value: float
    largest: float
    equal: str
    bins: tuple[Bin, ...]


def bin_edges(confidence: Any, bins: int = 15, equal: str = "width") -> np.ndarray:
    """Return increasing edges from 0 to 1, at most bins + 1 of them: equally wide, or equally full but for ties.

    Raises:
        NameLookupError: neither "width" nor "mass".
        RangeError: fewer than one bin.
    """
    if equal not in EQUAL:
        raise NameLookupError("kind of bins", equal, EQUAL)
    if bins < 1:
        raise RangeError(f"Expected at least one bin, but got {bins}.")
    steps = np.linspace(0, 1, bins + 1)
    if equal == "width":
        return steps
    inner = np.quantile(np.asarray(confidence, dtype=np.float64), steps[1:-1])
    return np.unique(np.concatenate([[0.0], inner, [1.0]]))


def expected_calibration_error(
    confidence: Any,
    correct: Any,
    bins: int = 15,
    equal: str = "width",
    *,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> CalibrationError:
    """Return the expected calibration error (ECE) with interval, chance level and a test of perfect calibration.

    Args:
        confidence: (N,) in [0, 1], of the predicted class.
        correct: (N,) bool, whether the prediction is right.
        bins: how many.
        equal: bins of equal "width" (Guo et al. 2017) or equal "mass" (as many pictures in each; ties stay together).
        level: of the intervals.
        draws: of the bootstrap and of the calibrated model; 0 leaves both out (chance 0, p 1, interval 0 to 1).
        seed: of the draws.

    Raises:
        ShapeError: not two vectors of one length, or empty.
        RangeError: a confidence outside [0, 1].
        NameLookupError: neither "width" nor "mass".

    Cost: one sort; at most draws x 500 + 60 x draws x bins, whatever N.
    Source: bins (a, b] as in Guo et al. 2017, chance level by consistency resampling (Broecker and Smith 2007); the
    interval is that of the error which infinitely many images would show: `calibration_interval.error_interval`.
    """
    said, right = _checked(confidence, correct)
    edges = bin_edges(said, bins, equal)
    place = np.searchsorted(edges[1:-1], said)  # (a, b], so that 1.0 is in the last bin
    sums = _Sums.of(place, said, right, len(edges) - 1)
    value, debiased = sums.error()
    low, high, chance, detectable, p_value = _inference(place, said, sums, level, draws, seed)
    debiased = min(max(debiased, low), high)
    kept = sums.count > 0
    distance = np.abs(sums.confidence - sums.correct)[kept] / sums.count[kept]
    return CalibrationError(
        value, debiased, low, high, chance, detectable, p_value, float(distance.max()), equal, sums.bins(edges, level)
    )


@dataclass(frozen=True, eq=False)
class _Sums:
    """Per bin, (..., B): pictures, sum of their confidences, how many are right."""

    count: np.ndarray
    confidence: np.ndarray
    correct: np.ndarray

    @classmethod
    def of(cls, place: np.ndarray, said: np.ndarray, right: np.ndarray, size: int) -> "_Sums":
        return cls(*(np.bincount(place, weights, size) for weights in (None, said, right)))

    def error(self) -> tuple[Any, Any]:
        """Return the calibration error and the debiased one: floats, or one per row."""
        total = self.count.sum(-1, keepdims=True)
        gap = np.abs(self.confidence - self.correct) / total
        share = self.correct / np.maximum(self.count, 1)
        noise = np.sqrt(self.count * share * (1 - share)) / total
        debiased = np.maximum(0, (2 * gap - _folded_mean(gap, noise)).sum(-1))
        return gap.sum(-1)[()], debiased[()]

    def bins(self, edges: np.ndarray, level: float) -> tuple[Bin, ...]:
        found = []
        for k in np.flatnonzero(self.count):
            count, right = int(self.count[k]), float(self.correct[k])
            low, high = wilson(right, count, level).tolist()
            mean = float(self.confidence[k]) / count
            found.append(Bin(float(edges[k]), float(edges[k + 1]), count, mean, right / count, low, high))
        return tuple(found)


def _folded_mean(mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return E|X| of normal X: what a distance looks like under noise."""
    safe = np.maximum(spread, 1e-300)
    z = np.minimum(mean / safe, 40)
    folded = spread * np.sqrt(2 / np.pi) * np.exp(-z * z / 2) + mean * (1 - 2 * scipy.stats.norm.cdf(-z))
    return np.where(spread > 0, folded, mean)


def _inference(
    place: np.ndarray, said: np.ndarray, sums: _Sums, level: float, draws: int, seed: int
) -> tuple[float, float, float, float, float]:
    """Return low and high of the interval, mean and 95 % quantile by chance, and p."""
    if draws == 0:
        return 0.0, 1.0, 0.0, 0.0, 1.0
    rng = np.random.default_rng(abs(seed))
    cells, counts, means = _cells(place, said)
    into = np.eye(sums.count.shape[0])[cells]
    totals = counts @ into
    drawn = rng.binomial(counts.astype(int), np.clip(means, 0, 1), (draws, len(counts)))
    null = _Sums(totals, (counts * means) @ into, drawn @ into).error()[0]
    value = sums.error()[0]
    p_value = (1 + int((null >= value - 1e-12).sum())) / (draws + 1)
    kept = sums.count > 0
    found = BinnedAnswers(sums.count[kept], sums.confidence[kept] / sums.count[kept], sums.correct[kept])
    low, high = error_interval(found, p_value, float(null.mean()), level, draws, rng)
    return low, high, float(null.mean()), float(np.quantile(null, 0.95)), p_value


def _cells(place: np.ndarray, said: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return pictures of one bin and nearly one confidence together: bin, count, mean confidence."""
    codes = place * (_FINE + 1) + np.rint(said * _FINE).astype(np.int64)
    kinds, inverse = np.unique(codes, return_inverse=True)
    counts = np.bincount(inverse).astype(np.float64)
    return kinds // (_FINE + 1), counts, np.bincount(inverse, said) / counts


def _checked(confidence: Any, correct: Any) -> tuple[np.ndarray, np.ndarray]:
    said, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if said.ndim != 1 or said.shape != right.shape or len(said) == 0:
        raise ShapeError(
            f"Expected a confidence and a bool for each picture, (N,) both, but got {said.shape} and {right.shape}."
        )
    if not (said.min() >= 0 and said.max() <= 1):
        raise RangeError(f"Expected confidences in [0, 1], but got {said.min():.3g} to {said.max():.3g}.")
    return said, right
