"""What a detector sees of a classifier and of some pictures."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from xai.core.penultimate import Head

WIDE = 2048  # features; a flattened map with more is averaged over its places where statistics are made of it
_CHANNELS = 16  # fewer channel means than these say too little
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class View:
    """What detectors know of a classifier.

    Attributes:
        head: the last linear layer, or None when the logits are not the output of one.
        pool: number of places that statistics average each channel over; 1 takes features as they are.
        kind: "softmax" or "sigmoid".
        std: per channel, what the classifier divides pixels by.
    """

    head: Head | None = field(repr=False)
    pool: int = 1
    kind: str = "softmax"
    std: tuple[float, ...] = (1.0,)

    @property
    def note(self) -> str:
        """Say which features statistics are made of."""
        if self.head is None:
            return "no features: the logits are not the output of a linear layer"
        where = f"the {self.head.width} inputs of the last linear layer {self.head.layer!r}"
        if self.pool == 1:
            return f"features: {where}"
        channels = self.head.width // self.pool
        return (
            f"features: {where}; statistics are made of the means of their {channels} channels over {self.pool} places"
        )

    def to(self, device: torch.device) -> "View":
        """Return the same on a device."""
        if self.head is None:
            return self
        return replace(
            self, head=replace(self.head, weight=self.head.weight.to(device), bias=self.head.bias.to(device))
        )


def pool_of(head: Head | None, *, pool: bool | None = None) -> int:
    """Return the number of places to average over: those of a wide flattened map, unless `pool` says otherwise."""
    if head is None or head.places == 1 or pool is False:
        return 1
    wide = head.width > WIDE and head.width // head.places >= _CHANNELS
    return head.places if pool or wide else 1


def place_of(device: torch.device) -> torch.device:
    """Return where statistics are computed: on the model's device where that has float64, else on the CPU."""
    return device if device.type == "cuda" else torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Rows:
    """Some pictures as a classifier answers them; what several detectors use is computed once.

    Attributes:
        view: what is known of the classifier.
        logits: (n, K) float64.
        features: (n, D) as the head takes them, or None.
        inputs: (n, C, h, w) normalised, or None where no detector needs them.
        run: logits (n, K) of normalised inputs, or None.
    """

    view: View
    logits: Tensor
    features: Tensor | None = None
    inputs: Tensor | None = None
    run: Callable[[Tensor], Tensor] | None = None

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.logits)

    @cached_property
    def pooled(self) -> Tensor:
        """(n, d) features that statistics are made of."""
        assert self.features is not None
        if self.view.pool == 1:
            return self.features
        return self.features.view(len(self.features), -1, self.view.pool).mean(2)

    @cached_property
    def unit(self) -> Tensor:
        """(n, d) the same with norm 1; zero stays zero."""
        return to_unit(self.pooled)

    @cached_property
    def probabilities(self) -> Tensor:
        """(n, K) float64."""
        return self.logits.sigmoid() if self.view.kind == "sigmoid" else self.logits.softmax(1)

    @cached_property
    def doubt(self) -> Tensor:
        """(n, K) 1 - probability, exact also where the probability is 1 to the last bit."""
        if self.view.kind == "sigmoid":
            return (-self.logits).sigmoid()
        best = self.logits.argmax(1, keepdim=True)
        odds = (self.logits - self.logits.amax(1, keepdim=True)).exp().scatter(1, best, 0.0).sum(1, keepdim=True)
        return (1 - self.probabilities).scatter(1, best, odds / (1 + odds))

    def part(self, start: int, stop: int) -> "Rows":
        """Return rows start..stop."""
        cut: dict[str, Any] = {
            name: None if getattr(self, name) is None else getattr(self, name)[start:stop]
            for name in ("logits", "features", "inputs")
        }
        return Rows(self.view, run=self.run, **cut)


def to_unit(features: Tensor) -> Tensor:
    """Return rows (n, d) with norm 1; the norm is kept from 0 before it divides, so that zero stays zero."""
    size: Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    return features / size.clamp_min(_TINY)
