"""How often is the model right?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from xai.audits.checks.base import (
    CHECKS,
    EXAMPLES,
    Check,
    CheckView,
    classes_of,
    groups_of,
    groups_of_row,
    percent,
    span,
)
from xai.audits.context import DATA
from xai.audits.documents.artifacts import exhibit
from xai.audits.execution.stages.base import Stage
from xai.audits.execution.stages.predictions import PredictionStage
from xai.audits.measurement import Measurement, share_of
from xai.core.model.predictions import to_probabilities
from xai.core.model.resizing import resizing_note
from xai.core.model.usage_checks import reading_doubts

_CONFUSIONS, _FEW_CLASSES, _OF_THE_WORST = 20, 50, 3


@CHECKS.register("accuracy")
@dataclass(frozen=True)
class Accuracy(Check):
    """Share of pictures whose class is the model's first answer."""

    name: ClassVar[str] = "accuracy"
    title: ClassVar[str] = "Accuracy"
    family: ClassVar[str] = "quality"
    question: ClassVar[str] = "How often is the model right on pictures as they are?"
    limits: ClassVar[tuple[str, ...]] = ("holds for pictures drawn as these were",)

    def stages(self) -> tuple[Stage, ...]:
        """Ask once."""
        return (PredictionStage(most=self.most),)

    def measure(self, view: CheckView) -> Measurement:
        """Count."""
        scene, rows = view.scene, view.found[0].rows
        logits = torch.from_numpy(view.found[0]["logits"])
        sure, said = (v.numpy() for v in to_probabilities(logits, scene.classifier.head).double().max(1))
        truth = scene.truth(DATA, rows).numpy()
        right = said == truth
        found = share_of(
            right, rows, view.level, classes=classes_of(scene, rows, right), groups=groups_of(scene, rows, right)
        )
        facts = _confused(truth, said, scene.classifier.labels)
        notes = resizing_note(scene.classifier, scene.role().data, scene.truth(DATA, np.arange(len(scene.role().data))))
        notes += reading_doubts(scene.classifier, None, torch.from_numpy(said), torch.from_numpy(truth))
        worst = min(found.classes, key=lambda share: share.hits / max(1, share.n), default=None)
        own = truth == (-1 if worst is None else list(scene.classifier.labels).index(worst.name))
        shown = _wrong_and_sure(view, rows, said, sure, ~right, EXAMPLES)
        more = _wrong_and_sure(view, rows, said, sure, ~right & own, _OF_THE_WORST)  # for a gate on the worst class
        return _told(found, facts, (*shown, *(one for one in more if one not in shown)), notes)

    def code(self) -> str:
        """Repeat it by hand."""
        return "(model.predict(data.images).index == data.labels).double().mean()"


def _confused(truth: np.ndarray, said: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Return the most frequent confusions, and all of them as a matrix (truth, answer) where classes are few."""
    size = len(labels)
    counts = np.bincount(truth * size + said, minlength=size * size).reshape(size, size)
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_CONFUSIONS]
    pairs = [(int(k) // size, int(k) % size) for k in order if wrong.flat[k] > 0]
    most = [{"truth": labels[t], "answer": labels[a], "pictures": int(wrong[t, a])} for t, a in pairs]
    return {"confusions": most, "confusion": counts.tolist() if size <= _FEW_CLASSES else None}


def _told(
    found: Measurement, facts: dict[str, Any], evidence: tuple[dict[str, Any], ...], notes: list[str]
) -> Measurement:
    said = (
        f"Of {found.n:,} pictures {percent(found.value or 0)} are recognised ({span(found.low or 0, found.high or 1)})."
    )
    return Measurement(**{**vars(found), "claim": said, "facts": facts, "evidence": evidence, "notes": tuple(notes)})


def _wrong_and_sure(
    view: CheckView, rows: np.ndarray, said: np.ndarray, sure: np.ndarray, wrong: np.ndarray, most: int
) -> tuple[dict[str, Any], ...]:
    """Return the wrong answers that the model is surest of."""
    order = np.flatnonzero(wrong)[np.argsort(-sure[wrong], kind="stable")][:most]
    labels, shown = view.scene.classifier.labels, []
    for k in order.tolist():
        row = int(rows[k])
        pixels = view.scene.pictures(DATA, [row])[0].pixels
        truth, answer = labels[int(view.scene.truth(DATA, [row])[0])], labels[int(said[k])]
        shown.append(
            exhibit(
                f"{truth} taken for {answer}",
                f"{view.scene.role().ids[row]}: {answer!r} with probability {sure[k]:.2f}, in truth {truth!r}.",
                f"A picture of {truth} that the model takes for {answer} with probability {sure[k]:.2f}.",
                [view.album.picture(pixels)],
                picture=view.scene.role().ids[row],
                label=truth,
                groups=groups_of_row(view.scene, row),
                predicted=answer,
                confidence=float(sure[k]),
            )
        )
    return tuple(shown)
