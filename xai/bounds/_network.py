"""A classifier as a list of layers that bounds know, in float64, from pixels in [0, 1] to logits."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from xai.bounds._bends import Bend
from xai.bounds._ops import Add, Affine, Cat, Conv, Dense, Op

_UNIT = 2.0**-53


@dataclass(frozen=True, eq=False)
class Layer:
    """A node: its operation, the numbers of the nodes it reads, and the shape of its output without the batch."""

    op: Op
    inputs: tuple[int, ...]
    shape: torch.Size
    name: str


@dataclass(frozen=True, eq=False)
class Network:
    """Layers in order; node 0 is the picture, node k the output of `layers[k - 1]`, the last one the logits.

    Attributes:
        layers: in the order of computation.
        shape: of a picture (C, h, w).
        link: "softmax" or "sigmoid" when the model ends in one, which is left out here; "single" for the sigmoid of one
            output, "" for none.
        peaks: for each node how many numbers one of its rows needs on the way back, as found out by use.
    """

    layers: tuple[Layer, ...]
    shape: torch.Size
    link: str = ""
    peaks: dict[int, int] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """The number of the node with the logits."""
        return len(self.layers)

    @property
    def classes(self) -> int:
        """How many logits there are."""
        return self.shape_of(self.last).numel()

    def shape_of(self, node: int) -> torch.Size:
        """Return the shape of a node's output without the batch."""
        return self.layers[node - 1].shape if node else self.shape

    @cached_property
    def numbers(self) -> int:
        """How many numbers all nodes hold for one picture."""
        return sum(self.shape_of(k).numel() for k in range(self.last + 1))

    @cached_property
    def readers(self) -> dict[int, list[Op]]:
        """The relaxed layers that read each node."""
        found: dict[int, list[Op]] = {}
        for layer in self.layers:
            if layer.op.relaxed:
                found.setdefault(layer.inputs[0], []).append(layer.op)
        return found

    @cached_property
    def linear(self) -> frozenset[int]:
        """Nodes with no relaxed layer before them."""
        found = {0}
        for k, layer in enumerate(self.layers, 1):
            if not layer.op.relaxed and found.issuperset(layer.inputs):
                found.add(k)
        return frozenset(found)

    @cached_property
    def exact(self) -> frozenset[int]:
        """Linear nodes for which a box is exact behind a box: at most one layer before them mixes its inputs."""
        mixed = {0: 0}
        for k, layer in enumerate(self.layers, 1):
            mixed[k] = sum(mixed[j] for j in layer.inputs) + layer.op.mixing
            mixed[k] += 2 * (layer.op.relaxed or isinstance(layer.op, Add | Cat))
        return frozenset(k for k, times in mixed.items() if times <= 1)

    def bent(self, node: int) -> bool:
        """Whether a node is a monotone function of each number of the one before."""
        return node > 0 and isinstance(self.layers[node - 1].op, Bend)

    def logits(self, images: Tensor) -> Tensor:
        """Return logits of pictures in float64: the box of a point."""
        values = [(images.double(), images.double())]
        for layer in self.layers:
            values.append(layer.op.interval([values[k] for k in layer.inputs]))
        return values[-1][0]

    def rounding(self, largest: float) -> float:
        """Return how far float64 can be off in a difference of two logits, for pixels of at most `largest`.

        The usual bound in advance: the unit of rounding times the number of terms along the way, forward and back,
        times the sum of their absolute values; slopes of relaxed layers are at most 1 and let nothing grow.
        """
        sizes = [torch.full((1, *self.shape), largest, dtype=torch.float64, device=self.device)]
        for layer in self.layers:
            sizes.append(layer.op.size([sizes[k] for k in layer.inputs]))
        terms = sum(layer.op.terms for layer in self.layers)
        return 4 * _UNIT * terms * 2 * float(sizes[-1].max())

    @cached_property
    def device(self) -> torch.device:
        """Where the weights are."""
        for layer in self.layers:
            if isinstance(layer.op, Dense | Conv):
                return layer.op.weight.device
        return torch.device("cpu")


def folded(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Return the layers with constants and batch norms behind a convolution or linear layer put into it."""
    kept: list[Layer] = []
    places = [0]  # where each old node is now
    uses = [sum(layer.inputs.count(k) for layer in layers) for k in range(len(layers) + 1)]
    for layer in layers:
        inputs = tuple(places[k] for k in layer.inputs)
        before = kept[inputs[0] - 1] if inputs[0] else None
        joined = _joined(before.op, layer.op) if before is not None and uses[layer.inputs[0]] == 1 else None
        if before is None or joined is None:
            kept.append(replace(layer, inputs=inputs))
            places.append(len(kept))
        else:
            kept[inputs[0] - 1] = replace(before, op=joined, name=f"{before.name} and {layer.name}")
            places.append(inputs[0])
    return tuple(kept)


def _joined(before: Op, op: Op) -> Op | None:
    """Return one layer that does both, or None."""
    if not isinstance(op, Affine) or not isinstance(before, Dense | Conv):
        return None
    if any(side > 1 for v in (op.scale, op.shift) for side in v.shape[1:]):
        return None
    scale, shift = (v.flatten().expand(len(before.weight)) for v in (op.scale, op.shift))
    weight = before.weight * scale.view(-1, *[1] * (before.weight.ndim - 1))
    return replace(before, weight=weight, bias=before.bias * scale + shift)
