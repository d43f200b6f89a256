"""What an attack found, saved and loaded without pickle."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from xai.core.results.serialization import Saved, plain
from xai.stats.intervals import wilson

_ARRAYS = ("adversarial", "clean", "success", "distance", "predictions", "clean_predictions", "labels", "logits")


@dataclass(frozen=True, eq=False)
class AttackResult(Saved):
    """Adversarial pictures and how many answers survive.

    Attributes:
        adversarial: (N, C, h, w) in [0, 1], in the model's input geometry: the first adversarial found of each fooled
            picture, the last iterate of the others; the clean picture where the answer was wrong to begin with.
        clean: (N, C, h, w) what was attacked.
        success: (N,) bool: right before (or not the target before) and fooled now, inside the ball.
        distance: (N,) float64 in the norm of the attack, in the scale of pixels in [0, 1].
        predictions: (N,) classes of `adversarial`.
        clean_predictions: (N,) classes of `clean`.
        labels: (N,) the truth.
        logits: (N, K) of `adversarial`.
        method: name of the attack.
        eps: radius; None for attacks that look for the smallest distance.
        norm: "linf", "l2" or "l1".
        settings: of the attack, as used.
        broken_by: (N,) which attack fooled each picture, "" where none did.
        targeted: (N,) classes to reach, or None.
        seed: of the run.
        forwards: rows sent through the model: each image as it is, the search, and the judgement of what it claims.
        backwards: rows sent back.
        seconds: wall time.
        notes: what happened and what to beware of.
        model: name, fingerprint and preprocessing.
        versions: of the packages.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(8)
        >>> found = xai.attack(clf, data.images[:], data.labels, "fgsm", eps=8 / 255)
        >>> found.success.shape, found.robust_accuracy <= found.clean_accuracy
        (torch.Size([8]), True)
    """

    adversarial: Tensor
    clean: Tensor
    success: Tensor
    distance: Tensor
    predictions: Tensor
    clean_predictions: Tensor
    labels: Tensor
    logits: Tensor
    method: str
    eps: float | None
    norm: str
    settings: dict[str, Any]
    broken_by: tuple[str, ...]
    targeted: tuple[int, ...] | None
    seed: int
    forwards: int
    backwards: int
    seconds: float
    model: dict[str, Any]
    versions: dict[str, str]
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.labels)

    @property
    def robust(self) -> Tensor:
        """Which pictures are right before and after (N,) bool."""
        return (self.clean_predictions == self.labels) & (self.predictions == self.labels)

    @property
    def clean_accuracy(self) -> float:
        """Share of the pictures that are right before the attack."""
        return float((self.clean_predictions == self.labels).double().mean()) if len(self) else float("nan")

    @property
    def robust_accuracy(self) -> float:
        """Share of all pictures that are right before and after: an upper bound of the truth."""
        return float(self.robust.double().mean()) if len(self) else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the robust accuracy, over the draw of pictures."""
        low, high = wilson(int(self.robust.sum()), len(self))
        return float(low), float(high)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pictures, JSON-ready."""
        skipped = {"adversarial", "clean", "logits"}
        found = {f.name: _listed(getattr(self, f.name)) for f in fields(self) if f.name not in skipped}
        low, high = self.interval
        return found | {
            "clean_accuracy": self.clean_accuracy,
            "robust_accuracy": self.robust_accuracy,
            "interval": [low, high],
            "count": len(self),
        }

    _kind: ClassVar[str] = "attack"

    def _fields(self) -> Mapping[str, Any]:
        return {f.name: plain(getattr(self, f.name)) for f in fields(self) if f.name not in _ARRAYS}

    def _arrays(self) -> Mapping[str, np.ndarray]:
        return {name: getattr(self, name).numpy() for name in _ARRAYS}

    @classmethod
    def _restored(cls, fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        result: dict[str, Any] = dict(fields)
        result |= {name: tuple(result[name]) for name in ("broken_by", "notes")}
        result["targeted"] = None if result["targeted"] is None else tuple(result["targeted"])
        return cls(**(result | {name: torch.from_numpy(np.array(arrays[name])) for name in _ARRAYS}))


def _listed(value: Any) -> Any:
    return value.tolist() if isinstance(value, Tensor) else plain(value)
