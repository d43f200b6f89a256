"""How often is the model right?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch

from xai.audits.check_result import CheckResult, exhibit
from xai.audits.checks.base import (
    CHECKS,
    EXAMPLES,
    Check,
    classes_of,
    groups_of,
    groups_of_row,
    percent,
    share_of,
    span,
    taken_for,
)
from xai.audits.context import DATA, Context
from xai.audits.execution.stages.base import Stage
from xai.audits.execution.stages.predictions import PredictionStage
from xai.core.model.predictions import to_probabilities
from xai.core.model.resizing import resizing_note
from xai.core.model.usage_checks import reading_doubts
from xai.core.results.message import Message

_CONFUSIONS, _FEW_CLASSES, _OF_WORST = 20, 50, 3


@CHECKS.register("accuracy")
@dataclass(frozen=True)
class Accuracy(Check):
    """Share of images whose class is predicted."""

    name: ClassVar[str] = "accuracy"
    title: ClassVar[str] = "Accuracy"
    family: ClassVar[str] = "quality"
    question: ClassVar[str] = "How often is the model right on unchanged images?"
    limits: ClassVar[tuple[str, ...]] = ("holds for images drawn as these were",)

    def stages(self) -> tuple[Stage, ...]:
        """Predict once."""
        return (PredictionStage(most=self.most),)

    def measure(self, context: Context) -> CheckResult:
        """Count."""
        rows = context.results[0].rows
        logits = torch.from_numpy(context.results[0]["logits"])
        confidence, predictions = (v.numpy() for v in to_probabilities(logits, context.classifier.head).double().max(1))
        labels = context.labels(DATA, rows).numpy()
        right = predictions == labels
        accuracy = share_of(
            right, rows, context.level, classes=classes_of(context, rows, right), groups=groups_of(context, rows, right)
        )
        facts = _confused(labels, predictions, context.classifier.class_names)
        notes = resizing_note(
            context.classifier, context.role().data, context.labels(DATA, np.arange(len(context.role().data)))
        )
        notes += reading_doubts(context.classifier, None, torch.from_numpy(predictions), torch.from_numpy(labels))
        worst = min(accuracy.classes, key=lambda share: share.hits / max(1, share.n), default=None)
        of_worst = labels == (-1 if worst is None else list(context.classifier.class_names).index(worst.name))
        shown = _confident_errors(context, rows, predictions, confidence, ~right, EXAMPLES)
        more = _confident_errors(context, rows, predictions, confidence, ~right & of_worst, _OF_WORST)  # for its gate
        claim = Message(
            "Accuracy {share} ({span}) on {count:,} images.",
            **{"share": percent(accuracy.value), "span": span(accuracy.low, accuracy.high), "count": accuracy.n},
        )
        evidence = (*shown, *(example for example in more if example not in shown))
        return replace(accuracy, claim=claim, facts=facts, evidence=evidence, notes=tuple(notes))

    def code(self) -> str:
        """Return Python that repeats it."""
        return "(model.predict(data.images).index == data.labels).double().mean()"


def _confused(labels: np.ndarray, predictions: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Return the most frequent confusions, and the confusion matrix (label, prediction) where classes are few."""
    size = len(names)
    counts = np.bincount(labels * size + predictions, minlength=size * size).reshape(size, size)
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_CONFUSIONS]
    pairs = [(int(k) // size, int(k) % size) for k in order if wrong.flat[k] > 0]
    most = [{"label": names[t], "prediction": names[a], "images": int(wrong[t, a])} for t, a in pairs]
    return {"confusions": most, "confusion": counts.tolist() if size <= _FEW_CLASSES else None}


def _confident_errors(
    context: Context, rows: np.ndarray, predictions: np.ndarray, confidence: np.ndarray, wrong: np.ndarray, most: int
) -> tuple[dict[str, Any], ...]:
    """Return the wrong predictions of highest confidence."""
    order = np.flatnonzero(wrong)[np.argsort(-confidence[wrong], kind="stable")][:most]
    labels, shown = context.classifier.class_names, []
    for k in order.tolist():
        row = int(rows[k])
        pixels = context.decoded(DATA, [row])[0].pixels
        label, predicted = labels[int(context.labels(DATA, [row])[0])], labels[int(predictions[k])]
        words: dict[str, Any] = {"name": context.role().ids[row], "label": label, "predicted": predicted}
        words["confidence"] = float(confidence[k])
        shown.append(
            exhibit(
                taken_for(label, predicted),
                Message("{name}: predicted {predicted!r} with probability {confidence:.2f}, label {label!r}.", **words),
                Message("An image of {label}, predicted as {predicted} with probability {confidence:.2f}.", **words),
                [context.artifacts.image(pixels)],
                image=words["name"],
                label=label,
                groups=groups_of_row(context, row),
                predicted=predicted,
                confidence=words["confidence"],
            )
        )
    return tuple(shown)
