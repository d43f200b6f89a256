"""The tests of a drift, and the result of `xai.drift`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import scipy

from xai.core.results.message import frame_of
from xai.core.results.result import Result
from xai.errors import ShapeError
from xai.stats.intervals import detectable_difference, difference_interval, fisher_p, holm, homogeneity_p, welch_mean

if TYPE_CHECKING:
    import pandas as pd

    from xai.core.model.inference import LabelledOutputs
    from xai.stats.two_sample import TwoSample

DRIFT, NO_EVIDENCE, TOO_SMALL = "drift", "no evidence", "too small to tell"
WORST_CONDITION = 100.0
_MORE = 2.0  # images by which each class has more, spread over all answers: what never happened is not impossible
_MOST_CLASSES = 100  # for the estimate of label shift: K^3 work in each draw


@dataclass(frozen=True)
class DriftTest:
    """One test of "both come from one source".

    Attributes:
        name: "classifier", "kernel", "classes" or "confidence".
        effect: what `value` is.
        value: the size of the difference.
        low: lower end of its 95 % interval; None where there is none.
        high: upper end.
        by_chance: value that samples of one source exceed in 5 % of cases; None where the interval says it.
        p_value: of no difference.
        adjusted: p for asking all the tests (Holm).
    """

    name: str
    effect: str
    value: float
    low: float | None
    high: float | None
    by_chance: float | None
    p_value: float
    adjusted: float


@dataclass(frozen=True)
class ClassShare:
    """How often the model answers a class in both data sets.

    Attributes:
        name: of the class.
        share_a: of the first data set.
        share_b: of the second.
        difference: share_b - share_a.
        low: lower end of its 95 % interval (Newcombe).
        high: upper end.
        p_value: Fisher's exact test.
        adjusted: p for asking all classes (Holm).
        detectable: difference that would be found 8 times of 10 at the adjusted level.
        true_a: true share in the first data set; None without labels.
        estimated_b: share in the second, were only the shares different (BBSE); None where it is unknown.
        estimated_low: lower end of its 95 % interval.
        estimated_high: upper end.
    """

    name: str
    share_a: float
    share_b: float
    difference: float
    low: float
    high: float
    p_value: float
    adjusted: float
    detectable: float
    true_a: float | None = None
    estimated_b: float | None = None
    estimated_low: float | None = None
    estimated_high: float | None = None


@dataclass(frozen=True)
class DriftFinding:
    """A difference that chance does not explain.

    Attributes:
        id: "classifier", "kernel", "classes", "confidence", or "class: NAME".
        sentence: in plain words.
        value: the size of the difference.
        interval: its 95 % interval, or None.
        p_value: adjusted.
    """

    id: str
    sentence: str
    value: float
    interval: tuple[float, float] | None
    p_value: float


@dataclass(frozen=True, eq=False, repr=False)
class Drift(Result):
    """How two data sets differ to a model.

    Attributes:
        verdict: "drift", "no evidence" or "too small to tell".
        reasons: why, in plain words.
        findings: differences that chance does not explain; empty when there are none.
        tests: of features, answers and confidence.
        class_shares: how often the model answers each class.
        detectable_shift: of the features' mean, in standard deviations along its direction, that a linear classifier
            would have found 8 times of 10; None where it would find none.
        scores_a: (m,) held-out scores of the classifier that tells the data sets apart, above 0 for the second.
        scores_b: (n,) the same for the second data set.
        confidence_a: (M,) probability of the prediction in the first data set.
        confidence_b: (N,) in the second.
        provenance: model, settings (alpha, relevant, rows, draws), seed of samples and relabellings, data.
        notes: what was done and what to beware of.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(200)
        >>> found = xai.drift(clf, data.subset(60, seed=1), data.subset(60, seed=2), draws=49)
        >>> found.verdict in {"drift", "no evidence", "too small to tell"}
        True
    """

    _kind: ClassVar[str] = "drift"

    verdict: str
    reasons: tuple[str, ...]
    findings: tuple[DriftFinding, ...]
    tests: tuple[DriftTest, ...]
    class_shares: tuple[ClassShare, ...]
    detectable_shift: float | None
    scores_a: np.ndarray = field(repr=False)
    scores_b: np.ndarray = field(repr=False)
    confidence_a: np.ndarray = field(repr=False)
    confidence_b: np.ndarray = field(repr=False)

    def __repr__(self) -> str:
        """Verdict and the first reason."""
        return f"Drift({self.verdict!r}: {next(iter(self.reasons), '')})"

    @property
    def table(self) -> "pd.DataFrame":
        """One row per test: effect, value, interval, value by chance, p and adjusted p."""
        return frame_of(self.tests)

    @property
    def per_class(self) -> "pd.DataFrame":
        """One row per class: shares of answers, difference with interval, adjusted p, label shift."""
        return frame_of(self.class_shares)

    def plot(self) -> Any:
        """Draw the scores that separate the data sets, the classes and the confidences. The figure is returned."""
        from xai.plots.uncertainty import drift_figure

        return drift_figure(self)


@dataclass(frozen=True, eq=False)
class LabelShift:
    """Estimated shares of classes.

    Attributes:
        first: (K,) shares in the labelled sample.
        second: (K,) estimated shares in the other; they sum to 1.
        low: (K,) lower ends of their intervals.
        high: (K,) upper ends.
        condition: of the confusion matrix that was inverted; large means vague.
    """

    first: np.ndarray
    second: np.ndarray
    low: np.ndarray
    high: np.ndarray
    condition: float


def label_shift(
    predicted: np.ndarray,
    labels: np.ndarray,
    others: np.ndarray,
    classes: int,
    *,
    level: float = 0.95,
    draws: int = 500,
    seed: int = 0,
) -> LabelShift | None:
    """Return the shares of classes in images of which only predictions are known; None when they are unknown.

    Right when images of each class look alike in both samples and only the shares differ; otherwise wrong.

    Args:
        predicted: (m,) classes predicted for the labelled images.
        labels: (m,) their truth.
        others: (n,) classes predicted for the other images.
        classes: how many there are.
        level: of the intervals.
        draws: of shares from their Dirichlet distributions, for the intervals.
        seed: of the draws.

    Returns:
        LabelShift, or None where a class has no labelled image or the confusion matrix is close to singular.

    Raises:
        ShapeError: `predicted` and `labels` of different lengths, or nothing.

    Cost: draws solutions of K equations.
    Source: Lipton, Wang and Smola 2018 (BBSE, hard labels); negative shares become 0. Intervals: the answers of each
    class and those on the others are drawn from Dirichlet distributions after two more images each, spread over all
    answers. A bootstrap never draws a mistake that did not happen, and held the truth in 90 to 94 % of small samples.
    """
    if predicted.shape != labels.shape or len(labels) == 0 or len(others) == 0:
        raise ShapeError(
            f"Expected a prediction for each label, but got {predicted.shape}, {labels.shape} and {others.shape}."
        )
    joint = np.bincount(predicted * classes + labels, minlength=classes**2).astype(np.float64)
    counts = np.bincount(others, minlength=classes).astype(np.float64)
    if (joint.reshape(classes, classes).sum(0) == 0).any():
        return None
    condition = float(np.linalg.cond(_given_labels(joint, classes)))
    if not condition < WORST_CONDITION:
        return None
    rng = np.random.default_rng(abs(seed))
    joints = rng.standard_gamma(joint + _MORE / classes, (draws, classes**2))
    drawn = rng.standard_gamma(counts + _MORE / classes, (draws, classes))
    every = np.stack([_solve(a, b, classes) for a, b in zip(joints, drawn, strict=True)])
    low, high = np.quantile(every, [(1 - level) / 2, (1 + level) / 2], axis=0)
    first = joint.reshape(classes, classes).sum(0) / len(labels)
    return LabelShift(first, _solve(joint, counts, classes), low, high, condition)


def _given_labels(joint: np.ndarray, classes: int) -> np.ndarray:
    """Return how often each class is predicted (down) for images of each (across)."""
    table = joint.reshape(classes, classes)
    rates: np.ndarray = table / table.sum(0)
    return rates


def _solve(joint: np.ndarray, counts: np.ndarray, classes: int) -> np.ndarray:
    """Return non-negative shares that sum to 1."""
    rates = _given_labels(joint, classes)
    shares = np.clip(np.linalg.lstsq(rates, counts / counts.sum(), rcond=None)[0], 0, None)
    normalised: np.ndarray = shares / shares.sum()
    return normalised


@dataclass(frozen=True, eq=False)
class Sides:
    """What the model answers on both data sets.

    Attributes:
        names: of the classes (K).
        predicted_a: (M,) int64.
        predicted_b: (N,) int64.
        confidence_a: (M,) float64.
        confidence_b: (N,) float64.
        labels_a: (M,) int64 or None.
    """

    names: Sequence[str]
    predicted_a: np.ndarray
    predicted_b: np.ndarray
    confidence_a: np.ndarray
    confidence_b: np.ndarray
    labels_a: np.ndarray | None

    @classmethod
    def of(cls, first: "LabelledOutputs", second: "LabelledOutputs", names: Sequence[str]) -> "Sides":
        """Return the answers of both, in the order of their content."""
        pairs = []
        for outputs in (first, second):
            rows = outputs.logits
            best = (rows.double().max(1).values - rows.double().logsumexp(1)).exp()
            pairs.append((rows.argmax(1).numpy(), best.numpy()))
        (predictions_a, confidence_a), (two, confidence_b) = pairs
        return cls(
            names,
            predictions_a,
            two,
            confidence_a,
            confidence_b,
            None if first.labels is None else first.labels.numpy(),
        )

    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """Return how often each class is answered in both (K,)."""
        size = len(self.names)
        return np.bincount(self.predicted_a, minlength=size), np.bincount(self.predicted_b, minlength=size)


def ask(separation: "TwoSample", kernel: "TwoSample", sides: Sides, draws: int, seed: int) -> tuple[DriftTest, ...]:
    """Return the four tests, with p-values adjusted together."""
    first, second = sides.counts()
    distance = float(np.abs(first / first.sum() - second / second.sum()).sum() / 2)
    _, classes_p = homogeneity_p(first, second, draws=draws, seed=seed)
    change, low, high, _ = welch_mean(sides.confidence_a, sides.confidence_b)
    confidence_p = float(scipy.stats.ks_2samp(sides.confidence_a, sides.confidence_b).pvalue)
    rows = [
        (
            "classifier",
            "AUROC of telling apart",
            separation.value,
            separation.low,
            separation.high,
            separation.null_high,
            separation.p_value,
        ),
        ("kernel", "squared MMD", kernel.value, None, None, kernel.null_high, kernel.p_value),
        ("classes", "share of predictions that moved", distance, None, None, None, classes_p),
        ("confidence", "change of mean confidence", change, low, high, None, confidence_p),
    ]
    adjusted = holm([row[-1] for row in rows]).tolist()
    return tuple(DriftTest(*row, adjusted=p) for row, p in zip(rows, adjusted, strict=True))


def class_shares(sides: Sides, alpha: float, seed: int) -> tuple[ClassShare, ...]:
    """Return how often each class is answered in both, with the label-shift estimate where it can be made."""
    first, second = sides.counts()
    m, n = int(first.sum()), int(second.sum())
    spans = difference_interval(first, m, second, n)
    p_values = fisher_p(first, m, second, n)
    shares = np.maximum(first + second, 1) / (m + n)
    limits = detectable_difference(shares, m, n, alpha=alpha / len(first))
    columns = zip(sides.names, first / m, second / n, spans, p_values, holm(p_values), limits, strict=True)
    shifted = _shifted(sides, seed)
    rows = []
    for k, (name, share_a, two, (low, high), p, adjusted, limit) in enumerate(columns):
        more = {} if shifted is None else _estimate(shifted, k)
        values = (float(v) for v in (share_a, two, two - share_a, low, high, p, adjusted, limit))
        rows.append(ClassShare(name, *values, **more))
    return tuple(rows)


def _shifted(sides: Sides, seed: int) -> LabelShift | None:
    if sides.labels_a is None or len(sides.names) > _MOST_CLASSES:
        return None
    return label_shift(sides.predicted_a, sides.labels_a, sides.predicted_b, len(sides.names), seed=seed)


def _estimate(shift: LabelShift, k: int) -> dict[str, float]:
    return {
        "true_a": float(shift.first[k]),
        "estimated_b": float(shift.second[k]),
        "estimated_low": float(shift.low[k]),
        "estimated_high": float(shift.high[k]),
    }
