"""Layers with a neighbourhood, run on windows cut out of their maps."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xai.engine.graph import JoinedConv2d, Pair, leading, pair, spans_of


@dataclass(frozen=True, eq=False)
class Place:
    """Where in a map copies of an image differ.

    Attributes:
        top: (N,) first row of each, int64 on the CPU.
        left: (N,) first column of each, int64 on the CPU.
        size: height and width, the same for all.
    """

    top: Tensor
    left: Tensor
    size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Patches:
    """What differs from a clean map, per copy of the image.

    Attributes:
        values: (N, h, w, C).
        top: (N,) first row of each, int64 on the CPU.
        left: (N,) first column of each, int64 on the CPU.
    """

    values: Tensor
    top: Tensor
    left: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, the same for all."""
        return self.values.shape[1], self.values.shape[2]

    @property
    def place(self) -> Place:
        """Where they are."""
        return Place(self.top, self.left, self.size)


def take(clean: Tensor, top: Tensor, left: Tensor, size: tuple[int, int]) -> Tensor:
    """Return copies of windows (N, height, width, C) of one map (H, W, C), contiguous."""
    if clean.shape[:2] == size:
        return clean.repeat(len(top), 1, 1, 1)
    windows = _windows(clean[None], size)[0]
    patches = windows[top.to(clean.device), left.to(clean.device)]
    return patches.view(len(top), *size, clean.shape[2])


def put(maps: Tensor, values: Tensor, top: Tensor, left: Tensor) -> None:
    """Write values (N, h, w, C) into maps (N, H, W, C), contiguous, each at its own place."""
    height, width = values.shape[1:3]
    first_row, first_column = int(top[0]), int(left[0])
    if bool((top == first_row).all()) and bool((left == first_column).all()):
        maps[:, first_row : first_row + height, first_column : first_column + width] = values
        return
    copies = torch.arange(len(maps), device=maps.device)
    windows = _windows(maps, (height, width))
    windows[copies, top.to(maps.device), left.to(maps.device)] = values.flatten(2)


def widened(clean: Tensor, patches: Patches, top: Tensor, left: Tensor, size: tuple[int, int]) -> Tensor:
    """Return larger windows (N, height, width, C) with the patches inside, the rest clean."""
    if patches.size == size:
        return patches.values
    larger = take(clean, top, left, size)
    put(larger, patches.values, patches.top - top, patches.left - left)
    return larger


def _windows(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return every window of contiguous maps (N, H, W, C) as a view (N, places down, places across, h, w C)."""
    count, rows, columns, channels = maps.shape
    height, width = size
    line = columns * channels
    return maps.as_strided(
        (count, rows - height + 1, columns - width + 1, height, width * channels),
        (rows * line, line, channels, line, 1),
        maps.storage_offset(),
    )


_SAME = 1e-5  # of the largest value: the layer itself and its parts put together must agree on the clean map
_ROUNDINGS = 4  # steps of the number type, which is more than that in low precision
_FEW = 7  # so many places along a side are always followed


@dataclass(frozen=True)
class LayerAxis:
    """One axis of a layer: output o looks at the padded inputs o * stride ... o * stride + span.

    Attributes:
        span: the kernel's length minus one, with dilation.
        stride: between two outputs.
        pad: what comes before the first input.
        size: number of inputs.
        out: number of outputs.
    """

    span: int
    stride: int
    pad: int
    size: int
    out: int

    @property
    def margin(self) -> int:
        """Inputs beside a crop that no output looks at but a patch may cover."""
        unused = self.pad + self.size - (self.out - 1) * self.stride - self.span - 1
        return max(0, self.stride - 1 - self.span, unused)

    @property
    def pads(self) -> Pair:
        """How many values to put before and behind the inputs, so that every crop exists."""
        needed = (self.out - 1) * self.stride + self.span + 1
        return self.pad + self.margin, max(0, needed - self.pad - self.size) + self.margin

    def follow(self, begin: Tensor, size: int, cap: float = 1.0) -> tuple[Tensor, int]:
        """Return the first output (N,) that is followed for changes of `size` inputs from `begin` (N,), and how many.

        All outputs that any of the changes can reach, or with a cap those in the middle: at most `cap` of all outputs,
        but 7, and the change's own length.
        """
        begin = begin + self.pad
        low = (-(-(begin - self.span) // self.stride)).clamp(0, self.out - 1)
        high = ((begin + size - 1) // self.stride).clamp(0, self.out - 1)
        felt = max(0, int((high - low).max())) + 1  # with a stride above the kernel none may see a change
        whole = -(-(size + self.stride - 1) // self.stride)
        count = min(felt, max(math.ceil(cap * self.out), whole, _FEW))
        if count < felt:  # those in the middle, such that the crop still holds the whole change
            least = -(-(begin + size - 1 - self.span) // self.stride) - (count - 1)
            middle = -(-(begin - self.span) // self.stride) + (self._felt(size) - count) // 2
            low = torch.minimum(torch.maximum(middle, least), begin // self.stride)
        return low.clamp(0, self.out - count), count

    def _felt(self, size: int) -> int:
        return (size - 1 + self.span) // self.stride + 1

    def crop(self, count: int) -> int:
        """Return the length of the crop behind which `count` outputs stand, margins included."""
        return (count - 1) * self.stride + self.span + 1 + 2 * self.margin


@dataclass(frozen=True, eq=False)
class Local:
    """A layer on pieces of its map.

    Attributes:
        rows: the axis down.
        columns: the axis across.
        padded: (H', W', C) its clean input with the padding around it.
        apply: from crops (N, C, h, w) to outputs, without padding.
    """

    rows: LayerAxis
    columns: LayerAxis
    padded: Tensor
    apply: Callable[[Tensor], Tensor]

    def follow(self, place: Place, cap: float = 1.0) -> Place:
        """Return where the outputs are that are followed for changes at a place."""
        top, height = self.rows.follow(place.top, place.size[0], cap)
        left, width = self.columns.follow(place.left, place.size[1], cap)
        return Place(top, left, (height, width))

    def __call__(self, patches: Patches, cap: float = 1.0) -> Patches:
        """Return the outputs that differ; with a cap below 1, those in the middle of them, `cap` of each side."""
        rows, columns, behind = self.rows, self.columns, self.follow(patches.place, cap)
        down, across = behind.top * rows.stride, behind.left * columns.stride  # in the padded map, minus the margin
        counts = behind.size
        crops = take(self.padded, down, across, (rows.crop(counts[0]), columns.crop(counts[1])))
        put_at = (
            patches.top + rows.pad + rows.margin - down,
            patches.left + columns.pad + columns.margin - across,
        )
        put(crops, patches.values, *put_at)
        inner = crops[
            :, rows.margin : crops.shape[1] - rows.margin, columns.margin : crops.shape[2] - columns.margin
        ].contiguous()
        return Patches(as_places(self.apply(as_maps(inner))), behind.top, behind.left)


def as_maps(places: Tensor) -> Tensor:
    """Return (N, H, W, C) as (N, C, H, W) in the same memory."""
    return places.permute(0, 3, 1, 2)


def as_places(maps: Tensor) -> Tensor:
    """Return (N, C, H, W) as contiguous (N, H, W, C)."""
    return maps.permute(0, 2, 3, 1).contiguous()


def local_module(part: nn.Module, before: Tensor, after: Tensor) -> Local | None:
    """Return a layer as a `Local`, or None when it is none or does something else besides.

    Args:
        part: the layer.
        before: (1, C, H, W) its clean input.
        after: (1, C', H', W') its clean output, which the parts must reproduce.
    """
    if isinstance(part, nn.Conv2d) and part.padding_mode == "zeros":
        apply = partial(
            F.conv2d, weight=part.weight, bias=part.bias, stride=part.stride, dilation=part.dilation, groups=part.groups
        )
        return _checked(apply, part.kernel_size, part.stride, part.padding, part.dilation, 0.0, before, after)
    if isinstance(part, JoinedConv2d):
        top, _, left, _ = part.pads
        return _checked(part.unpadded, part.kernel_size, part.stride, (top, left), part.dilation, 0.0, before, after)
    if isinstance(part, nn.MaxPool2d) and not part.return_indices:
        return _pool(F.max_pool2d, part.kernel_size, part.stride, part.padding, part.dilation, before, after)
    if isinstance(part, nn.AvgPool2d):
        return _pool(F.avg_pool2d, part.kernel_size, part.stride, part.padding, 1, before, after)
    return None


def local_function(target: Any, arguments: dict[str, Any], before: Tensor, after: Tensor) -> Local | None:
    """Return a pooling function as a `Local`, or None."""
    pools = {"max_pool2d": F.max_pool2d, "boolean_dispatch": F.max_pool2d, "avg_pool2d": F.avg_pool2d}
    pool = pools.get(getattr(target, "__name__", ""))
    if pool is None or "kernel_size" not in arguments:
        return None
    stride, padding = arguments.get("stride"), arguments.get("padding", 0)
    return _pool(pool, arguments["kernel_size"], stride, padding, arguments.get("dilation", 1), before, after)


def _pool(
    pool: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, before: Tensor, after: Tensor
) -> Local | None:
    settings = {"kernel_size": kernel, "stride": kernel if stride in {None, ()} else stride}
    fill = 0.0
    if pool is F.max_pool2d:
        settings, fill = settings | {"dilation": dilation}, -torch.inf
    return _checked(partial(pool, **settings), kernel, settings["stride"], padding, dilation, fill, before, after)


def _checked(
    apply: Callable[[Tensor], Tensor],
    kernel: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    fill: float,
    before: Tensor,
    after: Tensor,
) -> Local | None:
    """Return the layer put together from its parts, with the padding that reproduces the clean output."""
    strides, spans = pair(stride), spans_of(kernel, dilation)
    for pads in leading(padding, spans, strides, before, after):
        rows, columns = (
            LayerAxis(spans[k], strides[k], pads[k], before.shape[2 + k], after.shape[2 + k]) for k in (0, 1)
        )
        padded = F.pad(before, (*columns.pads, *rows.pads), value=fill)
        output = apply(_inside(padded, rows, columns))
        close = max(_SAME, _ROUNDINGS * torch.finfo(after.dtype).eps)
        if output.shape == after.shape and bool((output - after).abs().max() <= close * after.abs().max()):
            return Local(rows, columns, as_places(padded)[0], apply)
    return None


def _inside(padded: Tensor, rows: LayerAxis, columns: LayerAxis) -> Tensor:
    """Return the padded map without the margins, as long as the outputs need it."""
    sizes = [(axis.out - 1) * axis.stride + axis.span + 1 for axis in (rows, columns)]
    return padded[:, :, rows.margin : rows.margin + sizes[0], columns.margin : columns.margin + sizes[1]]
