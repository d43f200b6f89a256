"""Layers that are not linear, between two lines each."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from xai.robust.certification._layers import Back, Box, Field, LinearRows, Op, Shapes, total

Line = tuple[Tensor, Tensor]


class Bend(Op):
    """A monotone function of each number by itself, piecewise linear with slopes from 0 to 1."""

    relaxed = True

    @abstractmethod
    def lines(self, low: Tensor, high: Tensor) -> tuple[Line, Line]:
        """Return slope and offset of a line below and of one above it between the ends."""

    def field(self, box: Box) -> Field:
        """Return the two lines."""
        (lower, under), (upper, over) = self.lines(*box)
        return Field([lower, upper, over, under] if bool(under.any()) else [lower, upper, over])

    def back(self, rows: LinearRows, field: Field | None, shapes: Shapes) -> Back:
        """Take the lower line where a weight is positive, the upper one where it is negative."""
        assert field is not None
        lower, upper, over, *under = field.at(rows)
        negative = rows.values.clamp_max(0)
        positive = rows.values - negative
        constant = total(negative * over)
        if under:
            constant = constant + total(positive * under[0])
        return [rows.having(negative.mul_(upper).addcmul_(positive, lower), rows.corner)], constant


@dataclass(eq=False)
class Leaky(Bend):
    """max(x, slope x): ReLU for slope 0.

    Where the sign is not known the upper line joins the ends; the lower one has the slope 1 if the upper one is steeper
    than 1/2 (for ReLU: if upper > -lower) and the slope of the negative side else, which keeps the area small.
    """

    slope: float = 0.0

    def interval(self, boxes: Sequence[Box]) -> Box:
        """It is monotone."""
        low, high = boxes[0]
        return F.leaky_relu(low, self.slope), F.leaky_relu(high, self.slope)

    def size(self, sizes: Sequence[Tensor]) -> Tensor:
        """Nothing grows."""
        return sizes[0]

    def unsure(self, box: Box) -> Tensor:
        """Where the sign is not known."""
        return (box[0] < 0) & (box[1] > 0)

    def lines(self, low: Tensor, high: Tensor) -> tuple[Line, Line]:
        """Return the two lines."""
        unknown = self.unsure((low, high))
        unit_slope, leak = torch.ones_like(low), torch.full_like(low, self.slope)  # where() of two numbers is float32
        fixed = torch.where(low >= 0, unit_slope, leak)
        span = torch.where(unknown, high - low, unit_slope)
        upper = torch.where(unknown, (high - self.slope * low) / span, fixed)
        offset = torch.where(unknown, (self.slope - upper) * low, torch.zeros_like(low))
        lower = torch.where(unknown, torch.where(upper > 0.5, unit_slope, leak), fixed)
        return (lower, torch.zeros_like(lower)), (upper, offset)


@dataclass(eq=False)
class Clamp(Bend):
    """x kept between two numbers: ReLU6 and Hardtanh.

    Where only one bend is possible the lines are those of ReLU. Where both are, the lower line goes from the lower bend
    to the upper end and the upper line from the lower end to the upper bend.
    """

    least: float
    most: float

    def interval(self, boxes: Sequence[Box]) -> Box:
        """It is monotone."""
        low, high = boxes[0]
        return low.clamp(self.least, self.most), high.clamp(self.least, self.most)

    def size(self, sizes: Sequence[Tensor]) -> Tensor:
        """Nothing grows but to the ends."""
        return sizes[0].clamp_min(max(abs(self.least), abs(self.most)))

    def unsure(self, box: Box) -> Tensor:
        """Where a bend lies between the ends."""
        low, high = box
        return ((low < self.least) & (high > self.least)) | ((low < self.most) & (high > self.most))

    def lines(self, low: Tensor, high: Tensor) -> tuple[Line, Line]:
        """Return the two lines."""
        under, over = low < self.least, high > self.most
        bottom, top = low.clamp(self.least, self.most), high.clamp(self.least, self.most)
        nearer = torch.where(over, top, high)  # where the upper line ends: the upper bend if it can be reached
        further = torch.where(under, bottom, low)
        chord = _slope(bottom, top, low, nearer)
        opposite = _slope(bottom, top, further, high)
        flat = ~self.unsure((low, high)) & (under | over)  # all of it is cut off
        unit_slope = torch.ones_like(low)
        adaptive_upper = torch.where(high - self.most > self.most - low, torch.zeros_like(low), unit_slope)
        upper = torch.where(under, chord, torch.where(over, adaptive_upper, unit_slope))
        adaptive_lower = torch.where(high - self.least > self.least - low, unit_slope, torch.zeros_like(low))
        lower = torch.where(over, opposite, torch.where(under, adaptive_lower, unit_slope))
        lower, upper = (slope.masked_fill(flat, 0.0) for slope in (lower, upper))
        below = torch.where(over, top - lower * high, torch.where(under, self.least * (1 - lower), 0.0))
        above = torch.where(under, bottom - upper * low, torch.where(over, self.most * (1 - upper), 0.0))
        return (lower, below), (upper, above)


def _slope(bottom: Tensor, top: Tensor, low: Tensor, high: Tensor) -> Tensor:
    span = high - low
    return torch.where(span > 0, (top - bottom) / torch.where(span > 0, span, torch.ones_like(span)), 0.0)


@dataclass(eq=False)
class MaxPool(Op):
    """The largest of each window: below by the input with the largest lower end, above by it too where it must win.

    Elsewhere above by the largest upper end, a constant.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    ceil: bool
    shape: torch.Size
    relaxed = True
    mixing = True

    def _pool(self, maps: Tensor, *, where: bool = False) -> Any:
        pool = F.max_pool2d_with_indices if where else F.max_pool2d
        return pool(maps, self.kernel, self.stride, self.padding, self.dilation, self.ceil)

    def interval(self, boxes: Sequence[Box]) -> Box:
        """It is monotone."""
        return self._pool(boxes[0][0]), self._pool(boxes[0][1])

    def size(self, sizes: Sequence[Tensor]) -> Tensor:
        """Nothing grows."""
        pooled: Tensor = self._pool(sizes[0])
        return pooled

    def unsure(self, box: Box) -> Tensor:
        """Everywhere: which input wins is a question of all of them."""
        return box[0] < box[1]

    def field(self, box: Box) -> Field:
        """Return the place of the input with the largest lower end, whether it must win, and the largest upper end."""
        low, high = box
        best, where = self._pool(low, where=True)
        fixed = best >= self._others(high, where)
        return Field([where.to(low), fixed.to(low), self._pool(high)])

    def _others(self, high: Tensor, where: Tensor) -> Tensor:
        """Return the largest upper end of each window without the input at `where`."""
        places = torch.arange(high[0, 0].numel(), device=high.device).view(1, 1, *high.shape[2:])
        mine = self._windows(places.to(high)) == where[..., None, None]
        highest: Tensor = self._windows(high).masked_fill(mine, -torch.inf).amax((-2, -1))
        return highest

    def _windows(self, maps: Tensor) -> Tensor:
        """Return (n, C, *out, kh, kw), with -inf outside."""
        sides = []
        for axis in (1, 0):
            reach = (self.shape[1 + axis] - 1) * self.stride[axis] + (self.kernel[axis] - 1) * self.dilation[axis] + 1
            sides += [self.padding[axis], reach - self.padding[axis] - maps.shape[2 + axis]]
        maps = F.pad(maps, sides, value=-torch.inf)
        for axis in (0, 1):
            maps = maps.unfold(2 + axis, (self.kernel[axis] - 1) * self.dilation[axis] + 1, self.stride[axis])
        return maps[..., :: self.dilation[0], :: self.dilation[1]]

    def back(self, rows: LinearRows, field: Field | None, shapes: Shapes) -> Back:
        """Send weights to one input per window; a constant where the winner is not known and the weight negative."""
        assert field is not None
        rows = rows.whole(self.shape)
        where, fixed, most = field.at(rows)
        passed = torch.where(fixed > 0, rows.values, rows.values.clamp_min(0))
        constant = total((rows.values - passed) * most)
        weights = passed.new_zeros(shapes[0][0], shapes[0][1] * shapes[0][2], *passed.shape[3:])
        weights.scatter_add_(1, where.long().expand_as(passed).flatten(1, 2), passed.flatten(1, 2))
        return [rows.having(torch.unflatten(weights, 1, shapes[0][1:]))], constant
