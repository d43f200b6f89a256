"""Convolutions of a traced copy joined with the padding before them and the activation behind them.

On a CPU the passes over large maps that only pad or clip cost as much as the convolutions of a mobile network. oneDNN
does all three in one pass.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xai.engine.graph import Graph, Node, graph_of
from xai.engine.padding import Pads, paddings

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
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(
            maps, self.weight, self.bias, padding, self.stride, self.dilation, self.groups, name, numbers, algorithm
        )
        return found


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
    found = _padded(graph, sample)
    for number, (node, pads) in enumerate(found):
        _replace(module, node, pads, f"joined_{number}")
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    module.recompile()
    return len(found)


def _padded(graph: Graph, sample: Tensor) -> list[tuple[Node, Pads]]:
    """Return where convolutions run, with the padding that reproduces what they do on the sample."""
    found: list[tuple[Node, Pads]] = []

    def look(node: Node, before: Any, after: Any) -> None:
        part = graph.part(node)
        if isinstance(part, nn.Conv2d) and len(node.args) == 1:
            pads = _reproducing(part, before, after)
            found.extend([(node, pads)] if pads is not None else [])

    graph.watch(sample, look)
    return found


def _reproducing(conv: nn.Conv2d, before: Tensor, after: Tensor) -> Pads | None:
    if conv.padding_mode != "zeros" or before.ndim != 4:
        return None
    for pads in filter(partial(_fits, conv, before), paddings(conv, before, after)):
        found = JoinedConv2d(conv, pads)(before)
        if found.shape == after.shape and bool((found - after).abs().max() <= _SAME * after.abs().max()):
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
