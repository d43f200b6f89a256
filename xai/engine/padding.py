"""How a layer pads its input, found from what goes in and what comes out."""

from typing import Any

from torch import Tensor, nn

Pair = tuple[int, int]
Pads = tuple[int, int, int, int]


def pair(value: Any) -> Pair:
    """Return a setting for both axes."""
    values = (value, value) if isinstance(value, int) else tuple(value)
    return (int(values[0]), int(values[-1]))


def spans_of(kernel: Any, dilation: Any) -> Pair:
    """Return the length of a kernel, less one, with dilation, per axis."""
    sides, steps = pair(kernel), pair(dilation)
    return (sides[0] - 1) * steps[0], (sides[1] - 1) * steps[1]


def leading(padding: Any, spans: Pair, strides: Pair, before: Tensor, after: Tensor) -> list[Pair]:
    """Return (top, left) paddings to try: the layer's own, and those that keep the size, the odd one behind or before.

    Args:
        padding: the layer's own; a word says nothing.
        spans: of `spans_of`.
        strides: per axis.
        before: (1, C, H, W) its input.
        after: (1, C', H', W') its output.
    """
    totals = [max((after.shape[2 + k] - 1) * strides[k] + spans[k] + 1 - before.shape[2 + k], 0) for k in (0, 1)]
    own = [] if isinstance(padding, str) else [pair(padding)]
    found = [*own, (totals[0] // 2, totals[1] // 2), ((totals[0] + 1) // 2, (totals[1] + 1) // 2)]
    return list(dict.fromkeys(found))


def paddings(conv: nn.Conv2d, before: Tensor, after: Tensor) -> list[Pads]:
    """Return (top, bottom, left, right) paddings to try for a convolution: even ones first."""
    spans, strides = spans_of(conv.kernel_size, conv.dilation), pair(conv.stride)
    first = leading(conv.padding, spans, strides, before, after)
    even = [(top, top, left, left) for top, left in first]
    needed = [(after.shape[2 + k] - 1) * strides[k] + spans[k] + 1 - before.shape[2 + k] for k in (0, 1)]
    uneven = [(top, max(0, needed[0] - top), left, max(0, needed[1] - left)) for top, left in first]
    return list(dict.fromkeys([*even, *uneven]))
