"""What is explained: one number per image, read from the logits."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from xai.core.heads import to_probabilities
from xai.core.meaning import Meaning
from xai.errors import NameLookupError, TargetError

SCORES = ("logit", "probability", "margin")


@dataclass(frozen=True)
class Objective:
    """The score of a class.

    Attributes:
        score: "logit"; "probability", which saturates where the model is sure; or "margin", the logit minus the largest
            other one.
        meaning: of the classifier's outputs, `Classifier.read_outputs()`. Where one output s stands for two classes,
            whose logits are -s/2 and s/2, the logit that is explained is the model's own: s for the second class, -s
            for the first.

    Raises:
        NameLookupError: no such score.
    """

    score: str = "logit"
    meaning: Meaning = field(default_factory=Meaning)

    def __post_init__(self) -> None:
        """Check the name."""
        if self.score not in SCORES:
            raise NameLookupError("score", self.score, SCORES)

    def check_versus(self, versus: object) -> None:
        """Raise when another class is given for a score that has one already.

        Raises:
            TargetError: a margin is against the best other class.
        """
        if versus is not None and self.score == "margin":
            raise TargetError("Expected no `versus` with score='margin', which is against the best other class.")

    def one(self, logits: Tensor, targets: Tensor, versus: Tensor | None = None) -> Tensor:
        """Return the score of each line (r,).

        Args:
            logits: (r, K).
            targets: (r,) class of each line.
            versus: (r,) classes whose score is taken away, or None.
        """
        table = self._table(logits, alone=versus is None)
        found = table.gather(1, targets[:, None])[:, 0]
        if self.score == "margin":
            others = table.scatter(1, targets[:, None], -torch.inf)
            return found - others.amax(1) if table.shape[1] > 1 else found
        return found if versus is None else found - table.gather(1, versus[:, None])[:, 0]

    def all(self, logits: Tensor, targets: Tensor, versus: Tensor | None = None) -> Tensor:
        """Return the score of each line for each of n classes (r, n).

        Args:
            logits: (r, K).
            targets: (n,) classes.
            versus: (n,) classes whose score is taken away, or None.
        """
        table = self._table(logits, alone=versus is None)
        found = table[:, targets]
        if self.score == "margin" and table.shape[1] > 1:
            best, place = table.topk(2, dim=1)
            return found - torch.where(place[:, :1] == targets, best[:, 1:], best[:, :1])
        return found if versus is None else found - table[:, versus]

    def _table(self, logits: Tensor, *, alone: bool) -> Tensor:
        if self.score == "probability":
            return to_probabilities(logits, self.meaning.head)
        halved = self.meaning.single and self.meaning.head == "softmax" and self.score == "logit"
        return 2 * logits if halved and alone else logits  # a difference of two logits is s or -s already
