"""The scale of pixels that a whole model in a file expects, from what its first operations do to them."""

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

_BRIGHT = 1 / 64  # a slope below this expects pixels from 0 to 255
_DIM = 1 / 16  # a slope below this may do so
_DARKEST, _LIGHTEST = 2.0, 260.0  # of a mean that lies between 0 and 255, and not between 0 and 1
_LEVELS = (0.0, 0.5, 1.0)
_STRAIGHT = 1e-3
_INPUT = {"convolution": 0, "_convolution": 0, "linear": 0, "mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1}
_BYTES = 1 / 255
NO_SCALE = "the file says nothing of mean and std: give those of the training, unless the network does it itself"
SCALED = "its first operations expect it: it gets pixels from 0 to 255"


class _UntilWeights(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Ends a forward at its first convolution or matrix product, and keeps what goes into that."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.entering: Tensor | None = None

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        place = _INPUT.get(function.overloadpacket.__name__)
        if self.entering is None and place is not None:
            self.entering = args[place].detach().double()
        if self.entering is not None:
            raise RuntimeError("the first layer with weights is reached")
        return function(*args, **(kwargs or {}))


def scale_settings(network: nn.Module, sizes: Sequence[int], notes: list[str]) -> dict[str, Any]:
    """Return the `std` of a classifier that gives a model the pixels that it expects, and note what was found.

    Pixels of one value go through the model up to its first layer with weights, for three values. Where the answers lie
    on a line, its slope and the value that it takes to 0 tell the scale: a division by 255, means near 100.

    Args:
        network: takes images (N, C, H, W).
        sizes: (1, C, H, W) that it runs on.
        notes: to which is added.

    Cost: three forwards of one image, each up to the first layer with weights.
    """
    found = _line(network, sizes)
    if found is None or found == (1.0, 0.0):
        notes.append(NO_SCALE)
        return {}
    slope, zero = found
    if abs(slope) < _BRIGHT or _DARKEST < zero < _LIGHTEST:
        notes.append(SCALED)
        return {"std": (_BYTES,) * sizes[1]}
    if abs(slope) < _DIM:
        notes.append(
            f"its first operations divide pixels by {1 / abs(slope):.3g}: if it was trained on pixels from 0 to 255, "
            f"pass std={[round(_BYTES, 6)] * sizes[1]}"
        )
    return {}


def _line(network: nn.Module, sizes: Sequence[int]) -> tuple[float, float] | None:
    """Return the slope and the zero of what goes into the first weights, by the pixels; None where it is no line."""
    values = [_entering(network, torch.full(tuple(sizes), level)) for level in _LEVELS]
    low, middle, high = (math.nan if value is None else value for value in values)
    slope = high - low
    if not math.isfinite(slope) or slope == 0 or abs(middle - (low + high) / 2) > _STRAIGHT * abs(slope):
        return None
    return (1.0, 0.0) if abs(slope - 1) < _STRAIGHT and abs(low) < _STRAIGHT else (slope, -low / slope)


def _entering(network: nn.Module, images: Tensor) -> float | None:
    """Return the median of what goes into the first layer with weights; None where none is reached."""
    until = _UntilWeights()
    with suppress(Exception), torch.no_grad(), until:  # Keras wraps errors; others are told by the model's first look
        network(images)
    return None if until.entering is None else float(until.entering.median())
