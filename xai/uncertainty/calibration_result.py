"""The measures of a calibration, and the result of `xai.calibration`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import isnan
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import scipy

from xai.core.results.result import Result
from xai.errors import ShapeError
from xai.stats.intervals import holm, wilson, wilson_interval
from xai.uncertainty.calibration_error import CalibrationError, expected_calibration_error
from xai.uncertainty.calibration_scores import Brier, Scores, Temperature

if TYPE_CHECKING:
    import pandas as pd

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
    covered = lost + np.cumsum(again[:, len(wrong) :], 1)
    risk = lost / np.maximum(covered, 1)
    areas = (risk * np.diff(covered, axis=1, prepend=0)).sum(1) / total
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
        excess: mean probability minus frequency.
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


@dataclass(frozen=True)
class TemperatureEffect:
    """One figure without and with the temperature, on images that it was not fitted on.

    Attributes:
        measure: "ece", "brier" or "nll"; less is better for all.
        before: without.
        after: with.
        difference: after - before.
        low: lower end of the interval of the difference; None for the ECE, which is no mean over images.
        high: upper end.
        p_value: of no difference, paired: t-test for the means, swaps for the ECE.
        adjusted: p for asking three questions (Holm).
    """

    measure: str
    before: float
    after: float
    difference: float
    low: float | None
    high: float | None
    p_value: float
    adjusted: float


@dataclass(frozen=True, eq=False, repr=False)
class Calibration(Result):
    """Calibration of a classifier on N images.

    Attributes:
        measures: of all images, as the model is.
        temperature: that divides the logits, fitted on other images than it is judged on.
        before: measures of the evaluation images, as the model is.
        after: measures of the evaluation images, with the temperature.
        comparisons: both, by paired tests.
        verdict: "overconfident", "underconfident", "miscalibrated", "no evidence" or "too small to tell".
        reasons: why, in plain words.
        labels: (N,) int64, the truth.
        predictions: (N,) int64.
        confidence: (N,) probability of the prediction.
        calibrated: (N,) the same with the temperature.
        is_evaluation: (N,) bool, the images that the temperature was not fitted on.
        class_names: of the model.
        provenance: model, settings (bins, level, tolerance), seed of halves and draws, data and versions.
        notes: what was done and what to beware of.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(400)
        >>> found = xai.calibration(clf, data)
        >>> low, high = found.ece_interval
        >>> bool(0 <= low <= high <= 1)
        True
    """

    _kind: ClassVar[str] = "calibration"
    _derived: ClassVar[tuple[str, ...]] = ("ece", "ece_interval")

    measures: Measures
    temperature: Temperature
    before: Measures
    after: Measures
    comparisons: tuple[TemperatureEffect, ...]
    verdict: str
    reasons: tuple[str, ...]
    labels: np.ndarray = field(repr=False)
    predictions: np.ndarray
    confidence: np.ndarray
    calibrated: np.ndarray
    is_evaluation: np.ndarray
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of images."""
        return self.measures.count

    def __repr__(self) -> str:
        """Verdict, error with interval, temperature."""
        low, high = self.ece_interval
        return (
            f"Calibration({self.verdict!r}, {len(self)} images, ECE {self.ece:.4f}, true error {low:.4f} to "
            f"{high:.4f}, temperature {self.temperature.value:.3f}: ECE {self.before.ece.value:.4f} -> "
            f"{self.after.ece.value:.4f})"
        )

    @property
    def ece(self) -> float:
        """Expected calibration error over bins of equal width, as it is usually reported; biased upwards."""
        return self.measures.ece.value

    @property
    def ece_interval(self) -> tuple[float, float]:
        """Interval of the true error, without the bias."""
        return self.measures.ece.low, self.measures.ece.high

    @property
    def curve(self) -> "pd.DataFrame":
        """The reliability curve, one row per bin. `low` and `high` are the Wilson interval of `accuracy`."""
        import pandas as pd

        return pd.DataFrame([asdict(each) for each in self.measures.ece.bins])

    @property
    def risk_coverage(self) -> "pd.DataFrame":
        """Share of wrong answers when only the most confident are given: coverage, risk, low, high."""
        import pandas as pd

        curve = self.measures.selective
        columns = {"coverage": curve.coverage, "risk": curve.risk, "low": curve.risk_low, "high": curve.risk_high}
        return pd.DataFrame(columns)

    @property
    def per_class(self) -> "pd.DataFrame":
        """One row per class: images, expected images, error, excess, adjusted p."""
        import pandas as pd

        return pd.DataFrame([asdict(each) for each in self.measures.classes])

    @property
    def table(self) -> "pd.DataFrame":
        """One row per figure: with interval, and compared without and with the temperature."""
        import pandas as pd

        whole, tests = self.measures, {comparison.measure: comparison for comparison in self.comparisons}
        rows: list[dict[str, Any]] = []
        for name, get, span in _FIGURES:
            low, high = span(whole)
            row = {"measure": name, "value": get(whole), "low": low, "high": high}
            row |= {"before": get(self.before), "after": get(self.after)}
            if name in tests:
                test = tests[name]
                row |= {"difference": test.difference, "difference_low": test.low, "difference_high": test.high}
                row |= {"p_value": test.p_value, "adjusted": test.adjusted}
            rows.append(row)
        return pd.DataFrame(rows)

    def plot(self) -> Any:
        """Draw the reliability curves without and with the temperature, and risk by coverage."""
        from xai.plots.uncertainty import calibration_figure

        return calibration_figure(self)


_NONE = (None, None)
_FIGURES: tuple[tuple[str, Any, Any], ...] = (
    ("accuracy", lambda m: m.accuracy, lambda m: m.accuracy_interval),
    ("confidence", lambda m: m.confidence, lambda _: _NONE),
    ("ece", lambda m: m.ece.value, lambda m: (m.ece.low, m.ece.high)),
    ("ece by chance", lambda m: m.ece.chance, lambda _: _NONE),
    ("ece debiased", lambda m: m.ece.debiased, lambda m: (m.ece.low, m.ece.high)),
    ("ece, equal mass", lambda m: m.ece_mass.value, lambda m: (m.ece_mass.low, m.ece_mass.high)),
    ("largest gap", lambda m: m.ece.largest, lambda _: _NONE),
    ("classwise ece", lambda m: m.classwise_ece, lambda _: _NONE),
    ("brier", lambda m: m.brier.value, lambda m: m.brier_interval),
    ("brier reliability", lambda m: m.brier.reliability, lambda _: _NONE),
    ("brier resolution", lambda m: m.brier.resolution, lambda _: _NONE),
    ("brier uncertainty", lambda m: m.brier.uncertainty, lambda _: _NONE),
    ("nll", lambda m: m.nll, lambda m: m.nll_interval),
    ("aurc", lambda m: m.selective.aurc, lambda m: (m.selective.low, m.selective.high)),
    ("aurc excess", lambda m: m.selective.excess, lambda _: _NONE),
)
