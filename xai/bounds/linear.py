"""Bounds by boxes alone (IBP), and by linear functions sent back through the layers (CROWN)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from xai.bounds._network import Network
from xai.bounds._ops import Box, Input
from xai.errors import NameLookupError

METHODS = ("ibp", "crown_ibp", "crown")
MOST = 1 << 24  # numbers in one block of linear functions
_DUAL = {"linf": 1.0, "l2": 2.0, "l1": torch.inf}


@dataclass(frozen=True, eq=False)
class Region:
    """Where the pictures may be: a box, and for l2 and l1 a ball inside it.

    Attributes:
        low: (n, C, h, w) float64.
        high: (n, C, h, w).
        centre: of the ball, or None for the box alone.
        eps: (n,) radius of the ball.
        norm: "linf", "l2" or "l1".
    """

    low: Tensor
    high: Tensor
    centre: Tensor | None = None
    eps: Tensor | None = None
    norm: str = "linf"

    @classmethod
    def around(cls, images: Tensor, eps: Tensor, norm: str, *, clip: bool) -> "Region":
        """Return the balls around pictures (n, C, h, w); `clip` cuts them to pixels in [0, 1]."""
        images, radius = images.double(), eps.double()
        wide = radius.view(-1, 1, 1, 1)
        low, high = images - wide, images + wide
        if clip:
            low, high = low.clamp_min(0), high.clamp_max(1)
        return cls(low, high) if norm == "linf" else cls(low, high, images, radius, norm)

    def least(self, weights: Tensor) -> Tensor:
        """Return the least value (n, S) of linear functions (n, S, C, h, w), over the box or, if tighter, the ball."""
        flat = weights.flatten(2)
        middle, radius = ((self.low + self.high) / 2).flatten(1), ((self.high - self.low) / 2).flatten(1)
        found = torch.einsum("nsd,nd->ns", flat, middle) - torch.einsum("nsd,nd->ns", flat.abs(), radius)
        if self.centre is None or self.eps is None:
            return found
        size = torch.linalg.vector_norm(flat, _DUAL[self.norm], dim=2)
        return torch.maximum(found, torch.einsum("nsd,nd->ns", flat, self.centre.flatten(1)) - self.eps[:, None] * size)


def bounds(network: Network, region: Region, method: str, spec: Tensor | None = None) -> Box:
    """Return lower and upper bounds (n, S) of linear functions of the logits.

    Args:
        network: of `network_of`.
        region: where the pictures may be.
        method: "ibp", "crown_ibp" (boxes inside, linear functions for the last layers) or "crown".
        spec: (n, S, K); None takes the logits themselves.

    Raises:
        NameLookupError: no such method.
    """
    below = lower_bounds(network, region, method, spec)
    if spec is None:
        spec = _identity(network, region)
    return below, -lower_bounds(network, region, method, -spec)


def lower_bounds(network: Network, region: Region, method: str, spec: Tensor | None = None) -> Tensor:
    """Return lower bounds (n, S) alone, at half the price."""
    if method not in METHODS:
        raise NameLookupError("method of bounds", method, METHODS)
    spec = _identity(network, region) if spec is None else spec
    boxes = _Boxes(network, region, tight=method == "crown")
    last = len(network.layers)
    if method == "ibp":
        return _through(network, boxes, spec, last)
    return boxes.back(last, spec)


def _identity(network: Network, region: Region) -> Tensor:
    count = network.shape_of(len(network.layers)).numel()
    return torch.eye(count, dtype=torch.float64, device=region.low.device).expand(len(region.low), -1, -1)


def _through(network: Network, boxes: "_Boxes", spec: Tensor, last: int) -> Tensor:
    """Return the lower end of linear functions; put into a last dense layer, which is tighter than behind it."""
    layer = network.layers[last - 1]
    inputs = [boxes.of(k) for k in layer.inputs]
    if len(inputs) != 1 or layer.op.relaxed:
        low, high = boxes.of(last)
        return spec.clamp_min(0).matmul(low[..., None])[..., 0] + spec.clamp_max(0).matmul(high[..., None])[..., 0]
    (weights,), constant = layer.op.back(spec, [Input(network.shape_of(layer.inputs[0]))])
    low, high = inputs[0]
    flat = weights.flatten(2)
    ends = (flat.clamp_min(0) @ low.flatten(1)[..., None] + flat.clamp_max(0) @ high.flatten(1)[..., None])[..., 0]
    return ends + constant


class _Boxes:
    """The box of every node, found when asked for; `tight` ones by linear functions where the sign is not known."""

    def __init__(self, network: Network, region: Region, *, tight: bool) -> None:
        self.network, self.region, self.tight = network, region, tight
        self.found: dict[int, Box] = {0: (region.low, region.high)}
        self.read = {k for layer in network.layers if layer.op.relaxed for k in layer.inputs}

    def of(self, node: int) -> Box:
        """Return the box (n, *out) of a node."""
        for k in range(1, node + 1):
            if k not in self.found:
                layer = self.network.layers[k - 1]
                box = layer.op.interval([self.found[j] for j in layer.inputs])
                self.found[k] = self._tightened(k, box) if self.tight and k in self.read else box
        return self.found[node]

    def _tightened(self, node: int, box: Box) -> Box:
        """Return the box of a node that a relaxed layer reads; only ends that matter are sought."""
        before = [layer.op for layer in self.network.layers[:node]]
        if self.region.norm == "linf" and not any(op.relaxed for op in before) and sum(op.mixes for op in before) == 1:
            return box  # of one linear layer, which is exact
        low, high = (end.flatten(1).clone() for end in box)
        unknown = ((low < 0) & (high > 0)).any(0).nonzero()[:, 0]
        shape = self.network.shape_of(node)
        step = max(1, MOST // (len(low) * largest(self.network, node)))
        for begin in range(0, len(unknown), step):
            which = unknown[begin : begin + step]
            spec = low.new_zeros(len(which), shape.numel())
            spec[torch.arange(len(which)), which] = 1.0
            spec = spec.view(1, len(which), *shape).expand(len(low), *[-1] * (len(shape) + 1))
            low[:, which] = self.back(node, spec)
            high[:, which] = -self.back(node, -spec)
        return low.view_as(box[0]), high.view_as(box[1])

    def back(self, node: int, weights: Tensor) -> Tensor:
        """Return lower bounds (n, S) of linear functions (n, S, *out) of a node's output."""
        waiting = {node: weights}
        total = weights.new_zeros(len(self.region.low), weights.shape[1])
        for k in range(node, 0, -1):
            if k not in waiting:
                continue
            layer = self.network.layers[k - 1]
            inputs = [Input(self.network.shape_of(j), self.of(j) if layer.op.relaxed else None) for j in layer.inputs]
            found, constant = layer.op.back(waiting.pop(k), inputs)
            total = total + constant
            for j, part in zip(layer.inputs, found, strict=True):
                waiting[j] = waiting[j] + part if j in waiting else part
        return total + self.region.least(waiting[0])


def largest(network: Network, node: int) -> int:
    """Return the size of the largest output up to a node."""
    return max(network.shape_of(k).numel() for k in range(node + 1))
