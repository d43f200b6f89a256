"""The model as it is asked: pictures in, probabilities out, with progress and a stop."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from xai.core.classifier import Classifier
from xai.core.heads import to_probabilities
from xai.core.rows import Progress, ShouldStop
from xai.cues._base import Form, Pictures, planted
from xai.errors import Stopped

_TOGETHER = 256  # rows of several forms that are put together


class Probe:
    """Asks a classifier, counts rows, reports and stops.

    Args:
        classifier: the model.
        report: told (rows done, rows in all), or None.
        should_stop: asked before each question, or None.
    """

    def __init__(self, classifier: Classifier, report: Progress | None, should_stop: ShouldStop | None) -> None:
        self.classifier, self._report, self._should_stop = classifier, report, should_stop
        self._done, self.total = 0, 1

    def probabilities(self, images: Tensor) -> Tensor:
        """Return (n, K) of images (n, C, h, w), on the CPU."""
        if self._should_stop is not None and self._should_stop():
            raise Stopped(f"Stopped after {self._done} of about {self.total} rows, as asked.")
        logits = self.classifier.logits_of(images, should_stop=self._should_stop)
        self.advance(len(images))
        return to_probabilities(logits.float(), self.classifier.head)

    def advance(self, rows: int) -> None:
        """Tell that so many rows are done; the total grows rather than be passed."""
        self._done += rows
        self.total = max(self.total, self._done)
        if self._report is not None:
            self._report(self._done, self.total)

    def expect(self, rows: int) -> None:
        """Take about so many rows as still to be done."""
        self.total = self._done + rows

    def finish(self) -> None:
        """Tell that all is done."""
        if self._report is not None:
            self._report(self.total, self.total)

    def rises(self, forms: Sequence[Form], pictures: Pictures) -> Tensor:
        """Return by how much each form, at full strength, raises each class's mean probability (F, K)."""
        before, found = self.probabilities(pictures.images), []
        many = max(1, _TOGETHER // len(pictures))
        for start in range(0, len(forms), many):
            some = forms[start : start + many]
            made = [planted(pictures, form.change(pictures), 1.0) for form in some]
            after = self.probabilities(torch.cat(made)).view(len(some), len(pictures), -1)
            found.append((after - before).mean(1))
        return torch.cat(found)

    def doses(self, pictures: Pictures, change: Tensor, strengths: Sequence[float]) -> Tensor:
        """Return probabilities (S, n, K) with a change at several strengths."""
        return torch.stack([self.probabilities(planted(pictures, change, s)) for s in strengths])


def answers(probabilities: Tensor) -> Any:
    """Return the answers (...) of probabilities (..., K) as an array."""
    return probabilities.argmax(-1).numpy()
