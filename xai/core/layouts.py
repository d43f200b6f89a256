"""How a layer's output is laid out in space: maps, maps with channels last, or tokens in one of several orders."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

Size = tuple[int, int]
_MOST_EXTRA = 16  # beside patches that are not square; beside square ones there may be any number
_SLACK = 1.0  # a grid may differ by this many cells from the input's aspect ratio
_LEAST_SHARE = 10  # the places are a tenth of all tokens at least
TOKEN_KINDS = ("tokens", "tokens, channels first", "tokens, sequence first")


@dataclass(frozen=True)
class Layout:
    """Where the places are in a layer's output.

    Attributes:
        kind: "maps" (N, C, h, w), "maps, channels last" (N, h, w, C), "tokens" (N, T, C), "tokens, channels first"
            (N, C, T) or "tokens, sequence first" (T, N, C).
        grid: rows and columns of places.
        first: number of tokens before the first place (class and register tokens); 0 for maps.
        last: number of tokens after the last place.
        order: how the places follow each other among the tokens, a key of `orders`.
    """

    kind: str
    grid: Size
    first: int = 0
    last: int = 0
    order: str = "rows"

    @property
    def extra(self) -> int:
        """Number of tokens that are no places."""
        return self.first + self.last

    def to_maps(self, output: Tensor) -> Tensor:
        """Return (N, C, h, w)."""
        if self.kind == "maps":
            return output
        if self.kind == "maps, channels last":
            return output.permute(0, 3, 1, 2)
        places = self.tokens(output)[:, self.places().to(output.device)]
        return places.transpose(1, 2).reshape(len(places), -1, *self.grid)

    def tokens(self, output: Tensor) -> Tensor:
        """Return the tokens (N, T, C) of an output."""
        return output.permute(*AXES[self.kind])

    def exchanged(self, output: Tensor, other: Tensor) -> Tensor:
        """Return a copy of an output with the places of another one; class and register tokens stay."""
        if not self.extra:
            return other.clone()
        mixed = output.clone()
        places = self.places().to(output.device)
        self.tokens(mixed)[:, places] = self.tokens(other)[:, places]
        return mixed

    def places(self) -> Tensor:
        """Return which token each place is (h * w,), the places row by row."""
        return self.first + orders(self.grid)[self.order]

    def describe(self) -> str:
        """Say the layout in words."""
        sides = [f"{side} {count}" for side, count in (("behind", self.first), ("before", self.last)) if count]
        extra = f" {' and '.join(sides)} class or register token(s)" if sides else ""
        order = "" if self.order == "rows" else f", in the order {self.order!r}"
        return f"{self.grid[0]} x {self.grid[1]} {self.kind}{extra}{order}"


AXES = {"tokens": (0, 1, 2), "tokens, channels first": (0, 2, 1), "tokens, sequence first": (1, 0, 2)}


def fits(grid: Size, image: Size) -> bool:
    """Return True when a grid has the aspect ratio of the image, up to a cell, and is no finer than it."""
    stride = max(image[0] / grid[0], image[1] / grid[1])
    wanted = (image[0] / stride, image[1] / stride)
    return stride >= 1 and all(abs(have - want) <= _SLACK for have, want in zip(grid, wanted, strict=True))


def possible_layouts(shape: torch.Size, rows: int, image: Size) -> list[Layout]:
    """Return the layouts that a layer's output shape allows for `rows` images of a size, likeliest first.

    Of tokens, each grid is given once, with the extra tokens in front; `xai.core.places` finds where they are.
    """
    if len(shape) == 4 and shape[0] == rows:
        maps = [Layout("maps", (shape[2], shape[3])), Layout("maps, channels last", (shape[1], shape[2]))]
        return [layout for layout in maps if min(layout.grid) > 1 and fits(layout.grid, image)]
    if len(shape) != 3:
        return []
    counts = [(kind, shape[AXES[kind][1]]) for kind in TOKEN_KINDS if shape[AXES[kind][0]] == rows]
    return [Layout(kind, grid, count - grid[0] * grid[1]) for kind, count in counts for grid in _grids(count, image)]


@lru_cache(maxsize=256)
def _grids(tokens: int, image: Size) -> list[Size]:
    """Return the grids that so many tokens may hold, those that leave the fewest tokens over first."""
    square = {(rows, columns) for rows in range(2, tokens // 2 + 1) for columns in _square_cells(rows, image)}
    other = {grid for extra in range(_MOST_EXTRA + 1) for grid in _whole_cells(tokens - extra, image)}
    fitting = [g for g in square | other if tokens >= g[0] * g[1] >= tokens / _LEAST_SHARE and _no_finer(g, image)]
    return sorted(fitting, key=lambda g: (tokens - g[0] * g[1], abs(g[0] * image[1] - g[1] * image[0]), g))


def _square_cells(rows: int, image: Size) -> Iterator[int]:
    """Yield the columns that make cells about as high as wide: 20 tokens of a square are no 4 x 5."""
    exact = rows * image[1] / image[0]
    patch = image[0] / rows
    yield from {round(exact), int(image[1] // patch), -int(-image[1] // patch)}


def _whole_cells(places: int, image: Size) -> Iterator[Size]:
    """Yield the grids of so many places whose cells, at most twice as high as wide or the reverse, are whole pixels."""
    for rows in range(2, places // 2 + 1):
        columns = places // rows
        whole = rows * columns == places and image[0] % rows == 0 and image[1] % columns == 0
        if whole and 0.5 <= image[0] * columns / (image[1] * rows) <= 2:
            yield rows, columns


def _no_finer(grid: Size, image: Size) -> bool:
    return all(1 < cells <= pixels for cells, pixels in zip(grid, image, strict=True))


@lru_cache(maxsize=256)
def orders(grid: Size) -> dict[str, Tensor]:
    """Return the orders in which tokens may hold a grid: name -> which token each place is, the places row by row.

    "rows" and "columns"; "windows of w x h" one window after the other; "unrolled k times" as Hiera keeps them
    between its poolings: what lies at the same corner of every 2 x 2 block stands together, k times over.
    """
    found: dict[str, Tensor] = {}
    for name, order in _every_order(grid):
        if not any(torch.equal(order, known) for known in found.values()):
            found[name] = order
    return found


def _every_order(grid: Size) -> Iterator[tuple[str, Tensor]]:
    rows, columns = grid
    yield "rows", torch.arange(rows * columns)
    yield "columns", torch.arange(rows * columns).view(columns, rows).T.flatten()
    for window in range(2, min(grid)):
        if rows % window == 0 and columns % window == 0:
            yield f"windows of {window} x {window}", _windows(grid, window)
    halved, times = grid, 0
    while halved[0] % 2 == halved[1] % 2 == 0:
        halved, times = (halved[0] // 2, halved[1] // 2), times + 1
        yield f"unrolled {times} times", _unrolled(grid, times)


def _windows(grid: Size, window: int) -> Tensor:
    """Return which token each place is when windows follow each other."""
    shape = (grid[0] // window, grid[1] // window, window, window)
    return torch.arange(grid[0] * grid[1]).view(shape).transpose(1, 2).flatten()


def _unrolled(grid: Size, times: int) -> Tensor:
    """Return which token each place is when the corners of 2 x 2 blocks stand together, `times` times over."""
    place = torch.arange(grid[0] * grid[1]).view(1, *grid)
    for _ in range(times):
        blocks = place.view(len(place), place.shape[1] // 2, 2, -1, 2)  # (corners, h / 2, 2, w / 2, 2)
        place = blocks.permute(0, 2, 4, 1, 3).flatten(0, 2)
    return place.flatten().argsort()
