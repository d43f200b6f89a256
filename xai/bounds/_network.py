"""A classifier as a list of layers that bounds know, in float64, from pixels in [0, 1] to logits."""

import copy
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn
from torch.nn import functional as F

from xai.bounds._ops import Add, Affine, Conv, Dense, Leaky, MaxPool, Mean, Op
from xai.core.classifier import Classifier
from xai.errors import UnsupportedModelError

_SKIPPED = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)
_RESHAPES = (torch.flatten, torch.reshape, torch.squeeze)
_RESHAPE_METHODS = frozenset({"flatten", "view", "reshape", "squeeze", "contiguous"})
_CURE = (
    "Bounds know Linear, Conv2d, ReLU, LeakyReLU, BatchNorm, pooling, flatten and sums; use method='smoothing' instead."
)


@dataclass(frozen=True, eq=False)
class Layer:
    """A node: its operation, the numbers of the nodes it reads, and the shape of its output without the batch."""

    op: Op
    inputs: tuple[int, ...]
    shape: torch.Size
    name: str


@dataclass(frozen=True, eq=False)
class Network:
    """Layers in order; node 0 is the picture, node k the output of `layers[k - 1]`, the last one the logits."""

    layers: tuple[Layer, ...]
    shape: torch.Size

    def shape_of(self, node: int) -> torch.Size:
        """Return the shape of a node's output without the batch."""
        return self.layers[node - 1].shape if node else self.shape

    def logits(self, images: Tensor) -> Tensor:
        """Return logits of pictures in float64: the box of a point."""
        values = [(images.double(), images.double())]
        for layer in self.layers:
            values.append(layer.op.interval([values[k] for k in layer.inputs]))
        return values[-1][0]


def network_of(classifier: Classifier, image: Tensor) -> Network:
    """Return the layers of a classifier.

    Args:
        classifier: in evaluation mode; it stays untouched.
        image: (1, C, h, w) in [0, 1].

    Raises:
        UnsupportedModelError: a forward that cannot be traced, a layer that bounds do not know (named), or outputs that
            are probabilities.
    """
    if classifier.output == "probabilities":
        raise UnsupportedModelError("Bounds need logits, but the model ends in probabilities. Take off its last layer.")
    module = copy.deepcopy(classifier.module).double().eval().requires_grad_(False)
    try:
        traced = torch.fx.symbolic_trace(module)
    except Exception as error:
        raise UnsupportedModelError(
            f"The forward of {classifier.name!r} cannot be traced ({type(error).__name__}). {_CURE}"
        ) from error
    with torch.no_grad():
        network = _Reader(classifier, traced, image.double()).read()
        wanted = classifier.logits(image).double()
        gap = (network.logits(image) - wanted).abs().max() / wanted.abs().max().clamp_min(1e-12)
    if not float(gap) <= 1e-3:
        raise UnsupportedModelError(
            f"The layers read from {classifier.name!r} answer otherwise ({float(gap):.1e}). {_CURE}"
        )
    return network


class _Reader:
    """Goes through the traced nodes with a picture and writes down what they do."""

    def __init__(self, classifier: Classifier, traced: torch.fx.GraphModule, image: Tensor) -> None:
        self.classifier, self.traced, self.image = classifier, traced, image
        self.layers: list[Layer] = []
        self.places: dict[torch.fx.Node, int] = {}
        self.values: dict[torch.fx.Node, Any] = {}

    def read(self) -> Network:
        """Return the network."""
        runner = torch.fx.Interpreter(self.traced)
        for node in self.traced.graph.nodes:
            if node.op == "placeholder":
                self._begin(node)
            elif node.op == "output":
                self._end(node)
            else:
                arguments, settings = torch.fx.node.map_arg((node.args, node.kwargs), self.values.__getitem__)
                self.values[node] = getattr(runner, node.op)(node.target, arguments, settings)
                if isinstance(self.values[node], Tensor) and any(n in self.places for n in node.all_input_nodes):
                    self._node(node)
        return Network(tuple(self.layers), self.image.shape[1:])

    def _begin(self, node: torch.fx.Node) -> None:
        if self.values:
            raise UnsupportedModelError(f"The model has a second input {node.name!r}. {_CURE}")
        mean, std = (torch.tensor(v, dtype=torch.float64) for v in (self.classifier.mean, self.classifier.std))
        value = (self.image - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1)
        self.values[node] = value
        self.places[node] = self._add(Affine(1 / std, -mean / std), (0,), value, "normalisation")

    def _end(self, node: torch.fx.Node) -> None:
        found = node.args[0]
        if isinstance(found, dict):
            found = found.get("logits", next(iter(found.values())))
        if isinstance(found, tuple | list):
            found = found[0]
        if not isinstance(found, torch.fx.Node) or self.places.get(found) != len(self.layers):
            raise UnsupportedModelError(f"The logits are not the last layer of the model. {_CURE}")
        value = self.values[found]
        if value[0].numel() == 1:  # one output stands for two classes, as in xai.core.heads
            half = 0.5 if self.classifier.head == "softmax" else 1.0
            value = value.flatten(1)
            self._add(Mean(lambda t: t.flatten(1), mixes=False), (len(self.layers),), value, "head")
            both = torch.tensor([[-half], [half]], dtype=torch.float64)
            self._add(Dense(both, None), (len(self.layers),), value @ both.T, "head")

    def _add(self, op: Op, inputs: tuple[int, ...], value: Tensor, name: str) -> int:
        self.layers.append(Layer(op, inputs, value.shape[1:], name))
        return len(self.layers)

    def _node(self, node: torch.fx.Node) -> None:
        inputs = [n for n in node.all_input_nodes if n in self.places]
        op = self._op(node, inputs)
        if op is None:
            self.places[node] = self.places[inputs[0]]
            return
        numbers = [self.places[n] for n in inputs]
        if isinstance(op, Add):
            numbers = [self.places[n] for n in node.args[:2]]  # type: ignore[index]  # x + x reads one node twice
        self.places[node] = self._add(op, tuple(numbers), self.values[node], self._name(node))

    def _name(self, node: torch.fx.Node) -> str:
        if node.op != "call_module":
            return f"{getattr(node.target, '__name__', node.target)} ({node.name})"
        part = self.traced.get_submodule(str(node.target))
        return f"{type(part).__name__} {str(node.target)!r}"

    def _op(self, node: torch.fx.Node, inputs: list[torch.fx.Node]) -> Op | None:
        """Return the operation, or None for one that changes nothing."""
        if node.op == "call_module" and len(inputs) == 1:
            part = self.traced.get_submodule(str(node.target))
            if isinstance(part, _SKIPPED):
                return None
            found = _module_op(part, self.values[node])
        elif node.op == "call_function":
            found = self._function_op(node, inputs)
        else:
            found = self._method_op(node)
        if found is None:
            raise UnsupportedModelError(f"No bounds for {self._name(node)}. {_CURE}")
        return found

    def _function_op(self, node: torch.fx.Node, inputs: list[torch.fx.Node]) -> Op | None:
        target, after = node.target, self.values[node]
        if target in {operator.add, operator.iadd, torch.add} and all(a in self.places for a in node.args[:2]):
            same = all(self.values[n].shape == after.shape for n in inputs)
            return Add() if same and not node.kwargs else None
        if len(inputs) != 1:
            return None
        if target in {F.relu, torch.relu, torch.relu_}:
            return Leaky()
        if target is F.leaky_relu:
            return Leaky(float(_argument(node, 1, "negative_slope", 0.01)))
        if target in _RESHAPES:
            return _reshape(after)
        if target is F.dropout:
            return Affine(torch.tensor(1.0).double(), torch.tensor(0.0).double())
        if target in {operator.mul, operator.truediv, operator.add, operator.sub}:
            return _constant_op(node)
        return self._repeated(node)

    def _repeated(self, node: torch.fx.Node) -> Op | None:
        """Return a pooling function, told by its name, with its settings."""
        name, settings = getattr(node.target, "__name__", ""), dict[str, Any](node.kwargs)
        values = [a for a in node.args[1:] if not isinstance(a, torch.fx.Node)]
        if name in {"avg_pool2d", "adaptive_avg_pool2d"}:
            pool: Callable[..., Any] = getattr(F, name)
            return Mean(lambda t: pool(t, *values, **settings))
        if name in {"max_pool2d", "boolean_dispatch"}:
            named = dict(zip(("kernel_size", "stride", "padding", "dilation", "ceil_mode"), values, strict=False))
            return _max_pool(**(settings | named))
        return None

    def _method_op(self, node: torch.fx.Node) -> Op | None:
        if node.op != "call_method":
            return None
        if node.target in _RESHAPE_METHODS:
            return _reshape(self.values[node])
        if node.target in {"relu", "relu_"}:
            return Leaky()
        if node.target == "mean":
            values: Any = node.args[1:]
            settings = dict[str, Any](node.kwargs)
            return Mean(lambda t: t.mean(*values, **settings))
        return None


def _argument(node: torch.fx.Node, place: int, name: str, default: Any) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


def _reshape(after: Tensor) -> Op:
    shape = after.shape[1:]
    return Mean(lambda t: t.reshape(len(t), *shape), mixes=False)


def _constant_op(node: torch.fx.Node) -> Op | None:
    numbers = [a for a in node.args if isinstance(a, int | float)]
    if len(numbers) != 1 or (node.target in {operator.sub, operator.truediv} and isinstance(node.args[0], int | float)):
        return None
    value, one, zero = (torch.tensor(float(v), dtype=torch.float64) for v in (numbers[0], 1.0, 0.0))
    if node.target in {operator.mul, operator.truediv}:
        return Affine(value if node.target is operator.mul else 1 / value, zero)
    return Affine(one, value if node.target is operator.add else -value)


def _module_op(part: nn.Module, after: Tensor) -> Op | None:
    if isinstance(part, nn.Linear):
        return Dense(part.weight, part.bias)
    if isinstance(part, nn.Conv2d) and part.padding_mode == "zeros":
        return _conv(part)
    if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d) and part.running_var is not None:
        return _norm(part)
    if isinstance(part, nn.ReLU):
        return Leaky()
    if isinstance(part, nn.LeakyReLU):
        return Leaky(part.negative_slope)
    if isinstance(part, nn.AvgPool2d | nn.AdaptiveAvgPool2d):
        return Mean(part)
    if isinstance(part, nn.MaxPool2d) and not part.return_indices:
        return _max_pool(part.kernel_size, part.stride, part.padding, part.dilation, part.ceil_mode)
    return _reshape(after) if isinstance(part, nn.Flatten) else None


def _conv(part: nn.Conv2d) -> Op | None:
    padding: Any = part.padding
    if isinstance(padding, str):
        spans = [d * (k - 1) for d, k in zip(part.dilation, part.kernel_size, strict=True)]
        if padding == "same" and any(span % 2 for span in spans):
            return None
        padding = tuple(span // 2 for span in spans) if padding == "same" else 0
    settings = {"stride": part.stride, "padding": padding, "dilation": part.dilation, "groups": part.groups}
    return Conv(part.weight, part.bias, settings)


def _norm(part: nn.BatchNorm2d | nn.BatchNorm1d) -> Op:
    assert part.running_mean is not None
    assert part.running_var is not None
    scale = (part.running_var + part.eps).rsqrt()
    scale = scale if part.weight is None else scale * part.weight
    shift = -part.running_mean * scale
    return Affine(scale.detach(), (shift if part.bias is None else shift + part.bias).detach())


def _max_pool(
    kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False, **rest: Any
) -> Op | None:
    if rest.get("return_indices"):
        return None
    settings = {"kernel_size": kernel_size, "stride": stride or kernel_size, "padding": padding, "dilation": dilation}
    return MaxPool(settings | {"ceil_mode": ceil_mode})
