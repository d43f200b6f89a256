"""The layers that bounds know: each passes a box forward and a linear function backward.

Backward, `weights` (n, S, *out) are S linear functions of an output for each of n pictures; what comes back are linear
functions of the inputs, and constants (n, S), that are never above them inside the boxes: lower bounds.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

Box = tuple[Tensor, Tensor]
Linear = tuple[list[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Input:
    """What a layer reads: its shape without the batch, for relaxed layers also its box (n, *shape)."""

    shape: torch.Size
    box: Box | None = None


class Op(ABC):
    """One layer.

    `relaxed` layers are not linear and need the box of their input on the way back; `mixes` says whether an output
    reads several inputs, so that boxes of one such layer behind another are loose.
    """

    relaxed: bool = False
    mixes: bool = True

    @abstractmethod
    def interval(self, boxes: Sequence[Box]) -> Box:
        """Return a box (n, *out) that holds every output for inputs in boxes."""

    @abstractmethod
    def back(self, weights: Tensor, inputs: Sequence[Input]) -> Linear:
        """Return linear functions of each input (n, S, *in) and a constant (n, S)."""


def _rows(weights: Tensor) -> Tensor:
    """Return (n S, *out)."""
    return weights.flatten(0, 1)


def _unrows(weights: Tensor, like: Tensor) -> Tensor:
    """Return (n, S, *in) of (n S, *in)."""
    return weights.view(*like.shape[:2], *weights.shape[1:])


@dataclass(eq=False)
class Dense(Op):
    """weight x + bias on the last axis."""

    weight: Tensor
    bias: Tensor | None

    def interval(self, boxes: Sequence[Box]) -> Box:
        """Middle and radius."""
        (low, high), bias = boxes[0], self.bias
        middle, radius = F.linear((low + high) / 2, self.weight, bias), F.linear((high - low) / 2, self.weight.abs())
        return middle - radius, middle + radius

    def back(self, weights: Tensor, inputs: Sequence[Input]) -> Linear:  # noqa: ARG002
        """Multiply by the weight."""
        constant = weights.new_zeros(weights.shape[:2])
        if self.bias is not None:
            constant = (weights * self.bias).flatten(2).sum(2)
        return [weights @ self.weight], constant


@dataclass(eq=False)
class Conv(Op):
    """A convolution; backward it is a transposed one, never a dense matrix."""

    weight: Tensor
    bias: Tensor | None
    settings: dict[str, Any]

    def interval(self, boxes: Sequence[Box]) -> Box:
        """Middle and radius."""
        low, high = boxes[0]
        middle = F.conv2d((low + high) / 2, self.weight, self.bias, **self.settings)
        radius = F.conv2d((high - low) / 2, self.weight.abs(), **self.settings)
        return middle - radius, middle + radius

    def back(self, weights: Tensor, inputs: Sequence[Input]) -> Linear:
        """Convolve transposed."""
        rows = _rows(weights)
        size = (len(rows), *inputs[0].shape)
        found = conv2d_input(size, self.weight, rows, **self.settings)  # type: ignore[no-untyped-call]
        constant = weights.new_zeros(weights.shape[:2])
        if self.bias is not None:
            constant = (weights.sum((3, 4)) * self.bias).sum(2)
        return [_unrows(found, weights)], constant


@dataclass(eq=False)
class Affine(Op):
    """scale x + shift, per channel (axis 1) or alike for all: batch norm, normalisation, constants."""

    scale: Tensor
    shift: Tensor
    mixes: bool = False

    def _shaped(self, values: Tensor, dims: int) -> Tensor:
        return values.view(1, -1, *[1] * (dims - 2)) if values.ndim else values

    def interval(self, boxes: Sequence[Box]) -> Box:
        """The ends change places where the scale is negative."""
        low, high = boxes[0]
        scale, shift = (self._shaped(v, low.ndim) for v in (self.scale, self.shift))
        one, other = low * scale + shift, high * scale + shift
        return torch.minimum(one, other), torch.maximum(one, other)

    def back(self, weights: Tensor, inputs: Sequence[Input]) -> Linear:  # noqa: ARG002
        """Scale."""
        scale, shift = (self._shaped(v, weights.ndim - 1) for v in (self.scale, self.shift))
        constant = (weights * shift[None]).flatten(2).sum(2) if shift.ndim else weights.flatten(2).sum(2) * shift
        return [weights * (scale[None] if scale.ndim else scale)], constant


@dataclass(eq=False)
class Mean(Op):
    """A linear layer whose weights are not negative and that adds nothing: average pooling, flatten, reshape."""

    apply: Callable[[Tensor], Tensor]
    mixes: bool = True

    def interval(self, boxes: Sequence[Box]) -> Box:
        """Both ends go through."""
        return self.apply(boxes[0][0]), self.apply(boxes[0][1])

    def back(self, weights: Tensor, inputs: Sequence[Input]) -> Linear:
        """Transpose by the chain rule."""
        rows = _rows(weights)
        start = rows.new_zeros(len(rows), *inputs[0].shape).requires_grad_()
        with torch.enable_grad():
            (found,) = torch.autograd.grad(self.apply(start), start, rows)
        return [_unrows(found, weights)], weights.new_zeros(weights.shape[:2])


class Add(Op):
    """The sum of two branches."""

    def interval(self, boxes: Sequence[Box]) -> Box:
        """Add the ends."""
        return boxes[0][0] + boxes[1][0], boxes[0][1] + boxes[1][1]

    def back(self, weights: Tensor, inputs: Sequence[Input]) -> Linear:  # noqa: ARG002
        """Both branches get the weights."""
        return [weights, weights], weights.new_zeros(weights.shape[:2])


@dataclass(eq=False)
class Leaky(Op):
    """max(x, slope x): ReLU for slope 0.

    Where the sign is not known the upper line joins the ends; the lower one has the slope 1 if the upper one is steeper
    than 1/2 (for ReLU: if upper > -lower) and the slope of the negative side else, which keeps the area small.
    """

    slope: float = 0.0
    relaxed: bool = True

    def interval(self, boxes: Sequence[Box]) -> Box:
        """It is monotone."""
        low, high = boxes[0]
        return F.leaky_relu(low, self.slope), F.leaky_relu(high, self.slope)

    def back(self, weights: Tensor, inputs: Sequence[Input]) -> Linear:
        """Take the lower line where a weight is positive, the upper one where it is negative."""
        assert inputs[0].box is not None
        lower, (upper, offset) = self._lines(*inputs[0].box)
        negative = weights.clamp_max(0)
        found = torch.addcmul(negative * upper[:, None], weights.clamp_min(0), lower[:, None])
        return [found], (negative * offset[:, None]).flatten(2).sum(2)

    def _lines(self, low: Tensor, high: Tensor) -> tuple[Tensor, Box]:
        unknown = (low < 0) & (high > 0)
        one, leak = torch.ones_like(low), torch.full_like(low, self.slope)
        sure = torch.where(low >= 0, one, leak)
        span = torch.where(unknown, high - low, one)
        upper = torch.where(unknown, (high - self.slope * low) / span, sure)
        offset = torch.where(unknown, (self.slope - upper) * low, torch.zeros_like(low))
        lower = torch.where(unknown, torch.where(upper > 0.5, one, leak), sure)
        return lower, (upper, offset)


@dataclass(eq=False)
class MaxPool(Op):
    """The largest of each window.

    Below by the input with the largest lower end; above by it too where no other can win, seen where windows do not
    overlap, and by a constant else.
    """

    settings: dict[str, Any]
    relaxed: bool = True

    def interval(self, boxes: Sequence[Box]) -> Box:
        """It is monotone."""
        low, high = boxes[0]
        return F.max_pool2d(low, **self.settings), F.max_pool2d(high, **self.settings)

    def back(self, weights: Tensor, inputs: Sequence[Input]) -> Linear:
        """Send weights to one input per window; a constant where the winner is not known and the weight negative."""
        assert inputs[0].box is not None
        low, high = inputs[0].box
        best, where = F.max_pool2d(low, **self.settings, return_indices=True)
        rest = high.flatten(2).scatter(2, where.flatten(2), -torch.inf).view_as(high)
        apart = self.settings["kernel_size"] == self.settings["stride"]
        most = F.max_pool2d(high, **self.settings)
        sure = best >= (F.max_pool2d(rest, **self.settings) if apart else torch.inf)
        passed = torch.where(sure[:, None], weights, weights.clamp_min(0))
        constant = ((weights - passed) * most[:, None]).flatten(2).sum(2)
        places = where[:, None].expand_as(weights).flatten(3)
        found = weights.new_zeros(*weights.shape[:3], low.shape[2] * low.shape[3])
        return [found.scatter_add(3, places, passed.flatten(3)).view(*weights.shape[:3], *low.shape[2:])], constant
