"""What goes into the last linear layer: penultimate features, and the layer itself as a matrix."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xai.core.containers import first_tensor
from xai.core.fixed_batch import batch_size
from xai.core.hooks import hooked

if TYPE_CHECKING:
    from xai.core.classifier import Classifier


@dataclass(frozen=True, eq=False)
class Head:
    """The last linear layer, as it makes logits of features: logits = features @ weight.T + bias.

    Attributes:
        layer: its name.
        weight: (K, D); a layer with one output is written out for two classes.
        bias: (K,).
        places: how many places of a map each channel has among the features, which are then D / places channels, one
            after the other; 1 when they are no flattened map.
    """

    layer: str
    weight: Tensor = field(repr=False)
    bias: Tensor = field(repr=False)
    places: int = 1

    @property
    def width(self) -> int:
        """Number of features."""
        return int(self.weight.shape[1])

    def logits(self, features: Tensor) -> Tensor:
        """Return logits (n, K) of features (n, D), in their type."""
        return torch.addmm(self.bias.to(features), features, self.weight.to(features).T)


class FeatureTap:
    """Finds the last linear layer, whose output the logits are, and takes what goes into it."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.head: Head | None = None
        self.image_notes: tuple[str, ...] = ()  # what was done to the images that went through
        self.note = "no features: the logits are not the output of a linear layer"
        self._linear = {n: m for n, m in classifier.module.named_modules() if isinstance(m, nn.Linear)}
        self._found = False

    def run(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return logits (n, K) and features (n, D) or None, on the module's device."""
        if (batch_size(self.classifier.module) or 1) > 1:
            self._found, self.note = True, "no features: the model takes a fixed number of images at a time"
        names = [self.head.layer] if self.head is not None else ([] if self._found else list(self._linear))
        seen: dict[str, tuple[Tensor, Tensor]] = {}
        with ExitStack() as stack:
            for name in names:
                stack.enter_context(hooked(self._linear[name], _keeper(seen, name)))
            logits = self.classifier.raw_logits(inputs)
        if not self._found:
            self._choose(seen, logits, inputs)
        taken = seen[self.head.layer][0] if self.head is not None and self.head.layer in seen else None
        return logits, None if taken is None else full_precision(taken)

    def _choose(self, seen: dict[str, tuple[Tensor, Tensor]], logits: Tensor, inputs: Tensor) -> None:
        """Take the linear layer whose output the logits are."""
        self._found = True
        for name, (source, result) in seen.items():
            same = logits[:, -result.shape[1] :]
            found = result.to(same.dtype)
            if same.shape != result.shape:
                continue
            if torch.equal(same, found) or torch.equal(2 * same, found):
                share = 1.0 if torch.equal(same, found) else 0.5
                places = self._places(name, inputs[:1])
                self.head = _head(name, self._linear[name], share, logits.shape[1], places)
                self.note = f"features: the {source.shape[1]} inputs of the last linear layer {name!r}"

    def _places(self, name: str, inputs: Tensor) -> int:
        """Return how many places each channel has when the features are a map laid flat, else 1."""
        seen: dict[str, tuple[Tensor, Tensor]] = {}
        with _Flattenings() as flat, hooked(self._linear[name], _keeper(seen, name)):
            self.classifier.raw_logits(inputs)
        found = [shape[2:].numel() for shape, row in flat.found if torch.equal(row, seen[name][0])]
        return found[-1] if found else 1


def full_precision(features: Tensor) -> Tensor:
    """Return features in float32, or in float64 where they are so."""
    return features if features.dtype == torch.float64 else features.float()


class _Flattenings(TorchFunctionMode):
    """Notes every call that lays a map (n, C, h, w) flat."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[torch.Size, Tensor]] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        given = args[0] if args else None
        if isinstance(made, Tensor) and isinstance(given, Tensor) and _flattens(given.shape, made.shape):
            self.found.append((given.shape, made))
        return made


def _flattens(given: torch.Size, made: torch.Size) -> bool:
    return (len(given), len(made)) == (4, 2) and made[0] == given[0] and made[1] == given[1:].numel()


def _keeper(seen: dict[str, tuple[Tensor, Tensor]], name: str) -> Any:
    """Return a hook that keeps what goes into a linear layer, rows of features, and what comes out."""

    def keep(_module: nn.Module, given: Any, output: Any) -> None:
        source, result = first_tensor(given), first_tensor(output)
        if source is not None and result is not None and source.ndim == 2:
            seen[name] = (source, result)

    return keep


def _head(name: str, layer: nn.Linear, share: float, classes: int, places: int) -> Head:
    """Return the layer as it makes logits; of one output s they are (-share * s, share * s)."""
    with torch.inference_mode(False), torch.no_grad():  # a head lives on outside
        weight = layer.weight.detach().float().clone()
        bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach().float().clone()
        if len(weight) != classes:
            weight, bias = share * torch.cat([-weight, weight]), share * torch.cat([-bias, bias])
    return Head(name, weight, bias, places)
