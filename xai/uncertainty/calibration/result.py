"""How far a classifier's probabilities can be taken at their word, and how much a temperature helps."""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from xai.core.results.result import Result
from xai.uncertainty.calibration.measures import Measures
from xai.uncertainty.calibration.scores import Temperature

if TYPE_CHECKING:
    import pandas as pd


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
        """The reliability curve: one row per bin with images, `low` and `high` the Wilson interval of `accuracy`."""
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
        """One row per figure: on all images with interval; without and with the temperature, difference and p."""
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
        """Draw the reliability curves without and with the temperature, and risk by coverage; return the figure."""
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
