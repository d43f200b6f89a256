"""Do explanations stay when pictures hardly change?"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from xai.audits.checks._maps import checks_of
from xai.audits.checks.base import CHECKS, Check, CheckView, percent, span
from xai.audits.execution.stages.base import Stage
from xai.audits.execution.stages.explanations import RatingStage
from xai.audits.measurement import Measurement, share_of
from xai.explanations.methods.base import EXPLAINERS


@CHECKS.register("stability")
@dataclass(frozen=True)
class Stability(Check):
    """Share of explanations that stay the same under noise nobody sees (correlation of at least 0.75).

    Attributes:
        method: of the explanation.
    """

    name: ClassVar[str] = "stability"
    title: ClassVar[str] = "Stability of explanations"
    family: ClassVar[str] = "explanations"
    question: ClassVar[str] = "Does an explanation stay when noise that nobody sees is added to the picture?"
    conditions: ClassVar[tuple[str, ...]] = ("at_least", "at_most", "max_drop_vs_baseline")
    first_pictures: ClassVar[int | None] = 32
    limits: ClassVar[tuple[str, ...]] = ("a stable map need not be faithful",)

    method: str = "gradcam"

    def __post_init__(self) -> None:
        """Refuse unknown methods."""
        EXPLAINERS[self.method]

    def stages(self) -> tuple[Stage, ...]:
        """Explain and rate; shared with the check of faithfulness."""
        return (RatingStage(most=self.most, method=self.method),)

    def measure(self, view: CheckView) -> Measurement:
        """Count maps that stay."""
        checks = checks_of(view)
        right = np.array([own.get("stability", {}).get("verdict") == "trust" for own in checks], dtype=bool)
        likeness = [own["stability"]["values"]["correlation"] for own in checks if "stability" in own]
        kept = share_of(right, view.found[0].rows, view.level)
        middle = float(np.median(likeness)) if likeness else None
        said = (
            f"{percent(kept.value or 0)} of {kept.n} {self.method} maps ({span(kept.low or 0, kept.high or 1)}) stay "
            f"the same under slight noise{'' if middle is None else f'; median correlation {middle:.2f}'}."
        )
        return Measurement(**{**vars(kept), "claim": said, "facts": {"method": self.method, "median": middle}})

    def code(self) -> str:
        """Repeat it by hand."""
        return f"xai.rate_explanation(model, images, xai.explain(model, images, {self.method!r})).checks"
