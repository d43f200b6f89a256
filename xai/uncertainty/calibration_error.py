"""The calibration error: bins, estimates, and the interval that few images leave."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy

from xai.errors import NameLookupError, RangeError, ShapeError
from xai.stats.intervals import wilson_interval

_STEPS = 20  # errors that are tried, between which is interpolated
_REACH = 4.0  # standard errors above the value up to which they go
_FEWEST = 5.0  # images more, for bins in which all are right
_TINY = 1e-9


@dataclass(frozen=True, eq=False)
class BinnedPredictions:
    """Images in B occupied bins.

    Attributes:
        count: (B,) images in each, above 0.
        confidence: (B,) their mean confidence.
        correct: (B,) how many are right.
    """

    count: np.ndarray
    confidence: np.ndarray
    correct: np.ndarray

    @property
    def share(self) -> np.ndarray:
        """(B,) of all images."""
        shares: np.ndarray = self.count / self.count.sum()
        return shares

    @property
    def gaps(self) -> np.ndarray:
        """(B,) confidence minus accuracy."""
        gaps: np.ndarray = self.confidence - self.correct / self.count
        return gaps

    @property
    def value(self) -> float:
        """The calibration error."""
        return float(_distance(self.share * self.gaps))

    def spread(self) -> np.ndarray:
        """Return the variance (B,) of the accuracy of each bin; one image more, right as often as its confidence says.

        Without it a bin whose few images are all right would look exact.
        """
        accuracy = (self.correct + self.confidence) / (self.count + 1)
        variances: np.ndarray = np.maximum(accuracy * (1 - accuracy) / self.count, _TINY)
        return variances

    def shapes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return two ways (B,) in which the true error may be spread over the bins, as confidence minus accuracy.

        The gaps found, each drawn towards the common one as far as their scatter is noise (DerSimonian and Laird 1986),
        and the gaps found with one image more at the common gap.
        """
        gaps, variance = self.gaps, self.spread()
        weights = 1 / variance
        mean = float((weights * gaps).sum() / weights.sum())
        excess = float((weights * (gaps - mean) ** 2).sum()) - (len(gaps) - 1)
        scale = float(weights.sum() - (weights**2).sum() / weights.sum())
        between = max(0.0, excess / scale) if scale > _TINY else 0.0
        weights = 1 / (variance + between)
        mean = float((weights * gaps).sum() / weights.sum())
        common = float((self.share * gaps).sum())
        return mean + (gaps - mean) * between / (between + variance), (self.count * gaps + common) / (self.count + 1)


@dataclass(frozen=True, eq=False)
class _Trial:
    """What errors of one shape look like.

    Attributes:
        errors: (T,) true errors that were tried, increasing from 0.
        as_large: (T,) how often one at least as large as the value would be found.
        as_small: (T,) how often one at most as large.
    """

    errors: np.ndarray
    as_large: np.ndarray = field(repr=False)
    as_small: np.ndarray = field(repr=False)

    def ends(self, level: float, chance: float) -> tuple[float, float]:
        """Return the smallest and largest error that is not rejected.

        Errors below what chance alone shows cannot be found too small, so the whole of 1 - level is spent on finding
        them too large; at 0 this is the test of perfect calibration.
        """
        above = (1 - level) / 2 * (1 + np.maximum(0, 1 - self.errors / max(chance, _TINY)))
        return _crossing(self.errors, self.as_large - above), _crossing(self.errors, 1 - level - above - self.as_small)


def error_interval(
    binned: BinnedPredictions, p_value: float, chance: float, level: float, draws: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Return the interval of the true calibration error over given bins.

    The true error is the sum over bins of P(bin) |confidence - accuracy|, for infinitely many images of the same kind.

    Args:
        binned: the images.
        p_value: of perfect calibration, which decides whether 0 is inside.
        chance: mean value of a perfectly calibrated model.
        level: of the interval.
        draws: data sets drawn for each error that is tried.
        rng: draws them.

    Cost: 60 draws B binomials, whatever the number of images.
    Source: inversion of a parametric bootstrap test (Efron and Tibshirani 1993, section 12.3) along two shapes of the
        error, of which the wider ends are taken, and upwards also along a common error in the other direction than the
        one found, as far as the mean confidence allows it. The value is biased upwards and no less so in bootstrap
        samples: neither percentiles nor the value +- z standard errors hold the truth.
    """
    counts = rng.multinomial(int(binned.count.sum()), binned.share, draws)
    trials = [_trial(binned, shape, counts, p_value, rng, _distance) for shape in binned.shapes()]
    other = -1.0 if (binned.share * binned.gaps).sum() > 0 else 1.0
    back = _trial(binned, np.full(len(binned.count), other), counts, p_value, rng, lambda gaps: other * gaps.sum(-1))
    ends = [trial.ends(level, chance) for trial in (*trials, back)]
    return min(low for low, _ in ends[:-1]) if p_value <= 1 - level else 0.0, max(high for _, high in ends)


def _distance(gaps: np.ndarray) -> np.ndarray:
    """Return calibration errors (...) from the gaps (..., B) times the shares of the bins."""
    distances: np.ndarray = np.abs(gaps).sum(-1)
    return distances


def _trial(
    binned: BinnedPredictions,
    shape: np.ndarray,
    counts: np.ndarray,
    p_value: float,
    rng: np.random.Generator,
    measure: Callable[[np.ndarray], np.ndarray],
) -> _Trial:
    total, value = counts[0].sum(), float(measure(binned.share * binned.gaps))
    size = float((binned.share * np.abs(shape)).sum())
    shape = shape / size if size > _TINY else np.ones_like(shape)
    top = binned.value + _REACH * float(np.sqrt((binned.share**2 * binned.spread()).sum())) + _FEWEST / total
    errors, large, small = [0.0], [p_value], [1.0]
    for size in np.linspace(0, top, _STEPS + 1)[1:]:
        accuracy = np.clip(binned.confidence - shape * size, 0, 1)
        error = float((binned.share * np.abs(binned.confidence - accuracy)).sum())
        if error <= errors[-1] + _TINY:
            break  # no accuracy is further away
        drawn = measure((counts * binned.confidence - rng.binomial(counts, accuracy)) / total)
        errors.append(error)
        large.append((1 + int((drawn >= value - 1e-12).sum())) / (1 + len(drawn)))
        small.append((1 + int((drawn <= value + 1e-12).sum())) / (1 + len(drawn)))
    return _Trial(np.array(errors), np.maximum.accumulate(large), np.minimum.accumulate(small))


def _crossing(places: np.ndarray, heights: np.ndarray) -> float:
    """Return where heights first rise above 0, between two places by a straight line; the last place if they do not."""
    above = np.flatnonzero(heights > 0)
    if len(above) == 0 or above[0] == 0:
        return float(places[0] if len(above) else places[-1])
    k = int(above[0])
    share = -heights[k - 1] / (heights[k] - heights[k - 1])
    return float(places[k - 1] + share * (places[k] - places[k - 1]))


EQUAL = ("width", "mass")
_FINE = 250  # steps of confidence within which images are drawn as one: costs no more for a million images


@dataclass(frozen=True)
class Bin:
    """Images of like confidence.

    Attributes:
        lower: confidences are above it (at 0: from it on).
        upper: confidences are at most this; 1.0 belongs to the last bin.
        count: images, at least one.
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
    """The expected calibration error: mean distance of confidence and accuracy over bins, weighted by images.

    Attributes:
        value: as it is usually reported; never below 0 and biased upwards, see `chance`.
        debiased: minus the bias that the noise of each bin's accuracy adds, to first order; inside the interval.
        low: lower end of the interval of the error that infinitely many images would show over these bins; 0 exactly
            when `p_value` is above 1 - level. Over finer bins a true error can only be larger.
        high: upper end.
        chance: mean value of a perfectly calibrated model with the same confidences and as many images.
        detectable: value that such a model exceeds in 5 % of cases: smaller errors are no evidence of any.
        p_value: of perfect calibration.
        largest: largest distance of any bin.
        equal: "width" or "mass".
        bins: those that hold images.
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
        equal: bins of equal "width" (Guo et al. 2017) or equal "mass" (as many images in each; ties stay together).
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
    confidences, right = _checked(confidence, correct)
    edges = bin_edges(confidences, bins, equal)
    place = np.searchsorted(edges[1:-1], confidences)  # (a, b], so that 1.0 is in the last bin
    sums = _Sums.of(place, confidences, right, len(edges) - 1)
    value, debiased = sums.error()
    low, high, chance, detectable, p_value = _inference(place, confidences, sums, level, draws, seed)
    debiased = min(max(debiased, low), high)
    occupied = sums.count > 0
    distance = np.abs(sums.confidence - sums.correct)[occupied] / sums.count[occupied]
    return CalibrationError(
        value, debiased, low, high, chance, detectable, p_value, float(distance.max()), equal, sums.bins(edges, level)
    )


@dataclass(frozen=True, eq=False)
class _Sums:
    """Per bin, (..., B): images, sum of their confidences, how many are right."""

    count: np.ndarray
    confidence: np.ndarray
    correct: np.ndarray

    @classmethod
    def of(cls, place: np.ndarray, confidences: np.ndarray, right: np.ndarray, size: int) -> "_Sums":
        return cls(*(np.bincount(place, weights, size) for weights in (None, confidences, right)))

    def error(self) -> tuple[Any, Any]:
        """Return the calibration error and the debiased one: floats, or one per row."""
        total = self.count.sum(-1, keepdims=True)
        gap = np.abs(self.confidence - self.correct) / total
        share = self.correct / np.maximum(self.count, 1)
        noise = np.sqrt(self.count * share * (1 - share)) / total
        debiased = np.maximum(0, (2 * gap - _folded_mean(gap, noise)).sum(-1))
        return gap.sum(-1)[()], debiased[()]

    def bins(self, edges: np.ndarray, level: float) -> tuple[Bin, ...]:
        bins = []
        for k in np.flatnonzero(self.count):
            count, right = int(self.count[k]), float(self.correct[k])
            low, high = wilson_interval(right, count, level)
            mean = float(self.confidence[k]) / count
            bins.append(Bin(float(edges[k]), float(edges[k + 1]), count, mean, right / count, low, high))
        return tuple(bins)


def _folded_mean(mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return E|X| of normal X: what a distance looks like under noise."""
    safe = np.maximum(spread, 1e-300)
    z = np.minimum(mean / safe, 40)
    folded = spread * np.sqrt(2 / np.pi) * np.exp(-z * z / 2) + mean * (1 - 2 * scipy.stats.norm.cdf(-z))
    return np.where(spread > 0, folded, mean)


def _inference(
    place: np.ndarray, confidences: np.ndarray, sums: _Sums, level: float, draws: int, seed: int
) -> tuple[float, float, float, float, float]:
    """Return low and high of the interval, mean and 95 % quantile by chance, and p."""
    if draws == 0:
        return 0.0, 1.0, 0.0, 0.0, 1.0
    rng = np.random.default_rng(abs(seed))
    cells, counts, means = _cells(place, confidences)
    into = np.eye(sums.count.shape[0])[cells]
    totals = counts @ into
    drawn = rng.binomial(counts.astype(int), np.clip(means, 0, 1), (draws, len(counts)))
    null = _Sums(totals, (counts * means) @ into, drawn @ into).error()[0]
    value = sums.error()[0]
    p_value = (1 + int((null >= value - 1e-12).sum())) / (draws + 1)
    occupied = sums.count > 0
    binned = BinnedPredictions(
        sums.count[occupied], sums.confidence[occupied] / sums.count[occupied], sums.correct[occupied]
    )
    low, high = error_interval(binned, p_value, float(null.mean()), level, draws, rng)
    return low, high, float(null.mean()), float(np.quantile(null, 0.95)), p_value


def _cells(place: np.ndarray, confidences: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return images of one bin and nearly one confidence together: bin, count, mean confidence."""
    codes = place * (_FINE + 1) + np.rint(confidences * _FINE).astype(np.int64)
    kinds, inverse = np.unique(codes, return_inverse=True)
    counts = np.bincount(inverse).astype(np.float64)
    return kinds // (_FINE + 1), counts, np.bincount(inverse, confidences) / counts


def _checked(confidence: Any, correct: Any) -> tuple[np.ndarray, np.ndarray]:
    confidences, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if confidences.ndim != 1 or confidences.shape != right.shape or len(confidences) == 0:
        raise ShapeError(
            f"Expected a confidence and a bool for each image, (N,) both, but got {confidences.shape} and "
            f"{right.shape}."
        )
    if not (confidences.min() >= 0 and confidences.max() <= 1):
        raise RangeError(f"Expected confidences in [0, 1], but got {confidences.min():.3g} to {confidences.max():.3g}.")
    return confidences, right
