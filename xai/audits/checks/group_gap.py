"""Gaps in the metrics between groups of images."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from xai.audits.check_result import CheckResult
from xai.audits.checks.base import CHECKS, FIGURES, GROUPS, Check, Condition, rows_of
from xai.audits.context import DATA, Context
from xai.audits.execution.stages.base import Stage
from xai.audits.execution.stages.predictions import PredictionStage
from xai.core.model.predictions import to_probabilities
from xai.core.results.message import Message, sentences
from xai.core.validation import check_choices
from xai.fairness.groups.bias import bias_of_predictions
from xai.fairness.groups.gaps import TOO_SMALL


@CHECKS.register("group_gap")
@dataclass(frozen=True)
class GroupGap(Check):
    """Number of significant gaps between groups, corrected for all that are tested.

    Attributes:
        columns: of groups; empty takes all with 2 to 20 groups.
        depth: how many columns are crossed at a time.
    """

    name: ClassVar[str] = "group_gap"
    title: ClassVar[str] = "Gaps between groups"
    family: ClassVar[str] = "bias"
    question: ClassVar[str] = "Is the model worse for some groups of images than for others, more than by chance?"
    needs: ClassVar[tuple[str, ...]] = (DATA, GROUPS)
    conditions: ClassVar[tuple[str, ...]] = FIGURES
    usual: ClassVar[tuple[Condition, ...]] = (Condition("at_most", 0),)
    better: ClassVar[str] = "less"
    span: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    limits: ClassVar[tuple[str, ...]] = ("only groups named in the data can be compared",)

    columns: tuple[str, ...] = ()
    depth: int = 2

    def stages(self) -> tuple[Stage, ...]:
        """Predict once."""
        return (PredictionStage(most=self.most),)

    def measure(self, context: Context) -> CheckResult:
        """Compare groups."""
        rows = context.results[0].rows
        own = context.role().groups
        check_choices("group column", self.columns, own)
        groups = {name: values[rows] for name, values in own.items() if not self.columns or name in self.columns}
        logits = torch.from_numpy(context.results[0]["logits"])
        confidence = to_probabilities(logits, context.classifier.head).double().amax(1)
        bias = bias_of_predictions(
            context.labels(DATA, rows),
            logits.argmax(1),
            groups,
            confidence.numpy(),
            class_names=context.classifier.class_names,
            seed=context.seed,
            alpha=1 - context.level,
            depth=self.depth,
            should_stop=context.should_stop,
        )
        count = len(bias.findings)
        first = [gap for gap in bias.gaps if gap.metric == bias.gaps[0].metric]
        seen = [gap.detectable for gap in first if gap.detectable is not None]
        small = bias.verdict == TOO_SMALL
        none = Message("No significant gap between groups ({verdict}).", verdict=Message(bias.verdict))
        findings = list(map(str, bias.findings[:3]))
        return CheckResult(
            float(count),
            None,
            None,
            context.level,
            len(rows),
            "findings",
            undecided=Message("some groups are too small to show a gap that matters") if small else "",
            detectable=max(seen) if seen else None,
            claim=sentences(findings) or none,
            facts={"verdict": bias.verdict, "columns": list(bias.columns)},
            tables={
                "gaps": rows_of(bias.table)[:200],
                "groups": rows_of(bias.groups)[:200],
                "findings": bias.to_dict()["findings"][:20],
            },
            notes=bias.notes,
        )

    def code(self) -> str:
        """Return Python that repeats it."""
        return f"xai.bias(model, data, groups={list(self.columns) or None!r}, depth={self.depth}).findings"
