"""Share of explanations that are stable under noise."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from xai.audits.check_result import CheckResult
from xai.audits.checks._maps import RatingCheck, checks_of
from xai.audits.checks.base import CHECKS, percent, share_of, span
from xai.audits.context import Context
from xai.core.results.message import Message, joined, sentences


@CHECKS.register("stability")
@dataclass(frozen=True)
class Stability(RatingCheck):
    """Share of explanations that stay the same under invisible noise (correlation of at least 0.75)."""

    name: ClassVar[str] = "stability"
    title: ClassVar[str] = "Stability of explanations"
    question: ClassVar[str] = "Does an explanation stay the same when invisible noise is added to the image?"
    limits: ClassVar[tuple[str, ...]] = ("a stable map need not be faithful",)

    def measure(self, context: Context) -> CheckResult:
        """Count stable maps."""
        checks = checks_of(context)
        right = np.array([own.get("stability", {}).get("verdict") == "trust" for own in checks], dtype=bool)
        correlations = [own["stability"]["values"]["correlation"] for own in checks if "stability" in own]
        share = share_of(right, context.results[0].rows, context.level)
        median = float(np.median(correlations)) if correlations else None
        words = {"share": percent(share.value), "span": span(share.low, share.high), "count": share.n}
        claims = [
            Message(
                "{share} of {count} {method} maps ({span}) stay the same under slight noise",
                **words,
                method=self.method,
            )
        ]
        claims += [] if median is None else [Message("median correlation {median:.2f}", median=median)]
        claim = sentences([joined(claims)])
        return replace(share, claim=claim, facts={"method": self.method, "median": median})
