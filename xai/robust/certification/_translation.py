"""The modules and functions of a traced network as layers that bounds know."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xai.robust.certification._activations import Clamp, Leaky, MaxPool
from xai.robust.certification._layers import Add, Affine, Cat, Conv, Dense, Mean, Op, Reshape

SKIPPED = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
_SKIPS = frozenset({"dropout", "dropout1d", "dropout2d", "alpha_dropout", "contiguous", "clone", "identity"})
_RESHAPES = frozenset({"flatten", "view", "reshape", "squeeze", "unsqueeze", "unflatten"})
_SUMS = frozenset({"mean", "sum", "avg_pool2d", "adaptive_avg_pool2d"})
_SHORT = {"iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "div", "truediv": "div"}


@dataclass(frozen=True, eq=False)
class Call:
    """A function or method as it was called for one image.

    Attributes:
        target: the function, or the name of the method.
        args: values; `tracked` says which of them depend on the image.
        kwargs: the same by name.
        tracked: which positions of `args` depend on the image.
        after: what came out.
    """

    target: Any
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    tracked: Sequence[bool]
    after: Tensor

    @property
    def name(self) -> str:
        """The name of the function without marks for working in place; "" for a function that is not torch's."""
        if isinstance(self.target, str):
            name = self.target
        elif self.target in {F.max_pool2d, F.adaptive_max_pool2d}:  # made by a dispatcher that does not name them
            name = "max_pool2d" if self.target is F.max_pool2d else ""
        else:
            home = getattr(self.target, "__module__", None) or "torch"
            name = getattr(self.target, "__name__", "") if home.split(".")[0] in {"torch", "_operator"} else ""
        name = name.removesuffix("_")
        return _SHORT.get(name, name)

    @property
    def before(self) -> Tensor:
        """The first argument."""
        argument: Tensor = self.args[0]
        return argument

    def settings(self, *names: str) -> dict[str, Any]:
        """Return the arguments behind the first one by name."""
        return dict(zip(names, self.args[1:], strict=False)) | dict(self.kwargs)


def module_op(part: nn.Module, before: Tensor, after: Tensor) -> Op | None:
    """Return the layer that a module of torch is, or None."""
    if isinstance(part, nn.Linear):
        return _dense(part.weight, part.bias, before)
    if isinstance(part, nn.Conv2d) and part.padding_mode == "zeros":
        return _conv(part.weight, part.bias, part.stride, part.padding, part.dilation, part.groups)
    if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d):
        return _norm(part.running_mean, part.running_var, part.weight, part.bias, part.eps, before)
    if isinstance(part, nn.MaxPool2d) and not part.return_indices:
        return _max_pool(after, part.kernel_size, part.stride, part.padding, part.dilation, part.ceil_mode)
    if isinstance(part, nn.AvgPool2d | nn.AdaptiveAvgPool2d):
        return _mean(part, before, after)
    if isinstance(part, nn.Flatten | nn.Unflatten):
        return _reshape(before, after)
    return _bend(part)


def _bend(part: nn.Module) -> Op | None:
    if isinstance(part, nn.ReLU):
        return Leaky()
    if isinstance(part, nn.LeakyReLU) and 0 <= part.negative_slope <= 1:
        return Leaky(part.negative_slope)
    if isinstance(part, nn.Hardtanh):  # ReLU6 too
        return Clamp(float(part.min_val), float(part.max_val))
    return None


def call_op(call: Call) -> Op | None:
    """Return the layer that a function or method is, or None."""
    name, count = call.name, sum(call.tracked)
    if name in {"add", "sub", "cat", "concat"} and count > 1:
        return _branches(call)
    if count != 1:
        return None
    if name in {"add", "sub", "mul", "div", "neg"}:
        return _constant(call)
    if not call.tracked[0]:
        return None
    if name in _RESHAPES:
        return _reshape(call.before, call.after)
    if name in _SUMS:
        return _mean(lambda t: _again(call, t), call.before, call.after)
    known: dict[str, Callable[[Call], Op | None]] = {
        "relu": lambda _: Leaky(),
        "leaky_relu": _called_leaky,
        "relu6": lambda _: Clamp(0.0, 6.0),
        "hardtanh": lambda c: _clamp(**c.settings("min_val", "max_val", "inplace")),
        "clamp": lambda c: _called_clamp(c),
        "max_pool2d": _called_max_pool,
        "conv2d": lambda c: _conv(**c.settings("weight", "bias", "stride", "padding", "dilation", "groups")),
        "linear": lambda c: _dense(
            c.settings("weight", "bias")["weight"], c.settings("weight", "bias").get("bias"), c.before
        ),
        "batch_norm": _called_norm,
    }
    return known[name](call) if name in known else None


def is_skipped(call: Call) -> bool:
    """Whether a function changes nothing: dropout in evaluation mode and the like."""
    return call.name in _SKIPS and call.after.shape == call.before.shape and torch.equal(call.after, call.before)


def _again(call: Call, images: Tensor) -> Tensor:
    run = call.target if not isinstance(call.target, str) else getattr(Tensor, call.target)
    images_again: Tensor = run(images, *call.args[1:], **call.kwargs)
    return images_again


def _pair(value: Any) -> tuple[int, int]:
    first, *rest = value if isinstance(value, tuple | list) else (value, value)
    return int(first), int(rest[0] if rest else first)


def _dense(weight: Tensor, bias: Tensor | None, before: Tensor) -> Op | None:
    if before.ndim != 2:
        return None
    return Dense(weight.detach(), weight.new_zeros(len(weight)) if bias is None else bias.detach())


def _conv(
    weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Op | None:
    if weight.ndim != 4:
        return None
    dilation = _pair(dilation)
    reach = [d * (side - 1) for d, side in zip(dilation, weight.shape[2:], strict=True)]
    if padding == "same":
        top, left = reach[0] // 2, reach[1] // 2
        sides = (left, reach[1] - left, top, reach[0] - top)
    else:
        height, width = (0, 0) if padding == "valid" else _pair(padding)
        sides = (width, width, height, height)
    shift = weight.new_zeros(len(weight)) if bias is None else bias.detach()
    return Conv(weight.detach(), shift, _pair(stride), sides, dilation, groups)


def _norm(
    mean: Tensor | None, variance: Tensor | None, weight: Tensor | None, bias: Tensor | None, eps: float, before: Tensor
) -> Op | None:
    """Return a batch norm in evaluation mode; without running statistics it depends on the batch."""
    if mean is None or variance is None:
        return None
    scale = (variance + eps).rsqrt() * (1 if weight is None else weight.detach())
    shift = (0 if bias is None else bias.detach()) - mean * scale
    shape = (-1, *[1] * (before.ndim - 2))
    return Affine(scale.view(shape), shift.view(shape))


def _called_norm(call: Call) -> Op | None:
    settings = call.settings("running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    if settings.get("training"):
        return None
    mean, variance, weight, bias = (settings.get(name) for name in ("running_mean", "running_var", "weight", "bias"))
    return _norm(mean, variance, weight, bias, settings.get("eps", 1e-5), call.before)


def _called_leaky(call: Call) -> Op | None:
    slope = float(call.settings("negative_slope", "inplace").get("negative_slope", 0.01))
    return Leaky(slope) if 0 <= slope <= 1 else None


def _clamp(min_val: Any = -1.0, max_val: Any = 1.0, inplace: bool = False) -> Op | None:
    del inplace
    both = isinstance(min_val, int | float) and isinstance(max_val, int | float)
    return Clamp(float(min_val), float(max_val)) if both and min_val < max_val else None


def _called_clamp(call: Call) -> Op | None:
    settings = call.settings("min", "max")
    return _clamp(settings.get("min"), settings.get("max"))


def _max_pool(
    after: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Op:
    kernel = _pair(kernel_size)
    step = _pair(stride) if stride else kernel
    return MaxPool(kernel, step, _pair(padding), _pair(dilation), bool(ceil_mode), after.shape[1:])


def _called_max_pool(call: Call) -> Op | None:
    settings = call.settings("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
    return None if settings.pop("return_indices", False) else _max_pool(call.after, **settings)


def _mean(apply: Callable[[Tensor], Tensor], before: Tensor, after: Tensor) -> Op | None:
    """Return a mean or sum over places; None when it would also go over images."""
    twice = apply(torch.cat([before, 0 * before]))
    if twice.shape != (2, *after.shape[1:]) or not torch.allclose(twice[:1], after):
        return None
    return Mean(apply, after.shape[1:])


def _reshape(before: Tensor, after: Tensor) -> Op | None:
    same = after.ndim > 1 and len(after) == len(before) and after.numel() == before.numel()
    return Reshape(after.shape[1:]) if same else None


def _branches(call: Call) -> Op | None:
    if call.name in {"cat", "concat"}:
        axis = call.settings("dim").get("dim", 0)
        return Cat() if axis in {1, 1 - call.after.ndim} and all(call.tracked) else None
    same = all(value.shape == call.after.shape for value in call.args[:2])
    return Add(1.0 if call.name == "add" else -1.0) if same and not call.kwargs else None


def _constant(call: Call) -> Op | None:
    """Return a sum or product with a number or a tensor that does not depend on the image."""
    value = call.args[0 if call.tracked[0] else 1]
    if call.kwargs or call.after.shape != value.shape:
        return None
    if call.name == "neg":
        return _affine(value, -1.0, 0.0)
    first, other = call.tracked[0], call.args[1 if call.tracked[0] else 0]
    if not isinstance(other, Tensor | int | float) or (call.name == "div" and not first):
        return None
    if call.name in {"mul", "div"}:
        return _affine(value, other if call.name == "mul" else 1 / torch.as_tensor(other).double(), 0.0)
    if call.name == "sub":
        return _affine(value, 1.0, -other) if first else _affine(value, -1.0, other)
    return _affine(value, 1.0, other)


def _affine(value: Tensor, scale: Any, shift: Any) -> Op | None:
    parts = []
    for number in (scale, shift):
        tensor = torch.as_tensor(number, device=value.device).to(value).detach()
        if tensor.ndim == value.ndim:
            if len(tensor) != 1:
                return None
            tensor = tensor[0]
        parts.append(tensor.reshape(*[1] * (value.ndim - 1 - tensor.ndim), *tensor.shape))
    return Affine(*parts)
