"""Weak slices: kinds of images on which the model is less accurate."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xai.audits.check_result import CheckResult, exhibit
from xai.audits.checks.base import CHECKS, EXAMPLES, FIGURES, Check, Condition, percent
from xai.audits.context import DATA, Context
from xai.audits.execution.stages.base import DataStage, Stage
from xai.audits.execution.store import StoredResult
from xai.core.results.codec import finite, plain
from xai.core.results.message import Message, sentences
from xai.core.validation import check_alpha, check_number
from xai.fairness.slice_inference import TOO_SMALL, WEAK
from xai.fairness.slices import slices


@CHECKS.register("slices")
@dataclass(frozen=True)
class Slices(Check):
    """Number of weak slices, found on one half and replicated on the other.

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
        searched = slices(
            context.classifier,
            context.role(DATA).data.take(own),
            context.seed,
            labels=context.labels(DATA, own),
            alpha=self.alpha,
            should_stop=context.should_stop,
        )
        facts = {
            "slices": searched.to_dict()["slices"],
            "names": list(searched.image_names),
            "notes": list(searched.notes),
        }
        facts |= {"images": len(searched.rows)}
        return StoredResult({"images": searched.images, "shown": searched.shown}, finite(plain(facts)))

    def measure(self, context: Context) -> CheckResult:
        """Count weak slices that matter."""
        facts = context.results[0].parts[0]
        weak = [
            weak_slice
            for weak_slice in facts["slices"]
            if weak_slice["verdict"] == WEAK and (weak_slice["gap_interval"][0] or 0) >= self.gap
        ]
        weak.sort(key=lambda weak_slice: -weak_slice["gap"])
        small = [weak_slice for weak_slice in facts["slices"] if weak_slice["verdict"] == TOO_SMALL]
        all_small = bool(small) and len(small) == len(facts["slices"])
        none = Message("No evidence of a weak slice among {count}.", count=len(facts["slices"]))
        seen = [weak_slice["detectable"] for weak_slice in facts["slices"] if weak_slice["detectable"] is not None]
        columns = ("words", "images", "accuracy", "rest", "gap", "p_adjusted", "detectable", "confused", "verdict")
        return CheckResult(
            float(len(weak)),
            None,
            None,
            context.level,
            int(facts["images"]),
            "findings",
            undecided=Message("every slice that was tested is too small") if all_small else "",
            detectable=float(np.median(seen)) if seen else None,
            claim=sentences([weak_slice["reason"] for weak_slice in weak[:3]]) or none,
            facts={"slices": weak, "too_small": len(small)},
            tables={"slices": [{name: weak_slice[name] for name in columns} for weak_slice in facts["slices"]]},
            evidence=self._shown(context, facts),
            notes=tuple(facts["notes"]),
        )

    def _shown(self, context: Context, facts: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        examples, shown = context.results[0], []
        for k in range(min(EXAMPLES, len(examples["shown"]))):
            weak_slice, name = facts["slices"][int(examples["shown"][k, 0])], facts["names"][k]
            words = {"name": name, "slice": weak_slice["words"], "accuracy": percent(weak_slice["accuracy"])}
            shown.append(
                exhibit(
                    weak_slice["words"],
                    Message("{name}: wrong; accuracy on the slice '{slice}' is {accuracy}.", **words),
                    Message("An image that is predicted wrongly, of the slice '{slice}'.", **words),
                    [context.artifacts.image(examples["images"][k])],
                    image=name,
                )
            )
        return tuple(shown)

    def code(self) -> str:
        """Return Python that repeats it."""
        return f"xai.slices(model, data, alpha={self.alpha!r}).findings"
