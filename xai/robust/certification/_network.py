"""From a classifier to a list of layers that bounds know, in float64."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
import torch.fx
from torch import Tensor
from torch.fx.node import map_arg

from xai.core.model.classifier import Classifier
from xai.core.model.hooks import copied
from xai.core.model.predictions import pick, to_logits
from xai.errors import UnsupportedModelError
from xai.robust.certification._activations import Bend
from xai.robust.certification._layers import Add, Affine, Cat, Conv, Dense, Op, Reshape
from xai.robust.certification._translation import SKIPPED, Call, call_op, is_skipped, module_op

_UNIT = 2.0**-53


@dataclass(frozen=True, eq=False)
class Layer:
    """A node: its operation, the numbers of the nodes it reads, and the shape of its output without the batch."""

    op: Op
    inputs: tuple[int, ...]
    shape: torch.Size
    name: str


@dataclass(frozen=True, eq=False)
class BoundNetwork:
    """Layers in order; node 0 is the image, node k the output of `layers[k - 1]`, the last one the logits.

    Attributes:
        layers: in the order of computation.
        shape: of an image (C, h, w).
        link: "softmax" or "sigmoid" when the model ends in one, which is left out here; "single" for the sigmoid of one
            output, "" for none.
        peaks: for each node how many numbers one of its rows needs on the way back, as found out by use.
    """

    layers: tuple[Layer, ...]
    shape: torch.Size
    link: str = ""
    peaks: dict[int, int] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """The number of the node with the logits."""
        return len(self.layers)

    @property
    def classes(self) -> int:
        """How many logits there are."""
        return self.shape_of(self.last).numel()

    def shape_of(self, node: int) -> torch.Size:
        """Return the shape of a node's output without the batch."""
        return self.layers[node - 1].shape if node else self.shape

    @cached_property
    def numbers(self) -> int:
        """How many numbers all nodes hold for one image."""
        return sum(self.shape_of(k).numel() for k in range(self.last + 1))

    @cached_property
    def readers(self) -> dict[int, list[Op]]:
        """The relaxed layers that read each node."""
        readers: dict[int, list[Op]] = {}
        for layer in self.layers:
            if layer.op.relaxed:
                readers.setdefault(layer.inputs[0], []).append(layer.op)
        return readers

    @cached_property
    def linear(self) -> frozenset[int]:
        """Nodes with no relaxed layer before them."""
        nodes = {0}
        for k, layer in enumerate(self.layers, 1):
            if not layer.op.relaxed and nodes.issuperset(layer.inputs):
                nodes.add(k)
        return frozenset(nodes)

    @cached_property
    def exact(self) -> frozenset[int]:
        """Linear nodes for which a box is exact behind a box: at most one layer before them mixes its inputs."""
        mixed = {0: 0}
        for k, layer in enumerate(self.layers, 1):
            mixed[k] = sum(mixed[j] for j in layer.inputs) + layer.op.mixing
            mixed[k] += 2 * (layer.op.relaxed or isinstance(layer.op, Add | Cat))
        return frozenset(k for k, times in mixed.items() if times <= 1)

    def bent(self, node: int) -> bool:
        """Whether a node is a monotone function of each number of the one before."""
        return node > 0 and isinstance(self.layers[node - 1].op, Bend)

    def logits(self, images: Tensor) -> Tensor:
        """Return logits of images in float64: the box of a point."""
        values = [(images.double(), images.double())]
        for layer in self.layers:
            values.append(layer.op.interval([values[k] for k in layer.inputs]))
        return values[-1][0]

    def rounding(self, largest: float) -> float:
        """Return how far float64 can be off in a difference of two logits, for pixels of at most `largest`.

        The usual bound in advance: the unit of rounding times the number of terms along the way, forward and back,
        times the sum of their absolute values; slopes of relaxed layers are at most 1 and let nothing grow.
        """
        sizes = [torch.full((1, *self.shape), largest, dtype=torch.float64, device=self.device)]
        for layer in self.layers:
            sizes.append(layer.op.size([sizes[k] for k in layer.inputs]))
        terms = sum(layer.op.terms for layer in self.layers)
        return 4 * _UNIT * terms * 2 * float(sizes[-1].max())

    @cached_property
    def device(self) -> torch.device:
        """Where the weights are."""
        for layer in self.layers:
            if isinstance(layer.op, Dense | Conv):
                return layer.op.weight.device
        return torch.device("cpu")


def folded(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Return the layers with constants and batch norms behind a convolution or linear layer put into it."""
    merged: list[Layer] = []
    places = [0]  # where each old node is now
    uses = [sum(layer.inputs.count(k) for layer in layers) for k in range(len(layers) + 1)]
    for layer in layers:
        inputs = tuple(places[k] for k in layer.inputs)
        before = merged[inputs[0] - 1] if inputs[0] else None
        joined = _joined(before.op, layer.op) if before is not None and uses[layer.inputs[0]] == 1 else None
        if before is None or joined is None:
            merged.append(replace(layer, inputs=inputs))
            places.append(len(merged))
        else:
            merged[inputs[0] - 1] = replace(before, op=joined, name=f"{before.name} and {layer.name}")
            places.append(inputs[0])
    return tuple(merged)


def _joined(before: Op, op: Op) -> Op | None:
    """Return one layer that does both, or None."""
    if not isinstance(op, Affine) or not isinstance(before, Dense | Conv):
        return None
    if any(side > 1 for v in (op.scale, op.shift) for side in v.shape[1:]):
        return None
    scale, shift = (v.flatten().expand(len(before.weight)) for v in (op.scale, op.shift))
    weight = before.weight * scale.view(-1, *[1] * (before.weight.ndim - 1))
    return replace(before, weight=weight, bias=before.bias * scale + shift)


CURE = (
    "Bounds know Linear, Conv2d, ReLU, LeakyReLU, ReLU6, BatchNorm, pooling, flatten, sums and constants; for anything "
    "else use method='smoothing'."
)
SAME = 1e-3  # of the largest logit: how far the layers may be from the model, which may compute in float32
_LINKS = {"softmax": ("softmax", "Softmax"), "sigmoid": ("sigmoid", "Sigmoid")}


def network_of(classifier: Classifier, images: Tensor) -> BoundNetwork:
    """Return the layers of a classifier.

    Args:
        classifier: borrowed; it stays untouched.
        images: (n, C, h, w) in [0, 1] on the classifier's device; the answers to the first ones are compared.

    Raises:
        UnsupportedModelError: a forward that cannot be traced, a layer that bounds do not know (named), or layers that
            do not answer as the model does.
    """
    noise = torch.rand(images.shape[1:], generator=torch.Generator().manual_seed(0)).to(images)
    images = torch.cat([images[:2], noise[None]]).double()
    try:
        traced = torch.fx.symbolic_trace(copied(classifier.module).double().eval().requires_grad_(False))
    except Exception as error:
        raise UnsupportedModelError(
            f"The forward of {classifier.name!r} cannot be traced ({type(error).__name__}). {CURE}"
        ) from error
    with torch.no_grad():
        network = _Reader(classifier, traced, images[:1]).read()
        expected = classifier.raw_logits(images).double()
        gap = (_logits(classifier, network, images) - expected).abs().max() / expected.abs().max().clamp_min(1e-12)
    if not float(gap) <= SAME:
        raise UnsupportedModelError(
            f"The layers read from {classifier.name!r} compute other logits than the model (by {float(gap):.1e} of the "
            f"largest logit): it works in place, at random or differently for each image. {CURE}"
        )
    return network


def _logits(classifier: Classifier, network: BoundNetwork, images: Tensor) -> Tensor:
    """Return the logits of the layers, through the model's own softmax or sigmoid where it has one."""
    logits = network.logits(images)
    if not network.link:
        return logits
    if network.link == "single":
        logits = (logits[:, 1:] - logits[:, :1]) / (1 if classifier.head == "softmax" else 2)
    shares = logits.softmax(1) if network.link == "softmax" else logits.sigmoid()
    return to_logits(shares, len(images), head=classifier.head, output="probabilities")


class _Reader:
    """Goes through the traced nodes with an image and writes down what they do."""

    def __init__(self, classifier: Classifier, traced: torch.fx.GraphModule, image: Tensor) -> None:
        self.classifier, self.traced, self.image = classifier, traced, image
        self.layers: list[Layer] = []
        self.places: dict[torch.fx.Node, int] = {}
        self.values: dict[torch.fx.Node, Any] = {}
        self.link = ""

    def read(self) -> BoundNetwork:
        """Return the network."""
        runner = torch.fx.Interpreter(self.traced)
        nodes = list(self.traced.graph.nodes)
        output = self._output_node(nodes[-1])
        for node in nodes[:-1]:
            if node.op == "placeholder":
                self._begin(node)
                continue
            arguments, settings = map_arg((node.args, node.kwargs), self.values.__getitem__)
            try:
                self.values[node] = getattr(runner, node.op)(node.target, arguments, settings)
            except Exception as error:
                raise UnsupportedModelError(
                    f"{self._name(node)} cannot be run in float64 ({type(error).__name__}). {CURE}"
                ) from error
            if isinstance(self.values[node], Tensor) and any(n in self.places for n in node.all_input_nodes):
                self._node(node, arguments, settings, last=node is output)
        return BoundNetwork(folded(self._end(output)), self.image.shape[1:], self.link)

    def _begin(self, node: torch.fx.Node) -> None:
        if self.values:
            if node.args:  # a default, so that the model works without it
                self.values[node] = node.args[0]
                return
            raise UnsupportedModelError(f"The model has a second input {node.name!r}. {CURE}")
        mean, std = (self.image.new_tensor(v).view(-1, 1, 1) for v in (self.classifier.mean, self.classifier.std))
        self.values[node] = (self.image - mean) / std
        if bool((mean == 0).all()) and bool((std == 1).all()):
            self.places[node] = 0
        else:
            self.places[node] = self._add(Affine(1 / std, -mean / std), (0,), self.values[node], "normalisation")

    def _output_node(self, end: torch.fx.Node) -> Any:
        """Return the node with the class scores, chosen as `xai.core.model.predictions.output_tensor` does."""
        output: Any = end.args[0]
        key = self.classifier.read_outputs().key
        if key is not None:
            return output if key in {0, -1} and isinstance(output, torch.fx.Node) else pick(output, key)
        if isinstance(output, dict):
            return output.get("logits", next(iter(output.values())) if len(output) == 1 else None)
        return output[0] if isinstance(output, tuple | list) and output else output

    def _end(self, output: Any) -> tuple[Layer, ...]:
        """Return the layers up to the logits."""
        if output not in self.places:
            raise UnsupportedModelError(f"The logits of {self.classifier.name!r} do not depend on the image. {CURE}")
        if self.classifier.output == "probabilities" and not self.link:
            raise UnsupportedModelError(
                f"{self.classifier.name!r} does not end in the softmax or sigmoid that its output='probabilities' "
                "says. Set output='logits', or use method='smoothing'."
            )
        node, value = self.places[output], self.values[output]
        if value.ndim != 2:
            value = value.reshape(1, -1)
            node = self._add(Reshape(value.shape[1:]), (node,), value, "flatten")
        if value.shape[1] == 1:  # one output stands for two classes, as in xai.core.model.predictions
            half = 0.5 if self.classifier.head == "softmax" else 1.0
            both = value.new_tensor([[-half], [half]])
            node = self._add(Dense(both, both.new_zeros(2)), (node,), value @ both.T, "head")
        return tuple(self.layers[:node])

    def _add(self, op: Op, inputs: tuple[int, ...], value: Tensor, name: str) -> int:
        self.layers.append(Layer(op, inputs, value.shape[1:], name))
        return len(self.layers)

    def _node(self, node: torch.fx.Node, arguments: Any, settings: Any, *, last: bool) -> None:
        inputs: list[torch.fx.Node] = []
        map_arg((node.args, node.kwargs), lambda n: inputs.append(n) if n in self.places else None)
        if last and self.classifier.output == "probabilities" and self._is_link(node):
            self.places[node] = self.places[inputs[0]]
            self.values[node] = self.values[inputs[0]]
            return
        op = self._op(node, inputs, arguments, settings)
        if op is None:
            self.places[node] = self.places[inputs[0]]
            return
        place = self._add(op, tuple(self.places[n] for n in inputs), self.values[node], self._name(node))
        for other in [n for n in inputs if self.values[n] is self.values[node]]:  # it worked in place
            self.places[other] = place
        self.places[node] = place

    def _op(self, node: torch.fx.Node, inputs: list[torch.fx.Node], arguments: Any, settings: Any) -> Op | None:
        """Return the operation, or None for one that changes nothing."""
        operation = None
        if node.op == "call_module" and len(inputs) == 1:
            part = self.traced.get_submodule(str(node.target))
            if isinstance(part, SKIPPED):
                return None
            operation = module_op(part, self.values[inputs[0]], self.values[node])
        elif node.op in {"call_function", "call_method"} and arguments:
            call = self._call(node, arguments, settings)
            if call.tracked[0] and is_skipped(call):
                return None
            operation = call_op(call)
        if operation is None:
            raise UnsupportedModelError(f"No bounds for {self._name(node)}. {CURE}")
        return operation

    def _call(self, node: torch.fx.Node, arguments: Any, settings: Any) -> Call:
        given = node.args
        if isinstance(given[0], tuple | list):  # torch.cat
            settings = {**settings, **({"dim": arguments[1]} if len(arguments) > 1 else {})}
            given, arguments = tuple(given[0]), arguments[0]
        tracked = [isinstance(a, torch.fx.Node) and a in self.places for a in given]
        return Call(node.target, arguments, settings, tracked, self.values[node])

    def _is_link(self, node: torch.fx.Node) -> bool:
        """Whether a node is the softmax or sigmoid that ends the model."""
        if node.op == "call_module":
            name = type(self.traced.get_submodule(str(node.target))).__name__
        else:
            name = str(getattr(node.target, "__name__", node.target))
        link = next((link for link, names in _LINKS.items() if name in names), "")
        if self.values[node][0].numel() == 1:
            self.link = "single" if link == "sigmoid" else ""
        else:
            self.link = link if link == self.classifier.head else ""
        return bool(self.link)

    def _name(self, node: torch.fx.Node) -> str:
        if node.op != "call_module":
            return f"{getattr(node.target, '__name__', node.target)} ({node.name})"
        part = self.traced.get_submodule(str(node.target))
        return f"{type(part).__name__} {str(node.target)!r}"
