"""Do explanations show what the model looks at?"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from xai.audits.checks._maps import checks_of, shown_maps
from xai.audits.checks.base import CHECKS, Check, CheckView, percent, span
from xai.audits.execution.stages.base import Stage
from xai.audits.execution.stages.explanations import RatingStage
from xai.audits.measurement import Measurement, share_of
from xai.explanations.methods.base import EXPLAINERS


@CHECKS.register("faithfulness")
@dataclass(frozen=True)
class Faithfulness(Check):
    """Share of explanations that rank pixels better than copies of them moved elsewhere (p <= 0.05).

    Attributes:
        method: of the explanation.
    """

    name: ClassVar[str] = "faithfulness"
    title: ClassVar[str] = "Faithfulness of explanations"
    family: ClassVar[str] = "explanations"
    question: ClassVar[str] = (
        "Does removing what an explanation calls relevant change the answer, more than chance would?"
    )
    conditions: ClassVar[tuple[str, ...]] = ("at_least", "at_most", "max_drop_vs_baseline")
    first_pictures: ClassVar[int | None] = 32
    limits: ClassVar[tuple[str, ...]] = ("a faithful map shows where the model looks, not why it is right",)

    method: str = "gradcam"

    def __post_init__(self) -> None:
        """Refuse unknown methods."""
        EXPLAINERS[self.method]

    def stages(self) -> tuple[Stage, ...]:
        """Explain and rate."""
        return (RatingStage(most=self.most, method=self.method),)

    def measure(self, view: CheckView) -> Measurement:
        """Count maps that beat all random ones."""
        checks, found = checks_of(view), view.found[0]
        right = np.array([own.get("faithfulness", {}).get("verdict") == "trust" for own in checks], dtype=bool)
        sane = [own["sanity"]["verdict"] for own in checks if "sanity" in own]
        kept = share_of(right, found.rows, view.level)
        said = (
            f"{percent(kept.value or 0)} of {kept.n} {self.method} maps ({span(kept.low or 0, kept.high or 1)}) rank "
            f"pixels better than copies of them moved elsewhere; {sane.count('trust')} of {len(sane)} change when the "
            "weights are drawn anew."
        )
        verdicts = found["verdict"].tolist()
        facts = {"method": self.method, "layer": found.facts[0]["layer"]}
        facts |= {"ratings": {name: verdicts.count(name) for name in ("trust", "doubt", "reject")}}
        facts |= {"sanity": {name: sane.count(name) for name in ("trust", "doubt", "reject", "not checked")}}
        notes = tuple(dict.fromkeys(note for part in found.facts for note in part["notes"]))
        shown = shown_maps(view, checks, self.method)
        return Measurement(**{**vars(kept), "claim": said, "facts": facts, "evidence": shown, "notes": notes})

    def code(self) -> str:
        """Repeat it by hand."""
        return f"xai.rate_explanation(model, images, xai.explain(model, images, {self.method!r})).checks"
