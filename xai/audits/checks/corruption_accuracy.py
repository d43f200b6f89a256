"""How often is the model right on noisy, blurred, foggy, compressed pictures?"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy
import torch

from xai.audits.checks.base import CHECKS, Check, CheckView, changed, percent, span
from xai.audits.context import DATA
from xai.audits.execution.stages.base import Stage
from xai.audits.execution.stages.corruptions import CorruptionStage
from xai.audits.measurement import Measurement
from xai.robust.corruptions.base import CORRUPTIONS, corrupt
from xai.robust.corruptions.result import ALEXNET, IMAGENET_C, mce
from xai.robust.corruptions.robustness import checked_severities
from xai.stats.intervals import wilson

_CLASSES = 1000
_SHOWN = 3


@CHECKS.register("corruption_accuracy")
@dataclass(frozen=True)
class CorruptionAccuracy(Check):
    """Mean over corruptions and severities of the share of pictures that are right.

    Attributes:
        corruptions: names; empty takes the fifteen of ImageNet-C.
        severities: increasing, above 0 to 5.
    """

    name: ClassVar[str] = "corruption_accuracy"
    title: ClassVar[str] = "Accuracy under corruptions"
    family: ClassVar[str] = "robustness"
    question: ClassVar[str] = "How often is the model right when pictures get noisy, blurred, foggy or compressed?"
    conditions: ClassVar[tuple[str, ...]] = ("at_least", "at_most", "max_drop_vs_baseline")
    first_pictures: ClassVar[int | None] = 500
    limits: ClassVar[tuple[str, ...]] = ("other corruptions may do more harm", "corrupted at the model's input size")

    corruptions: tuple[str, ...] = ()
    severities: tuple[float, ...] = (1, 3, 5)

    def __post_init__(self) -> None:
        """Refuse unknown corruptions and impossible severities."""
        for name in self.corruptions:
            CORRUPTIONS[name]
        checked_severities(self.severities)

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(self.corruptions) or IMAGENET_C

    def stages(self) -> tuple[Stage, ...]:
        """Corrupt and ask."""
        return (CorruptionStage(most=self.most, names=self._names, severities=tuple(self.severities)),)

    def measure(self, view: CheckView) -> Measurement:
        """Average, picture by picture, so that the interval counts pictures and not answers."""
        scene, found = view.scene, view.found[0]
        truth = scene.truth(DATA, found.rows).numpy()
        right = found["predicted"] == truth[:, None, None]
        own = right.mean((1, 2))
        low, high = _mean_interval(own, view.level)
        shares, spans = right.mean(0), wilson(right.sum(0), len(right), view.level)
        table = [
            {
                "corruption": name,
                "severity": severity,
                "accuracy": shares[c, s],
                "low": spans[c, s, 0],
                "high": spans[c, s, 1],
            }
            for c, name in enumerate(self._names)
            for s, severity in enumerate(self.severities)
        ]
        clean = float((found["clean"] == truth).mean())
        worst = self._names[int(shares.mean(1).argmin())]
        said = (
            f"Under {len(self._names)} corruptions {percent(float(own.mean()))} of the answers are right "
            f"({span(low, high)}), without them {percent(clean)}; worst is {worst} with "
            f"{percent(float(shares.mean(1).min()))}."
        )
        return Measurement(
            float(own.mean()),
            low,
            high,
            view.level,
            len(own),
            "share",
            rows=found.rows,
            outcomes=own.astype(np.float64),
            claim=said,
            facts={
                "clean_accuracy": clean,
                "worst": worst,
                "mce": self._mce(right, clean, truth, found["clean"], scene.seed),
            },
            tables={"corruptions": table},
            evidence=self._shown(view, found.rows, right[:, self._names.index(worst)], found, worst),
        )

    def _mce(self, right: np.ndarray, clean: float, truth: np.ndarray, answers: np.ndarray, seed: int) -> Any:
        """Return ImageNet's mean corruption error where it means something: its classes, corruptions and severities."""
        whole = tuple(self.severities) == (1, 2, 3, 4, 5) and set(ALEXNET) <= set(self._names)
        if not whole or int(truth.max()) < 1 or answers.max() >= _CLASSES or len(set(truth.tolist())) < _CLASSES // 2:
            return None
        wrong = {name: ~right[:, k].T for k, name in enumerate(self._names) if name in ALEXNET}
        errors = {name: (1 - right[:, k].mean(0)).tolist() for k, name in enumerate(self._names) if name in ALEXNET}
        return mce(errors, 1 - clean, wrong=wrong, clean_wrong=answers != truth, seed=seed).to_dict()

    def _shown(
        self, view: CheckView, rows: np.ndarray, right: np.ndarray, found: Any, worst: str
    ) -> tuple[dict[str, Any], ...]:
        """Return pictures that the worst corruption spoils at its lowest severity that does."""
        scene, place = view.scene, self._names.index(worst)
        fine = found["clean"] == scene.truth(DATA, rows).numpy()
        first = np.where(right.all(1) | ~fine, right.shape[1], right.argmin(1))
        shown = []
        for k in np.argsort(first, kind="stable")[:_SHOWN].tolist():
            if first[k] == right.shape[1]:
                break
            severity = self.severities[int(first[k])]
            before = scene.inputs(DATA, [rows[k]])
            after = torch.as_tensor(np.asarray(corrupt(before, worst, severity=severity, seed=scene.seed)))
            said = int(found["predicted"][k, place, int(first[k])])
            how = f"with {worst} of severity {severity:g}"
            shown.append(changed(view, int(rows[k]), before[0].numpy(), after[0].numpy(), said, how, "corrupted"))
        return tuple(shown)

    def code(self) -> str:
        """Repeat it by hand."""
        return (
            f"xai.corruption_robustness(model, data, names={list(self._names)!r}, "
            f"severities={tuple(self.severities)!r}).accuracy.mean()"
        )


def _mean_interval(values: np.ndarray, level: float) -> tuple[float, float]:
    """Return the t-interval of a mean of shares, within 0 and 1."""
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return 0.0, 1.0
    half = float(scipy.stats.t.ppf((1 + level) / 2, n - 1) * values.std(ddof=1) / n**0.5)
    return max(0.0, mean - half), min(1.0, mean + half)
