"""Linear functions on their way back through a network, each over a window of a layer's output."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Rows:
    """S linear functions for each of R rows; rows are the last axis, so that one product serves all of them.

    Attributes:
        values: (*window, S, R), the factors of the outputs in the window; the others are 0.
        image: (R,) the picture of each row; None for row r of picture r.
        corner: (2, R) top and left of the window, which may lie outside; None for the whole output.
    """

    values: Tensor
    image: Tensor | None = None
    corner: Tensor | None = None

    @property
    def window(self) -> torch.Size:
        """Shape of the window."""
        return self.values.shape[:-2]

    def having(self, values: Tensor, corner: Tensor | None = None) -> "Rows":
        """Return other factors for the same rows."""
        return replace(self, values=values, corner=corner)

    def some(self, which: Tensor) -> "Rows":
        """Return the rows of which `which` says the numbers; they must know their pictures."""
        assert self.image is not None
        corner = None if self.corner is None else self.corner[:, which]
        return Rows(self.values.index_select(-1, which), self.image[which], corner)

    def places(self, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Return the places (kh, kw, R) of a window in a map (C, H, W), row by row, and which lie inside."""
        assert self.corner is not None
        height, width = shape[1:]
        top = self.corner[0] + torch.arange(self.window[1], device=self.corner.device)[:, None]
        left = self.corner[1] + torch.arange(self.window[2], device=self.corner.device)[:, None]
        rows, columns = top[:, None], left[None]
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        return rows * width + columns, inside

    def masked(self, shape: torch.Size) -> "Rows":
        """Return the rows without what lies outside the map."""
        if self.corner is None:
            return self
        _, inside = self.places(shape)
        return replace(self, values=self.values * inside[None, :, :, None].to(self.values.dtype))

    def whole(self, shape: torch.Size) -> "Rows":
        """Return the same functions over the whole output."""
        if self.corner is None:
            return self
        places, inside = self.places(shape)
        count = shape[1] * shape[2]
        places = torch.where(inside, places, count).flatten(0, 1)[None, :, None]  # one more place for what lies outside
        values = self.values.flatten(1, 2)
        found = values.new_zeros(values.shape[0], count + 1, *values.shape[2:])
        found.scatter_(1, places.expand_as(values), values)
        return self.having(torch.unflatten(found[:, :count], 1, shape[1:]))

    def fitting(self, shape: torch.Size) -> "Rows":
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

    def at(self, rows: Rows) -> Tensor:
        """Return (k, *window, 1, R)."""
        if rows.corner is None:
            found = self.data if rows.image is None else self.data.index_select(-1, rows.image)
            return found.unsqueeze(-2)
        assert rows.image is not None
        if self._flat is None:
            flat = self.data.flatten(2).flatten(0, 1)
            self._flat = torch.cat([flat, flat.new_zeros(len(flat), 1)], 1)
        places, inside = rows.places(self.shape)
        index = torch.where(inside, places * self.data.shape[-1] + rows.image, self._flat.shape[1] - 1)
        found = self._flat.gather(1, index.view(1, -1).expand(len(self._flat), -1))
        return found.view(len(self.data), *rows.window, 1, -1)


def add(one: Rows, other: Rows, shape: torch.Size) -> Rows:
    """Return the sum of functions of the same output."""
    if one.corner is None or other.corner is None:
        one, other = one.whole(shape), other.whole(shape)
        return one.having(one.values + other.values)
    shift = other.corner - one.corner
    if not bool((shift == shift[:, :1]).all()):
        return add(one.whole(shape), other.whole(shape), shape)
    down, right = (int(v) for v in shift[:, 0])
    top, left = min(down, 0), min(right, 0)
    bottom = max(one.window[1], other.window[1] + down)
    end = max(one.window[2], other.window[2] + right)
    found = one.values.new_zeros(one.window[0], bottom - top, end - left, *one.values.shape[3:])
    for part, y, x in ((one, -top, -left), (other, down - top, right - left)):
        found[:, y : y + part.window[1], x : x + part.window[2]] += part.values
    moved = torch.tensor([[top], [left]], device=one.corner.device)
    return one.having(found, one.corner + moved).fitting(shape)
