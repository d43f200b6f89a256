"""Accuracy under adversarial attack."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

import numpy as np

from xai.audits.check_result import CheckResult
from xai.audits.checks.base import (
    CHECKS,
    EXAMPLES,
    Check,
    changed,
    classes_of,
    groups_of,
    pairs,
    percent,
    share_of,
    span,
)
from xai.audits.context import DATA, Context
from xai.audits.execution.stages.attacks import AttackStage
from xai.audits.execution.stages.base import Stage
from xai.audits.execution.stages.evaluation import EvaluationStage
from xai.audits.execution.store import StoredResult
from xai.core.results.message import Message
from xai.core.validation import check_choices, check_eps, check_whole
from xai.errors import InputError
from xai.robust.attacks.base import ATTACKS
from xai.robust.attacks.search import check_norm


@CHECKS.register("robust_accuracy")
@dataclass(frozen=True)
class RobustAccuracy(Check):
    """Share of images that are predicted correctly, also under an attack.

    Attributes:
        attack: its name.
        eps: radius in the scale of pixels in [0, 1], such as "8/255".
        norm: "linf", "l2" or "l1".
        steps: of attacks that have them; None takes the attack's own.
        settings: further ones of the attack.
        trust: images on which the evaluation itself is checked; 0 leaves that out.
    """

    name: ClassVar[str] = "robust_accuracy"
    title: ClassVar[str] = "Robust accuracy"
    family: ClassVar[str] = "robustness"
    question: ClassVar[str] = (
        "How often is the model right when each image is perturbed, hardly visibly, to mislead it?"
    )
    kind: ClassVar[str] = "empirical_attack"
    limits: ClassVar[tuple[str, ...]] = (
        "an upper bound: a stronger attack may find more, and no attack proves robustness",
        "says nothing about perturbations outside this ball",
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
        check_choices(f"setting of {self.attack}", self._given, known)
        if self.norm not in attack.norms:
            raise InputError(f"{self.attack} works in {', '.join(attack.norms)}, but got norm={self.norm!r}.")
        attack(**self._given)
        check_whole("trust", self.trust, 0, cure="0 leaves the check of the evaluation out.")

    @property
    def _given(self) -> dict[str, Any]:
        return dict(self.settings_of_attack) | ({} if self.steps is None else {"steps": self.steps})

    def stages(self) -> tuple[Stage, ...]:
        """Attack, and check the attack on some images."""
        about = (self.attack, self.eps, self.norm, pairs(self._given))
        attacked: tuple[Stage, ...] = (AttackStage(DATA, self.most, *about),)
        checkable = self.trust > 0 and ATTACKS[self.attack].ball
        return (
            (*attacked, EvaluationStage(DATA, min(self.trust, self.most or self.trust), *about))
            if checkable
            else attacked
        )

    def measure(self, context: Context) -> CheckResult:
        """Count images that stay correct."""
        attacked = context.results[0]
        rows, right = attacked.rows, attacked["robust"]
        clean = attacked["clean"] == context.labels(DATA, rows).numpy()
        misclassified = clean & ~right
        trust = context.results[1].parts[0]["trust"] if len(context.results) > 1 and context.results[1].parts else None
        radius = f"{self.eps * 255:.3g}/255" if self.norm == "linf" else f"{self.eps:.3g}"
        share = share_of(
            right,
            rows,
            context.level,
            classes=classes_of(context, rows, right),
            groups=groups_of(context, rows, right),
            doubts=() if trust is None else tuple(Message(flag.replace("_", " ")) for flag in trust["flags"]),
            facts={
                "clean_accuracy": float(clean.mean()),
                "attack": self.attack,
                "eps": self.eps,
                "norm": self.norm,
                "settings": attacked.parts[0]["settings"],
                "trust": trust,
                "median_distance": float(np.median(attacked["distance"][misclassified]))
                if misclassified.any()
                else None,
            },
            evidence=self._shown(context, attacked),
            notes=(Message("whether the attack itself works was not checked"),) if trust is None else (),
        )
        claim = Message(
            "Robust accuracy {share} ({span}) under {attack} within {radius} ({norm}) on {count:,} images; without the "
            "attack {clean}.",
            **{"share": percent(share.value), "span": span(share.low, share.high), "attack": self.attack},
            **{"radius": radius, "norm": self.norm, "count": len(rows), "clean": percent(float(clean.mean()))},
        )
        return replace(share, claim=claim)

    def _shown(self, context: Context, attacked: StoredResult) -> tuple[dict[str, Any], ...]:
        """Return the images misclassified after the smallest perturbations."""
        place = {int(row): k for k, row in enumerate(attacked.rows)}
        numbers = [place[int(row)] for row in attacked["shown"]]
        order = np.argsort(attacked["distance"][numbers], kind="stable")[:EXAMPLES]
        change = Message("after {attack}", attack=self.attack)
        return tuple(
            changed(
                context,
                int(attacked["shown"][k]),
                attacked["before"][k],
                attacked["after"][k],
                int(attacked["predicted"][numbers[k]]),
                change,
                "adversarial",
            )
            for k in order.tolist()
        )

    def code(self) -> str:
        """Return Python that repeats it."""
        more = "".join(f", {name}={value!r}" for name, value in self._given.items())
        return (
            f"xai.attack(model, data.images[:], data.labels, {self.attack!r}, eps={self.eps!r}, norm={self.norm!r}"
            f"{more}).robust_accuracy"
        )
