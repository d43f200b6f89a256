"""How far a classifier's probabilities can be taken at their word, and how much a temperature helps."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from xai.core.results.serialization import Saved, plain
from xai.uncertainty.calibration.measures import Measures
from xai.uncertainty.calibration.scores import Temperature

if TYPE_CHECKING:
    import pandas as pd

_ARRAYS = ("labels", "predictions", "confidence", "calibrated", "judged")
_NESTED = ("measures", "before", "after")


@dataclass(frozen=True)
class Comparison:
    """One figure without and with the temperature, on pictures that it was not fitted on.

    Attributes:
        measure: "ece", "brier" or "nll"; less is better for all.
        before: without.
        after: with.
        difference: after - before.
        low: lower end of the interval of the difference; None for the ECE, which is no mean over pictures.
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
class Calibration(Saved):
    """Calibration of a classifier on N pictures.

    Attributes:
        measures: of all pictures, as the model is.
        temperature: that divides the logits, fitted on other pictures than it is judged on.
        before: measures of the judged pictures, as the model is.
        after: measures of the judged pictures, with the temperature.
        comparisons: both, by paired tests.
        verdict: "overconfident", "underconfident", "miscalibrated", "no evidence" or "too small to tell".
        reasons: why, in plain words.
        labels: (N,) int64, the truth.
        predictions: (N,) int64.
        confidence: (N,) probability of the prediction.
        calibrated: (N,) the same with the temperature.
        judged: (N,) bool, the pictures that the temperature was not fitted on.
        class_names: of the model.
        settings: bins, level, tolerance.
        seed: of halves and draws.
        data: names and numbers of pictures.
        model: name, fingerprint and preprocessing.
        versions: of the packages.
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

    measures: Measures
    temperature: Temperature
    before: Measures
    after: Measures
    comparisons: tuple[Comparison, ...]
    verdict: str
    reasons: tuple[str, ...]
    labels: np.ndarray = field(repr=False)
    predictions: np.ndarray
    confidence: np.ndarray
    calibrated: np.ndarray
    judged: np.ndarray
    class_names: tuple[str, ...]
    settings: Mapping[str, Any]
    seed: int
    data: Mapping[str, Any]
    model: Mapping[str, Any]
    versions: Mapping[str, str]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of pictures."""
        return self.measures.count

    def __repr__(self) -> str:
        """Verdict, error with interval, temperature."""
        low, high = self.ece_interval
        return (
            f"Calibration({self.verdict!r}, {len(self)} pictures, ECE {self.ece:.4f}, true error {low:.4f} to "
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
        """The reliability curve: one row per bin with pictures, `low` and `high` the Wilson interval of `accuracy`."""
        import pandas as pd

        return pd.DataFrame([asdict(one) for one in self.measures.ece.bins])

    @property
    def risk_coverage(self) -> "pd.DataFrame":
        """Share of wrong answers when only the most confident are given: coverage, risk, low, high."""
        import pandas as pd

        found = self.measures.selective
        columns = {"coverage": found.coverage, "risk": found.risk, "low": found.risk_low, "high": found.risk_high}
        return pd.DataFrame(columns)

    @property
    def per_class(self) -> "pd.DataFrame":
        """One row per class: pictures, expected pictures, error, excess, adjusted p."""
        import pandas as pd

        return pd.DataFrame([asdict(one) for one in self.measures.classes])

    @property
    def table(self) -> "pd.DataFrame":
        """One row per figure: on all pictures with interval; without and with the temperature, difference and p."""
        import pandas as pd

        whole, tests = self.measures, {one.measure: one for one in self.comparisons}
        rows: list[dict[str, Any]] = []
        for name, get, span in _FIGURES:
            low, high = span(whole)
            row = {"measure": name, "value": get(whole), "low": low, "high": high}
            row |= {"before": get(self.before), "after": get(self.after)}
            if name in tests:
                one = tests[name]
                row |= {"difference": one.difference, "difference_low": one.low, "difference_high": one.high}
                row |= {"p_value": one.p_value, "adjusted": one.adjusted}
            rows.append(row)
        return pd.DataFrame(rows)

    def plot(self) -> Any:
        """Draw the reliability curves without and with the temperature, and risk by coverage; return the figure."""
        from xai.plots.uncertainty import calibration_figure

        return calibration_figure(self)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the single pictures, JSON-ready."""
        return self._fields() | {"ece": self.ece, "ece_interval": list(self.ece_interval), "count": len(self)}

    _kind: ClassVar[str] = "calibration"

    def _arrays(self) -> Mapping[str, np.ndarray]:
        return {name: getattr(self, name) for name in _ARRAYS}

    @classmethod
    def _restored(cls, fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        result: dict[str, Any] = dict(fields)
        result |= {name: Measures.from_dict(result[name]) for name in _NESTED}
        result |= {name: tuple(result[name]) for name in ("reasons", "class_names", "notes")}
        result["temperature"] = Temperature(**result["temperature"])
        result["comparisons"] = tuple(Comparison(**one) for one in result["comparisons"])
        return cls(**(result | {name: arrays[name] for name in _ARRAYS}))

    def _fields(self) -> dict[str, Any]:
        nested: dict[str, Any] = {name: asdict(getattr(self, name)) for name in (*_NESTED, "temperature")}
        nested["comparisons"] = [asdict(one) for one in self.comparisons]
        rest = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in {*_ARRAYS, *nested}}
        found: dict[str, Any] = plain(rest | nested)
        return found


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
