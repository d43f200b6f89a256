"""The spatial layout of a layer's output, measured. It says where in the image each position lies."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xai.core.model.hooks import hooked
from xai.core.results.message import Message, constant
from xai.core.runtime.batching import tensors_in

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

    def describe(self) -> Message:
        """Return the layout in words."""
        rows, columns = self.grid
        places = Message("{rows} x {columns} {kind}", rows=rows, columns=columns, kind=constant(self.kind))
        if self.first and self.last:
            places = Message(
                "{places} behind {first} and before {last} class or register token(s)",
                places=places,
                first=self.first,
                last=self.last,
            )
        elif self.first:
            places = Message("{places} behind {count} class or register token(s)", places=places, count=self.first)
        elif self.last:
            places = Message("{places} before {count} class or register token(s)", places=places, count=self.last)
        return (
            places
            if self.order == "rows"
            else Message("{places}, in the order {order!r}", places=places, order=self.order)
        )


AXES = {"tokens": (0, 1, 2), "tokens, channels first": (0, 2, 1), "tokens, sequence first": (1, 0, 2)}


def fits(grid: Size, image: Size) -> bool:
    """Return True when a grid has the aspect ratio of the image, up to a cell, and is no finer than it."""
    stride = max(image[0] / grid[0], image[1] / grid[1])
    expected = (image[0] / stride, image[1] / stride)
    return stride >= 1 and all(abs(have - want) <= _SLACK for have, want in zip(grid, expected, strict=True))


def possible_layouts(shape: torch.Size, rows: int, image: Size) -> list[Layout]:
    """Return the layouts that a layer's output shape allows for `rows` images of a size, likeliest first.

    Of tokens, each grid is given once, with the extra tokens in front; `xai.core.layers.layouts` finds where they are.
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
    distinct: dict[str, Tensor] = {}
    for name, order in _every_order(grid):
        if not any(torch.equal(order, known) for known in distinct.values()):
            distinct[name] = order
    return distinct


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


Key = tuple[str, int]
_Energies = dict[Key, dict[str, list[Tensor]]]
_COARSE = (1, 2)  # periods of the stripes that every layer is measured with
FINEST = 0.3  # periods per place: where places see their neighbours, stripes of one place can look like their reverse
_SILENT = 1e-10  # a place that answers by less than this share of the strongest one says nothing


_ROUNDING = 4  # units of rounding of a place's own values that are no answer


@dataclass(frozen=True)
class Stripes:
    """Half of the image, in stripes along one axis.

    Attributes:
        axis: 0 when the stripes lie above each other, 1 when beside each other.
        periods: how often they repeat.
    """

    axis: int
    periods: int

    def line(self, length: int) -> Tensor:
        """Return (length,) with +1 inside the stripes and -1 between them."""
        return 1.0 - 2.0 * (2 * self.periods * (torch.arange(length) + 0.5) / length).floor().remainder(2)

    def mask(self, size: Size) -> Tensor:
        """Return (H, W) with +1 inside the stripes and -1 between them."""
        return _spread(self.line(size[self.axis]), self.axis, size)

    def code(self, grid: Size, size: Size) -> Tensor:
        """Return how much of each place of a grid is inside, minus what is between: (h * w,), row by row."""
        line = F.adaptive_avg_pool1d(self.line(size[self.axis])[None], grid[self.axis])[0]
        return _spread(line, self.axis, grid).flatten()


def _spread(line: Tensor, axis: int, size: Size) -> Tensor:
    return (line[:, None] if axis == 0 else line[None, :]).expand(size)


@dataclass(frozen=True)
class Edge:
    """What lies along one side of the image.

    Attributes:
        side: "top", "left", "bottom" or "right".
        share: of the image's height or width.
    """

    side: str
    share: float

    @property
    def axis(self) -> int:
        """Return 0 for the top and the bottom, 1 for the left and the right."""
        return _SIDES[self.side][0]

    @property
    def last(self) -> bool:
        """Return True for the bottom and the right."""
        return _SIDES[self.side][1]

    def mask(self, size: Size) -> Tensor:
        """Return (H, W), True along the side."""
        length = size[self.axis]
        wide = math.ceil(self.share * length)
        inside = torch.arange(length) >= length - wide if self.last else torch.arange(length) < wide
        return _spread(inside, self.axis, size)


_SIDES = {"top": (0, False), "left": (1, False), "bottom": (0, True), "right": (1, True)}
NARROW = 1 / 12  # of a side: a model that cuts off less moves its maps by less than that
# Strides without padding may leave out less than one place at the end, never at the start
_WIDER = (1 / 8, 1 / 4)
_EDGES = [Edge(side, NARROW) for side in ("top", "left")] + [
    Edge(side, k) for k in _WIDER for side in ("bottom", "right")
]


class Responses:
    """How strongly each place of some layers' outputs answers to stripes, to what is between them, and to the edges.

    Args:
        run: forward of images (N, C, H, W), without gradients.
        layers: the modules to listen to, by name.
        base: (1, C, H, W), the image that is changed.

    Attributes:
        stripes: what was tried so far.

    Cost: a forward of 1 + 2 images per stripes, and one of an image per edge.
    """

    def __init__(self, run: Callable[[Tensor], Any], layers: Mapping[str, nn.Module], base: Tensor) -> None:
        self._run, self._layers, self._base = run, layers, base
        self.size: Size = (int(base.shape[2]), int(base.shape[3]))
        self._texture = torch.rand(base.shape, generator=torch.Generator().manual_seed(1)).round()
        self._clean: dict[tuple[Key, str], Tensor] = {}
        self._energies: _Energies = {}
        self._at_edges: _Energies = {}
        self._floors: dict[tuple[Key, str], Tensor] = {}
        self.stripes: list[Stripes] = []
        self._try(_COARSE, [base])
        self._hear([self._changed(edge.mask(self.size)) for edge in _EDGES], self._at_edges)

    def refine(self, places: int) -> None:
        """Try stripes as fine as the places along an axis allow."""
        finest = self.stripes[-1].periods
        finer = []
        while 2 * finest <= FINEST * places:
            finest *= 2
            finer.append(finest)
        self._try(tuple(finer), [])

    def contrast(self, key: Key, kind: str) -> Tensor | None:
        """Return (stripes, places): 1 where a place answers to the stripes alone, -1 to what is between, 0 to both.

        None when the layer's output has no such form.
        """
        energies = _stacked(self._energies, key, kind)
        if len(energies) != 2 * len(self.stripes):
            return None
        inside, between = energies[0::2], energies[1::2]
        total = inside + between
        return torch.where(self._heard(key, kind, total), (inside - between) / total, 0.0)

    def edges(self, key: Key, kind: str) -> list[tuple[Edge, Tensor]]:
        """Return how strongly each place answers to what lies along each edge, (places,), 0 where it does not."""
        energies = _stacked(self._at_edges, key, kind)
        if len(energies) != len(_EDGES):
            return []
        heard = self._heard(key, kind, energies, _stacked(self._energies, key, kind))
        return list(zip(_EDGES, torch.where(heard, energies, 0.0), strict=True))

    def _heard(self, key: Key, kind: str, energies: Tensor, strongest: Tensor | None = None) -> Tensor:
        """Return where energies are more than rounding and a share of the strongest."""
        most = (energies if strongest is None else strongest).amax()
        return energies > (_SILENT * most).maximum(self._floors[key, kind])

    def _changed(self, inside: Tensor) -> Tensor:
        return torch.where(inside, self._texture, self._base)

    def _try(self, periods: tuple[int, ...], rows: list[Tensor]) -> None:
        for count in periods:
            for stripes in (Stripes(axis, count) for axis in (0, 1)):
                mask = stripes.mask(self.size)
                rows += [self._changed(m > 0) for m in (mask, -mask)]
                self.stripes.append(stripes)
        if rows:
            self._hear(rows, self._energies)

    def _hear(self, rows: list[Tensor], energies: _Energies) -> None:
        with ExitStack() as stack:
            for name, layer in self._layers.items():
                stack.enter_context(hooked(layer, self._listener(name, energies)))
            self._run(torch.cat(rows))

    def _listener(self, name: str, energies: _Energies) -> Callable[..., None]:
        def listen(_module: nn.Module, _inputs: Any, output: Any) -> None:
            for k, tensor in enumerate(tensors_in(output)):
                self._note((name, k), tensor.detach(), energies)

        return listen

    def _note(self, key: Key, tensor: Tensor, energies: _Energies) -> None:
        """Keep how far each place is from where it is for the clean image, which is the first row of all."""
        for kind, (rows, channels) in _FORMS.get(tensor.ndim, {}).items():
            values = plain(tensor).movedim((rows, channels), (0, 1))
            clean = self._clean.get((key, kind))
            if clean is None:
                clean, values = values[:1].clone(), values[1:]
                self._clean[key, kind] = clean
                rounding = _ROUNDING * torch.finfo(clean.dtype).eps
                self._floors[key, kind] = clean.double().square().sum(1).flatten(1).cpu() * rounding**2
            if values.shape[1:] == clean.shape[1:]:
                difference = (values - clean).to(torch.promote_types(values.dtype, torch.float32))  # halves overflow
                places = difference.square().sum(1).double()
                energies.setdefault(key, {}).setdefault(kind, []).append(places.cpu())


def _stacked(energies: _Energies, key: Key, kind: str) -> Tensor:
    """Return what was noted of a tensor, (rows, places)."""
    rows = energies.get(key, {}).get(kind, [])
    return torch.cat(rows).flatten(1) if rows else torch.zeros(0, 0)


_FORMS: dict[int, dict[str, tuple[int, int]]] = {
    4: {"maps": (0, 1), "maps, channels last": (0, 3)},
    3: {kind: (AXES[kind][0], AXES[kind][2]) for kind in TOKEN_KINDS},
}


def plain(tensor: Tensor) -> Tensor:
    """Return a tensor as floating numbers, quantised or not."""
    return tensor.dequantize() if tensor.is_quantized else tensor
