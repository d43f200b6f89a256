"""How a layer's output is laid out in space: maps, maps with channels last, or tokens."""

from dataclasses import dataclass

import torch
from torch import Tensor

Size = tuple[int, int]
MAX_EXTRA_TOKENS = 16  # class, distillation and register tokens
_SLACK = 1.0  # a grid may differ by this many cells from the input's aspect ratio


@dataclass(frozen=True)
class Layout:
    """Where the places are in a layer's output.

    Attributes:
        kind: "maps" (N, C, h, w), "maps, channels last" (N, h, w, C) or "tokens" (N, T, C).
        grid: rows and columns of places.
        first: number of tokens before the first place (class and register tokens); 0 for maps.
    """

    kind: str
    grid: Size
    first: int = 0

    def to_maps(self, output: Tensor) -> Tensor:
        """Return (N, C, h, w)."""
        if self.kind == "maps":
            return output
        if self.kind == "maps, channels last":
            return output.permute(0, 3, 1, 2)
        rows, columns = self.grid
        places = output[:, self.first : self.first + rows * columns]
        return places.transpose(1, 2).reshape(len(places), -1, rows, columns)

    def describe(self) -> str:
        """Say the layout in words."""
        extra = f" behind {self.first} class or register token(s)" if self.first else ""
        return f"{self.grid[0]} x {self.grid[1]} {self.kind}{extra}"


def fits(grid: Size, image: Size) -> bool:
    """Return True when a grid has the aspect ratio of the image, up to a cell, and is no finer than it."""
    stride = max(image[0] / grid[0], image[1] / grid[1])
    wanted = (image[0] / stride, image[1] / stride)
    return stride >= 1 and all(abs(have - want) <= _SLACK for have, want in zip(grid, wanted, strict=True))


def possible_layouts(shape: torch.Size, rows: int, image: Size) -> list[Layout]:
    """Return the layouts that a layer's output shape allows for `rows` images of a size, likeliest first."""
    if not shape or shape[0] != rows:
        return []
    if len(shape) == 4:
        maps = [Layout("maps", (shape[2], shape[3])), Layout("maps, channels last", (shape[1], shape[2]))]
        return [layout for layout in maps if min(layout.grid) > 1 and fits(layout.grid, image)]
    if len(shape) == 3:
        return _token_layouts(shape[1], image)
    return []


def _token_layouts(tokens: int, image: Size) -> list[Layout]:
    """Return the grids that leave the fewest tokens over, class and register tokens in front or behind."""
    for extra in range(min(MAX_EXTRA_TOKENS, tokens - 4) + 1):
        grids = [grid for grid in _grids(tokens - extra) if _from_patches(grid, image)]
        if grids:
            best = min(grids, key=lambda grid: abs(grid[0] * image[1] - grid[1] * image[0]))
            return [Layout("tokens", best, first) for first in dict.fromkeys((extra, 0))]
    return []


def _from_patches(grid: Size, image: Size) -> bool:
    """Return True when square patches of one size give this grid: 20 tokens of a square are no 4 x 5."""
    patch = max(1, image[0] // grid[0]), max(1, -(-image[0] // grid[0]))
    whole = any((image[0] // p, image[1] // p) == grid for p in patch)
    return whole or any((-(-image[0] // p), -(-image[1] // p)) == grid for p in patch)


def _grids(places: int) -> list[Size]:
    return [(rows, places // rows) for rows in range(2, places // 2 + 1) if places % rows == 0]
