"""ONNX operators as functions on tensors. Sizes and axes come as lists, or as tensors of integers.

Source: the operator documents of ONNX, opsets 9 to 24; what a document leaves open follows onnxruntime.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Function = Callable[..., Any]
FUNCTIONS: dict[str, Function] = {}
WHOLE: dict[str, tuple[int, ...]] = {  # places of inputs that are lists of whole numbers
    "Reshape": (1,), "Squeeze": (1,), "Unsqueeze": (1,), "Split": (1,), "Slice": (1, 2, 3, 4), "Expand": (1,),
    "Tile": (1,), "Pad": (1, 3), "ConstantOfShape": (0,), "Range": (0, 1, 2), "CumSum": (1,), "Trilu": (1,),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
                     "ReduceSumSquare", "ReduceLogSumExp"), (1,)),
}  # fmt: skip
_TYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32, 7: torch.int64, 9: torch.bool,
    10: torch.float16, 11: torch.float64, 16: torch.bfloat16,
}  # fmt: skip


def operator(*names: str) -> Callable[[Function], Function]:
    """Return a decorator that enters a function for operators of these names."""

    def enter(function: Function) -> Function:
        FUNCTIONS.update(dict.fromkeys(names, function))
        return function

    return enter


def whole(values: Any) -> list[int]:
    """Return whole numbers as a list, wherever they come from."""
    if isinstance(values, Tensor):
        return [int(value) for value in values.reshape(-1).tolist()]
    return [int(value) for value in values]


_SIMPLE: dict[str, Function] = {
    "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Pow": torch.pow, "Neg": torch.neg, "Abs": torch.abs,
    "Sqrt": torch.sqrt, "Exp": torch.exp, "Log": torch.log, "Erf": torch.erf, "Reciprocal": torch.reciprocal,
    "Floor": torch.floor, "Ceil": torch.ceil, "Round": torch.round, "Sign": torch.sign, "Where": torch.where,
    "Equal": torch.eq, "Greater": torch.gt, "GreaterOrEqual": torch.ge, "Less": torch.lt, "LessOrEqual": torch.le,
    "Not": torch.logical_not, "And": torch.logical_and, "Or": torch.logical_or, "Tanh": torch.tanh, "Sin": torch.sin,
    "Cos": torch.cos, "Softsign": F.softsign, "Softplus": F.softplus, "Mish": F.mish, "Relu": torch.relu,
    "Sigmoid": torch.sigmoid, "MatMul": torch.matmul,
}  # fmt: skip
FUNCTIONS.update(_SIMPLE)


@operator("Identity", "Dropout")
def identity(value: Any, *_: Any, **__: Any) -> Any:
    """Return what came: dropout is off."""
    return value


@operator("Div")
def divide(left: Tensor, right: Tensor) -> Tensor:
    """Whole numbers are cut towards zero."""
    exact = left.is_floating_point() or right.is_floating_point()
    return left / right if exact else torch.div(left, right, rounding_mode="trunc")


@operator("Mod")
def modulo(left: Tensor, right: Tensor, fmod: int = 0) -> Tensor:
    """With the sign of the divisor, or of the dividend."""
    return torch.fmod(left, right) if fmod else torch.remainder(left, right)


@operator("Sum")
def total(*values: Tensor) -> Tensor:
    """Of several tensors."""
    return functools.reduce(torch.add, values)


@operator("Mean")
def mean(*values: Tensor) -> Tensor:
    """Of several tensors."""
    return functools.reduce(torch.add, values) / len(values)


@operator("Max")
def largest(*values: Tensor) -> Tensor:
    """Of several tensors."""
    return functools.reduce(torch.maximum, values)


@operator("Min")
def smallest(*values: Tensor) -> Tensor:
    """Of several tensors."""
    return functools.reduce(torch.minimum, values)


@operator("Clip")
def clip(value: Tensor, low: Any = None, high: Any = None, **attributes: float) -> Tensor:
    """Bounds are inputs, attributes before opset 11."""
    low = attributes.get("min") if low is None else low
    high = attributes.get("max") if high is None else high
    return value if low is None and high is None else torch.clamp(value, low, high)


@operator("Cast")
def cast(value: Tensor, to: int = 1, **_: Any) -> Tensor:
    """To another kind of number."""
    return value.to(_TYPES[to])


@operator("LeakyRelu")
def leaky_relu(value: Tensor, alpha: float = 0.01) -> Tensor:
    """See torch."""
    return F.leaky_relu(value, alpha)


@operator("PRelu")
def p_relu(value: Tensor, slope: Tensor) -> Tensor:
    """The slope is broadcast."""
    return torch.where(value < 0, slope * value, value)


@operator("Elu")
def elu(value: Tensor, alpha: float = 1.0) -> Tensor:
    """See torch."""
    return F.elu(value, alpha)


@operator("Selu")
def selu(value: Tensor, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875) -> Tensor:
    """With its own constants."""
    return gamma * torch.where(value > 0, value, alpha * torch.expm1(value))


@operator("HardSigmoid")
def hard_sigmoid(value: Tensor, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    """A clipped line."""
    return torch.clamp(alpha * value + beta, 0, 1)


@operator("HardSwish")
def hard_swish(value: Tensor) -> Tensor:
    """See torch."""
    return F.hardswish(value)


@operator("Gelu")
def gelu(value: Tensor, approximate: str = "none") -> Tensor:
    """See torch."""
    return F.gelu(value, approximate=approximate)


@operator("Softmax")
def softmax(value: Tensor, axis: int | None = None, opset: int = 13) -> Tensor:
    """Over one axis; before opset 13 over all from this axis on."""
    if opset >= 13:
        return value.softmax(-1 if axis is None else axis)
    axis = 1 if axis is None else axis % value.ndim
    return value.flatten(axis).softmax(axis).reshape(value.shape)


@operator("LogSoftmax")
def log_softmax(value: Tensor, axis: int | None = None, opset: int = 13) -> Tensor:
    """As softmax."""
    return torch.log(softmax(value, axis, opset)) if opset < 13 else value.log_softmax(-1 if axis is None else axis)


@operator("CumSum")
def cumulative(value: Tensor, axis: Any, exclusive: int = 0, reverse: int = 0) -> Tensor:
    """The plain form.

    Raises:
        NotImplementedError: the other forms.
    """
    if exclusive or reverse:
        raise NotImplementedError("CumSum, exclusive or reversed")
    return value.cumsum(whole(axis)[0])


@operator("Trilu")
def triangle(value: Tensor, diagonal: Any = None, upper: int = 1) -> Tensor:
    """One triangle of a matrix."""
    k = whole(diagonal)[0] if diagonal is not None else 0
    return value.triu(k) if upper else value.tril(k)


@operator("ArgMax")
def arg_max(value: Tensor, axis: int = 0, keepdims: int = 1, **_: Any) -> Tensor:
    """The first of equals."""
    return value.argmax(axis, keepdim=bool(keepdims))


@operator("Einsum")
def einsum(*values: Tensor, equation: str = "") -> Tensor:
    """See torch."""
    return torch.einsum(equation, *values)


@operator("DepthToSpace")
def depth_to_space(value: Tensor, blocksize: int = 1, mode: str = "DCR") -> Tensor:
    """Both orders."""
    if mode == "CRD":
        return F.pixel_shuffle(value, blocksize)
    rows, channels, height, width = value.shape
    parts = value.reshape(rows, blocksize, blocksize, channels // blocksize**2, height, width)
    return parts.permute(0, 3, 4, 1, 5, 2).reshape(rows, -1, height * blocksize, width * blocksize)


_REDUCTIONS: dict[str, Function] = {
    "ReduceMean": lambda v, dims, keep: v.mean(dims, keep), "ReduceSum": lambda v, dims, keep: v.sum(dims, keep),
    "ReduceMax": lambda v, dims, keep: v.amax(dims, keep), "ReduceMin": lambda v, dims, keep: v.amin(dims, keep),
    "ReduceL1": lambda v, dims, keep: v.abs().sum(dims, keep), "ReduceL2": lambda v, dims, keep: v.norm(2, dims, keep),
    "ReduceSumSquare": lambda v, dims, keep: v.square().sum(dims, keep),
    "ReduceLogSumExp": lambda v, dims, keep: v.logsumexp(dims, keep),
}  # fmt: skip


def reduce_(
    value: Tensor,
    at: Any = None,
    axes: Sequence[int] | None = None,
    keepdims: int = 1,
    noop_with_empty_axes: int = 0,
    kind: str = "",
) -> Tensor:
    """Over `axes`, which are an input, and an attribute before opset 18 (13 for sums); none means all."""
    places = whole(at) if at is not None else list(axes or ())
    if not places and noop_with_empty_axes:
        return value
    reduced: Tensor = _REDUCTIONS[kind](value, tuple(places or range(value.ndim)), bool(keepdims))
    return reduced


FUNCTIONS.update(dict.fromkeys(_REDUCTIONS, reduce_))


def same_pad(value: Tensor, kernel: Any, stride: Any, dilation: Any, upper: bool, fill: float) -> Tensor:
    """Pad as "SAME" says: so that the output has the input's size divided by the stride."""
    pairs: list[int] = []
    for k in range(len(kernel)):
        size = value.shape[2 + k]
        reach = (kernel[k] - 1) * dilation[k] + 1
        missing = max(0, (-(-size // stride[k]) - 1) * stride[k] + reach - size)
        small, large = missing // 2, missing - missing // 2
        pairs = [*((small, large) if upper else (large, small)), *pairs]
    return F.pad(value, pairs, value=fill)


@operator("GlobalAveragePool")
def global_average(value: Tensor) -> Tensor:
    """Over all places."""
    return value.mean(tuple(range(2, value.ndim)), keepdim=True)


@operator("GlobalMaxPool")
def global_max(value: Tensor) -> Tensor:
    """Over all places."""
    return value.amax(tuple(range(2, value.ndim)), keepdim=True)


@operator("InstanceNormalization")
def instance_norm(value: Tensor, weight: Tensor, bias: Tensor, epsilon: float = 1e-5) -> Tensor:
    """See torch."""
    return F.instance_norm(value, weight=weight, bias=bias, eps=epsilon)


@operator("GroupNormalization")
def group_norm(
    value: Tensor, weight: Tensor, bias: Tensor, num_groups: int = 1, epsilon: float = 1e-5, **_: Any
) -> Tensor:
    """With one weight per channel (opset 21)."""
    return F.group_norm(value, num_groups, weight, bias, epsilon)


@operator("LRN")
def local_norm(value: Tensor, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Tensor:
    """See torch."""
    return F.local_response_norm(value, size, alpha, beta, bias)


@operator("Gemm")
def gemm(left: Tensor, right: Tensor, more: Tensor | None = None, **settings: Any) -> Tensor:
    """A product of matrices, each turned or not, plus something."""
    left = left.T if settings.get("transA") else left
    right = right.T if settings.get("transB") else right
    product: Tensor = settings.get("alpha", 1.0) * (left @ right)
    return product if more is None else product + settings.get("beta", 1.0) * more
