"""Where in the image each place of a layer's output is: measured by changing parts of the image, and judged."""

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xai.core.containers import tensors_in
from xai.core.hooks import hooked
from xai.core.layouts import AXES, TOKEN_KINDS, Size

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
        """Return how much of each place of a grid is inside, less what is between: (h * w,), row by row."""
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
                found = difference.square().sum(1).double()
                energies.setdefault(key, {}).setdefault(kind, []).append(found.cpu())


def _stacked(energies: _Energies, key: Key, kind: str) -> Tensor:
    """Return what was noted of a tensor, (rows, places)."""
    found = energies.get(key, {}).get(kind, [])
    return torch.cat(found).flatten(1) if found else torch.zeros(0, 0)


_FORMS: dict[int, dict[str, tuple[int, int]]] = {
    4: {"maps": (0, 1), "maps, channels last": (0, 3)},
    3: {kind: (AXES[kind][0], AXES[kind][2]) for kind in TOKEN_KINDS},
}


def plain(tensor: Tensor) -> Tensor:
    """Return a tensor as floating numbers, quantised or not."""
    return tensor.dequantize() if tensor.is_quantized else tensor
