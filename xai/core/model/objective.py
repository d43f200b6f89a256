"""The explained score of each image. It is read from the logits for the target class."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from xai.core.model.classifier import Classifier
from xai.core.model.predictions import OutputMeaning, to_probabilities
from xai.core.validation import check_choice
from xai.errors import TargetError

Target = int | str | Sequence[int | str] | Tensor | None


def refuse_table(values: Any, what: str) -> None:
    """Raise when classes are given as a table, one-hot or multi-hot, where one class per image is meant.

    Raises:
        TargetError: they are; the message says which of the two.
    """
    if not isinstance(values, Sequence) or not values or not all(_is_row(value) for value in values):
        return
    flat = [list(row) for row in values]
    if all(len(row) == 1 for row in flat):
        cure = "a column (N, 1). Flatten it to (N,)"
    elif all(sum(value == 1 for value in row) == 1 and set(row) <= {0, 1} for row in flat):
        cure = "one-hot rows (N, K). Pass `labels.argmax(1)`"
    else:
        cure = "multi-hot rows (N, K), several classes per image. Ask about one class at a time: pass a column of it"
    raise TargetError(f"Expected one class per image in `{what}`, (N,), but got {cure}.")


def _is_row(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def target_indices(classifier: Classifier, target: Target, count: int) -> Tensor | None:
    """Return one class index per image (N,) int64, or None for the predicted classes.

    Raises:
        TargetError: no such class, or another number of targets than images.
    """
    if target is None:
        return None
    if isinstance(target, str | int):
        return torch.full((count,), classifier.find_target(target))
    values: Any = target.tolist() if hasattr(target, "tolist") else target
    if not isinstance(values, Sequence):
        return torch.full((count,), classifier.find_target(values))
    refuse_table(values, "target")
    if len(values) != count:
        raise TargetError(f"Expected one target, or one for each of {count} images, but got {len(values)}.")
    return torch.tensor([classifier.find_target(value) for value in values])


SCORES = ("logit", "probability", "margin")


@dataclass(frozen=True)
class Objective:
    """The score of a class.

    Attributes:
        score: "logit"; "probability", which saturates where the confidence is high; or "margin", the logit minus the
            largest other one.
        meaning: of the classifier's outputs, `Classifier.read_outputs()`. Where one output s stands for two classes,
            whose logits are -s/2 and s/2, the logit that is explained is the model's own: s for the second class, -s
            for the first.

    Raises:
        NameLookupError: no such score.
    """

    score: str = "logit"
    meaning: OutputMeaning = field(default_factory=OutputMeaning)

    def __post_init__(self) -> None:
        """Check the name."""
        check_choice("score", self.score, SCORES)

    def check_versus(self, versus: object) -> None:
        """Raise when another class is given for a score that has one already.

        Raises:
            TargetError: a margin is against the best other class.
        """
        if versus is not None and self.score == "margin":
            raise TargetError("Expected no `versus` with score='margin', which is against the best other class.")

    def row_scores(self, logits: Tensor, targets: Tensor, versus: Tensor | None = None) -> Tensor:
        """Return the score of each line (r,).

        Args:
            logits: (r, K).
            targets: (r,) class of each line.
            versus: (r,) classes whose score is taken away, or None.
        """
        table = self._table(logits, alone=versus is None)
        scores = table.gather(1, targets[:, None])[:, 0]
        if self.score == "margin":
            others = table.scatter(1, targets[:, None], -torch.inf)
            return scores - others.amax(1) if table.shape[1] > 1 else scores
        return scores if versus is None else scores - table.gather(1, versus[:, None])[:, 0]

    def all(self, logits: Tensor, targets: Tensor, versus: Tensor | None = None) -> Tensor:
        """Return the score of each line for each of n classes (r, n).

        Args:
            logits: (r, K).
            targets: (n,) classes.
            versus: (n,) classes whose score is taken away, or None.
        """
        table = self._table(logits, alone=versus is None)
        scores = table[:, targets]
        if self.score == "margin" and table.shape[1] > 1:
            best, place = table.topk(2, dim=1)
            return scores - torch.where(place[:, :1] == targets, best[:, 1:], best[:, :1])
        return scores if versus is None else scores - table[:, versus]

    def _table(self, logits: Tensor, *, alone: bool) -> Tensor:
        if self.score == "probability":
            return to_probabilities(logits, self.meaning.head)
        halved = self.meaning.single and self.meaning.head == "softmax" and self.score == "logit"
        return 2 * logits if halved and alone else logits  # a difference of two logits is s or -s already
