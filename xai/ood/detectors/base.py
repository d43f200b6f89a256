"""The base class of detectors.

A detector is a frozen dataclass of checked settings, fit on a reference, with a score made of parts.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from xai.core.registry import Registry
from xai.core.results.codec import plain
from xai.core.results.message import Message
from xai.errors import ContractError, NameLookupError, RangeError, UnsupportedModelError
from xai.ood.detectors import MODULES
from xai.ood.detectors.reference import FeatureRows, ModelView, Reference

State = dict[str, Tensor]
Parts = dict[str, Tensor]
_MOST = 60.0  # exponent; e^60 is beyond any use, and far from what float32 holds


@dataclass(frozen=True)
class Learned:
    """What a detector took from the reference. It holds tensors, figures for the record, and warnings."""

    state: State = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Detector(ABC):
    """The base class of detectors.

    A detector is a frozen dataclass of its settings with two private functions that fit and score.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    family: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()  # "features", "head", "gradients"
    reads: ClassVar[frozenset[str]] = frozenset()  # of the reference: "moments", "unit", "bank", "activations", "mean"
    unit: ClassVar[str] = "score"
    rows: ClassVar[tuple[int, int]] = (1, 0)  # per image, through the network and back

    @abstractmethod
    def _fit(self, reference: Reference) -> Learned:
        """Take from the reference what the score needs."""

    @abstractmethod
    def _parts(self, state: State, rows: FeatureRows) -> Parts:
        """Return the parts of the score, each (n,) float64; they add up to it, and higher is more OOD."""

    @property
    def settings(self) -> dict[str, Any]:
        """All settings, JSON-ready."""
        return {f.name: plain(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]

    @property
    def label(self) -> str:
        """The name, with the settings that are not the usual ones: "knn(k=50)"."""
        given = [(f.name, getattr(self, f.name), f.default) for f in fields(self)]  # type: ignore[arg-type]
        other = [f"{name}={value}" for name, value, usual in given if usual is MISSING or value != usual]
        return f"{self.name}({', '.join(other)})" if other else self.name

    def missing(self, view: ModelView) -> str:
        """Return why the detector cannot be used with a classifier; empty when it can."""
        if view.head is None and {"features", "head"} & set(self.needs):
            template = "{method} needs the features that go into a last linear layer, and this model has no such layer"
            return Message(template, method=self.name)
        return ""

    @final
    def fit(self, reference: Reference) -> "Fitted":
        """Fit on a reference of in-distribution images.

        Raises:
            UnsupportedModelError: the model lacks what the detector needs.
        """
        why = self.missing(reference.view)
        if why:
            raise UnsupportedModelError(f"{why}. Use msp, maxlogit, energy or gen.")
        with torch.inference_mode(False), torch.no_grad():
            learned = self._fit(reference)
        wrong = [name for name, value in learned.state.items() if not bool(torch.isfinite(value).all())]
        if wrong:
            raise ContractError(f"{self.name} learned NaN or infinity: {', '.join(wrong)}.")
        return Fitted(self, reference.view, learned.state, dict(learned.facts), tuple(learned.notes))


DETECTORS: Registry[type[Detector]] = Registry("detector", "xai.ood.detectors", MODULES)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A detector that has seen its reference.

    Attributes:
        detector: with its settings.
        view: what is known of the classifier.
        state: what was learned, tensors by name.
        facts: figures for the record.
        notes: what to beware of.
    """

    detector: Detector
    view: ModelView
    state: State = field(repr=False)
    facts: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def parts(self, rows: FeatureRows) -> Parts:
        """Return the parts of the scores, each (n,) float64."""
        return self.detector._parts(self.state, rows)

    def score(self, rows: FeatureRows) -> Tensor:
        """Return scores (n,) float64; higher is more out of distribution."""
        return torch.stack(list(self.parts(rows).values())).sum(0)

    def to(self, device: torch.device) -> "Fitted":
        """Return the same on a device."""
        state = {name: value.to(device) for name, value in self.state.items()}
        return Fitted(self.detector, self.view.to(device), state, self.facts, self.notes)


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
