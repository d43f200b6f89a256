"""On which kinds of pictures is the model weak?"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xai.audits.checks.base import CHECKS, EXAMPLES, FIGURES, Check, CheckView
from xai.audits.conditions import Condition
from xai.audits.context import DATA, Context
from xai.audits.documents.artifacts import exhibit
from xai.audits.execution.stages.base import DataStage, Stage
from xai.audits.execution.store import StoredResult
from xai.audits.measurement import Measurement
from xai.core.results.message import sentences
from xai.core.results.serialization import finite, plain
from xai.errors import InputError
from xai.fairness.slices.result import TOO_SMALL, WEAK
from xai.fairness.slices.slices import slices


@CHECKS.register("slices")
@dataclass(frozen=True)
class Slices(Check):
    """Number of weak slices, found on one half of the pictures and replicated on the other.

    Attributes:
        alpha: the false discovery rate.
        gap: slices whose interval of the gap in accuracy lies above this count.
    """

    name: ClassVar[str] = "slices"
    title: ClassVar[str] = "Weak slices"
    family: ClassVar[str] = "bias"
    question: ClassVar[str] = "Is there a kind of picture on which the model is wrong far more often?"
    conditions: ClassVar[tuple[str, ...]] = FIGURES
    usual: ClassVar[tuple[Condition, ...]] = ()
    better: ClassVar[str] = "less"
    fewest: ClassVar[int] = 80
    span: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    limits: ClassVar[tuple[str, ...]] = ("only kinds that measured properties, classes or features can describe",)

    alpha: float = 0.05
    gap: float = 0.0

    def __post_init__(self) -> None:
        """Refuse impossible rates."""
        if not 0 < self.alpha < 1 or not 0 <= self.gap < 1:
            raise InputError(f"Expected `alpha` and `gap` between 0 and 1, but got {self.alpha!r} and {self.gap!r}.")

    def stages(self) -> tuple[Stage, ...]:
        """Search and test."""
        given = (("alpha", self.alpha),)
        return (DataStage(most=self.most, title=self.name, given=given, rows_each=2, beside=0.0006, study=self._study),)

    def _study(self, scene: Context, rows: np.ndarray) -> StoredResult:
        own = np.sort(rows)
        found = slices(
            scene.classifier,
            scene.role(DATA).data.take(own),
            scene.seed,
            labels=scene.truth(DATA, own),
            alpha=self.alpha,
            should_stop=scene.should_stop,
        )
        facts = {
            "slices": found.to_dict()["slices"],
            "names": list(found.names),
            "notes": list(found.notes),
        }
        facts |= {"pictures": len(found.rows)}
        return StoredResult({"pictures": found.pictures, "shown": found.shown}, finite(plain(facts)))

    def measure(self, view: CheckView) -> Measurement:
        """Count weak slices that matter."""
        facts = view.found[0].facts[0]
        weak = [one for one in facts["slices"] if one["verdict"] == WEAK and (one["gap_interval"][0] or 0) >= self.gap]
        weak.sort(key=lambda one: -one["gap"])
        small = [one for one in facts["slices"] if one["verdict"] == TOO_SMALL]
        undecided = "every slice that was tested is too small" if small and len(small) == len(facts["slices"]) else ""
        told = sentences([one["reason"] for one in weak[:3]]) or f"None of {len(facts['slices'])} slices is weak."
        seen = [one["detectable"] for one in facts["slices"] if one["detectable"] is not None]
        columns = ("words", "pictures", "accuracy", "rest", "gap", "p_adjusted", "detectable", "confused", "verdict")
        return Measurement(
            float(len(weak)),
            None,
            None,
            view.level,
            int(facts["pictures"]),
            "findings",
            undecided=undecided,
            detectable=float(np.median(seen)) if seen else None,
            claim=told,
            facts={"slices": weak, "too_small": len(small)},
            tables={"slices": [{name: one[name] for name in columns} for one in facts["slices"]]},
            evidence=self._shown(view, facts),
            notes=tuple(facts["notes"]),
        )

    def _shown(self, view: CheckView, facts: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        found, shown = view.found[0], []
        for k in range(min(EXAMPLES, len(found["shown"]))):
            one, name = facts["slices"][int(found["shown"][k, 0])], facts["names"][k]
            shown.append(
                exhibit(
                    str(one["words"]),
                    f"{name}: wrong; of the slice {one['words']!r} {100 * one['accuracy']:.1f} % are right.",
                    f"A picture that is answered wrongly, of the slice {one['words']}.",
                    [view.album.picture(found["pictures"][k])],
                    picture=name,
                )
            )
        return tuple(shown)

    def code(self) -> str:
        """Repeat it by hand."""
        return f"xai.slices(model, data, alpha={self.alpha!r}).findings"
