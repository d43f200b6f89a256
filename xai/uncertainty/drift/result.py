"""Whether two data sets look alike to a model, test by test and class by class."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from xai.core.results.message import frame_of
from xai.core.results.result import Result

if TYPE_CHECKING:
    import pandas as pd

DRIFT, NO_EVIDENCE, TOO_SMALL = "drift", "no evidence", "too small to tell"


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
        estimated_b: share in the second, were only the shares different (BBSE); None where it cannot be told.
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
        classes: how often the model answers each class.
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
    classes: tuple[ClassShare, ...]
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
        return frame_of(self.classes)

    def plot(self) -> Any:
        """Draw the scores that tell the data sets apart, the classes and the confidences; return the figure."""
        from xai.plots.uncertainty import drift_figure

        return drift_figure(self)
