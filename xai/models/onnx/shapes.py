"""ONNX operators on shapes: they move, cut and repeat, or read sizes. The others are in `operators`."""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from xai.models.onnx.operators import operator, whole


@operator("Reshape")
def reshape(value: Tensor, shape: Any, allowzero: int = 0) -> Tensor:
    """0 keeps a size, -1 follows from the others."""
    sizes = whole(shape)
    return value.reshape([value.shape[k] if size == 0 and not allowzero else size for k, size in enumerate(sizes)])


@operator("Flatten")
def flatten(value: Tensor, axis: int = 1) -> Tensor:
    """To a matrix."""
    axis = axis + value.ndim if axis < 0 else axis
    return value.flatten(axis) if axis == 1 and value.ndim > 1 else value.reshape(_product(value.shape[:axis]), -1)


def _product(sizes: Sequence[int]) -> int:
    return functools.reduce(lambda left, right: left * right, sizes, 1)


@operator("Squeeze")
def squeeze(value: Tensor, at: Any = None, axes: Sequence[int] | None = None) -> Tensor:
    """Axes are an input, an attribute before opset 13."""
    places = whole(at) if at is not None else axes
    return value.squeeze() if places is None else value.squeeze(tuple(places))


@operator("Unsqueeze")
def unsqueeze(value: Tensor, at: Any = None, axes: Sequence[int] | None = None) -> Tensor:
    """Axes are an input, an attribute before opset 13."""
    places = whole(at) if at is not None else list(axes or ())
    rank = value.ndim + len(places)
    for place in sorted(place % rank for place in places):
        value = value.unsqueeze(place)
    return value


@operator("Transpose")
def transpose(value: Tensor, perm: Sequence[int] | None = None) -> Tensor:
    """All axes are turned round without `perm`."""
    return value.permute(tuple(perm) if perm is not None else tuple(range(value.ndim))[::-1])


@operator("Concat")
def concat(*values: Tensor, axis: int = 0) -> Tensor:
    """A part with one row beside batches is repeated: so a class token that an export fixed goes with any batch."""
    rows = max(value.shape[0] for value in values)
    if axis % values[0].ndim and rows > 1:
        values = tuple(v.expand(rows, *v.shape[1:]) if v.shape[0] == 1 else v for v in values)
    return torch.cat(values, axis)


@operator("Split")
def split(value: Tensor, sizes: Any = None, axis: int = 0, outputs: int = 1, **attributes: Any) -> Any:
    """Sizes are an input, an attribute before opset 13, or equal."""
    given = whole(sizes) if sizes is not None else attributes.get("split")
    return torch.split(value, given, axis) if given else torch.tensor_split(value, outputs, axis)


@operator("Slice")
def slice_(
    value: Tensor, begins: Any = None, ends: Any = None, at: Any = None, steps: Any = None, **old: Any
) -> Tensor:
    """Bounds are inputs, attributes before opset 10."""
    first, last = (
        whole(begins if begins is not None else old["starts"]),
        whole(ends if ends is not None else old["ends"]),
    )
    places = whole(at) if at is not None else list(old.get("axes") or range(len(first)))
    strides = whole(steps) if steps is not None else [1] * len(first)
    for begin, end, place, stride in zip(first, last, places, strides, strict=True):
        selected = range(value.shape[place])[slice(begin, _end(end, stride), stride)]
        if stride > 0:
            stop = selected.stop if len(selected) else selected.start
            value = value[(slice(None),) * (place % value.ndim) + (slice(selected.start, stop, stride),)]
        else:
            value = value.index_select(place, torch.tensor(list(selected), device=value.device))
    return value


def _end(end: int, stride: int) -> int | None:
    """Return the end of a slice; far below 0 with a negative step means the very beginning."""
    return None if stride < 0 and end < -(1 << 30) else end


@operator("Gather")
def gather(value: Tensor, places: Tensor, axis: int = 0) -> Tensor:
    """Places may be negative and of any shape."""
    size = value.shape[axis]
    at = torch.where(places < 0, places + size, places).to(torch.int64)
    axis = axis % value.ndim
    shape = [*value.shape[:axis], *at.shape, *value.shape[axis + 1 :]]
    return value.index_select(axis, at.reshape(-1)).reshape(shape)


@operator("GatherElements")
def gather_elements(value: Tensor, places: Tensor, axis: int = 0) -> Tensor:
    """See torch.gather."""
    return value.gather(axis, torch.where(places < 0, places + value.shape[axis], places))


@operator("Expand")
def expand(value: Tensor, shape: Any) -> Tensor:
    """Broadcast both ways."""
    sizes = torch.broadcast_shapes(value.shape, whole(shape))  # type: ignore[no-untyped-call]
    return value.expand(sizes)


@operator("Tile")
def tile(value: Tensor, repeats: Any) -> Tensor:
    """See torch."""
    return value.repeat(whole(repeats))


@operator("Pad")
def pad(value: Tensor, by: Any = None, fill: Any = None, at: Any = None, mode: str = "constant", **old: Any) -> Tensor:
    """Widths are inputs, attributes before opset 11; a constant, mirrored or repeated border."""
    widths = whole(by if by is not None else old["pads"])
    places = whole(at) if at is not None else list(range(value.ndim))
    half, pairs = len(places), [0] * (2 * value.ndim)
    for k, place in enumerate(places):
        from_end = value.ndim - 1 - place % value.ndim
        pairs[2 * from_end : 2 * from_end + 2] = [widths[k], widths[k + half]]
    while len(pairs) > 2 and pairs[-2:] == [0, 0]:
        pairs = pairs[:-2]
    if mode == "constant":
        return F.pad(value, pairs, value=float(fill) if fill is not None else float(old.get("value", 0.0)))
    return F.pad(value, pairs, mode={"reflect": "reflect", "edge": "replicate", "wrap": "circular"}[mode])


@operator("Shape")
def shape(value: Tensor, start: int = 0, end: int | None = None) -> Tensor:
    """Sizes as numbers."""
    return torch.tensor(list(value.shape)[start:end], dtype=torch.int64)


@operator("Size")
def size(value: Tensor) -> Tensor:
    """Count of numbers."""
    return torch.tensor(value.numel())


@operator("ConstantOfShape")
def constant_of_shape(sizes: Any, value: Tensor | None = None) -> Tensor:
    """One value everywhere."""
    filled = torch.zeros(1) if value is None else value
    return filled.reshape(()).expand(whole(sizes)).clone()


@operator("Range")
def range_(start: Any, limit: Any, delta: Any) -> Tensor:
    """Whole numbers only."""
    first, last, step = (whole(value)[0] for value in (start, limit, delta))
    return torch.arange(first, last, step)
