"""Windows over a picture: where they are, and maps from what was found for each."""

from dataclasses import dataclass

import torch
from torch import Tensor

from xai.errors import NameLookupError, RangeError

Length = int | float | tuple[int, int] | tuple[float, float]
BORDERS = ("clip", "inside")
_BANDS = 4


@dataclass(frozen=True, eq=False)
class Axis:
    """Windows along one axis: where each begins and how long it is, on the CPU."""

    begin: Tensor
    length: Tensor
    size: int

    def covers(self) -> Tensor:
        """Return (windows, size): 1 where a window covers a pixel."""
        places = torch.arange(self.size)
        inside = (places >= self.begin[:, None]) & (places < (self.begin + self.length)[:, None])
        return inside.double()


def pixels(length: Length, size: tuple[int, int], name: str) -> tuple[int, int]:
    """Return a length in pixels, given in pixels (int) or as a share of the side (float in (0, 1]).

    Raises:
        RangeError: not above 0, or longer than the picture.
    """
    values = tuple(length) if isinstance(length, tuple | list) else (length, length)
    if len(values) != 2:
        raise RangeError(f"Expected `{name}` as one length or (height, width), but got {length!r}.")
    found = [_pixels(value, side, name) for value, side in zip(values, size, strict=True)]
    return found[0], found[1]


def _pixels(value: int | float, side: int, name: str) -> int:
    share = isinstance(value, float)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= (1 if share else side):
        raise RangeError(
            f"Expected `{name}` as 1 to {side} pixels or as a share of the side above 0 and up to 1.0, "
            f"but got {value!r}."
        )
    return max(1, round(value * side)) if share else int(value)


def plan_axis(size: int, window: int, stride: int, border: str) -> Axis:
    """Return windows of a length every `stride` pixels; the last one is cut at the border or moved inside.

    Raises:
        NameLookupError: no such border.
        RangeError: a stride longer than the window, which would leave pixels uncovered.
    """
    if border not in BORDERS:
        raise NameLookupError("border", border, BORDERS)
    if stride > window:
        raise RangeError(
            f"Expected `stride` up to the window's {window} pixels, but got {stride}: pixels would be left out."
        )
    begin = torch.arange(-(-(size - window) // stride) + 1) * stride
    if border == "inside":
        begin = begin.clamp_max(size - window)
    return Axis(begin, (size - begin).clamp_max(window), size)


def averaged(values: Tensor, rows: Axis, columns: Axis) -> Tensor:
    """Return maps (n, h, w): at each pixel the mean of the windows (n, down, across) that cover it.

    Two matrix products, however many windows there are.
    """
    down, across = (axis.covers().to(values.device) for axis in (rows, columns))
    total = torch.einsum("yh,nyx,xw->nhw", down, values.double(), across)
    count = down.sum(0)[:, None] * across.sum(0)
    return (total / count).to(values.dtype)


def groups(rows: Axis, columns: Axis) -> list[tuple[tuple[int, int], Tensor]]:
    """Return windows of the same size together: [((height, width), numbers of the windows)].

    Those as far from the border stand together: changes near it reach fewer places, so their pieces are smaller.
    """
    heights = rows.length[:, None].expand(-1, len(columns.length)).flatten()
    widths = columns.length.repeat(len(rows.length))
    found: dict[tuple[int, int], list[int]] = {}
    down, across = (_bands(len(axis.begin)) for axis in (rows, columns))
    order = sorted(range(len(heights)), key=lambda k: (down[k // len(across)], across[k % len(across)]))
    for k in order:
        found.setdefault((int(heights[k]), int(widths[k])), []).append(k)
    return [(size, torch.tensor(which)) for size, which in found.items()]


def _bands(count: int) -> list[int]:
    """Return for each of `count` windows in a line the number of its band, 0 at both ends, `_BANDS` in all."""
    wide = max(1, -(-count // (2 * _BANDS)))
    return [min(k, count - 1 - k) // wide for k in range(count)]
