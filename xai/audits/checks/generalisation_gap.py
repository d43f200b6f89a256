"""Difference of accuracy between training images and others."""

from dataclasses import dataclass
from typing import ClassVar

from xai.audits.check_result import CheckResult
from xai.audits.checks.base import CHECKS, FIGURES, Check, percent
from xai.audits.context import DATA, TRAIN, Context
from xai.audits.execution.stages.base import Stage
from xai.audits.execution.stages.predictions import PredictionStage
from xai.core.results.message import Message
from xai.stats.intervals import difference_interval


@CHECKS.register("generalisation_gap")
@dataclass(frozen=True)
class GeneralisationGap(Check):
    """Accuracy on training images minus accuracy on the data."""

    name: ClassVar[str] = "generalisation_gap"
    title: ClassVar[str] = "Generalisation gap"
    family: ClassVar[str] = "quality"
    question: ClassVar[str] = "How much better is the model on the images that it was trained on?"
    needs: ClassVar[tuple[str, ...]] = (DATA, TRAIN)
    span: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    conditions: ClassVar[tuple[str, ...]] = FIGURES
    better: ClassVar[str] = "less"
    limits: ClassVar[tuple[str, ...]] = ("a gap can also mean that the two sets of images differ",)

    def stages(self) -> tuple[Stage, ...]:
        """Predict on both."""
        return PredictionStage(most=self.most), PredictionStage(role=TRAIN, most=self.most)

    def measure(self, context: Context) -> CheckResult:
        """Compare the accuracies on different images."""
        hits, totals = [], []
        for name, stored in zip((DATA, TRAIN), context.results, strict=True):
            right = stored["logits"].argmax(1) == context.labels(name, stored.rows).numpy()
            hits.append(int(right.sum()))
            totals.append(len(right))
        low, high = difference_interval(hits[0], totals[0], hits[1], totals[1], context.level).tolist()
        here, there = hits[0] / totals[0], hits[1] / totals[1]
        claim = Message(
            "Accuracy {train} on {train_count:,} training images, {test} on {count:,} others: a gap of {gap:.1f} "
            "points ({low:.1f} to {high:.1f}).",
            **{"train": percent(there), "train_count": totals[1], "test": percent(here), "count": totals[0]},
            **{"gap": 100 * (there - here), "low": 100 * low, "high": 100 * high},
        )
        facts = {"accuracy": here, "train_accuracy": there, "train_images": totals[1]}
        return CheckResult(there - here, low, high, context.level, totals[0], "points", claim=claim, facts=facts)

    def code(self) -> str:
        """Return Python that repeats it."""
        return "accuracy(model, train) - accuracy(model, data)"
