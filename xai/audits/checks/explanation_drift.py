"""Overlap of explanations with those of the baseline."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from xai.audits.check_result import KEY_BYTES, CheckResult, decode, encode
from xai.audits.checks.base import CHECKS, FIGURES, Check, mean_share_interval
from xai.audits.context import Context
from xai.audits.execution.stages.base import Stage
from xai.audits.execution.stages.explanations import ExplanationStage
from xai.core.results.message import Message, joined
from xai.explanations.methods.base import EXPLAINERS

_BEST = 0.1  # of the places of a map


@CHECKS.register("explanation_drift")
@dataclass(frozen=True)
class ExplanationDrift(Check):
    """Mean overlap of each map's top tenth with that of the baseline's map (Jaccard index).

    Both maps are of the same image.

    Attributes:
        method: of the explanation.
    """

    name: ClassVar[str] = "explanation_drift"
    title: ClassVar[str] = "Explanations against the baseline"
    family: ClassVar[str] = "explanations"
    question: ClassVar[str] = "Do explanations mark the same places as those of the baseline, on the same images?"
    conditions: ClassVar[tuple[str, ...]] = FIGURES
    first_images: ClassVar[int | None] = 64
    limits: ClassVar[tuple[str, ...]] = ("a map that changes need not be worse",)

    method: str = "gradcam"

    def __post_init__(self) -> None:
        """Refuse unknown methods."""
        EXPLAINERS[self.method]

    def stages(self) -> tuple[Stage, ...]:
        """Explain."""
        return (ExplanationStage(most=self.most, method=self.method),)

    def measure(self, context: Context) -> CheckResult:
        """Compare maps image by image; without a baseline only keep them for the next audit."""
        explained = context.results[0]
        best = _best_places(explained["maps"])
        facts = {"method": self.method, "share": _BEST, "size": list(explained["maps"].shape[1:])}
        facts["best"] = encode(np.packbits(best, axis=1), "u1")
        rows, overlaps = self._overlaps(context, best)
        if not len(overlaps):
            claim = Message("{why}; these maps are stored for the next audit.", why=self._why_none(context, best))
            return CheckResult(
                None, None, None, context.level, len(best), "iou", rows=explained.rows, claim=claim, facts=facts
            )
        mean, n = float(overlaps.mean()), len(overlaps)
        low, high = mean_share_interval(overlaps, context.level)
        claims = [
            Message(
                "The top tenth of {count} {method} maps overlaps with the baseline's by {mean:.2f} ({low:.2f} to "
                "{high:.2f}) on average; the least similar is {name}.",
                **{"count": n, "method": self.method, "mean": mean, "low": low, "high": high},
                name=context.role().ids[int(rows[overlaps.argmin()])],
            )
        ]
        counts = (
            (len(context.baseline.rows), len(best))
            if context.baseline and context.baseline.rows is not None
            else (n, n)
        )
        if counts != (n, n):
            words = {"before": counts[0], "after": counts[1], "shared": n}
            text = "The baseline has maps of {before} images and this audit of {after}; {shared} are in both."
            claims.append(Message(text, **words))
        facts["overlaps"] = overlaps.tolist()
        claim = joined(claims, " ")
        return CheckResult(mean, low, high, context.level, n, "iou", rows=explained.rows, claim=claim, facts=facts)

    def _why_none(self, context: Context, best: np.ndarray) -> Message:
        """Return why no map can be compared with one of the baseline."""
        before = context.baseline
        if before is None or before.rows is None:
            return Message("There are no maps of a baseline to compare with")
        if (method := before.facts.get("method")) != self.method:
            text = "The baseline's maps are of {before}, these of {after}"
            return Message(text, before=method, after=self.method)
        if (size := int(np.prod(before.facts["size"]))) != best.shape[1]:
            text = "The baseline's maps have {before} places, these {after}"
            return Message(text, before=size, after=best.shape[1])
        text = "None of the {before} images whose maps the baseline has is among these {after}"
        return Message(text, before=len(before.rows), after=len(best))

    def _overlaps(self, context: Context, best: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        before = context.baseline
        facts = {} if before is None else before.facts
        if before is None or before.rows is None or facts.get("method") != self.method:
            return np.zeros(0), np.zeros(0)
        size = int(np.prod(facts["size"]))
        packed = decode(str(facts["best"]), "u1").reshape(len(before.rows), -1)
        old = np.unpackbits(packed, axis=1, count=size).astype(bool)
        place = {key: k for k, key in enumerate(context.baseline_keys)}
        keys = [context.role().keys[int(row)][: 2 * KEY_BYTES] for row in context.results[0].rows]
        both = [(k, place[key]) for k, key in enumerate(keys) if key in place] if size == best.shape[1] else []
        shared = [(best[k] & old[j]).sum() / max(1, (best[k] | old[j]).sum()) for k, j in both]
        return context.results[0].rows[[k for k, _ in both]], np.array(shared, dtype=np.float64)

    def code(self) -> str:
        """Return Python that repeats it."""
        return f"xai.explain(model, images, {self.method!r}).attribution"


def _best_places(maps: np.ndarray) -> np.ndarray:
    """Return which places are among the best tenth of each map (n, h * w) bool; ties in reading order."""
    flat = torch.from_numpy(maps.reshape(len(maps), -1))
    count = max(1, round(_BEST * flat.shape[1]))
    order = flat.sort(dim=1, descending=True, stable=True).indices[:, :count]
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(1, order, True).numpy()
