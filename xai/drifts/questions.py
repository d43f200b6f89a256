"""The four questions to two data sets, and the classes one by one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from xai.core.answers import Answers
from xai.drifts.result import ClassShare, DriftTest
from xai.metrics.label_shift import LabelShift, label_shift
from xai.metrics.means import welch_mean
from xai.metrics.proportions import detectable_difference, difference_interval, fisher_p, holm, homogeneity_p
from xai.metrics.two_sample import TwoSample

_MOST_CLASSES = 100  # for the estimate of label shift: K^3 work in each draw


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
    def of(cls, first: Answers, second: Answers, names: Sequence[str]) -> "Sides":
        """Return the answers of both, in the order of their content."""
        pairs = []
        for answers in (first, second):
            rows = answers.logits
            best = (rows.double().max(1).values - rows.double().logsumexp(1)).exp()
            pairs.append((rows.argmax(1).numpy(), best.numpy()))
        (one, sure), (two, sure_b) = pairs
        return cls(names, one, two, sure, sure_b, None if first.labels is None else first.labels.numpy())

    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """Return how often each class is answered in both (K,)."""
        size = len(self.names)
        return np.bincount(self.predicted_a, minlength=size), np.bincount(self.predicted_b, minlength=size)


def ask(told: TwoSample, kernel: TwoSample, sides: Sides, draws: int, seed: int) -> tuple[DriftTest, ...]:
    """Return the four tests, with p-values adjusted together."""
    first, second = sides.counts()
    distance = float(np.abs(first / first.sum() - second / second.sum()).sum() / 2)
    _, classes_p = homogeneity_p(first, second, draws=draws, seed=seed)
    change, low, high, _ = welch_mean(sides.confidence_a, sides.confidence_b)
    sure_p = float(scipy.stats.ks_2samp(sides.confidence_a, sides.confidence_b).pvalue)
    rows = [
        ("classifier", "AUROC of telling apart", told.value, told.low, told.high, told.null_high, told.p_value),
        ("kernel", "squared MMD", kernel.value, None, None, kernel.null_high, kernel.p_value),
        ("classes", "share of answers that moved", distance, None, None, None, classes_p),
        ("confidence", "change of mean confidence", change, low, high, None, sure_p),
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
    found = []
    for k, (name, one, two, (low, high), p, adjusted, limit) in enumerate(columns):
        more = {} if shifted is None else _estimate(shifted, k)
        values = (float(v) for v in (one, two, two - one, low, high, p, adjusted, limit))
        found.append(ClassShare(name, *values, **more))
    return tuple(found)


def _shifted(sides: Sides, seed: int) -> LabelShift | None:
    if sides.labels_a is None or len(sides.names) > _MOST_CLASSES:
        return None
    return label_shift(sides.predicted_a, sides.labels_a, sides.predicted_b, len(sides.names), seed=seed)


def _estimate(found: LabelShift, k: int) -> dict[str, float]:
    return {
        "true_a": float(found.first[k]),
        "estimated_b": float(found.second[k]),
        "estimated_low": float(found.low[k]),
        "estimated_high": float(found.high[k]),
    }
