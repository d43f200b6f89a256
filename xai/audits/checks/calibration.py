"""How well the model's probabilities are calibrated."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from xai.audits.check_result import CheckResult
from xai.audits.checks.base import CHECKS, FIGURES, Check, rows_of
from xai.audits.context import DATA, Context
from xai.audits.execution.stages.base import Stage
from xai.audits.execution.stages.predictions import PredictionStage
from xai.core.model.features import Outputs
from xai.core.results.message import Message
from xai.uncertainty.calibration import calibration

if TYPE_CHECKING:
    import pandas as pd

_TOLERANCE = 0.05


@CHECKS.register("calibration")
@dataclass(frozen=True)
class CalibrationCheck(Check):
    """Expected calibration error, without the bias of small samples.

    Attributes:
        bins: of confidence.
    """

    name: ClassVar[str] = "calibration"
    title: ClassVar[str] = "Calibration"
    family: ClassVar[str] = "quality"
    question: ClassVar[str] = "How far are the model's probabilities from how often it is right?"
    conditions: ClassVar[tuple[str, ...]] = FIGURES
    better: ClassVar[str] = "less"
    limits: ClassVar[tuple[str, ...]] = ("holds on average over images like these, not for each of them",)

    bins: int = 15

    def stages(self) -> tuple[Stage, ...]:
        """Predict once."""
        return (PredictionStage(most=self.most),)

    def measure(self, context: Context) -> CheckResult:
        """Compare probabilities with frequencies."""
        logits = torch.from_numpy(context.results[0]["logits"])
        labels = context.labels(DATA, context.results[0].rows)
        measured = calibration(
            context.classifier,
            Outputs(logits, None, labels, None),
            labels,
            bins=self.bins,
            level=context.level,
            tolerance=_TOLERANCE,
            seed=context.seed,
        )
        low, high = measured.ece_interval
        curve = measured.curve
        columns = {name: curve[name].tolist() for name in curve.columns}
        about = measured.temperature
        return CheckResult(
            measured.measures.ece.debiased,
            low,
            high,
            context.level,
            len(measured),
            "ece",
            claim=Message(
                "{verdict:sentence} The calibration error is between {low:.4f} and {high:.4f}.",
                **{"verdict": Message(measured.verdict), "low": low, "high": high},
            ),
            facts={
                "verdict": measured.verdict,
                "ece_as_reported": measured.ece,
                "temperature": about.value,
                "ece_before": measured.before.ece.value,
                "ece_after": measured.after.ece.value,
            },
            tables={"measures": rows_of(measured.table), "classes": rows_of(measured.per_class)},
            curves={"reliability": columns, "risk_coverage": _thin(measured.risk_coverage)},
            notes=(*measured.reasons, *measured.notes),
        )

    def code(self) -> str:
        """Return Python that repeats it."""
        return f"xai.calibration(model, data, bins={self.bins}).ece_interval"


def _thin(table: "pd.DataFrame", most: int = 100) -> dict[str, list[float]]:
    """Return about a hundred points of a curve."""
    rows = table.iloc[:: max(1, len(table) // most)]
    return {str(name): rows[name].tolist() for name in rows.columns}
