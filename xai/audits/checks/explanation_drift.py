"""Do explanations move from one model to the next?"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy
import torch

from xai.audits.checks.base import CHECKS, FIGURES, Check, CheckView
from xai.audits.execution.stages.base import Stage
from xai.audits.execution.stages.explanations import ExplanationStage
from xai.audits.measurement import KEY_BYTES, Measurement, decode, encode
from xai.explanations.methods.base import EXPLAINERS

_BEST = 0.1  # of the places of a map


@CHECKS.register("explanation_drift")
@dataclass(frozen=True)
class ExplanationDrift(Check):
    """Mean overlap of the best tenth of each map with that of the baseline's map of the same picture (Jaccard index).

    Attributes:
        method: of the explanation.
    """

    name: ClassVar[str] = "explanation_drift"
    title: ClassVar[str] = "Explanations against the baseline"
    family: ClassVar[str] = "explanations"
    question: ClassVar[str] = "Does the model look at the same places as the baseline did, on the same pictures?"
    conditions: ClassVar[tuple[str, ...]] = FIGURES
    first_pictures: ClassVar[int | None] = 64
    limits: ClassVar[tuple[str, ...]] = ("a map that moves need not be worse",)

    method: str = "gradcam"

    def __post_init__(self) -> None:
        """Refuse unknown methods."""
        EXPLAINERS[self.method]

    def stages(self) -> tuple[Stage, ...]:
        """Explain."""
        return (ExplanationStage(most=self.most, method=self.method),)

    def measure(self, view: CheckView) -> Measurement:
        """Compare maps picture by picture; without a baseline only keep them for the next audit."""
        found, scene = view.found[0], view.scene
        best = _best_places(found["maps"])
        facts = {"method": self.method, "share": _BEST, "size": list(found["maps"].shape[1:])}
        facts["best"] = encode(np.packbits(best, axis=1), "u1")
        rows, overlaps = self._overlaps(view, best)
        if not len(overlaps):
            said = f"{self._why_none(view, best)}; these maps are kept for the next audit."
            return Measurement(None, None, None, view.level, len(best), "iou", rows=found.rows, claim=said, facts=facts)
        mean, n = float(overlaps.mean()), len(overlaps)
        half = float(scipy.stats.t.ppf((1 + view.level) / 2, n - 1) * overlaps.std(ddof=1) / n**0.5) if n > 1 else 1.0
        low, high = max(0.0, mean - half), min(1.0, mean + half)
        said = (
            f"The best tenth of {n} {self.method} maps overlaps with the baseline's by {mean:.2f} ({low:.2f} to "
            f"{high:.2f}) on average; the least similar is {scene.role().ids[int(rows[overlaps.argmin()])]}."
        )
        counts = (len(view.baseline.rows), len(best)) if view.baseline and view.baseline.rows is not None else (n, n)
        if counts != (n, n):
            said += f" The baseline has maps of {counts[0]} images and this audit of {counts[1]}; {n} are in both."
        facts["overlaps"] = overlaps.tolist()
        return Measurement(mean, low, high, view.level, n, "iou", rows=found.rows, claim=said, facts=facts)

    def _why_none(self, view: CheckView, best: np.ndarray) -> str:
        """Return why no map can be compared with one of the baseline."""
        before = view.baseline
        if before is None or before.rows is None:
            return "There are no maps of a baseline to compare with"
        if before.facts.get("method") != self.method:
            return f"The baseline's maps are of {before.facts.get('method')}, these of {self.method}"
        if (size := int(np.prod(before.facts["size"]))) != best.shape[1]:
            return f"The baseline's maps have {size} places, these {best.shape[1]}"
        return f"None of the {len(before.rows)} images whose maps the baseline has is among these {len(best)}"

    def _overlaps(self, view: CheckView, best: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        before = view.baseline
        facts = {} if before is None else before.facts
        if before is None or before.rows is None or facts.get("method") != self.method:
            return np.zeros(0), np.zeros(0)
        size = int(np.prod(facts["size"]))
        packed = decode(str(facts["best"]), "u1").reshape(len(before.rows), -1)
        old = np.unpackbits(packed, axis=1, count=size).astype(bool)
        place = {key: k for k, key in enumerate(view.baseline_keys)}
        keys = [view.scene.role().keys[int(row)][: 2 * KEY_BYTES] for row in view.found[0].rows]
        both = [(k, place[key]) for k, key in enumerate(keys) if key in place] if size == best.shape[1] else []
        shared = [(best[k] & old[j]).sum() / max(1, (best[k] | old[j]).sum()) for k, j in both]
        return view.found[0].rows[[k for k, _ in both]], np.array(shared, dtype=np.float64)

    def code(self) -> str:
        """Repeat it by hand."""
        return f"xai.explain(model, images, {self.method!r}).attribution"


def _best_places(maps: np.ndarray) -> np.ndarray:
    """Return which places are among the best tenth of each map (n, h * w) bool; ties in reading order."""
    flat = torch.from_numpy(maps.reshape(len(maps), -1))
    count = max(1, round(_BEST * flat.shape[1]))
    order = flat.sort(dim=1, descending=True, stable=True).indices[:, :count]
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(1, order, True).numpy()
