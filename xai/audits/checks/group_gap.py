"""Do groups of pictures fare differently?"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from xai.audits.checks.base import CHECKS, FIGURES, GROUPS, Check, CheckView, rows_of
from xai.audits.conditions import Condition
from xai.audits.context import DATA
from xai.audits.execution.stages.base import Stage
from xai.audits.execution.stages.predictions import PredictionStage
from xai.audits.measurement import Measurement
from xai.core.model.predictions import to_probabilities
from xai.core.results.message import sentences
from xai.errors import NameLookupError
from xai.fairness.groups.bias import bias_of_predictions
from xai.fairness.groups.gaps import TOO_SMALL


@CHECKS.register("group_gap")
@dataclass(frozen=True)
class GroupGap(Check):
    """Number of gaps between groups that are more than chance, corrected for everything asked.

    Attributes:
        columns: of groups; empty takes all with 2 to 20 groups.
        depth: how many columns are crossed at a time.
    """

    name: ClassVar[str] = "group_gap"
    title: ClassVar[str] = "Gaps between groups"
    family: ClassVar[str] = "bias"
    question: ClassVar[str] = (
        "Is the model worse for some groups of pictures than for others, more than chance makes it?"
    )
    needs: ClassVar[tuple[str, ...]] = (DATA, GROUPS)
    conditions: ClassVar[tuple[str, ...]] = FIGURES
    usual: ClassVar[tuple[Condition, ...]] = (Condition("at_most", 0),)
    better: ClassVar[str] = "less"
    span: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    limits: ClassVar[tuple[str, ...]] = ("only groups that the data names can be compared",)

    columns: tuple[str, ...] = ()
    depth: int = 2

    def stages(self) -> tuple[Stage, ...]:
        """Ask once."""
        return (PredictionStage(most=self.most),)

    def measure(self, view: CheckView) -> Measurement:
        """Compare groups."""
        scene, rows = view.scene, view.found[0].rows
        own = scene.role().groups
        for name in self.columns:
            if name not in own:
                raise NameLookupError("group column", name, list(own))
        groups = {name: values[rows] for name, values in own.items() if not self.columns or name in self.columns}
        logits = torch.from_numpy(view.found[0]["logits"])
        sure = to_probabilities(logits, scene.classifier.head).double().amax(1)
        found = bias_of_predictions(
            scene.truth(DATA, rows),
            logits.argmax(1),
            groups,
            sure.numpy(),
            classes=scene.classifier.labels,
            seed=scene.seed,
            alpha=1 - view.level,
            depth=self.depth,
            should_stop=scene.should_stop,
        )
        count = len(found.findings)
        first = [gap for gap in found.gaps if gap.metric == found.gaps[0].metric]
        seen = [gap.detectable for gap in first if gap.detectable is not None]
        small = found.verdict == TOO_SMALL
        told = (
            sentences(list(map(str, found.findings[:3])))
            or f"No gap between groups is more than chance ({found.verdict})."
        )
        return Measurement(
            float(count),
            None,
            None,
            view.level,
            len(rows),
            "findings",
            undecided="some groups are too small to show a gap that matters" if small else "",
            detectable=max(seen) if seen else None,
            claim=told,
            facts={"verdict": found.verdict, "columns": list(found.columns)},
            tables={
                "gaps": rows_of(found.table)[:200],
                "groups": rows_of(found.groups)[:200],
                "findings": found.to_dict()["findings"][:20],
            },
            notes=found.notes,
        )

    def code(self) -> str:
        """Repeat it by hand."""
        return f"xai.bias(model, data, groups={list(self.columns) or None!r}, depth={self.depth}).findings"
