"""Traced networks run node by node. Convolutions are joined with the padding before and the activation behind.

On a CPU the passes over large maps that only pad or clip cost as much as the convolutions of a mobile network. oneDNN
does all three in one pass.
"""

import operator
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn
from torch.fx.node import map_arg
from torch.nn import functional as F

from xai.core.runtime.batching import tensors_in

Node = torch.fx.Node


class Graph:
    """The nodes of a traced module with one input and one output, in order.

    Attributes:
        source: the input.
        nodes: what is computed.
        last: the output.
    """

    def __init__(self, module: torch.fx.GraphModule) -> None:
        self.module = module
        every = list(module.graph.nodes)
        self.source: Node = every[0]
        self.nodes: list[Node] = [node for node in every if node.op not in {"placeholder", "output"}]
        self.last: Node = every[-1].args[0]
        position = {node: k for k, node in enumerate(self.nodes)}
        self.last_use = {
            node: max((position.get(user, len(self.nodes)) for user in node.users), default=-1)
            for node in (self.source, *self.nodes)
        }

    def part(self, node: Node) -> nn.Module | None:
        """Return the module that a node calls, or None."""
        return self.module.get_submodule(str(node.target)) if node.op == "call_module" else None

    def run(self, node: Node, values: Mapping[Node, Any]) -> Any:
        """Return a node's value, given those of its inputs."""
        arguments = map_arg(node.args, values.__getitem__)
        settings = map_arg(node.kwargs, values.__getitem__)
        target: Any = node.target
        if node.op == "call_module":
            return self.module.get_submodule(target)(*arguments, **settings)
        if node.op == "call_function":
            return target(*arguments, **settings)
        if node.op == "call_method":
            return getattr(arguments[0], target)(*arguments[1:], **settings)
        return operator.attrgetter(target)(self.module)

    def watch(self, sample: Tensor, look: Callable[[Node, Any, Any], None]) -> None:
        """Run a sample through the graph; call `look(node, first input, output)` behind each module with an input."""
        values: dict[Node, Any] = {self.source: sample}
        for k, node in enumerate(self.nodes):
            values[node] = self.run(node, values)
            if node.op == "call_module" and node.args and isinstance(node.args[0], Node):
                look(node, values[node.args[0]], values[node])
            self._forget(k, values)

    def sizes(self, sample: Tensor) -> list[int]:
        """Return the bytes of what each node makes of a sample; 0 where it is no module."""
        sizes = dict.fromkeys(self.nodes, 0)

        def count(node: Node, _before: Any, after: Any) -> None:
            sizes[node] = sum(t.numel() * t.element_size() for t in tensors_in(after))

        self.watch(sample, count)
        return list(sizes.values())

    def _forget(self, k: int, values: dict[Node, Any]) -> None:
        """Drop the values that nobody reads after node number `k`."""
        for used in self.nodes[k].all_input_nodes:
            if self.last_use[used] <= k:
                values.pop(used, None)

    def run_from(self, start: int, values: dict[Node, Any]) -> Tensor:
        """Run the nodes from number `start` to the end; values are dropped after their last use."""
        for k in range(start, len(self.nodes)):
            node = self.nodes[k]
            values[node] = self.run(node, values)
            self._forget(k, values)
        result: Tensor = values[self.last]
        return result


def graph_of(module: nn.Module) -> Graph | None:
    """Return the graph of a traced module, or None when it was not traced or has several inputs or outputs."""
    if not isinstance(module, torch.fx.GraphModule):
        return None
    every = list(module.graph.nodes)
    inputs = [node for node in every if node.op == "placeholder"]
    if len(inputs) != 1 or every[0] is not inputs[0] or not isinstance(every[-1].args[0], torch.fx.Node):
        return None
    return Graph(module)


Pair = tuple[int, int]
Pads = tuple[int, int, int, int]


def pair(value: Any) -> Pair:
    """Return a setting for both axes."""
    values = (value, value) if isinstance(value, int) else tuple(value)
    return (int(values[0]), int(values[-1]))


def spans_of(kernel: Any, dilation: Any) -> Pair:
    """Return the length of a kernel minus one, with dilation, per axis."""
    sides, steps = pair(kernel), pair(dilation)
    return (sides[0] - 1) * steps[0], (sides[1] - 1) * steps[1]


def leading(padding: Any, spans: Pair, strides: Pair, before: Tensor, after: Tensor) -> list[Pair]:
    """Return (top, left) paddings to try: the layer's own, and those that keep the size, the odd one behind or before.

    Args:
        padding: the layer's own; a word says nothing.
        spans: of `spans_of`.
        strides: per axis.
        before: (1, C, H, W) its input.
        after: (1, C', H', W') its output.
    """
    totals = [max((after.shape[2 + k] - 1) * strides[k] + spans[k] + 1 - before.shape[2 + k], 0) for k in (0, 1)]
    own = [] if isinstance(padding, str) else [pair(padding)]
    margins = [*own, (totals[0] // 2, totals[1] // 2), ((totals[0] + 1) // 2, (totals[1] + 1) // 2)]
    return list(dict.fromkeys(margins))


def paddings(conv: nn.Conv2d, before: Tensor, after: Tensor) -> list[Pads]:
    """Return (top, bottom, left, right) paddings to try for a convolution: even ones first."""
    spans, strides = spans_of(conv.kernel_size, conv.dilation), pair(conv.stride)
    first = leading(conv.padding, spans, strides, before, after)
    even = [(top, top, left, left) for top, left in first]
    needed = [(after.shape[2 + k] - 1) * strides[k] + spans[k] + 1 - before.shape[2 + k] for k in (0, 1)]
    uneven = [(top, max(0, needed[0] - top), left, max(0, needed[1] - left)) for top, left in first]
    return list(dict.fromkeys([*even, *uneven]))


_SAME = 1e-5  # of the largest value
Activation = tuple[str, list[Any], str]


def _clipped(part: Any) -> Activation:
    return "hardtanh", [float(part.min_val), float(part.max_val)], ""


_MODULES: dict[type[nn.Module], Callable[[Any], Activation]] = {
    nn.ReLU: lambda _part: ("relu", [], ""),
    nn.ReLU6: _clipped,
    nn.Hardtanh: _clipped,
    nn.SiLU: lambda _part: ("swish", [], ""),
    nn.Hardswish: lambda _part: ("hardswish", [], ""),
    nn.LeakyReLU: lambda part: ("leaky_relu", [float(part.negative_slope)], ""),
    nn.GELU: lambda part: ("gelu", [], part.approximate),
}
_FUNCTIONS: dict[Any, Activation] = {
    F.relu: ("relu", [], ""),
    torch.relu: ("relu", [], ""),
    torch.relu_: ("relu", [], ""),
    F.relu6: ("hardtanh", [0.0, 6.0], ""),
}
_METHODS = frozenset({"relu", "relu_"})


class JoinedConv2d(nn.Module):
    """A convolution with its padding and activation, in one pass; float32 on the CPU, without gradients.

    Args:
        conv: whose weights are used.
        pads: (top, bottom, left, right) zeros around the input.
        activation: name, numbers and algorithm as oneDNN knows them.
    """

    def __init__(self, conv: nn.Conv2d, pads: Pads, activation: Activation | None = None) -> None:
        super().__init__()
        self.weight, self.bias, self.groups = conv.weight, conv.bias, conv.groups
        self.kernel_size, self.stride, self.dilation = conv.kernel_size, list(conv.stride), list(conv.dilation)
        top, bottom, left, right = pads
        even = top == bottom and left == right
        self.inside = [top, left] if even else [0, 0]
        self.before = None if even else (left, right, top, bottom)
        self.pads, self.activation = pads, activation or ("none", [], "")

    def forward(self, maps: Tensor) -> Tensor:
        """Return the activated output (N, C', h', w') of maps (N, C, h, w)."""
        return self.run(maps if self.before is None else F.pad(maps, self.before), self.inside)

    def unpadded(self, crops: Tensor) -> Tensor:
        """Return the output of crops that have their padding already."""
        return self.run(crops, [0, 0])

    def run(self, maps: Tensor, padding: list[int]) -> Tensor:
        """Convolve with a padding of (down, across) and activate."""
        name, numbers, algorithm = self.activation
        output: Tensor = torch.ops.mkldnn._convolution_pointwise(
            maps, self.weight, self.bias, padding, self.stride, self.dilation, self.groups, name, numbers, algorithm
        )
        return output


def can_join(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this build of torch has the joined operation for tensors there."""
    return device.type == "cpu" and dtype == torch.float32 and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


def join_convolutions(module: torch.fx.GraphModule, sample: Tensor) -> int:
    """Join every convolution that can be, in place, and return how many; the rest stays as it is.

    Args:
        module: traced, in evaluation mode, its parameters frozen.
        sample: (1, C, h, w) as the module takes it; each joined convolution has to reproduce its output on it.
    """
    graph = graph_of(module)
    if graph is None:
        return 0
    padded = _padded(graph, sample)
    for number, (node, pads) in enumerate(padded):
        _replace(module, node, pads, f"joined_{number}")
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    module.recompile()
    return len(padded)


def _padded(graph: Graph, sample: Tensor) -> list[tuple[Node, Pads]]:
    """Return where convolutions run, with the padding that reproduces what they do on the sample."""
    pairs: list[tuple[Node, Pads]] = []

    def look(node: Node, before: Any, after: Any) -> None:
        part = graph.part(node)
        if isinstance(part, nn.Conv2d) and len(node.args) == 1:
            pads = _reproducing(part, before, after)
            pairs.extend([(node, pads)] if pads is not None else [])

    graph.watch(sample, look)
    return pairs


def _reproducing(conv: nn.Conv2d, before: Tensor, after: Tensor) -> Pads | None:
    if conv.padding_mode != "zeros" or before.ndim != 4:
        return None
    for pads in filter(partial(_fits, conv, before), paddings(conv, before, after)):
        joined = JoinedConv2d(conv, pads)(before)
        if joined.shape == after.shape and bool((joined - after).abs().max() <= _SAME * after.abs().max()):
            return pads
    return None


def _fits(conv: nn.Conv2d, maps: Tensor, pads: Pads) -> bool:
    """Whether the padded maps are as large as the kernel; torch refuses smaller ones."""
    top, bottom, left, right = pads
    reach = [step * (size - 1) + 1 for size, step in zip(conv.kernel_size, conv.dilation, strict=True)]
    return maps.shape[2] + top + bottom >= reach[0] and maps.shape[3] + left + right >= reach[1]


def _replace(module: torch.fx.GraphModule, node: Node, pads: Pads, name: str) -> None:
    """Put a joined convolution in the place of the plain one and of the activation behind it; weights are shared."""
    conv = module.get_submodule(str(node.target))
    assert isinstance(conv, nn.Conv2d)
    behind = next(iter(node.users)) if len(node.users) == 1 else None
    activation = None if behind is None else _activation(module, behind)
    joined = JoinedConv2d(conv, pads, activation)
    module.add_submodule(name, joined)
    node.target = name
    if behind is not None and activation is not None:
        behind.replace_all_uses_with(node)
        module.graph.erase_node(behind)


def _activation(module: torch.fx.GraphModule, node: Node) -> Activation | None:
    """Return what a node that reads one map does to it, or None when that is no known activation."""
    if node.op == "call_module":
        part = module.get_submodule(str(node.target))
        known = _MODULES.get(type(part))
        return known(part) if known else None
    if node.op == "call_function":
        return _FUNCTIONS.get(node.target)
    return ("relu", [], "") if node.op == "call_method" and node.target in _METHODS else None
