"""Share of explanations that are faithful to the model."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from xai.audits.check_result import CheckResult
from xai.audits.checks._maps import RatingCheck, checks_of, shown_maps
from xai.audits.checks.base import CHECKS, percent, share_of, span
from xai.audits.context import Context
from xai.core.results.message import Message


@CHECKS.register("faithfulness")
@dataclass(frozen=True)
class Faithfulness(RatingCheck):
    """Share of explanations that rank pixels better than shifted copies of them (p <= 0.05)."""

    name: ClassVar[str] = "faithfulness"
    title: ClassVar[str] = "Faithfulness of explanations"
    question: ClassVar[str] = (
        "Does removing what an explanation marks as relevant change the class score, more than chance would?"
    )
    limits: ClassVar[tuple[str, ...]] = ("a faithful map shows what the model uses, not whether it is right",)

    def measure(self, context: Context) -> CheckResult:
        """Count maps that rank pixels better than all shifted copies."""
        checks, rated = checks_of(context), context.results[0]
        right = np.array([own.get("faithfulness", {}).get("verdict") == "trust" for own in checks], dtype=bool)
        sane = [own["sanity"]["verdict"] for own in checks if "sanity" in own]
        share = share_of(right, rated.rows, context.level)
        claim = Message(
            "{share} of {count} {method} maps ({span}) rank pixels better than shifted copies of them; {changed} of "
            "{checked} change when the weights are randomised.",
            **{"share": percent(share.value), "span": span(share.low, share.high), "count": share.n},
            **{"method": self.method, "changed": sane.count("trust"), "checked": len(sane)},
        )
        verdicts = rated["verdict"].tolist()
        facts = {"method": self.method, "layer": rated.parts[0]["layer"]}
        facts |= {"ratings": {name: verdicts.count(name) for name in ("trust", "doubt", "reject")}}
        facts |= {"sanity": {name: sane.count(name) for name in ("trust", "doubt", "reject", "not checked")}}
        notes = tuple(dict.fromkeys(note for part in rated.parts for note in part["notes"]))
        shown = shown_maps(context, checks, self.method)
        return replace(share, claim=claim, facts=facts, evidence=shown, notes=notes)
