"""The interval of a calibration error, by asking of each possible error whether it would look like the one found."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

_STEPS = 20  # errors that are tried, between which is interpolated
_REACH = 4.0  # standard errors above the value up to which they go
_FEWEST = 5.0  # images more, for bins in which all are right
_TINY = 1e-9


@dataclass(frozen=True, eq=False)
class BinnedAnswers:
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
        found: np.ndarray = self.count / self.count.sum()
        return found

    @property
    def gaps(self) -> np.ndarray:
        """(B,) confidence minus accuracy."""
        found: np.ndarray = self.confidence - self.correct / self.count
        return found

    @property
    def value(self) -> float:
        """The calibration error."""
        return float(_distance(self.share * self.gaps))

    def spread(self) -> np.ndarray:
        """Return the variance (B,) of the accuracy of each bin; one image more, right as often as its confidence says.

        Without it a bin whose few images are all right would look exact.
        """
        accuracy = (self.correct + self.confidence) / (self.count + 1)
        found: np.ndarray = np.maximum(accuracy * (1 - accuracy) / self.count, _TINY)
        return found

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
    found: BinnedAnswers, p_value: float, chance: float, level: float, draws: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Return the interval of the true calibration error over given bins.

    The true error is the sum over bins of P(bin) |confidence - accuracy|, for infinitely many images of the same kind.

    Args:
        found: the images.
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
    counts = rng.multinomial(int(found.count.sum()), found.share, draws)
    trials = [_trial(found, shape, counts, p_value, rng, _distance) for shape in found.shapes()]
    other = -1.0 if (found.share * found.gaps).sum() > 0 else 1.0
    back = _trial(found, np.full(len(found.count), other), counts, p_value, rng, lambda gaps: other * gaps.sum(-1))
    ends = [trial.ends(level, chance) for trial in (*trials, back)]
    return min(low for low, _ in ends[:-1]) if p_value <= 1 - level else 0.0, max(high for _, high in ends)


def _distance(gaps: np.ndarray) -> np.ndarray:
    """Return calibration errors (...) from the gaps (..., B) times the shares of the bins."""
    found: np.ndarray = np.abs(gaps).sum(-1)
    return found


def _trial(
    found: BinnedAnswers,
    shape: np.ndarray,
    counts: np.ndarray,
    p_value: float,
    rng: np.random.Generator,
    measure: Callable[[np.ndarray], np.ndarray],
) -> _Trial:
    total, value = counts[0].sum(), float(measure(found.share * found.gaps))
    size = float((found.share * np.abs(shape)).sum())
    shape = shape / size if size > _TINY else np.ones_like(shape)
    top = found.value + _REACH * float(np.sqrt((found.share**2 * found.spread()).sum())) + _FEWEST / total
    errors, large, small = [0.0], [p_value], [1.0]
    for size in np.linspace(0, top, _STEPS + 1)[1:]:
        accuracy = np.clip(found.confidence - shape * size, 0, 1)
        error = float((found.share * np.abs(found.confidence - accuracy)).sum())
        if error <= errors[-1] + _TINY:
            break  # no accuracy is further away
        drawn = measure((counts * found.confidence - rng.binomial(counts, accuracy)) / total)
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
