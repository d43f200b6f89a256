"""Outputs for many copies of an image that differ in one window each. They are exact, or approximate with a check.

A copy differs from the clean image in a window, so each layer differs only in that window's field of influence. The
clean activations are kept; per copy only a crop around what can differ runs through each layer, and where that covers
most of the map it is pasted into the full map and the rest runs normally. Equal to the full computation up to the order
of additions; Nakandala et al. 2019 (SIGMOD, arXiv 1905.00307 in the demonstration) call it incremental inference. Here
the layers are those of the traced graph, convolutions run without their padding on crops that have it already, and the
whole is compared with the plain computation before it is used.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xai.core.results.message import Message
from xai.core.runtime.batching import batch_size
from xai.engine.graph import Graph, Node, Pair, graph_of
from xai.engine.local import Local, Patches, Place, as_maps, as_places, local_function, local_module, put, widened
from xai.engine.prepare import SAME, Prepared, compared, full_precision

COVERED = 0.85  # a changed region of this share of the map is pasted: pieces would cost as much as the whole
TOGETHER = 24 << 20  # bytes of the largest map of all rows that run whole at once: more do not fit into the cache
_EXACT = (torch.float32, torch.float64)
_ROUNDED = 0.2  # the check in low precision, where both sides are rounded: it only shows gross errors
_ON_PIECES = "{high} of the model's {total} steps run on pieces; differs by {gap:.1e}"
_SPAN_ON_PIECES = "{low} to {high} of the model's {total} steps run on pieces; differs by {gap:.1e}"
_WHOLE = "occluded images run whole: no layer of the traced model gains from running on pieces"


@dataclass(frozen=True, eq=False)
class _Step:
    """One node on pieces: `local` for layers with a neighbourhood, else it works place by place on its inputs."""

    node: Node
    local: Local | None
    sources: tuple[Node, ...]
    size: Pair

    def follow(self, places: dict[Node, Place], cap: float) -> Place:
        """Return where this node's output differs, given where its inputs do."""
        given = [places[node] for node in self.sources]
        return self.local.follow(given[0], cap) if self.local is not None else _hull(given, self.size)


class Incremental:
    """A prepared classifier and one clean image.

    Args:
        prepared: of `xai.engine.prepare`.
        image: (1, C, h, w) in [0, 1].
        window: (height, width) of the largest window that will be asked for.

    Attributes:
        cap: changes are followed within this share of each side of a map; 1.0 is exact.
        notes: how many layers run on pieces, and the figure of the check.

    Cost: about two clean forwards, and two forwards of two rows to check.
    """

    cap = 1.0

    def __init__(self, prepared: Prepared, image: Tensor, window: Pair) -> None:
        self.prepared, self.image = prepared, image
        fixed = batch_size(prepared.classifier.module) is not None
        self.graph = None if fixed else graph_of(prepared.classifier.module)
        self.steps: list[_Step] = []
        self.cuts, self.sizes = {0: 0}, [0]
        self.constant: set[Node] = set()
        self.spatial: set[Node] = set()
        with torch.no_grad():
            self.source = _channels_last(prepared.classifier.normalise(image))
            self.clean: dict[Node, Any] = {}
            if self.graph is not None:
                self._plan(self.graph)
        self.notes = self._check(window)

    @property
    def active(self) -> bool:
        """Whether anything runs on pieces."""
        return len(self.cuts) > 1

    def capped(self, cap: float) -> "Incremental":
        """Return the same engine with another cap: an approximation, to be compared with the exact answers."""
        other = copy.copy(self)
        other.cap = cap
        return other

    def logits(self, values: Tensor, top: Tensor, left: Tensor) -> Tensor:
        """Return logits (N, K) of N copies of the image that differ in one window each.

        Args:
            values: (N, C, h, w) pixels of the windows in [0, 1]; (1, C, h, w) for the same in all.
            top: (N,) first row of each window, int64 on the CPU; windows lie inside the image.
            left: (N,) first column of each.
        """
        with torch.inference_mode():
            pixels = self.prepared.classifier.normalise(values).expand(len(top), -1, -1, -1)
            patches = Patches(as_places(pixels), top, left)
            count = self._route(patches.place)
            return full_precision(self._tail(self._advanced(patches, count), count))

    def _route(self, place: Place) -> int:
        """Return how many steps to run on pieces: up to the last cut before they cover too much of a map."""
        if self.graph is None:
            return 0
        places, best = {self.graph.source: place}, 0
        for count, step in enumerate(self.steps, 1):
            region = places[step.node] = step.follow(places, self.cap)
            if region.size[0] * region.size[1] > COVERED * step.size[0] * step.size[1]:
                break
            best = count if count in self.cuts else best
        return best

    def _advanced(self, patches: Patches, count: int) -> Patches:
        if self.graph is None or not count:
            return patches
        values: dict[Node, Patches] = {self.graph.source: patches}
        for step in self.steps[:count]:
            values[step.node] = self._step(step, values)
        return values[self.steps[count - 1].node]

    def _step(self, step: _Step, values: dict[Node, Patches]) -> Patches:
        if step.local is not None:
            return step.local(values[step.sources[0]], self.cap)
        assert self.graph is not None
        joined = _joined([values[node] for node in step.sources], [self.clean[node] for node in step.sources])
        inputs = self.clean | {node: as_maps(p.values) for node, p in zip(step.sources, joined, strict=True)}
        return Patches(as_places(self.graph.run(step.node, inputs)), joined[0].top, joined[0].left)

    def _tail(self, patches: Patches, count: int) -> Tensor:
        """Paste into the full map and run the rest, few rows at a time."""
        rows = max(1, TOGETHER // max(1, *self.sizes[self.cuts[count] :]))
        rows = 1 if self.prepared.classifier.one_by_one else rows
        parts = zip(*(torch.split(v, rows) for v in (patches.values, patches.top, patches.left)), strict=True)
        return torch.cat([self._pasted(Patches(*part), count) for part in parts])

    def _pasted(self, patches: Patches, count: int) -> Tensor:
        classifier = self.prepared.classifier
        clean = as_places(self.clean[self.steps[count - 1].node] if count else self.source)[0]
        full = clean.repeat(len(patches.top), 1, 1, 1)  # a copy even of one row, which is written into
        put(full, patches.values, patches.top, patches.left)
        if self.graph is None:
            maps = as_maps(full)
            fixed = batch_size(classifier.module) is not None  # then nothing is known of the module but its answers
            raw = classifier._run(maps.contiguous()) if fixed else classifier.module(maps)
        else:
            raw = self.graph.run_from(self.cuts[count], self._unchanged_outputs(as_maps(full), count))
        return classifier.as_logits(raw, len(full))

    def _unchanged_outputs(self, full: Tensor, count: int) -> dict[Node, Any]:
        """Return what the rest of the graph reads: the full maps, and sizes and constants."""
        assert self.graph is not None
        last = self.steps[count - 1].node if count else self.graph.source
        needed = {last: full}
        if not count:
            return needed
        spread = {n: v.expand(len(full), *v.shape[1:]) for n, v in self.clean.items() if n in self.spatial}
        for node in self.graph.nodes[: self.cuts[count]]:
            if node in self.constant:
                needed[node] = self.graph.run(node, spread | needed)
        return needed

    def _plan(self, graph: Graph) -> None:
        """Find how far pieces can go: node by node on the clean image until one is not local."""
        planner = _Planner(graph, self.source)
        self.steps, self.cuts = planner.plan()
        self.clean, self.constant, self.spatial = planner.values, planner.constant, planner.spatial
        self.sizes = graph.sizes(self.source)

    def _check(self, window: Pair) -> tuple[str, ...]:
        """Compare two windows with the plain computation; nothing runs on pieces when they differ."""
        if not self.active or self.graph is None:
            return (_WHOLE,)
        height, width = self.image.shape[2:]
        top = torch.tensor([0, (height - window[0]) // 2])
        left = torch.tensor([width - window[1], (width - window[1]) // 3])
        values = 1 - self.image[:, :, : window[0], : window[1]]
        corner, middle = (self._route(Place(top[k : k + 1], left[k : k + 1], window)) for k in (0, 1))
        logits, cuts = torch.cat([self.logits(values, top[k], left[k]) for k in (slice(0, 1), slice(1, 2))]), self.cuts
        self.cuts = {0: 0}
        exact = self.logits(values, top, left)
        spread = (exact - exact.mean(1, keepdim=True)).square().mean().sqrt().clamp_min(1e-12)
        gap = float((logits - exact).abs().max() / spread)
        if not corner:
            return (_WHOLE,)
        if gap <= (SAME if self.source.dtype in _EXACT else _ROUNDED):
            self.cuts = cuts
            figures = {"low": middle, "high": corner, "total": len(self.graph.nodes), "gap": gap}
            return (Message(_SPAN_ON_PIECES if middle < corner else _ON_PIECES, **figures),)
        template = "occluded images run whole: on pieces the logits differ by {gap:.1e} of their spread"
        return (Message(template, gap=gap),)


class _Planner:
    """Runs the clean image through the graph and sorts its nodes.

    Attributes:
        values: clean values that are still wanted.
        spatial: nodes whose maps differ between copies.
        constant: nodes without pixels: sizes and weights.
    """

    def __init__(self, graph: Graph, source: Tensor) -> None:
        self.graph = graph
        self.values: dict[Node, Any] = {graph.source: source}
        self.spatial: set[Node] = {graph.source}
        self.constant: set[Node] = set()

    def plan(self) -> tuple[list[_Step], dict[int, int]]:
        """Return the steps on pieces, and where they may end: number of steps to number of the node that follows."""
        steps: list[_Step] = []
        cuts = {0: 0}
        for k, node in enumerate(self.graph.nodes):
            step = self._sorted(k, node)
            if step is not None:
                steps.append(step)
                if self._alone(k, node):
                    cuts[len(steps)] = k + 1
            elif node not in self.constant:
                break
        return steps[: max(cuts)], cuts

    def _sorted(self, k: int, node: Node) -> _Step | None:
        """Compute a node's clean value; return its step, or None when it has no pixels or cannot run on pieces."""
        sources = tuple(used for used in node.all_input_nodes if used in self.spatial)
        writes = _writes(self.graph, node)
        if writes and any(self.graph.last_use[used] > k for used in sources):
            return None  # someone reads the overwritten value later
        given = {n: v.clone() if writes and isinstance(v, Tensor) else v for n, v in self.values.items()}
        value = self.graph.run(node, given)
        if not sources or not isinstance(value, Tensor):
            self.values[node] = value
            self.constant.add(node)
            return None
        value = self.values[node] = _channels_last(value)
        if value.ndim != 4:
            return None
        local = self._local(node, sources, value)
        if local is None and not self._place_by_place(node, sources, value):
            return None
        self.spatial.add(node)
        return _Step(node, local, sources, (value.shape[2], value.shape[3]))

    def _local(self, node: Node, sources: tuple[Node, ...], value: Tensor) -> Local | None:
        if len(sources) != 1 or not node.args or node.args[0] is not sources[0]:
            return None
        before, part = self.values[sources[0]], self.graph.part(node)
        if part is not None:
            return local_module(part, before, value) if len(node.args) == 1 else None
        if node.op != "call_function":
            return None
        names = ("kernel_size", "stride", "padding", "dilation")
        arguments = dict(zip(names, node.args[1:], strict=False)) | dict(node.kwargs)
        if any(isinstance(argument, torch.fx.Node) for argument in arguments.values()):
            return None
        return local_function(node.target, arguments, before, value)

    def _place_by_place(self, node: Node, sources: tuple[Node, ...], value: Tensor) -> bool:
        """Try two pieces: does each place of the output depend on the same place of the inputs alone?"""
        if any(self.values[used].shape[2:] != value.shape[2:] for used in sources):
            return False
        height, width = value.shape[2:]
        for rows, columns in (
            (slice(0, 2), slice(0, 3)),
            (slice(height // 2, None), slice(width // 3, width // 3 + 1)),
        ):
            pieces = self.values | {used: self.values[used][:, :, rows, columns].clone() for used in sources}
            try:
                output = self.graph.run(node, pieces)
            except (RuntimeError, ValueError):
                return False
            expected = value[:, :, rows, columns]
            if output.shape != expected.shape or not torch.allclose(output, expected, rtol=1e-5, atol=1e-6):
                return False
        return True

    def _alone(self, k: int, node: Node) -> bool:
        """Whether this node carries everything that the rest of the graph needs of the image."""
        last_use = self.graph.last_use
        return not any(last_use[used] > k for used in self.spatial if used is not node)


def _writes(graph: Graph, node: Node) -> bool:
    """Whether a node may overwrite its input."""
    part = graph.part(node)
    name = getattr(node.target, "__name__", str(node.target))
    named = node.op != "call_module" and (name.endswith("_") or name in {"iadd", "isub", "imul", "itruediv"})
    return named or bool(node.kwargs.get("inplace")) or bool(getattr(part, "inplace", False))


def _joined(patches: list[Patches], cleans: list[Tensor]) -> list[Patches]:
    """Widen patches to one region, which holds all of them."""
    places = [p.place for p in patches]
    if all(_same(places[0], place) for place in places):
        return patches
    hull = _hull(places, (cleans[0].shape[2], cleans[0].shape[3]))
    return [
        Patches(widened(as_places(clean)[0], p, hull.top, hull.left, hull.size), hull.top, hull.left)
        for p, clean in zip(patches, cleans, strict=True)
    ]


def _same(a: Place, b: Place) -> bool:
    return a.size == b.size and torch.equal(a.top, b.top) and torch.equal(a.left, b.left)


def _hull(places: list[Place], size: Pair) -> Place:
    """Return the smallest place of one size that holds several, inside a map of `size`."""
    if len(places) == 1:
        return places[0]
    top, height = _interval([p.top for p in places], [p.size[0] for p in places], size[0])
    left, width = _interval([p.left for p in places], [p.size[1] for p in places], size[1])
    return Place(top, left, (height, width))


def _interval(begins: list[Tensor], sizes: list[int], length: int) -> tuple[Tensor, int]:
    """Return the begin (N,) and the common length of intervals that hold the given ones, inside 0..length."""
    low = torch.stack(begins).amin(0)
    high = torch.stack([begin + size for begin, size in zip(begins, sizes, strict=True)]).amax(0)
    size = int((high - low).max())
    return low.clamp_max(length - size), size


def _channels_last(value: Tensor) -> Tensor:
    return value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value


CAPS = (0.4, 0.55)  # shares of each side of a map, tried in this order; more saves nothing
OFF = 0.1  # largest difference, as a share of the largest answer: what is left out is left out everywhere


def follow_the_middle(exact: Incremental, values: Callable[[Incremental], Tensor]) -> tuple[Incremental, str]:
    """Return an engine that is faster and as good as exact on a sample, or the exact one; and a note with the figure.

    Most of what a window does to a deep layer happens in the middle of its field of influence (Luo et al. 2016, arXiv
    1701.04128). The rest is dropped; how much may be dropped is tried on this image.

    Args:
        exact: the engine that follows everything.
        values: (S, n) what an engine finds for a sample of S windows.

    Cost: the sample once exactly and once for each cap tried.
    Source: Nakandala et al. 2019, projective field thresholding. Differs: the threshold is chosen by a check.
    """
    if not exact.active:
        return exact, "fast: nothing runs on pieces, so nothing can be left out"
    reference = values(exact)
    for cap in CAPS:
        capped = exact.capped(cap)
        quick = values(capped)
        close, figure = compared(quick, reference)
        if close and float((quick - reference).abs().max()) <= OFF * float(reference.abs().max()):
            return capped, f"fast: changes are followed in {cap:.0%} of each side of a map; {figure}"
    return exact, f"fast: every change is followed to its border; in its middle only, {figure}"
