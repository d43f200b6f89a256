"""The choice among possible layouts of a layer's output.

It compares each with where the positions respond, and says whether the choice is certain.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xai.core.layers.layouts import FINEST, NARROW, Key, Layout, Responses, Size, orders

_AGREES = 0.5  # correlation, along each axis, of how places answer and where they should be
_IN_BLOCKS = 0.8  # the same for windows and unrolled blocks: those of other sides agree up to 0.75
_FOLLOWS = 0.7  # the same for maps, of which the halves alone are looked at
_CLEAR = 0.15  # the same without the means taken away: less is no clear answer
_UNTRIED, _TRIED = 2.5, 3.5  # the same in standard errors, where all tokens are places row by row, and otherwise
_RIVAL = 0.9  # share of the best layout's evidence from which on another one is as likely
_FEW = 4  # cells along an axis: below, the cells of a convolution may all see the whole image
_NOTHING = 1e-300
FINE = 14  # cells along an axis, from which a displaced edge is told from strides and wide views
_DRIFT = 1  # cells by which a convolution without padding may displace a map


@dataclass(frozen=True)
class Verdict:
    """What measuring a layer's places found.

    Attributes:
        layout: the one that agrees best, or None when the shape allows none.
        right: True when it agrees clearly, False when it does not, None when too few cells cover the image to tell.
        reason: why it is not right, in words.
    """

    layout: Layout | None
    right: bool | None
    reason: str = ""


def judge(responses: Responses, key: Key, layouts: list[Layout]) -> Verdict:
    """Return which of the layouts that a shape allows agrees with the responses, and whether it does so clearly.

    Tokens: every offset and order of each grid is compared. The evidence of a layout is how much of the places'
    contrasts it explains; the best must correlate along both axes, and no other may explain 90 % as much.
    Maps: the contrast of the halves of the image must correlate along both axes, and no shift may fit better.
    Either: what lies along each side of the image must be answered to, or the model crops what it is given.
    """
    measurable = [layout for layout in layouts if responses.contrast(key, layout.kind) is not None]
    if not measurable:
        return Verdict(None, False, "it does not hold the same places for every image")
    if all(layout.kind.startswith("maps") for layout in measurable):
        verdict = max(
            (_map(responses, key, layout) for layout in measurable), key=lambda v: (v[1], v[0].right or False)
        )[0]
    else:
        verdict = _tokens(responses, key, measurable)
    return _whole(responses, key, verdict) if verdict.layout is not None and verdict.right is not False else verdict


def _whole(responses: Responses, key: Key, verdict: Verdict) -> Verdict:
    """Refuse a layout that stretches over the whole image what belongs to a part of it, or to more than it."""
    assert verdict.layout is not None
    fault = edge_fault(responses, key, verdict.layout)
    return Verdict(verdict.layout, False, fault) if fault else verdict


def edge_fault(responses: Responses, key: Key, layout: Layout) -> str:
    """Return in words how a model crops or pads the image before a layer, by where the layer answers to its edges.

    Strides without padding may leave out less than one place at the end, and what is padded there is seen where places
    are fine.
    """
    tried: set[str] = set()
    for edge, energies in responses.edges(key, layout.kind):
        cells = layout.grid[edge.axis]
        if edge.side in tried or (edge.last and edge.share < 1 / cells):
            continue
        tried.add(edge.side)
        line = energies[layout.places()].view(layout.grid).sum(1 - edge.axis)
        first = _first(line.flip(0) if edge.last else line)
        if first is None:
            return f"the model crops the image at the {edge.side} before it"
        if first - _DRIFT > NARROW * cells and not (edge.last and cells < FINE):
            return f"the model pads the image at the {edge.side} before it"
    return ""


def _first(line: Tensor) -> int | None:
    """Return the first place of a line that answers half as strongly as the strongest, None when none answers."""
    most = float(line.max())
    return int((line >= 0.5 * most).nonzero()[0]) if most > 0 else None


def _map(responses: Responses, key: Key, layout: Layout) -> tuple[Verdict, float]:
    """Return the verdict on a map, and the lower of its correlations along the axes."""
    contrast, code, axes = _measured(responses, key, layout.kind, layout.grid, layout.grid)
    if not bool(contrast.any()):
        return Verdict(layout, None, "it does not respond to changes of the image"), 0.0
    halves = [int((axes == axis).nonzero()[0]) for axis in (0, 1)]
    least = min(_correlation(contrast[k : k + 1], code[k : k + 1]) for k in halves)
    clear = min(_cosine(contrast[k], code[k]) for k in halves) >= _CLEAR
    moved = max(abs(_shift(contrast[axes == axis], code[axes == axis], layout.grid, axis)) for axis in (0, 1))
    if least >= _FOLLOWS and clear and moved <= _DRIFT:
        return Verdict(layout, True), least
    if least > 0 and min(layout.grid) <= _FEW and moved <= _DRIFT:
        return Verdict(layout, None, "its few large cells all respond to the whole image"), least
    return Verdict(layout, False, "its places do not follow those of the image"), least


def _shift(contrast: Tensor, code: Tensor, grid: Size, axis: int) -> int:
    """Return by how many cells along an axis the map must be rolled back to agree best."""
    maps = contrast.view(-1, *grid)
    agreement = [float((maps.roll(-k, axis + 1).flatten(1) * code).sum()) for k in range(grid[axis])]
    best = max(range(grid[axis]), key=lambda k: agreement[k])
    return best if best <= grid[axis] // 2 else best - grid[axis]


def _tokens(responses: Responses, key: Key, layouts: list[Layout]) -> Verdict:
    responses.refine(max(max(layout.grid) for layout in layouts))
    kinds = dict.fromkeys(layout.kind for layout in layouts)
    verdicts = [_one_kind(responses, key, [layout for layout in layouts if layout.kind == kind]) for kind in kinds]
    return next((verdict for verdict in verdicts if verdict.right), verdicts[0])


def _one_kind(responses: Responses, key: Key, layouts: list[Layout]) -> Verdict:
    largest = max(layout.grid[0] for layout in layouts), max(layout.grid[1] for layout in layouts)
    every = [
        (start, explained) for layout in layouts for start, explained in _evidence(responses, key, layout, largest)
    ]
    least = _RIVAL * max(float(explained.max()) for _, explained in every)
    near = [_moved(start, int(k)) for start, explained in every for k in (explained >= least).nonzero()[:, 0]]
    best = min(near, key=lambda layout: layout.extra)
    if least <= 0 or min(_agreement(responses, key, best, largest)) < _needed(best):
        return Verdict(best, False, "its tokens do not follow the places of the image in any known order")
    rivals = [layout for layout in near if layout != best and layout.extra == best.extra]
    if rivals:
        text = f"{best.describe()} or {rivals[0].describe()} fit equally well"
        return Verdict(best, False, f"where its tokens are is not clear: {text}")
    return Verdict(best, True)


def _needed(layout: Layout) -> float:
    """Return the correlation that is no chance and no order of a near family.

    The fewer places and the more offsets were tried, the higher is chance.
    """
    size, tried = layout.grid[0] * layout.grid[1], layout.extra > 0 or layout.order != "rows"
    least = _AGREES if layout.order in ("rows", "columns") else _IN_BLOCKS
    return max(least, math.tanh((_TRIED if tried else _UNTRIED) / math.sqrt(size - 3)))


def _evidence(responses: Responses, key: Key, layout: Layout, largest: Size) -> Iterator[tuple[Layout, Tensor]]:
    """Yield each order of a grid of tokens, with the share of the contrasts that it explains at every offset.

    All offsets at once are a correlation, here a product of spectra: its cost grows as the tokens do, not their square.
    """
    contrast, code, _ = _measured(responses, key, layout.kind, layout.grid, largest)
    contrast = contrast - contrast.mean(1, keepdim=True)
    tokens, extra = contrast.shape[1], contrast.shape[1] - code.shape[1]
    spectrum, energy = torch.fft.rfft(contrast, tokens), contrast.square().sum().clamp_min(_NOTHING)
    for order, places in orders(layout.grid).items():
        by_token = torch.fft.rfft(code[:, places.argsort()], tokens)
        product = torch.fft.irfft((spectrum * by_token.conj()).sum(0), tokens)
        explained = product[: extra + 1].clamp_min(0)  # offsets that let no place turn round to the first tokens
        total = code.square().sum() * energy
        yield replace(layout, first=0, last=extra, order=order), explained.square() / total


def _moved(layout: Layout, first: int) -> Layout:
    return replace(layout, first=first, last=layout.last - first)


def _agreement(responses: Responses, key: Key, layout: Layout, largest: Size) -> list[float]:
    """Return the correlation along each axis of how the places answer and where they are by this layout."""
    contrast, code, axes = _measured(responses, key, layout.kind, layout.grid, largest)
    here = contrast[:, layout.places()]
    return [_correlation(here[axes == axis], code[axes == axis]) for axis in (0, 1)]


def _measured(responses: Responses, key: Key, kind: str, grid: Size, largest: Size) -> tuple[Tensor, Tensor, Tensor]:
    """Return contrasts (stripes, places), what they should be (stripes, h * w), and the axis of each stripes.

    Only stripes that are no finer than the largest of the grids in question allows.
    """
    contrast = responses.contrast(key, kind)
    assert contrast is not None
    used = [k for k, s in enumerate(responses.stripes) if s.periods <= max(1.0, FINEST * largest[s.axis])]
    code = torch.stack([responses.stripes[k].code(grid, responses.size) for k in used]).to(contrast)
    return contrast[used], code, torch.tensor([responses.stripes[k].axis for k in used])


def _correlation(values: Tensor, other: Tensor) -> float:
    """Return the correlation of two sets of numbers over places, (stripes, places), each stripes' mean taken away.

    One half of an image may move everything more than the other half does; that says nothing of where.
    """
    return _cosine(values - values.mean(1, keepdim=True), other - other.mean(1, keepdim=True))


def _cosine(values: Tensor, other: Tensor) -> float:
    size = float(values.norm() * other.norm())
    return float((values * other).sum()) / size if size > 0 else 0.0
