"""Scores of logits, plain or after features are shaped."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai.errors import NameLookupError, RangeError
from xai.ood.detectors.base import DETECTORS, Detector, Learned, Parts, State
from xai.ood.detectors.reference import FeatureRows, Reference


@dataclass(frozen=True)
class LogitDetector(Detector):
    """A score of logits: nothing is learned, no feature is needed."""

    family: ClassVar[str] = "logits"

    @abstractmethod
    def of_logits(self, rows: FeatureRows) -> Tensor:
        """Return the score (n,) of `rows.logits`."""

    def _fit(self, _reference: Reference) -> Learned:
        return Learned()

    def _parts(self, _state: State, rows: FeatureRows) -> Parts:
        return {self.unit: self.of_logits(rows)}


def logit_detector(name: str) -> LogitDetector:
    """Return a logit score by name, with its usual settings.

    Raises:
        NameLookupError: no such detector, or one that needs more than logits.
    """
    known = [known_name for known_name in DETECTORS if issubclass(DETECTORS[known_name], LogitDetector)]
    if name not in known:
        raise NameLookupError("score of logits", name, known)
    made = DETECTORS[name]()
    assert isinstance(made, LogitDetector)
    return made


_MOST = 60.0  # exponent; e^60 is beyond any use, and far from what float32 holds


@dataclass(frozen=True)
class Shaped(Detector):
    """A score of logits that the head makes of shaped features.

    The parts are that score of the features as they are, and what shaping adds to it.
    """

    family: ClassVar[str] = "shaping"
    needs: ClassVar[tuple[str, ...]] = ("features", "head")
    unit: ClassVar[str] = "score"

    score: str = "energy"
    percentile: float = 90.0

    def __post_init__(self) -> None:
        """Check the settings."""
        logit_detector(self.score)
        if isinstance(self.percentile, bool) or not 0 <= self.percentile <= 100:
            raise RangeError(f"Expected `percentile` from 0 to 100, but got {self.percentile!r}.")

    def _fit(self, _reference: Reference) -> Learned:
        return Learned()

    @abstractmethod
    def _shape(self, state: State, features: Tensor) -> Tensor:
        """Return the shaped features (n, D)."""

    def _parts(self, state: State, rows: FeatureRows) -> Parts:
        assert rows.features is not None
        assert rows.view.head is not None
        logits = rows.view.head.logits(self._shape(state, rows.features)).double()
        score = logit_detector(self.score)
        plain, shaped = score.of_logits(rows), score.of_logits(FeatureRows(rows.view, logits))
        return {self.score: plain, "shaping": shaped - plain}

    def _kept_count(self, width: int) -> int:
        """Return how many of the largest activations stay."""
        return max(1, width - round(width * self.percentile / 100))


def stretch(features: Tensor, shaped: Tensor) -> Tensor:
    """Return exp(s1 / s2) (n, 1): the sums of all activations and of those kept (n,); 1 where nothing is kept."""
    whole = features.sum(1)
    share = torch.where(
        shaped == 0, torch.zeros_like(whole), whole / torch.where(shaped == 0, torch.ones_like(shaped), shaped)
    )
    return share.clamp(-_MOST, _MOST).exp()[:, None]
