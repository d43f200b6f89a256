"""What was proven, saved and loaded without pickle."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from xai.core.results.serialization import Saved, plain
from xai.stats.intervals import wilson

_ARRAYS = ("verified", "margin", "margins", "labels", "predictions", "eps")


class OutputBounds(tuple[Tensor, Tensor]):
    """Lower and upper bounds of logits, (N, K) each: a pair with notes.

    Attributes:
        notes: what is to be known of the model, and what was done to the pictures.

    Example:
        >>> import xai
        >>> images = xai.load_data("example:fashion-test").subset(2).images[:]
        >>> found = xai.output_bounds(xai.load("example:fashion"), images, images, method="ibp")
        >>> low, high = found
        >>> low is found.lower, tuple(high.shape)
        (True, (2, 10))
    """

    notes: tuple[str, ...]

    def __new__(cls, lower: Tensor, upper: Tensor, notes: Iterable[str] = ()) -> Self:
        """Make the pair."""
        found = super().__new__(cls, (lower, upper))
        found.notes = tuple(notes)
        return found

    def __getnewargs__(self) -> Any:
        """Return what a copy is made of."""
        return self[0], self[1], self.notes

    @property
    def lower(self) -> Tensor:
        """The lower bounds."""
        return self[0]

    @property
    def upper(self) -> Tensor:
        """The upper bounds."""
        return self[1]


@dataclass(frozen=True, eq=False)
class Certificate(Saved):
    """For which pictures no change inside the ball can change the answer.

    Attributes:
        verified: (N,) bool: right, and proven to stay so.
        margin: (N,) float64: proven least of true logit less the best other one; for smoothing the radius less eps.
        margins: (N, K) the same per class, NaN for the true one and for smoothing.
        labels: (N,) the truth.
        predictions: (N,) of the clean pictures; for smoothing of the smoothed model, -1 where it abstains.
        eps: (N,) radius.
        norm: "linf", "l2" or "l1".
        method: as asked for.
        settings: further ones.
        decided_by: (N,) the method that verified each picture, "" where none did.
        model: name, fingerprint and preprocessing.
        versions: of the packages.
        seed: of smoothing.
        notes: how to read it.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(4)
        >>> proof = xai.certify(clf, data.images[:], data.labels, eps=0.1 / 255, method="ibp")
        >>> proof.verified.shape
        torch.Size([4])
    """

    verified: Tensor
    margin: Tensor
    margins: Tensor
    labels: Tensor
    predictions: Tensor
    eps: Tensor
    norm: str
    method: str
    settings: dict[str, Any]
    decided_by: tuple[str, ...]
    model: dict[str, Any]
    versions: dict[str, str]
    seed: int = 0
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.labels)

    @property
    def certified_accuracy(self) -> float:
        """Share of all pictures that are verified: a lower bound of the robust accuracy."""
        return float(self.verified.double().mean()) if len(self) else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of it, over the draw of pictures."""
        low, high = wilson(int(self.verified.sum()), len(self))
        return float(low), float(high)

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        found = {f.name: _listed(getattr(self, f.name)) for f in fields(self) if f.name != "margins"}
        return found | {"certified_accuracy": self.certified_accuracy, "interval": list(self.interval)}

    _kind: ClassVar[str] = "certificate"

    def _fields(self) -> Mapping[str, Any]:
        return {f.name: plain(getattr(self, f.name)) for f in fields(self) if f.name not in _ARRAYS}

    def _arrays(self) -> Mapping[str, np.ndarray]:
        return {n: getattr(self, n).numpy() for n in _ARRAYS}

    @classmethod
    def _restored(cls, fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        result: dict[str, Any] = dict(fields)
        result |= {name: tuple(result[name]) for name in ("decided_by", "notes")}
        return cls(**(result | {name: torch.from_numpy(np.array(arrays[name])) for name in _ARRAYS}))


def _listed(value: Any) -> Any:
    return value.tolist() if isinstance(value, Tensor) else plain(value)
