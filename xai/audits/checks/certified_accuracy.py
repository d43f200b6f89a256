"""Share of images whose prediction is certified correct within a ball."""

from dataclasses import dataclass, replace
from typing import ClassVar

from xai.audits.check_result import CheckResult
from xai.audits.checks.base import CHECKS, Check, classes_of, groups_of, percent, share_of, span
from xai.audits.context import Context
from xai.audits.execution.stages.base import Stage
from xai.audits.execution.stages.certification import CertificationStage
from xai.core.results.message import Message
from xai.core.validation import check_choice, check_eps
from xai.errors import InputError
from xai.robust.certification.linear import METHODS


@CHECKS.register("certified_accuracy")
@dataclass(frozen=True)
class CertifiedAccuracy(Check):
    """Share of images that are predicted correctly, certified within a ball.

    Attributes:
        eps: radius in the scale of pixels in [0, 1], such as "1/255".
        norm: "linf", "l2" or "l1".
        method: "ibp", "crown_ibp", "crown", "auto" or "smoothing" (l2).
    """

    name: ClassVar[str] = "certified_accuracy"
    title: ClassVar[str] = "Certified accuracy"
    family: ClassVar[str] = "robustness"
    question: ClassVar[str] = (
        "For how many images is it certified that no perturbation within a ball changes the prediction?"
    )
    kind: ClassVar[str] = "formal"
    first_images: ClassVar[int | None] = 200
    limits: ClassVar[tuple[str, ...]] = ("a lower bound: what is not certified may hold all the same",)

    eps: float = 1 / 255
    norm: str = "linf"
    method: str = "crown_ibp"

    def __post_init__(self) -> None:
        """Refuse methods and norms that do not go together."""
        check_eps(self.eps, self.norm)
        check_choice("method of certify", self.method, (*METHODS, "auto", "smoothing"))
        check_choice("norm", self.norm, ("linf", "l2", "l1"))
        if self.method == "smoothing" and self.norm != "l2":
            raise InputError('Smoothing proves l2 balls only: write norm = "l2", or choose another method.')

    def stages(self) -> tuple[Stage, ...]:
        """Certify."""
        return (CertificationStage(most=self.most, eps=self.eps, norm=self.norm, method=self.method),)

    def measure(self, context: Context) -> CheckResult:
        """Count certified images."""
        certificates = context.results[0]
        rows, right = certificates.rows, certificates["verified"]
        share = share_of(
            right, rows, context.level, classes=classes_of(context, rows, right), groups=groups_of(context, rows, right)
        )
        by = {name: int((certificates["by"] == name).sum()) for name in sorted(set(certificates["by"].tolist()) - {""})}
        radius = f"{self.eps * 255:.3g}/255" if self.norm == "linf" else f"{self.eps:.3g}"
        claim = Message(
            "Certified accuracy {share} ({span}) within {radius} ({norm}) on {count:,} images.",
            **{"share": percent(share.value), "span": span(share.low, share.high), "radius": radius},
            **{"norm": self.norm, "count": len(rows)},
        )
        facts = {"eps": self.eps, "norm": self.norm, "certified_by": by}
        notes = tuple(dict.fromkeys(note for part in certificates.parts for note in part["notes"]))
        return replace(share, claim=claim, facts=facts, notes=notes)

    def code(self) -> str:
        """Return Python that repeats it."""
        return (
            f"xai.certify(model, data.images[:], data.labels, eps={self.eps!r}, norm={self.norm!r}, "
            f"method={self.method!r}).certified_accuracy"
        )
