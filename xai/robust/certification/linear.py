"""Bounds by boxes alone (IBP), and by linear functions sent back through the layers (CROWN)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xai.core.runtime.batching import ShouldStop
from xai.errors import NameLookupError, Stopped
from xai.robust.certification._layers import Box, Field, LinearRows, Op, add, total
from xai.robust.certification._network import BoundNetwork

METHODS = ("ibp", "crown_ibp", "crown")
NORMS = ("linf", "l2", "l1")
_DUAL = {"l2": 2.0, "l1": torch.inf}
_BLOCK = {"cpu": 1 << 19, "cuda": 1 << 27}  # numbers in one block of rows: on a CPU it has to fit into the cache
_IMAGES = {"cpu": 1 << 21, "cuda": 1 << 27}  # numbers of all nodes of the images that go together
_WORTH = 0.7  # share of rows left over below which it is worth to go on with them alone
_FIRST = 64  # rows of the first block of a node, which shows how large one is


@dataclass(frozen=True, eq=False)
class Region:
    """Where the images may be: a box, and for l2 and l1 a ball inside it.

    Attributes:
        low: (n, C, h, w) float64.
        high: (n, C, h, w).
        centre: of the ball, or None for the box alone.
        eps: (n,) radius of the ball.
        norm: "linf", "l2" or "l1".
    """

    low: Tensor
    high: Tensor
    centre: Tensor | None = None
    eps: Tensor | None = None
    norm: str = "linf"

    @classmethod
    def around(cls, images: Tensor, eps: Tensor, norm: str, *, clip: bool) -> "Region":
        """Return the balls around images (n, C, h, w); `clip` cuts them to pixels in [0, 1]."""
        images, radius = images.double(), eps.double()
        wide = radius.view(-1, 1, 1, 1)
        low, high = images - wide, images + wide
        if clip:
            low, high = low.clamp_min(0), high.clamp_max(1)
        return cls(low, high) if norm == "linf" else cls(low, high, images, radius, norm)


def bounds(
    network: BoundNetwork,
    region: Region,
    method: str,
    spec: Tensor | None = None,
    *,
    should_stop: ShouldStop | None = None,
) -> Box:
    """Return lower and upper bounds (n, S) of linear functions of the logits.

    Args:
        network: of `network_of`.
        region: where the images may be.
        method: "ibp", "crown_ibp" (boxes inside, linear functions for the last layers) or "crown".
        spec: (n, S, K); None takes the logits themselves.
        should_stop: asked every few milliseconds of the tight boxes of "crown".

    Raises:
        NameLookupError: no such method.
        Stopped: `should_stop()` was true.
    """
    if spec is None:
        spec = torch.eye(network.classes, dtype=torch.float64, device=region.low.device).expand(len(region.low), -1, -1)
    lower = lower_bounds(network, region, method, torch.cat([spec, -spec], 1), should_stop=should_stop)
    count = spec.shape[1]
    return lower[:, :count], -lower[:, count:]


def lower_bounds(
    network: BoundNetwork, region: Region, method: str, spec: Tensor, *, should_stop: ShouldStop | None = None
) -> Tensor:
    """Return lower bounds (n, S) alone, at half the price; see `bounds`.

    Raises:
        NameLookupError: no such method.
        Stopped: `should_stop()` was true.
    """
    if method not in METHODS:
        raise NameLookupError("method of bounds", method, METHODS)
    boxes = _Boxes(network, region, should_stop, tight=method == "crown")
    rows = LinearRows(spec.permute(2, 1, 0).contiguous())
    return (boxes.inside(rows) if method == "ibp" else boxes.back(network.last, rows)).T


def at_once(network: BoundNetwork) -> int:
    """Return how many images to bound together."""
    return max(1, _of(_IMAGES, network) // network.numbers)


def keep_memory(device: torch.device) -> None:
    """Let the C library hand out freed blocks of up to 31 MB again: new pages cost more than the work on them.

    It learns this from a block of that size that is given back; none of it is ever touched.
    """
    if device.type == "cpu":
        torch.empty(31 << 20, dtype=torch.uint8)


def _of(table: dict[str, int], network: BoundNetwork) -> int:
    return table.get(network.device.type, table["cuda"])


class _Boxes:
    """The box of every node, found when it is asked for; `tight` ones by linear functions where that can help."""

    def __init__(self, network: BoundNetwork, region: Region, should_stop: ShouldStop | None, *, tight: bool) -> None:
        self.network, self.region, self.should_stop, self.tight = network, region, should_stop, tight
        self.boxes: dict[int, Box] = {0: (region.low, region.high)}
        self.fields: dict[int, Field] = {}
        self.middles: dict[int, Field] = {}
        self.ball: Field | None = None
        if region.centre is not None:
            centre = region.centre
            self.ball = Field([centre, (centre > region.low).to(centre), (centre < region.high).to(centre)])

    def of(self, node: int) -> Box:
        """Return the box (n, *out) of a node."""
        for k in range(1, node + 1):
            if k not in self.boxes:
                layer = self.network.layers[k - 1]
                box = layer.op.interval([self.boxes[j] for j in layer.inputs])
                self.boxes[k] = self._tightened(k, box)
        return self.boxes[node]

    def _tightened(self, node: int, box: Box) -> Box:
        """Return the box of a node that a relaxed layer reads, with better ends where they matter."""
        network, flat = self.network, self.region.norm == "linf"
        first = node in network.linear
        if node not in network.readers or network.bent(node) or (first and flat and node in network.exact):
            return box
        if not self.tight and not (first and not flat):  # the ball of l2 and l1 must not be lost to its box
            return box
        unsure = torch.stack([op.unsure(box) for op in network.readers[node]]).any(0).flatten(1)
        low, high = (end.flatten(1).clone() for end in box)
        for image, place in self._blocks(node, unsure.nonzero()):
            ends = self._single(node, image, place)
            low[image, place], high[image, place] = ends[0], -ends[1]
        return low.view_as(box[0]), high.view_as(box[1])

    def _blocks(self, node: int, places: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images and places of single outputs, as many at a time as are quick together.

        Raises:
            Stopped: the caller asks for it.
        """
        start, peaks, block = 0, self.network.peaks, _of(_BLOCK, self.network)
        while start < len(places):
            if self.should_stop is not None and self.should_stop():
                raise Stopped(f"Stopped after {start} of {len(places)} inner numbers of a certificate, as asked.")
            step = max(8, block // peaks[node]) if node in peaks else _FIRST
            image, place = places[start : start + step].T.contiguous()
            yield image, place
            start += step

    def _single(self, node: int, image: Tensor, place: Tensor) -> Tensor:
        """Return lower bounds (2, R) of single outputs of a node and of their negatives."""
        layer, shape = self.network.layers[node - 1], self.network.shape_of(node)
        short = None
        if len(layer.inputs) == 1:
            short = layer.op.seed(image, place, shape, self.network.shape_of(layer.inputs[0]))
        rows, constant = short if short is not None else (_one_hot(image, place, shape), None)
        both = rows.having(torch.cat([rows.values, -rows.values], -2), rows.corner)
        walk = _Walk(both, None if constant is None else torch.cat([constant, -constant]))
        self._go(node if short is None else layer.inputs[0], walk, self.network.readers[node])
        self.network.peaks[node] = max(self.network.peaks.get(node, 1), walk.largest // len(image))
        return walk.bounds

    def back(self, node: int, rows: LinearRows) -> Tensor:
        """Return lower bounds (S, R) of linear functions of a node's output."""
        walk = _Walk(rows, None)
        self._go(node, walk, ())
        return walk.bounds

    def _go(self, node: int, walk: "_Walk", readers: Sequence[Op]) -> None:
        """Send functions back to the image; those of whose outputs `readers` know enough on the way stop there."""
        walk.waiting = {node: walk.rows}
        for k in range(node, 0, -1):
            if k not in walk.waiting:
                continue
            layer = self.network.layers[k - 1]
            shapes = [self.network.shape_of(j) for j in layer.inputs]
            parts, constant = layer.op.back(walk.waiting.pop(k), self._field(k), shapes)
            if constant is not None:
                walk.total = walk.total + constant
            for j, part in zip(layer.inputs, parts, strict=True):
                known = walk.waiting.get(j)
                walk.waiting[j] = part if known is None else add(known, part, self.network.shape_of(j))
            walk.largest = max(walk.largest, *(part.values.numel() for part in walk.waiting.values()))
            if readers and layer.op.mixing and len(walk.waiting) == 1 and layer.inputs[0]:
                self._settle(layer.inputs[0], walk, readers)
            if walk.left is not None and not len(walk.left):
                return
        walk.end(walk.total + self._least(walk.waiting[0]))

    def _settle(self, node: int, walk: "_Walk", readers: Sequence[Op]) -> None:
        """Let go of outputs of which the box of an inner node already says what the layers behind them ask."""
        rows = walk.waiting[node]
        low, high = walk.total + self._over_box(node, rows)
        unsure = torch.stack([op.unsure((low, -high)) for op in readers]).any(0)
        left = unsure.nonzero()[:, 0]
        if len(left) <= _WORTH * len(unsure):
            walk.end(torch.stack([low, high]))
            walk.keep(left)
            walk.waiting[node] = rows.some(left)

    def _field(self, node: int) -> Field | None:
        """Return what a layer has to know about the box of its input."""
        layer = self.network.layers[node - 1]
        if layer.op.relaxed and node not in self.fields:
            field = layer.op.field(self.of(layer.inputs[0]))
            if field is not None:
                self.fields[node] = field
        return self.fields.get(node)

    def _least(self, rows: LinearRows) -> Tensor:
        """Return the least value (S, R) of linear functions of the image: over the box, over the ball if higher."""
        over_box = self._over_box(0, rows)
        if self.ball is None or self.region.eps is None:
            return over_box
        centre, down, up = self.ball.at(rows)
        slopes = torch.where(rows.values > 0, down, up) * rows.values  # where there is no room there is no change
        size = torch.linalg.vector_norm(slopes.flatten(0, -3), _DUAL[self.region.norm], dim=0)
        eps = self.region.eps if rows.image is None else self.region.eps[rows.image]
        return torch.maximum(over_box, total(rows.values * centre) - eps * size)

    def inside(self, rows: LinearRows) -> Tensor:
        """Return the least value (S, R) over the box of the logits, or of what a linear last layer reads."""
        layer, node, constant = self.network.layers[-1], self.network.last, None
        if len(layer.inputs) == 1 and not layer.op.relaxed:
            node = layer.inputs[0]
            (rows,), constant = layer.op.back(rows, None, [self.network.shape_of(node)])
        least = self._over_box(node, rows)
        return least if constant is None else least + constant

    def _over_box(self, node: int, rows: LinearRows) -> Tensor:
        """Return the least value (S, R) of linear functions over the box of a node."""
        if node not in self.middles:
            low, high = self.of(node)
            self.middles[node] = Field([(low + high) / 2, (high - low) / 2])
        middle, radius = self.middles[node].at(rows)
        return total(rows.values * middle - rows.values.abs() * radius)


class _Walk:
    """Functions on their way back, and what is known about those that have arrived."""

    def __init__(self, rows: LinearRows, constant: Tensor | None) -> None:
        self.rows, self.waiting, self.largest = rows, {0: rows}, rows.values.numel()
        size = rows.values.shape[-2:]
        self.total = rows.values.new_zeros(size) if constant is None else constant
        self.bounds = torch.empty_like(self.total)
        self.left: Tensor | None = None

    def end(self, bounds: Tensor) -> None:
        """Write down bounds of the functions that are still on their way."""
        if self.left is None:
            self.bounds = bounds
        else:
            self.bounds[:, self.left] = bounds

    def keep(self, which: Tensor) -> None:
        """Go on with some of them."""
        self.left = which if self.left is None else self.left[which]
        self.total = self.total[:, which]


def _one_hot(image: Tensor, place: Tensor, shape: torch.Size) -> LinearRows:
    """Return single outputs as functions of themselves, over windows of one place in a map."""
    count, corner = shape.numel(), None
    window: tuple[int, ...] = tuple(shape)
    channel = place
    if len(shape) == 3:
        where, channel = place % (shape[1] * shape[2]), place // (shape[1] * shape[2])
        corner, count, window = torch.stack([where // shape[2], where % shape[2]]), shape[0], (shape[0], 1, 1)
    values = torch.zeros(count, len(place), dtype=torch.float64, device=place.device)
    values[channel, torch.arange(len(place), device=place.device)] = 1.0
    return LinearRows(values.view(*window, 1, len(place)), image, corner)
