"""For how many pictures is it proven that no small change matters?"""

from dataclasses import dataclass
from typing import ClassVar

from xai.audits.checks.base import CHECKS, Check, CheckView, classes_of, groups_of, percent, span
from xai.audits.execution.stages.base import Stage
from xai.audits.execution.stages.certification import CertificationStage
from xai.audits.measurement import Measurement, share_of
from xai.core.validation import check_eps
from xai.errors import InputError, NameLookupError
from xai.robust.certification.linear import METHODS


@CHECKS.register("certified_accuracy")
@dataclass(frozen=True)
class CertifiedAccuracy(Check):
    """Share of pictures that are right, and proven to stay so inside a ball.

    Attributes:
        eps: radius in the scale of pixels in [0, 1], such as "1/255".
        norm: "linf", "l2" or "l1".
        method: "ibp", "crown_ibp", "crown", "auto" or "smoothing" (l2).
    """

    name: ClassVar[str] = "certified_accuracy"
    title: ClassVar[str] = "Certified accuracy"
    family: ClassVar[str] = "robustness"
    question: ClassVar[str] = "For how many pictures is it proven that no change within a ball changes the answer?"
    kind: ClassVar[str] = "formal"
    first_pictures: ClassVar[int | None] = 200
    limits: ClassVar[tuple[str, ...]] = ("a lower bound: what is not proven may hold all the same",)

    eps: float = 1 / 255
    norm: str = "linf"
    method: str = "crown_ibp"

    def __post_init__(self) -> None:
        """Refuse methods and norms that do not go together."""
        check_eps(self.eps, self.norm)
        known = (*METHODS, "auto", "smoothing")
        for value, names, kind in (
            (self.method, known, "method of certify"),
            (self.norm, ("linf", "l2", "l1"), "norm"),
        ):
            if value not in names:
                raise NameLookupError(kind, value, names)
        if self.method == "smoothing" and self.norm != "l2":
            raise InputError('Smoothing proves l2 balls only: write norm = "l2", or choose another method.')

    def stages(self) -> tuple[Stage, ...]:
        """Prove."""
        return (CertificationStage(most=self.most, eps=self.eps, norm=self.norm, method=self.method),)

    def measure(self, view: CheckView) -> Measurement:
        """Count proofs."""
        scene, found = view.scene, view.found[0]
        rows, right = found.rows, found["verified"]
        kept = share_of(
            right, rows, view.level, classes=classes_of(scene, rows, right), groups=groups_of(scene, rows, right)
        )
        by = {name: int((found["by"] == name).sum()) for name in sorted(set(found["by"].tolist()) - {""})}
        radius = f"{self.eps * 255:.3g}/255" if self.norm == "linf" else f"{self.eps:.3g}"
        said = (
            f"For {percent(kept.value or 0)} of {len(rows):,} pictures ({span(kept.low or 0, kept.high or 1)}) it is "
            f"proven that no change within {radius} ({self.norm}) changes the right answer."
        )
        facts = {"eps": self.eps, "norm": self.norm, "proved_by": by}
        notes = tuple(dict.fromkeys(note for part in found.facts for note in part["notes"]))
        return Measurement(**{**vars(kept), "claim": said, "facts": facts, "notes": notes})

    def code(self) -> str:
        """Repeat it by hand."""
        return (
            f"xai.certify(model, data.images[:], data.labels, eps={self.eps!r}, norm={self.norm!r}, "
            f"method={self.method!r}).certified_accuracy"
        )
