"""What all detectors share: checked settings as a frozen dataclass, fit on a reference, a score made of parts."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from xai.core.registry import Registry
from xai.core.results.message import Message
from xai.core.results.serialization import plain
from xai.errors import ContractError, UnsupportedModelError
from xai.ood.detectors import MODULES
from xai.ood.detectors.reference import FeatureRows, ModelView, Reference

State = dict[str, Tensor]
Parts = dict[str, Tensor]


@dataclass(frozen=True)
class Learned:
    """What a detector took from the reference: tensors, figures for the record, and what to beware of."""

    state: State = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Detector(ABC):
    """A detector: a frozen dataclass of its settings with two private functions that hold the idea."""

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
