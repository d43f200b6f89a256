"""Has the model learnt its training pictures by heart?"""

from dataclasses import dataclass
from typing import ClassVar

from xai.audits.checks.base import CHECKS, FIGURES, Check, CheckView, percent
from xai.audits.context import DATA, TRAIN
from xai.audits.execution.stages.base import Stage
from xai.audits.execution.stages.predictions import PredictionStage
from xai.audits.measurement import Measurement
from xai.stats.proportions import difference_interval


@CHECKS.register("generalisation_gap")
@dataclass(frozen=True)
class GeneralisationGap(Check):
    """Accuracy on training pictures less accuracy on the data."""

    name: ClassVar[str] = "generalisation_gap"
    title: ClassVar[str] = "Generalisation gap"
    family: ClassVar[str] = "quality"
    question: ClassVar[str] = "How much better is the model on pictures that it has learnt from?"
    needs: ClassVar[tuple[str, ...]] = (DATA, TRAIN)
    span: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    conditions: ClassVar[tuple[str, ...]] = FIGURES
    better: ClassVar[str] = "less"
    limits: ClassVar[tuple[str, ...]] = ("a gap can also mean that the two sets of pictures differ",)

    def stages(self) -> tuple[Stage, ...]:
        """Ask on both."""
        return PredictionStage(most=self.most), PredictionStage(role=TRAIN, most=self.most)

    def measure(self, view: CheckView) -> Measurement:
        """Compare two shares of different pictures."""
        hits, totals = [], []
        for name, found in zip((DATA, TRAIN), view.found, strict=True):
            right = found["logits"].argmax(1) == view.scene.truth(name, found.rows).numpy()
            hits.append(int(right.sum()))
            totals.append(len(right))
        low, high = difference_interval(hits[0], totals[0], hits[1], totals[1], view.level).tolist()
        here, there = hits[0] / totals[0], hits[1] / totals[1]
        said = (
            f"On {totals[1]:,} training pictures {percent(there)} are right, on {totals[0]:,} others {percent(here)}: "
            f"{100 * (there - here):.1f} points ({100 * low:.1f} to {100 * high:.1f})."
        )
        facts = {"accuracy": here, "train_accuracy": there, "train_pictures": totals[1]}
        return Measurement(there - here, low, high, view.level, totals[0], "points", claim=said, facts=facts)

    def code(self) -> str:
        """Repeat it by hand."""
        return "accuracy(model, train) - accuracy(model, data)"
