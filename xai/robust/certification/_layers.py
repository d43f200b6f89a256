"""The layers that bounds know: each passes a box forward and linear functions backward.

Backward, what comes back are linear functions of the inputs and constants (S, R) that are never above the given ones
inside the boxes: lower bounds.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from xai.core.model.hooks import gradients_on


@dataclass(frozen=True, eq=False)
class LinearRows:
    """S linear functions for each of R rows; rows are the last axis, so that one product serves all of them.

    Attributes:
        values: (*window, S, R), the factors of the outputs in the window; the others are 0.
        image: (R,) the image of each row; None for row r of image r.
        corner: (2, R) top and left of the window, which may lie outside; None for the whole output.
    """

    values: Tensor
    image: Tensor | None = None
    corner: Tensor | None = None

    @property
    def window(self) -> torch.Size:
        """Shape of the window."""
        return self.values.shape[:-2]

    def having(self, values: Tensor, corner: Tensor | None = None) -> "LinearRows":
        """Return other factors for the same rows."""
        return replace(self, values=values, corner=corner)

    def some(self, which: Tensor) -> "LinearRows":
        """Return the rows of which `which` says the numbers; they must know their images."""
        assert self.image is not None
        corner = None if self.corner is None else self.corner[:, which]
        return LinearRows(self.values.index_select(-1, which), self.image[which], corner)

    def places(self, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Return the places (kh, kw, R) of a window in a map (C, H, W), row by row, and which lie inside."""
        assert self.corner is not None
        height, width = shape[1:]
        top = self.corner[0] + torch.arange(self.window[1], device=self.corner.device)[:, None]
        left = self.corner[1] + torch.arange(self.window[2], device=self.corner.device)[:, None]
        rows, columns = top[:, None], left[None]
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        return rows * width + columns, inside

    def masked(self, shape: torch.Size) -> "LinearRows":
        """Return the rows without what lies outside the map."""
        if self.corner is None:
            return self
        _, inside = self.places(shape)
        return replace(self, values=self.values * inside[None, :, :, None].to(self.values.dtype))

    def whole(self, shape: torch.Size) -> "LinearRows":
        """Return the same functions over the whole output."""
        if self.corner is None:
            return self
        places, inside = self.places(shape)
        count = shape[1] * shape[2]
        places = torch.where(inside, places, count).flatten(0, 1)[None, :, None]  # one more place for what lies outside
        values = self.values.flatten(1, 2)
        padded = values.new_zeros(values.shape[0], count + 1, *values.shape[2:])
        padded.scatter_(1, places.expand_as(values), values)
        return self.having(torch.unflatten(padded[:, :count], 1, shape[1:]))

    def fitting(self, shape: torch.Size) -> "LinearRows":
        """Return the rows over the whole output when that is smaller than the windows."""
        if self.corner is not None and self.window[1] * self.window[2] >= shape[1] * shape[2]:
            return self.whole(shape)
        return self


class Field:
    """Several (n, *shape) tensors of a layer, to be read at the windows of rows; outside the map they are 0."""

    def __init__(self, maps: Sequence[Tensor]) -> None:
        self.shape = maps[0].shape[1:]
        self.data = torch.stack(list(maps)).movedim(1, -1).contiguous()
        self._flat: Tensor | None = None

    def at(self, rows: LinearRows) -> Tensor:
        """Return (k, *window, 1, R)."""
        if rows.corner is None:
            values = self.data if rows.image is None else self.data.index_select(-1, rows.image)
            return values.unsqueeze(-2)
        assert rows.image is not None
        if self._flat is None:
            flat = self.data.flatten(2).flatten(0, 1)
            self._flat = torch.cat([flat, flat.new_zeros(len(flat), 1)], 1)
        places, inside = rows.places(self.shape)
        index = torch.where(inside, places * self.data.shape[-1] + rows.image, self._flat.shape[1] - 1)
        values = self._flat.gather(1, index.view(1, -1).expand(len(self._flat), -1))
        return values.view(len(self.data), *rows.window, 1, -1)


def add(first: LinearRows, other: LinearRows, shape: torch.Size) -> LinearRows:
    """Return the sum of functions of the same output."""
    if first.corner is None or other.corner is None:
        first, other = first.whole(shape), other.whole(shape)
        return first.having(first.values + other.values)
    shift = other.corner - first.corner
    if not bool((shift == shift[:, :1]).all()):
        return add(first.whole(shape), other.whole(shape), shape)
    down, right = (int(v) for v in shift[:, 0])
    top, left = min(down, 0), min(right, 0)
    bottom = max(first.window[1], other.window[1] + down)
    end = max(first.window[2], other.window[2] + right)
    summed = first.values.new_zeros(first.window[0], bottom - top, end - left, *first.values.shape[3:])
    for part, y, x in ((first, -top, -left), (other, down - top, right - left)):
        summed[:, y : y + part.window[1], x : x + part.window[2]] += part.values
    moved = torch.tensor([[top], [left]], device=first.corner.device)
    return first.having(summed, first.corner + moved).fitting(shape)


Box = tuple[Tensor, Tensor]
Back = tuple[list[LinearRows], Tensor | None]
Shapes = Sequence[torch.Size]


class Op(ABC):
    """One layer.

    Attributes:
        relaxed: not linear; needs the box of its input on the way back.
        mixing: an output depends on several inputs, so that boxes behind two of them are not exact.
        terms: how many products an output sums up.
    """

    relaxed: bool = False
    mixing: bool = False
    terms: int = 2

    @abstractmethod
    def interval(self, boxes: Sequence[Box]) -> Box:
        """Return a box (n, *out) that holds every output for inputs in boxes."""

    @abstractmethod
    def size(self, sizes: Sequence[Tensor]) -> Tensor:
        """Return what an output's terms can sum up to in absolute value, for inputs of at most these."""

    @abstractmethod
    def back(self, rows: LinearRows, field: Field | None, shapes: Shapes) -> Back:
        """Return linear functions of each input (shapes without the batch), and constants."""

    def seed(
        self, image: Tensor, place: Tensor, shape: torch.Size, before: torch.Size
    ) -> tuple[LinearRows, Tensor] | None:
        """Return single outputs as functions of the input, and constants (1, R); None when there is no short way."""
        return None

    def field(self, box: Box) -> Field | None:
        """Return what `back` needs to know about the box of its input."""
        return None

    def unsure(self, box: Box) -> Tensor:
        """Return where a tighter box of the input may help."""
        return torch.zeros_like(box[0], dtype=torch.bool)


def total(terms: Tensor) -> Tensor:
    """Return the sums (S, R) of terms (*window, S, R)."""
    return terms.flatten(0, -3).sum(0)


@dataclass(eq=False)
class Dense(Op):
    """weight x + bias."""

    weight: Tensor
    bias: Tensor
    mixing = True

    def __post_init__(self) -> None:
        """Count the terms."""
        self.terms = self.weight.shape[1] + 1

    def interval(self, boxes: Sequence[Box]) -> Box:
        """Middle and radius."""
        low, high = boxes[0]
        middle, radius = F.linear((low + high) / 2, self.weight, self.bias), (high - low) / 2
        radius = F.linear(radius, self.weight.abs())
        return middle - radius, middle + radius

    def size(self, sizes: Sequence[Tensor]) -> Tensor:
        """Absolute weights."""
        return F.linear(sizes[0], self.weight.abs(), self.bias.abs())

    def back(self, rows: LinearRows, field: Field | None, shapes: Shapes) -> Back:
        """Multiply by the weight."""
        values = rows.values.flatten(1)
        product = torch.unflatten(self.weight.T @ values, 1, rows.values.shape[1:])
        return [rows.having(product)], (self.bias @ values).view(rows.values.shape[1:])

    def seed(self, image: Tensor, place: Tensor, shape: torch.Size, before: torch.Size) -> tuple[LinearRows, Tensor]:
        """Take rows of the weight."""
        return LinearRows(self.weight[place].T[:, None], image), self.bias[place][None]


@dataclass(eq=False)
class Conv(Op):
    """A convolution; backward it is a transposed one, over windows where they are small, never a dense matrix."""

    weight: Tensor
    bias: Tensor
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]  # left, right, top, bottom, as in F.pad
    dilation: tuple[int, int]
    groups: int
    mixing = True

    def __post_init__(self) -> None:
        """Lay the weight out for the way back: (kh, kw, groups, in, out)."""
        parts = torch.unflatten(self.weight, 0, (self.groups, -1))
        self.parts = parts.permute(3, 4, 0, 2, 1).contiguous()
        self.terms = self.weight[0].numel() + 1

    def _forward(self, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(F.pad(maps, self.padding), weight, bias, self.stride, 0, self.dilation, self.groups)

    def interval(self, boxes: Sequence[Box]) -> Box:
        """Middle and radius."""
        low, high = boxes[0]
        middle = self._forward((low + high) / 2, self.weight, self.bias)
        radius = self._forward((high - low) / 2, self.weight.abs(), None)
        return middle - radius, middle + radius

    def size(self, sizes: Sequence[Tensor]) -> Tensor:
        """Absolute weights."""
        return self._forward(sizes[0], self.weight.abs(), self.bias.abs())

    def back(self, rows: LinearRows, field: Field | None, shapes: Shapes) -> Back:
        """Convolve transposed."""
        constant = (self.bias @ rows.values.sum((1, 2)).flatten(1)).view(rows.values.shape[-2:])
        spread = self._transposed(rows.values)
        left, _, top, _ = self.padding
        if rows.corner is None:
            height, width = shapes[0][1:]
            short = (0, 0, 0, 0, 0, left + width - spread.shape[2], 0, top + height - spread.shape[1])
            spread = F.pad(spread, short)[:, top:, left:]  # cut or filled to what the layer reads
            return [rows.having(spread)], constant
        corner = rows.corner * self._pair(self.stride, rows.corner) - self._pair((top, left), rows.corner)
        return [rows.having(spread, corner).masked(shapes[0]).fitting(shapes[0])], constant

    def _pair(self, values: tuple[int, int], like: Tensor) -> Tensor:
        return torch.tensor(values, device=like.device)[:, None]

    def _transposed(self, values: Tensor) -> Tensor:
        """Return (in, H, W, S, R) of (out, h, w, S, R), before the padding is cut off."""
        (kh, kw), (sh, sw), (dh, dw) = self.weight.shape[2:], self.stride, self.dilation
        h, w = values.shape[1:3]
        size = ((h - 1) * sh + (kh - 1) * dh + 1, (w - 1) * sw + (kw - 1) * dw + 1)
        flat = values.reshape(self.groups, len(values) // self.groups, -1)
        gradient = values.new_zeros(self.weight.shape[1] * self.groups, *size, *values.shape[3:])
        for i in range(kh):
            for j in range(kw):
                part = torch.matmul(self.parts[i, j], flat).view(gradient.shape[0], *values.shape[1:])
                gradient[:, i * dh : i * dh + (h - 1) * sh + 1 : sh, j * dw : j * dw + (w - 1) * sw + 1 : sw] += part
        return gradient

    def seed(
        self, image: Tensor, place: Tensor, shape: torch.Size, before: torch.Size
    ) -> tuple[LinearRows, Tensor] | None:
        """Take the weight itself."""
        if self.groups > 1 or self.dilation != (1, 1):
            return None
        channel, where = place // (shape[1] * shape[2]), place % (shape[1] * shape[2])
        left, _, top, _ = self.padding
        corner = torch.stack([where // shape[2], where % shape[2]]) * self._pair(self.stride, place)
        values = self.weight.permute(1, 2, 3, 0).index_select(3, channel)[:, :, :, None]
        rows = LinearRows(values, image, corner - self._pair((top, left), place))
        return rows.masked(before).fitting(before), self.bias[channel][None]


@dataclass(eq=False)
class Affine(Op):
    """scale x + shift, both shaped as the output without the batch or with 1 where they are alike."""

    scale: Tensor
    shift: Tensor

    def interval(self, boxes: Sequence[Box]) -> Box:
        """The ends change places where the scale is negative."""
        first, other = (end * self.scale + self.shift for end in boxes[0])
        return torch.minimum(first, other), torch.maximum(first, other)

    def size(self, sizes: Sequence[Tensor]) -> Tensor:
        """Absolute values."""
        return sizes[0] * self.scale.abs() + self.shift.abs()

    def back(self, rows: LinearRows, field: Field | None, shapes: Shapes) -> Back:
        """Scale."""
        if any(side > 1 for v in (self.scale, self.shift) for side in v.shape[1:]):
            rows = rows.whole(shapes[0])
        constant = total(rows.values * self.shift[..., None, None])
        return [rows.having(rows.values * self.scale[..., None, None], rows.corner)], constant


@dataclass(eq=False)
class Reshape(Op):
    """Flatten, view and the like."""

    shape: torch.Size
    terms = 0

    def interval(self, boxes: Sequence[Box]) -> Box:
        """Both ends go through."""
        low, high = boxes[0]
        return low.reshape(-1, *self.shape), high.reshape(-1, *self.shape)

    def size(self, sizes: Sequence[Tensor]) -> Tensor:
        """As it is."""
        return sizes[0].reshape(-1, *self.shape)

    def back(self, rows: LinearRows, field: Field | None, shapes: Shapes) -> Back:
        """Shape back."""
        rows = rows.whole(self.shape)
        return [rows.having(rows.values.reshape(*shapes[0], *rows.values.shape[-2:]))], None


@dataclass(eq=False)
class Mean(Op):
    """A linear layer whose weights are not negative and that adds nothing: average pooling."""

    apply: Callable[[Tensor], Tensor]
    shape: torch.Size
    mixing = True

    def interval(self, boxes: Sequence[Box]) -> Box:
        """Both ends go through."""
        return self.apply(boxes[0][0]), self.apply(boxes[0][1])

    def size(self, sizes: Sequence[Tensor]) -> Tensor:
        """As it is."""
        return self.apply(sizes[0])

    def back(self, rows: LinearRows, field: Field | None, shapes: Shapes) -> Back:
        """Transpose by the chain rule."""
        rows = rows.whole(self.shape)
        weights = rows.values.flatten(-2).movedim(-1, 0).contiguous()
        with gradients_on():
            start = weights.new_zeros(len(weights), *shapes[0]).requires_grad_()
            (gradient,) = torch.autograd.grad(self.apply(start), start, weights.clone())
        return [rows.having(torch.unflatten(gradient.movedim(0, -1).contiguous(), -1, rows.values.shape[-2:]))], None


@dataclass(eq=False)
class Add(Op):
    """The sum of two branches, or their difference with the sign -1."""

    sign: float = 1.0
    mixing = True

    def interval(self, boxes: Sequence[Box]) -> Box:
        """Add the ends."""
        (low, high), (other_low, other_high) = boxes
        return (low + other_low, high + other_high) if self.sign > 0 else (low - other_high, high - other_low)

    def size(self, sizes: Sequence[Tensor]) -> Tensor:
        """Sum."""
        return sizes[0] + sizes[1]

    def back(self, rows: LinearRows, field: Field | None, shapes: Shapes) -> Back:
        """Both branches get the weights."""
        other = rows if self.sign > 0 else rows.having(-rows.values, rows.corner)
        return [rows, other], None


class Cat(Op):
    """Branches one after the other along the channels."""

    mixing = True
    terms = 0

    def interval(self, boxes: Sequence[Box]) -> Box:
        """Join the ends."""
        return torch.cat([low for low, _ in boxes], 1), torch.cat([high for _, high in boxes], 1)

    def size(self, sizes: Sequence[Tensor]) -> Tensor:
        """Join."""
        return torch.cat(list(sizes), 1)

    def back(self, rows: LinearRows, field: Field | None, shapes: Shapes) -> Back:
        """Each branch gets its channels."""
        parts = torch.split_with_sizes(rows.values, [shape[0] for shape in shapes])
        return [rows.having(part, rows.corner) for part in parts], None
