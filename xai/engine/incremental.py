"""Exact answers for many copies of a picture that differ from it in one window each.

A copy differs from the clean picture in a window, so each layer differs only in that window's field of influence. The
clean activations are kept; per copy only a crop around what can differ runs through each layer, and where that covers
most of the map it is pasted into the full map and the rest runs normally. Equal to the full computation up to the order
of additions; Nakandala et al. 2019 (SIGMOD, arXiv 1905.00307 in the demonstration) call it incremental inference. Here
the layers are those of the traced graph, convolutions run without their padding on crops that have it already, and the
whole is compared with the plain computation before it is used.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xai.core.heads import output_tensor, to_logits
from xai.engine.graph import Graph, Node, graph_of
from xai.engine.local import Local, as_maps, as_places, local_function, local_module
from xai.engine.patches import Patches, put, widened
from xai.engine.prepare import SAME, Prepared, full_precision

COVERED = 0.85  # a changed region of this share of the map is pasted: pieces would cost as much as the whole
Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class _Step:
    """One node on pieces: `local` for layers with a neighbourhood, else it works place by place on its inputs."""

    node: Node
    local: Local | None
    sources: tuple[Node, ...]


class Incremental:
    """A prepared classifier and one clean picture.

    Args:
        prepared: of `xai.engine.prepare`.
        image: (1, C, h, w) in [0, 1].
        window: (height, width) of the largest window that will be asked for.
        cap: changes are followed within this share of each side of a map; 1.0 is exact. Less is an approximation, for
            callers that compare it with the exact answers.

    Attributes:
        notes: how many layers run on pieces, and the figure of the check.

    Cost: about two clean forwards, and two forwards of two rows to check.
    """

    def __init__(self, prepared: Prepared, image: Tensor, window: Pair, cap: float = 1.0) -> None:
        self.prepared, self.image, self.cap = prepared, image, cap
        self.graph = graph_of(prepared.classifier.module)
        self.steps: list[_Step] = []
        self.start = 0
        self.constant: set[Node] = set()
        self.spatial: set[Node] = set()
        with torch.no_grad():
            self.source = _channels_last(prepared.classifier.normalise(image))
            self.clean: dict[Node, Any] = {}
            if self.graph is not None:
                self._plan(self.graph, window)
        self.notes = self._check(window)

    @property
    def active(self) -> bool:
        """Whether anything runs on pieces."""
        return bool(self.steps)

    def logits(self, values: Tensor, top: Tensor, left: Tensor) -> Tensor:
        """Return logits (N, K) of N copies of the picture that differ in one window each.

        Args:
            values: (N, C, h, w) pixels of the windows in [0, 1]; (1, C, h, w) for the same in all.
            top: (N,) first row of each window, int64 on the CPU; windows lie inside the picture.
            left: (N,) first column of each.
        """
        with torch.inference_mode():
            pixels = self.prepared.classifier.normalise(values).expand(len(top), -1, -1, -1)
            patches = Patches(as_places(pixels), top, left)
            return full_precision(self._tail(self._advanced(patches)))

    def _advanced(self, patches: Patches) -> Patches:
        values: dict[Node, Patches] = {}
        if self.graph is None or not self.steps:
            return patches
        values[self.graph.source] = patches
        for step in self.steps:
            values[step.node] = self._step(step, values)
        return values[self.steps[-1].node]

    def _step(self, step: _Step, values: dict[Node, Patches]) -> Patches:
        if step.local is not None:
            return step.local(values[step.sources[0]], self.cap)
        assert self.graph is not None
        joined = _joined([values[node] for node in step.sources], [self.clean[node] for node in step.sources])
        inputs = self.clean | {node: as_maps(p.values) for node, p in zip(step.sources, joined, strict=True)}
        return Patches(as_places(self.graph.run(step.node, inputs)), joined[0].top, joined[0].left)

    def _tail(self, patches: Patches) -> Tensor:
        """Paste into the full map and run the rest."""
        classifier = self.prepared.classifier
        clean = as_places(self.clean[self.steps[-1].node] if self.steps else self.source)[0]
        full = clean.expand(len(patches.top), -1, -1, -1).contiguous()
        put(full, patches.values, patches.top, patches.left)
        if self.graph is None:
            raw = classifier.module(as_maps(full))
        else:
            raw = self.graph.run_from(self.start, self._held(as_maps(full)))
        return to_logits(output_tensor(raw), len(full), head=classifier.head, output=classifier.output)

    def _held(self, full: Tensor) -> dict[Node, Any]:
        """Return what the rest of the graph reads: the full maps, and sizes and constants."""
        assert self.graph is not None
        last = self.steps[-1].node if self.steps else self.graph.source
        held = {last: full}
        if not self.steps:
            return held
        spread = {n: v.expand(len(full), *v.shape[1:]) for n, v in self.clean.items() if n in self.spatial}
        for node in self.graph.nodes[: self.start]:
            if node in self.constant:
                held[node] = self.graph.run(node, spread | held)
        return held

    def _plan(self, graph: Graph, window: Pair) -> None:
        """Find how far the pieces go: node by node on the clean picture until one covers too much or is not local."""
        planner = _Planner(graph, self.source, window, self.cap)
        self.steps, self.start = planner.plan()
        self.clean, self.constant, self.spatial = planner.values, planner.constant, set(planner.sizes)

    def _check(self, window: Pair) -> tuple[str, ...]:
        """Compare two windows with the plain computation; nothing runs on pieces when they differ."""
        if not self.steps or self.graph is None:
            return ("occluded pictures run whole: no layer of the traced network gains from running on pieces",)
        height, width = self.image.shape[2:]
        top = torch.tensor([0, (height - window[0]) // 2])
        left = torch.tensor([width - window[1], (width - window[1]) // 3])
        values = 1 - self.image[:, :, : window[0], : window[1]]
        found, steps, start = self.logits(values, top, left), self.steps, self.start
        self.steps, self.start = [], 0
        wanted = self.logits(values, top, left)
        spread = (wanted - wanted.mean(1, keepdim=True)).square().mean().sqrt().clamp_min(1e-12)
        gap = float((found - wanted).abs().max() / spread)
        if gap <= SAME or self.cap < 1:
            self.steps, self.start = steps, start
            return (f"{len(steps)} of the network's {len(self.graph.nodes)} steps run on pieces; differs by {gap:.1e}",)
        return (f"occluded pictures run whole: on pieces the logits differ by {gap:.1e} of their spread",)


class _Planner:
    """Runs the clean picture through the graph and sorts its nodes.

    Attributes:
        values: clean values that are still wanted.
        sizes: of the patches behind each node that differs between copies.
        constant: nodes without pixels: sizes and weights.
    """

    def __init__(self, graph: Graph, source: Tensor, window: Pair, cap: float) -> None:
        self.graph, self.cap = graph, cap
        self.values: dict[Node, Any] = {graph.source: source}
        self.sizes: dict[Node, Pair] = {graph.source: window}
        self.constant: set[Node] = set()

    def plan(self) -> tuple[list[_Step], int]:
        """Return the steps on pieces and the number of the first node that runs whole."""
        steps: list[_Step] = []
        taken = start = 0
        for k, node in enumerate(self.graph.nodes):
            step = self._sorted(k, node)
            if step is None:
                if node not in self.constant:
                    break
                continue
            steps.append(step)
            height, width = self.values[node].shape[2:]
            rows, columns = self.sizes[node]
            if rows * columns > COVERED * height * width:
                break
            if self._alone(k, node):
                taken, start = len(steps), k + 1
        return steps[:taken], start

    def _sorted(self, k: int, node: Node) -> _Step | None:
        """Compute a node's clean value; return its step, or None when it has no pixels or cannot run on pieces."""
        sources = tuple(used for used in node.all_input_nodes if used in self.sizes)
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
        if local is not None:
            self.sizes[node] = local.grown(self.sizes[sources[0]], self.cap)
            return _Step(node, local, sources)
        if not self._place_by_place(node, sources, value):
            return None
        rows, columns = zip(*(self.sizes[used] for used in sources), strict=True)
        self.sizes[node] = max(rows), max(columns)
        return _Step(node, None, sources)

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
                found = self.graph.run(node, pieces)
            except (RuntimeError, ValueError):
                return False
            wanted = value[:, :, rows, columns]
            if found.shape != wanted.shape or not torch.allclose(found, wanted, rtol=1e-5, atol=1e-6):
                return False
        return True

    def _alone(self, k: int, node: Node) -> bool:
        """Whether this node carries everything that the rest of the graph needs of the picture."""
        last_use = self.graph.last_use
        return not any(last_use[used] > k for used in self.sizes if used is not node)


def _writes(graph: Graph, node: Node) -> bool:
    """Whether a node may overwrite its input."""
    part = graph.part(node)
    name = getattr(node.target, "__name__", str(node.target))
    named = node.op != "call_module" and (name.endswith("_") or name in {"iadd", "isub", "imul", "itruediv"})
    return named or bool(node.kwargs.get("inplace")) or bool(getattr(part, "inplace", False))


def _joined(patches: list[Patches], cleans: list[Tensor]) -> list[Patches]:
    """Widen patches to one region, which holds all of them."""
    first = patches[0]
    if all(p.size == first.size and torch.equal(p.top, first.top) and torch.equal(p.left, first.left) for p in patches):
        return patches
    height, width = cleans[0].shape[2:]
    top, rows = _hull([p.top for p in patches], [p.size[0] for p in patches], height)
    left, columns = _hull([p.left for p in patches], [p.size[1] for p in patches], width)
    return [
        Patches(widened(as_places(clean)[0], p, top, left, (rows, columns)), top, left)
        for p, clean in zip(patches, cleans, strict=True)
    ]


def _hull(begins: list[Tensor], sizes: list[int], length: int) -> tuple[Tensor, int]:
    """Return the begin (N,) and the common length of intervals that hold the given ones, inside 0..length."""
    low = torch.stack(begins).amin(0)
    high = torch.stack([begin + size for begin, size in zip(begins, sizes, strict=True)]).amax(0)
    size = int((high - low).max())
    return low.clamp_max(length - size), size


def _channels_last(value: Tensor) -> Tensor:
    return value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
