"""Scores of logits alone, and what shaping makes of them."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xai.detectors._base import DETECTORS, Detector, Learned, Parts, State
from xai.detectors._reference import Reference
from xai.detectors._rows import Rows
from xai.errors import NameLookupError


@dataclass(frozen=True)
class LogitDetector(Detector):
    """A score of logits: nothing is learned, no feature is needed."""

    family: ClassVar[str] = "logits"

    @abstractmethod
    def of_logits(self, rows: Rows) -> Tensor:
        """Return the score (n,) of `rows.logits`."""

    def _fit(self, _reference: Reference) -> Learned:
        return Learned()

    def _parts(self, _state: State, rows: Rows) -> Parts:
        return {self.unit: self.of_logits(rows)}


def logit_detector(name: str) -> LogitDetector:
    """Return a logit score by name, with its usual settings.

    Raises:
        NameLookupError: no such detector, or one that needs more than logits.
    """
    known = [held for held in DETECTORS if issubclass(DETECTORS[held], LogitDetector)]
    if name not in known:
        raise NameLookupError("score of logits", name, known)
    made = DETECTORS[name]()
    assert isinstance(made, LogitDetector)
    return made
