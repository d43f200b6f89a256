"""DeepLIFT with the Rescale rule."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from xai.core.results.message import Message
from xai.errors import UnsupportedModelError
from xai.explanations.methods._gradients import (
    BASELINES,
    baseline_images,
    completeness,
    completeness_note,
    row_slopes,
)
from xai.explanations.methods.base import EXPLAINERS, Cost, Explainer, MethodInput, MethodOutput
from xai.explanations.methods.fills import Fill

_RELUS = {"relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus"}
_BOUNDED = {
    "hardtanh",
    "hardsigmoid",
    "hardswish",
    "threshold",
    "_threshold",
    "clamp",
    "clamp_min",
    "clamp_max",
    "clip",
}
_CURVES = {"sigmoid", "logsigmoid", "log_sigmoid", "tanh", "tanhshrink", "hardshrink", "softshrink", "softsign", "erf"}
_POWERS = {"abs", "square", "pow", "sqrt", "rsqrt", "reciprocal", "exp", "expm1", "log", "log1p", "logit", "sin", "cos"}
_PRODUCTS = frozenset({"mul", "multiply", "matmul", "bmm"})
_ELEMENTWISE = frozenset(_RELUS | _BOUNDED | _CURVES | _POWERS)
_POOLS: dict[str, Callable[..., Any]] = {
    "max_pool1d": F.max_pool1d,
    "max_pool2d": F.max_pool2d,
    "max_pool3d": F.max_pool3d,
    "adaptive_max_pool1d": F.adaptive_max_pool1d,
    "adaptive_max_pool2d": F.adaptive_max_pool2d,
    "adaptive_max_pool3d": F.adaptive_max_pool3d,
}
Call = Callable[..., Tensor]
Tensors = tuple[Tensor, ...]


class Rescale(TorchFunctionMode):
    """Runs a network on the baselines first and on the images next, and pairs the calls of its nonlinear functions.

    On the second run the gradient of each such call is (f(x) - f(z)) / (x - z), element by element, with z what entered
    the same call for the baseline; values stay as they are. A maximum is shared between the places where it is taken
    for the image and for the baseline, so that the changes still add up; a product shares its change evenly. All else
    keeps its derivative.

    Nothing is put on the model: calls are seen by torch's own dispatch of functions. Memory: what enters each call.
    """

    def __init__(self) -> None:
        super().__init__()
        self._entered: deque[tuple[str, Tensors]] = deque()
        self._recording = False

    @contextmanager
    def baselines(self) -> Iterator[None]:
        """Keep what enters each call while inside; no gradients."""
        self._recording = True
        try:
            with torch.no_grad(), self:
                yield
        finally:
            self._recording = False

    @contextmanager
    def images(self) -> Iterator[None]:
        """Pair each call inside with the one that was kept.

        Raises:
            UnsupportedModelError: the network calls other functions for the image than for the baseline.
        """
        with self:
            yield
        if self._entered:
            raise _refusal()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function of torch, with a multiplier instead of its derivative where DeepLIFT has one."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        plain = name.removesuffix("_") if not name.endswith("__") else name
        values = _operands(plain, args, kwargs)
        if values and self._recording:
            self._entered.append((plain, tuple(v.clone() for v in values)))
        starts = self._partners(plain, values) if values and not self._recording else ()
        if not starts or not any(v.requires_grad for v in values):
            return func(*args, **kwargs)
        settings = args[len(values) :]
        if plain in _POOLS:
            return _pooled(_POOLS[plain], values[0], starts[0], settings, kwargs)
        call = _out_of_place(func, name, settings, kwargs)
        result = _product(call, values, starts) if len(values) > 1 else _rescaled(call, values[0], starts[0])
        return values[0].copy_(result) if plain != name or kwargs.get("inplace") else result

    def _partners(self, name: str, values: Tensors) -> Tensors:
        if self._entered:
            entered, starts = self._entered.popleft()
            if entered == name and [s.shape for s in starts] == [v.shape for v in values]:
                return starts
        raise _refusal()


def _operands(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensors:
    """Return the tensors that a call is a known function of, its other arguments being settings; none for all else."""
    tensors = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
    if not tensors or not args or args[0] is not tensors[0] or not all(t.is_floating_point() for t in tensors):
        return ()
    if name in _PRODUCTS:
        return tuple(tensors) if len(tensors) == len(args) == 2 and not kwargs else ()
    if name in _POOLS:
        return () if kwargs.get("return_indices") else (tensors[0],)
    single = name in _ELEMENTWISE and (len(tensors) == 1 or name == "prelu")
    return (tensors[0],) if single else ()


def _out_of_place(func: Callable[..., Any], name: str, settings: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """Return the call as a function of its tensors that writes nothing into them."""
    if name.endswith("_") and not name.endswith("__"):
        func = next(getattr(place, name[:-1]) for place in (torch.Tensor, torch, F) if hasattr(place, name[:-1]))
    kwargs = {key: value for key, value in kwargs.items() if key != "inplace"}

    def call(*values: Tensor) -> Tensor:
        result: Tensor = func(*values, *settings, **kwargs)
        return result

    return call


def _rescaled(call: Call, values: Tensor, start: Tensor) -> Tensor:
    """Return call(values) with the slope of the line from `start` to `values` as its gradient."""
    here = values.detach()
    middle = ((here + start) / 2).requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(call(middle).sum(), middle)
    result, step = call(here), here - start
    far = step.abs() > _near(here, start)
    multiplier = torch.where(far, (result - call(start)) / torch.where(far, step, 1), slope)
    multiplier = multiplier.nan_to_num(0.0, 0.0, 0.0)  # flat where there is no derivative
    return result + multiplier * (values - here)


def _product(call: Call, values: Tensors, starts: Tensors) -> Tensor:
    """Return a product of two tensors whose change is owed to each by what the other is half-way."""
    (factor, other), (here, there) = values, (v.detach() for v in values)
    middle, centre = ((v.detach() + start) / 2 for v, start in zip(values, starts, strict=True))
    return call(here, there) + call(factor - here, centre) + call(middle, other - there)


def _pooled(
    pool: Callable[..., Any], values: Tensor, start: Tensor, settings: tuple[Any, ...], kwargs: dict[str, Any]
) -> Tensor:
    """Return the pooled maximum, its change shared between where it is taken for the image and for the baseline.

    What the maximum gains is owed to the image's place, what it loses to the baseline's.
    """
    here = values.detach()
    kwargs = {**kwargs, "return_indices": True}
    (result, mine), (before, theirs) = pool(here, *settings, **kwargs), pool(start, *settings, **kwargs)
    dims = mine.ndim - 2  # planes are flattened, as the indices count places in them
    flat, change = values.flatten(-dims), result - before
    total: Tensor = result
    for places, part in ((mine, change.clamp_min(0)), (theirs, change.clamp_max(0))):
        index = places.flatten(-dims)
        moved = flat.gather(-1, index).view_as(places)
        step = moved.detach() - start.flatten(-dims).gather(-1, index).view_as(places)
        far = step.abs() > _near(moved.detach(), moved.detach() - step)
        shared = ((places == mine) / (1.0 + (mine == theirs))).to(part.dtype)  # a network may compute in half precision
        multiplier = torch.where(far, part / torch.where(far, step, 1), shared)
        total = total + multiplier * (moved - moved.detach())
    return total


def _near(values: Tensor, other: Tensor) -> Tensor:
    """Return below which distance two values are one: a quotient of smaller differences is mostly rounding."""
    share: float = torch.finfo(values.dtype).eps ** 0.5
    return (values.abs() + other.abs()) * share


def _refusal() -> UnsupportedModelError:
    return UnsupportedModelError(
        "DeepLIFT pairs each function call for the image with the same one for the baseline, but this network calls "
        "others for each. Use integrated_gradients, or use occlusion."
    )


@EXPLAINERS.register("deeplift")
@dataclass(frozen=True)
class DeepLIFT(Explainer):
    """Shares out score(image) - score(baseline) by following the differences of every activation back to the pixels.

    attribution = (x - z) * product of multipliers, which are (f(x) - f(z)) / (x - z) for each activation function and
    derivatives for all linear operations; a max pooling shares its change between the places of both maxima, a product
    of two maps (squeeze and excite) evenly between the two. Where the network consists of these alone, the values add
    up to score(x) - score(z). Attention, softmax and layer norm have no such rule and keep their derivatives: how far
    the values then miss is in `details` ("gap", "difference") and in the notes.

    Misleads where the baseline does (see integrated_gradients), and where the notes report a gap.

    Args:
        baseline: what the image is compared with: "black", "mean" (the image's mean colour), "blur", "noise", a
            number, or a tensor in [0, 1].

    Cost: two forwards and one backward; memory for what enters each activation function.
    Source: Shrikumar et al. 2017, section 3.5.2, Rescale (arXiv 1704.02685); max pooling as in captum 0.9. Differs:
    captum sees modules of ten kinds, and neither functions nor ReLU6 nor products, fails on modules that are called
    twice, and does not add up where max pooling follows an activation or its windows overlap; where image and
    baseline nearly agree, the derivative half-way is used.
    """

    name: ClassVar[str] = "deeplift"
    title: ClassVar[str] = "DeepLIFT"
    family: ClassVar[str] = "gradient"
    unit: ClassVar[str] = "logit"
    needs: ClassVar[tuple[str, ...]] = ("gradients",)
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"baseline": BASELINES}

    baseline: Fill = "black"

    @property
    def cost(self) -> Cost:
        """The image and the baseline forward, one row back."""
        return Cost(forward=2, backward=1)

    def _attribute(self, work: MethodInput) -> MethodOutput:
        start = baseline_images(work, self.baseline)
        logits, targets, difference, slopes = _followed(work, start)
        attribution = work.spread(work.images - start) * slopes
        details = completeness(attribution, difference)
        cure = Message("the model has parts that DeepLIFT has no rule for; use integrated_gradients")
        note = completeness_note(details, "f(image) - f(baseline)", cure)
        return MethodOutput(attribution, targets, work.spread(logits), notes=[note], details=details)


def _followed(work: MethodInput, start: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return logits (u, K), targets (n,), score differences (n,) and products of multipliers (n, C, h, w)."""
    pixels, rescale = work.images.detach().clone().requires_grad_(), Rescale()
    with rescale.baselines():
        before = work.classifier.raw_logits(start)
    with rescale.images():
        logits = work.classifier.raw_logits(pixels)
    targets = work.targets(logits)
    with rescale.baselines():
        least = work.score(work.spread(before), targets)
    with rescale.images():
        scores = work.score(work.spread(logits), targets)
    slopes = row_slopes(work, scores, pixels)
    return logits.detach(), targets, (scores - least).detach(), slopes
