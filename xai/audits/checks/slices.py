"""Weak slices: kinds of images on which the model is less accurate."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xai.audits.artifacts import exhibit
from xai.audits.check_result import CheckResult
from xai.audits.checks.base import CHECKS, EXAMPLES, FIGURES, Check, CheckView, percent
from xai.audits.conditions import Condition
from xai.audits.context import DATA, Context
from xai.audits.execution.stages.base import DataStage, Stage
from xai.audits.execution.store import StoredResult
from xai.core.results.message import Message, sentences
from xai.core.results.serialization import finite, plain
from xai.core.validation import check_alpha, check_number
from xai.fairness.slices.result import TOO_SMALL, WEAK
from xai.fairness.slices.slices import slices


@CHECKS.register("slices")
@dataclass(frozen=True)
class Slices(Check):
    """Number of weak slices, found on one half of the images and replicated on the other.

    Attributes:
        alpha: the false discovery rate.
        gap: slices whose interval of the gap in accuracy lies above this count.
    """

    name: ClassVar[str] = "slices"
    title: ClassVar[str] = "Weak slices"
    family: ClassVar[str] = "bias"
    question: ClassVar[str] = "Is there a kind of image on which the model is wrong far more often?"
    conditions: ClassVar[tuple[str, ...]] = FIGURES
    usual: ClassVar[tuple[Condition, ...]] = ()
    better: ClassVar[str] = "less"
    fewest: ClassVar[int] = 80
    span: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    limits: ClassVar[tuple[str, ...]] = ("only slices described by measured properties, classes or features are found",)

    alpha: float = 0.05
    gap: float = 0.0

    def __post_init__(self) -> None:
        """Refuse impossible rates."""
        check_alpha(self.alpha)
        check_number("gap", self.gap, "[0, 1)")

    def stages(self) -> tuple[Stage, ...]:
        """Search and test."""
        given = (("alpha", self.alpha),)
        return (DataStage(most=self.most, title=self.name, given=given, rows_each=2, beside=0.0006, study=self._study),)

    def _study(self, context: Context, rows: np.ndarray) -> StoredResult:
        own = np.sort(rows)
        found = slices(
            context.classifier,
            context.role(DATA).data.take(own),
            context.seed,
            labels=context.labels(DATA, own),
            alpha=self.alpha,
            should_stop=context.should_stop,
        )
        facts = {
            "slices": found.to_dict()["slices"],
            "names": list(found.names),
            "notes": list(found.notes),
        }
        facts |= {"images": len(found.rows)}
        return StoredResult({"images": found.images, "shown": found.shown}, finite(plain(facts)))

    def measure(self, view: CheckView) -> CheckResult:
        """Count weak slices that matter."""
        facts = view.results[0].facts[0]
        weak = [one for one in facts["slices"] if one["verdict"] == WEAK and (one["gap_interval"][0] or 0) >= self.gap]
        weak.sort(key=lambda one: -one["gap"])
        small = [one for one in facts["slices"] if one["verdict"] == TOO_SMALL]
        all_small = bool(small) and len(small) == len(facts["slices"])
        none = Message("No evidence of a weak slice among {count}.", count=len(facts["slices"]))
        seen = [one["detectable"] for one in facts["slices"] if one["detectable"] is not None]
        columns = ("words", "images", "accuracy", "rest", "gap", "p_adjusted", "detectable", "confused", "verdict")
        return CheckResult(
            float(len(weak)),
            None,
            None,
            view.level,
            int(facts["images"]),
            "findings",
            undecided=Message("every slice that was tested is too small") if all_small else "",
            detectable=float(np.median(seen)) if seen else None,
            claim=sentences([one["reason"] for one in weak[:3]]) or none,
            facts={"slices": weak, "too_small": len(small)},
            tables={"slices": [{name: one[name] for name in columns} for one in facts["slices"]]},
            evidence=self._shown(view, facts),
            notes=tuple(facts["notes"]),
        )

    def _shown(self, view: CheckView, facts: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        found, shown = view.results[0], []
        for k in range(min(EXAMPLES, len(found["shown"]))):
            one, name = facts["slices"][int(found["shown"][k, 0])], facts["names"][k]
            words = {"name": name, "slice": one["words"], "accuracy": percent(one["accuracy"])}
            shown.append(
                exhibit(
                    one["words"],
                    Message("{name}: wrong; accuracy on the slice '{slice}' is {accuracy}.", **words),
                    Message("An image that is predicted wrongly, of the slice '{slice}'.", **words),
                    [view.artifacts.image(found["images"][k])],
                    image=name,
                )
            )
        return tuple(shown)

    def code(self) -> str:
        """Return Python that repeats it."""
        return f"xai.slices(model, data, alpha={self.alpha!r}).findings"
