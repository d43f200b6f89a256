"""How often is the model right when pictures are changed on purpose?"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np

from xai.audits.checks.base import (
    CHECKS,
    EXAMPLES,
    Check,
    CheckView,
    changed,
    classes_of,
    groups_of,
    pairs,
    percent,
    span,
)
from xai.audits.context import DATA
from xai.audits.execution.stages.attacks import AttackStage
from xai.audits.execution.stages.base import Stage, StageResult
from xai.audits.execution.stages.evaluation import EvaluationStage
from xai.audits.measurement import Measurement, share_of
from xai.core.validation import check_eps
from xai.errors import InputError, NameLookupError
from xai.robust.attacks.balls import check_norm
from xai.robust.attacks.base import ATTACKS


@CHECKS.register("robust_accuracy")
@dataclass(frozen=True)
class RobustAccuracy(Check):
    """Share of pictures that are right, and stay so under an attack.

    Attributes:
        attack: its name.
        eps: radius in the scale of pixels in [0, 1], such as "8/255".
        norm: "linf", "l2" or "l1".
        steps: of attacks that have them; None takes the attack's own.
        settings: further ones of the attack.
        trust: pictures on which the evaluation itself is checked; 0 leaves that out.
    """

    name: ClassVar[str] = "robust_accuracy"
    title: ClassVar[str] = "Robust accuracy"
    family: ClassVar[str] = "robustness"
    question: ClassVar[str] = (
        "How often is the model right when each picture is changed, hardly visibly, to mislead it?"
    )
    kind: ClassVar[str] = "empirical_attack"
    limits: ClassVar[tuple[str, ...]] = (
        "an upper bound: a stronger attack may find more, and no attack proves robustness",
        "says nothing about changes outside this ball",
    )

    attack: str = "apgd-ce"
    eps: float = 8 / 255
    norm: str = "linf"
    steps: int | None = None
    settings_of_attack: Mapping[str, Any] = field(default_factory=dict)
    trust: int = 32

    def __post_init__(self) -> None:
        """Refuse attacks and settings that do not go together."""
        check_norm(self.norm)
        check_eps(self.eps, self.norm)
        attack = ATTACKS[self.attack]
        known = [f.name for f in fields(attack)]  # type: ignore[arg-type]  # every attack is a dataclass
        for name in self._given:
            if name not in known:
                raise NameLookupError(f"setting of {self.attack}", name, known)
        if self.norm not in attack.norms:
            raise InputError(f"{self.attack} works in {', '.join(attack.norms)}, but got norm={self.norm!r}.")
        attack(**self._given)
        if not isinstance(self.trust, int) or self.trust < 0:
            raise InputError(f"Expected `trust` as a number of pictures, 0 to leave it out, but got {self.trust!r}.")

    @property
    def _given(self) -> dict[str, Any]:
        return dict(self.settings_of_attack) | ({} if self.steps is None else {"steps": self.steps})

    def stages(self) -> tuple[Stage, ...]:
        """Attack, and check the attack on some pictures."""
        about = (self.attack, self.eps, self.norm, pairs(self._given))
        found: tuple[Stage, ...] = (AttackStage(DATA, self.most, *about),)
        checkable = self.trust > 0 and ATTACKS[self.attack].ball
        return (*found, EvaluationStage(DATA, min(self.trust, self.most or self.trust), *about)) if checkable else found

    def measure(self, view: CheckView) -> Measurement:
        """Count who holds out."""
        scene, found = view.scene, view.found[0]
        rows, right = found.rows, found["robust"]
        truth = scene.truth(DATA, rows).numpy()
        clean, broken = found["clean"] == truth, (found["clean"] == truth) & ~right
        trust = view.found[1].facts[0]["trust"] if len(view.found) > 1 and view.found[1].facts else None
        share = float(right.mean())
        radius = f"{self.eps * 255:.3g}/255" if self.norm == "linf" else f"{self.eps:.3g}"
        kept = share_of(
            right,
            rows,
            view.level,
            classes=classes_of(scene, rows, right),
            groups=groups_of(scene, rows, right),
            doubts=() if trust is None else tuple(f"{flag}" for flag in trust["flags"]),
            facts={
                "clean_accuracy": float(clean.mean()),
                "attack": self.attack,
                "eps": self.eps,
                "norm": self.norm,
                "settings": found.facts[0]["settings"],
                "trust": trust,
                "median_distance": float(np.median(found["distance"][broken])) if broken.any() else None,
            },
            evidence=self._shown(view, found),
            notes=("the attack's own credibility was not checked",) if trust is None else (),
        )
        said = (
            f"Under {self.attack} within {radius} ({self.norm}) {percent(share)} of {len(rows):,} pictures stay right "
            f"({span(kept.low or 0, kept.high or 1)}); without the attack {percent(float(clean.mean()))} are."
        )
        return Measurement(**{**vars(kept), "claim": said})

    def _shown(self, view: CheckView, found: StageResult) -> tuple[dict[str, Any], ...]:
        """Return the pictures that were fooled by the smallest change."""
        place = {int(row): k for k, row in enumerate(found.rows)}
        numbers = [place[int(row)] for row in found["shown"]]
        order = np.argsort(found["distance"][numbers], kind="stable")[:EXAMPLES]
        how = f"after {self.attack}"
        return tuple(
            changed(
                view,
                int(found["shown"][k]),
                found["before"][k],
                found["after"][k],
                int(found["predicted"][numbers[k]]),
                how,
                "adversarial",
            )
            for k in order.tolist()
        )

    def code(self) -> str:
        """Repeat it by hand."""
        more = "".join(f", {name}={value!r}" for name, value in self._given.items())
        return (
            f"xai.attack(model, data.images[:], data.labels, {self.attack!r}, eps={self.eps!r}, norm={self.norm!r}"
            f"{more}).robust_accuracy"
        )
