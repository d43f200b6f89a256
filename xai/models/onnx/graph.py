"""An ONNX graph as a traced torch module. Layers with weights become torch's own, the rest functions on tensors."""

import re
from typing import Any

import torch
from torch import Tensor, fx, nn

from xai.models.onnx import shapes  # noqa: F401  # its operators are among FUNCTIONS once it is read
from xai.models.onnx.operators import FUNCTIONS, WHOLE, same_pad, whole

_ACTIVATIONS = {"Relu": nn.ReLU, "Sigmoid": nn.Sigmoid, "Tanh": nn.Tanh, "HardSwish": nn.Hardswish}
_JOINS = {"Add", "Mul", "Concat"}
_OPSETTED = {"Softmax", "LogSoftmax"}
_INFINITY = float("inf")


def as_torch(model: Any) -> fx.GraphModule:
    """Return the torch form of an ONNX model with one input and one output.

    What depends on no pixel is computed once, here. Convolutions, matrices, norms, pools and activations are modules,
    so that methods find them as layers.

    Raises:
        NotImplementedError: an operator that has no torch form here.
    """
    return _Builder(model).build()


class _Builder:
    def __init__(self, model: Any) -> None:
        from onnx import numpy_helper

        self.array = numpy_helper.to_array
        self.model, self.root, self.graph = model, nn.Module(), fx.Graph()
        self.opset = max(entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"})
        self.known: dict[str, Tensor] = {t.name: self._tensor(t) for t in model.graph.initializer}
        self.made: dict[str, fx.Node] = {}
        self.names: set[str] = set()

    def _tensor(self, tensor: Any) -> Tensor:
        return torch.from_numpy(self.array(tensor).copy())

    def build(self) -> fx.GraphModule:
        given = next(entry for entry in self.model.graph.input if entry.name not in self.known)
        self.made[given.name] = self.graph.placeholder("images")
        for node in self.model.graph.node:
            self._add(node)
        name = self.model.graph.output[0].name
        self.graph.output(self.made[name])
        network = fx.GraphModule(self.root, self.graph)
        network.graph.eliminate_dead_code()
        network.delete_all_unused_submodules()
        network.recompile()
        return network.eval()

    def _add(self, node: Any) -> None:
        settings = {attribute.name: self._value(attribute) for attribute in node.attribute}
        if node.op_type == "Constant":
            self.known[node.output[0]] = _constant(settings)
            return
        names = list(node.input)
        while names and not names[-1]:
            names.pop()
        if all(name in self.known or not name for name in names):
            self._fold(node, names, settings)
            return
        layer = _LAYERS.get(node.op_type)
        made = layer(self, node, names, settings) if layer else None
        call = made if made is not None else self._function(node, names, settings)
        self._store(node, call)

    def _value(self, attribute: Any) -> Any:
        from onnx import helper

        value = helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        return self._tensor(value) if hasattr(value, "data_type") else value

    def _fold(self, node: Any, names: list[str], settings: dict[str, Any]) -> None:
        values = [self.known[name] if name else None for name in names]
        folded = self._callable(node)(*values, **self._more(node, settings))
        outputs = folded if isinstance(folded, tuple | list) else [folded]
        self.known.update({name: value for name, value in zip(node.output, outputs, strict=False) if name})

    def _callable(self, node: Any) -> Any:
        if node.op_type not in FUNCTIONS:
            raise NotImplementedError(node.op_type)
        return FUNCTIONS[node.op_type]

    def _more(self, node: Any, settings: dict[str, Any]) -> dict[str, Any]:
        more: dict[str, Any] = {"opset": self.opset} if node.op_type in _OPSETTED else {}
        if node.op_type.startswith("Reduce"):
            more = {"kind": node.op_type}
        if node.op_type == "Split":
            settings = {name: value for name, value in settings.items() if name != "num_outputs"}
            more = {"outputs": len(node.output)}
        return {**settings, **more}

    def _function(self, node: Any, names: list[str], settings: dict[str, Any]) -> fx.Node:
        lists = WHOLE.get(node.op_type, ())
        values = [self._argument(name, as_list=k in lists) for k, name in enumerate(names)]
        if node.op_type in _JOINS and len(values) > 1 and all(isinstance(value, fx.Node) for value in values):
            return self.module(node, _Join(self._callable(node), settings), *values)
        more = {
            k: self._constant_node(v) if isinstance(v, Tensor) else v for k, v in self._more(node, settings).items()
        }
        return self.graph.call_function(self._callable(node), tuple(values), more)

    def _argument(self, name: str, *, as_list: bool = False) -> Any:
        if not name:
            return None
        if name in self.made:
            return self.made[name]
        if as_list:
            return whole(self.known[name])
        return self._constant_node(self.known[name], name)

    def _constant_node(self, value: Tensor, name: str = "constant") -> fx.Node:
        place = self._name(f"value_{name}")
        self.root.register_buffer(place, value)
        return self.graph.get_attr(place)

    def _store(self, node: Any, output: fx.Node) -> None:
        several = node.op_type == "Split"
        for k, name in enumerate(node.output):
            if name and (several or k == 0):
                self.made[name] = self.graph.call_function(_item, (output, k)) if several else output

    def module(self, node: Any, module: nn.Module, *sources: Any) -> fx.Node:
        """Enter a module under the node's name and call it."""
        place = self._name(node.name or f"{node.op_type}_{len(self.names)}")
        self.root.add_module(place, module)
        return self.graph.call_module(place, sources)

    def _name(self, name: str) -> str:
        plain = re.sub(r"\W+", "_", name).strip("_")[:80] or "layer"
        plain = plain if plain[0].isalpha() else f"n_{plain}"
        place, k = plain, 1
        while place in self.names or hasattr(self.root, place):
            place, k = f"{plain}_{k}", k + 1
        self.names.add(place)
        return place


class _Join(nn.Module):
    """Two maps become one, as in residual sums and gates: a module, so that it can be looked at as a layer."""

    def __init__(self, function: Any, settings: dict[str, Any]) -> None:
        super().__init__()
        self.function, self.settings = function, settings

    def forward(self, *values: Tensor) -> Any:
        return self.function(*values, **self.settings)


def _item(values: Any, k: int) -> Any:
    return values[k]


def _constant(settings: dict[str, Any]) -> Tensor:
    ((name, value),) = settings.items()
    if name == "value":
        return value  # type: ignore[no-any-return]
    return torch.tensor(value, dtype=torch.int64 if name.startswith("value_int") else torch.float32)


def _weights(builder: _Builder, names: list[str]) -> list[Tensor | None] | None:
    """Return the inputs after the first when all are known, else None."""
    if names[0] not in builder.made or any(name and name not in builder.known for name in names[1:]):
        return None
    return [builder.known[name] if name else None for name in names[1:]]


def _set(module: nn.Module, **values: Tensor | None) -> nn.Module:
    """Give a module its weights, in their own kind of number."""
    for name, value in values.items():
        old = getattr(module, name)
        parameter = nn.Parameter(value) if isinstance(old, nn.Parameter) and value is not None else value
        setattr(module, name, parameter)
    return module


def _conv(builder: _Builder, node: Any, names: list[str], settings: dict[str, Any]) -> fx.Node | None:
    weights = _weights(builder, names)
    if weights is None or weights[0] is None:
        return None
    weight, bias = weights[0], weights[1] if len(weights) > 1 else None
    rank = weight.ndim - 2
    if rank != 2:
        raise NotImplementedError(f"Conv of rank {rank}")
    source, padding = _padded(builder, names[0], settings, list(weight.shape[2:]), 0.0)
    groups = int(settings.get("group", 1))
    kernel, stride, dilation = pair(weight.shape[2:]), pair(settings.get("strides")), pair(settings.get("dilations"))
    module = nn.Conv2d(
        weight.shape[1] * groups,
        weight.shape[0],
        kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias=bias is not None,
    )
    return builder.module(node, _set(module, weight=weight, **({} if bias is None else {"bias": bias})), source)


def _padded(
    builder: _Builder, name: str, settings: dict[str, Any], kernel: list[int], fill: float
) -> tuple[fx.Node, tuple[int, int]]:
    """Return the input and the padding a module takes; what a module cannot pad is padded before it."""
    source, rank, mode = builder.made[name], len(kernel), settings.get("auto_pad", "NOTSET")
    strides, dilations = settings.get("strides", [1] * rank), settings.get("dilations", [1] * rank)
    if mode.startswith("SAME"):
        arguments = (source, kernel, strides, dilations, mode == "SAME_UPPER", fill)
        return builder.graph.call_function(same_pad, arguments), (0, 0)
    pads = list(settings.get("pads", [0] * 2 * rank)) if mode == "NOTSET" else [0] * 2 * rank
    if pads[:rank] == pads[rank:] and (fill == 0.0 or all(2 * p <= k for p, k in zip(pads, kernel, strict=False))):
        return source, pair(pads[:rank])
    pairs = [side for k in reversed(range(rank)) for side in (pads[k], pads[k + rank])]
    padded = builder.graph.call_function(nn.functional.pad, (source, pairs), {"value": fill})
    return padded, (0, 0)


def pair(values: Any) -> tuple[int, int]:
    """Return two whole numbers; (1, 1) without any."""
    first, second = values or (1, 1)
    return int(first), int(second)


def _linear(builder: _Builder, node: Any, names: list[str], settings: dict[str, Any]) -> fx.Node | None:
    weights = _weights(builder, names)
    plain = not settings.get("transA") and settings.get("alpha", 1.0) == 1.0 and settings.get("beta", 1.0) == 1.0
    if weights is None or weights[0] is None or weights[0].ndim != 2 or not plain:
        return None
    weight = weights[0] if settings.get("transB") else weights[0].T.contiguous()
    bias = weights[1] if len(weights) > 1 else None
    if bias is not None:
        bias = bias.reshape(-1).expand(weight.shape[0]).contiguous()
    module = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    return builder.module(
        node, _set(module, weight=weight, **({} if bias is None else {"bias": bias})), builder.made[names[0]]
    )


def _batch_norm(builder: _Builder, node: Any, names: list[str], settings: dict[str, Any]) -> fx.Node:
    weights = _weights(builder, names)
    if weights is None or settings.get("training_mode"):
        raise NotImplementedError("BatchNormalization in training mode")
    module = nn.BatchNorm2d(len(builder.known[names[1]]), eps=settings.get("epsilon", 1e-5))
    weight, bias, mean, var = weights
    _set(module, weight=weight, bias=bias)
    module.running_mean, module.running_var = mean, var
    return builder.module(node, module.eval(), builder.made[names[0]])


def _layer_norm(builder: _Builder, node: Any, names: list[str], settings: dict[str, Any]) -> fx.Node | None:
    weights = _weights(builder, names)
    if weights is None or weights[0] is None or settings.get("axis", -1) not in {-1, -weights[0].ndim}:
        raise NotImplementedError("LayerNormalization of this form")
    module = nn.LayerNorm(tuple(weights[0].shape), eps=settings.get("epsilon", 1e-5))
    bias = weights[1] if len(weights) > 1 and weights[1] is not None else torch.zeros_like(weights[0])
    return builder.module(node, _set(module, weight=weights[0], bias=bias), builder.made[names[0]])


def _pool(builder: _Builder, node: Any, names: list[str], settings: dict[str, Any]) -> fx.Node:
    kernel = list(settings["kernel_shape"])
    if len(kernel) != 2 or len([name for name in node.output if name]) > 1:
        raise NotImplementedError(f"{node.op_type} of this form")
    strides, ceil = pair(settings.get("strides")), bool(settings.get("ceil_mode", 0))
    if node.op_type == "MaxPool":
        source, padding = _padded(builder, names[0], settings, kernel, -_INFINITY)
        dilation = pair(settings.get("dilations"))
        module: nn.Module = nn.MaxPool2d(pair(kernel), strides, padding, dilation, ceil_mode=ceil)
        return builder.module(node, module, source)
    counted = bool(settings.get("count_include_pad", 0))
    source, padding = _padded(builder, names[0], settings, kernel, 0.0)
    if source is not builder.made[names[0]] and not counted:
        raise NotImplementedError("AveragePool with uneven padding")
    return builder.module(node, nn.AvgPool2d(pair(kernel), strides, padding, ceil, counted), source)


def _activation(builder: _Builder, node: Any, names: list[str], _: dict[str, Any]) -> fx.Node:
    return builder.module(node, _ACTIVATIONS[node.op_type](), builder.made[names[0]])


def _gelu(builder: _Builder, node: Any, names: list[str], settings: dict[str, Any]) -> fx.Node:
    return builder.module(node, nn.GELU(settings.get("approximate", "none")), builder.made[names[0]])


def _global_pool(builder: _Builder, node: Any, names: list[str], _: dict[str, Any]) -> fx.Node:
    return builder.module(node, nn.AdaptiveAvgPool2d(1), builder.made[names[0]])


_LAYERS = {
    "Conv": _conv,
    "Gemm": _linear,
    "MatMul": _linear,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalAveragePool": _global_pool,
    "Gelu": _gelu,
    **dict.fromkeys(_ACTIVATIONS, _activation),
}
