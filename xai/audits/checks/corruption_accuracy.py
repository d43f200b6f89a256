"""Accuracy on noisy, blurred, foggy and compressed images."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from xai.audits.check_result import CheckResult
from xai.audits.checks.base import CHECKS, Check, changed, mean_share_interval, percent, span
from xai.audits.context import DATA, Context
from xai.audits.execution.stages.base import Stage
from xai.audits.execution.stages.corruptions import CorruptionStage
from xai.core.results.message import Message
from xai.robust.corruptions.base import CORRUPTIONS, corrupt
from xai.robust.corruptions.result import ALEXNET, IMAGENET_C, mce
from xai.robust.corruptions.robustness import checked_severities
from xai.stats.intervals import wilson

_CLASSES = 1000
_SHOWN = 3


@CHECKS.register("corruption_accuracy")
@dataclass(frozen=True)
class CorruptionAccuracy(Check):
    """Mean accuracy over corruptions and severities.

    Attributes:
        corruptions: names; empty takes the fifteen of ImageNet-C.
        severities: increasing, above 0 to 5.
    """

    name: ClassVar[str] = "corruption_accuracy"
    title: ClassVar[str] = "Accuracy under corruptions"
    family: ClassVar[str] = "robustness"
    question: ClassVar[str] = "How often is the model right on noisy, blurred, foggy or compressed images?"
    conditions: ClassVar[tuple[str, ...]] = ("at_least", "at_most", "max_drop_vs_baseline")
    first_images: ClassVar[int | None] = 500
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
        """Corrupt and predict."""
        return (CorruptionStage(most=self.most, names=self._names, severities=tuple(self.severities)),)

    def measure(self, context: Context) -> CheckResult:
        """Average image by image, so that the interval counts images and not predictions."""
        stored = context.results[0]
        labels = context.labels(DATA, stored.rows).numpy()
        right = stored["predicted"] == labels[:, None, None]
        accuracies = right.mean((1, 2))
        low, high = mean_share_interval(accuracies, context.level)
        shares, spans = right.mean(0), wilson(right.sum(0), len(right), context.level)
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
        clean = float((stored["clean"] == labels).mean())
        worst = self._names[int(shares.mean(1).argmin())]
        claim = Message(
            "Mean accuracy under {count} corruptions {share} ({span}), without them {clean}; lowest under {worst}: "
            "{lowest}.",
            **{"count": len(self._names), "share": percent(float(accuracies.mean())), "span": span(low, high)},
            **{"clean": percent(clean), "worst": worst, "lowest": percent(float(shares.mean(1).min()))},
        )
        return CheckResult(
            float(accuracies.mean()),
            low,
            high,
            context.level,
            len(accuracies),
            "share",
            rows=stored.rows,
            outcomes=accuracies.astype(np.float64),
            claim=claim,
            facts={
                "clean_accuracy": clean,
                "worst": worst,
                "mce": self._mce(right, clean, labels, stored["clean"], context.seed),
            },
            tables={"corruptions": table},
            evidence=self._shown(context, stored.rows, right[:, self._names.index(worst)], stored, worst),
        )

    def _mce(self, right: np.ndarray, clean: float, labels: np.ndarray, predictions: np.ndarray, seed: int) -> Any:
        """Return ImageNet's mean corruption error where it means something: its classes, corruptions and severities."""
        whole = tuple(self.severities) == (1, 2, 3, 4, 5) and set(ALEXNET) <= set(self._names)
        few = len(set(labels.tolist())) < _CLASSES // 2
        if not whole or few or int(labels.max()) < 1 or predictions.max() >= _CLASSES:
            return None
        wrong = {name: ~right[:, k].T for k, name in enumerate(self._names) if name in ALEXNET}
        errors = {name: (1 - right[:, k].mean(0)).tolist() for k, name in enumerate(self._names) if name in ALEXNET}
        return mce(errors, 1 - clean, wrong=wrong, clean_wrong=predictions != labels, seed=seed).to_dict()

    def _shown(
        self, context: Context, rows: np.ndarray, right: np.ndarray, stored: Any, worst: str
    ) -> tuple[dict[str, Any], ...]:
        """Return images that the worst corruption makes wrong, with the lowest severity that does."""
        place = self._names.index(worst)
        clean = stored["clean"] == context.labels(DATA, rows).numpy()
        first = np.where(right.all(1) | ~clean, right.shape[1], right.argmin(1))
        shown = []
        for k in np.argsort(first, kind="stable")[:_SHOWN].tolist():
            if first[k] == right.shape[1]:
                break
            severity = self.severities[int(first[k])]
            before = context.inputs(DATA, [rows[k]])
            after = torch.as_tensor(np.asarray(corrupt(before, worst, severity=severity, seed=context.seed)))
            prediction = int(stored["predicted"][k, place, int(first[k])])
            change = Message("with {corruption} of severity {severity:g}", corruption=worst, severity=severity)
            pixels = before[0].numpy(), after[0].numpy()
            shown.append(changed(context, int(rows[k]), *pixels, prediction, change, "corrupted"))
        return tuple(shown)

    def code(self) -> str:
        """Return Python that repeats it."""
        return (
            f"xai.corruption_robustness(model, data, names={list(self._names)!r}, "
            f"severities={tuple(self.severities)!r}).accuracy.mean()"
        )
