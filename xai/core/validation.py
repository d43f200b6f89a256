"""Arguments checked where they are given: the settings of a classifier, and radii."""

import math
import reprlib
from collections.abc import Mapping, Sequence, Set
from math import isclose
from operator import index
from textwrap import shorten
from typing import Any

import torch
from torch import nn

from xai.core.runtime.batching import is_out_of_memory
from xai.errors import InputError, RangeError, ShapeError, UnsupportedModelError

_LARGEST = 10.0  # of mean and std of pixels in [0, 1]: beyond it they are in grey levels
_NOT_NUMBERS = (TypeError, ValueError, OverflowError, RuntimeError)  # the last: a tensor with more than one value


def checked_channels(channels: Any) -> int:
    """Return the number of channels.

    Raises:
        ShapeError: not a whole number of at least 1.
    """
    found = _whole(channels)
    if found is None or found < 1:
        raise ShapeError(
            f"Expected `channels` as a whole number of at least 1, but got {_shown(channels)}. "
            "Give 3 for colour or 1 for grey."
        )
    return found


def checked_per_channel(values: Any, default: float, channels: int, name: str) -> tuple[float, ...]:
    """Return one finite number per channel, all `default` when `values` is None.

    Raises:
        ShapeError: no numbers, or another count than of channels.
        RangeError: NaN or infinity, or a `std` that is not above 0.
    """
    if values is None:
        return (default,) * channels
    found = _numbers(values)
    if found is None or len(found) != channels:
        raise ShapeError(
            f"Expected `{name}` as {channels} number(s), one per channel, but got {_shown(values)}. "
            f"Write {name}={[0.5] * min(channels, 4)}, with your own numbers."
        )
    if not all(map(math.isfinite, found)) or (name == "std" and min(found) <= 0):
        wanted = "above 0" if name == "std" else "without NaN and infinity"
        raise RangeError(
            f"Expected `{name}` {wanted}, but got {_shown(found)}. Give what the model was trained with, in the scale "
            "of pixels in [0, 1]."
        )
    if max(map(abs, found)) > _LARGEST:
        raise RangeError(
            f"Expected `{name}` in the scale of pixels in [0, 1], but got {_shown(found)}. Divide by 255 if it "
            "is in grey levels."
        )
    return found


def checked_size(size: Any) -> tuple[int, int] | None:
    """Return (height, width), or None for None.

    Raises:
        ShapeError: anything else than two whole numbers of at least 1.
    """
    if size is None:
        return None
    items = _items(size)
    sides = [side for side in map(_whole, items) if side is not None and side >= 1]
    if len(sides) != 2 or len(items) != 2:
        side = _whole(size) or 224
        raise ShapeError(
            f"Expected `input_size` as (height, width) in whole pixels, but got {_shown(size)}. "
            f"Write input_size=({side}, {side}), for instance."
        )
    return sides[0], sides[1]


def checked_labels(labels: Any) -> tuple[str, ...] | None:
    """Return the class names, or None for None.

    Raises:
        InputError: a single string, something without order, or no name at all.
    """
    if labels is None:
        return None
    found = () if isinstance(labels, Mapping | Set) else tuple(str(label) for label in _items(labels))
    if not found:
        raise InputError(
            f"Expected `labels` as a list of class names in the order of the outputs, but got {_shown(labels)}. "
            'Write labels=["cat", "dog"], for instance, or leave it out.'
        )
    return found


def checked_crop_ratio(ratio: Any) -> float:
    """Return the side of the crop as a share of the resized picture.

    Raises:
        RangeError: not in (0, 1].
    """
    found = _numbers([ratio])
    if found is None or not 0 < found[0] <= 1:
        raise RangeError(
            f"Expected `crop_ratio` above 0 and at most 1, but got {_shown(ratio)}. 0.875 is the usual one."
        )
    return found[0]


def move(module: nn.Module, device: str | torch.device | None) -> None:
    """Move a module to a device; None leaves it where it is.

    Raises:
        InputError: no such device here.
    """
    if device is None:
        return
    try:
        module.to(torch.device(device))
    except (RuntimeError, AssertionError, TypeError) as error:
        if is_out_of_memory(error):
            raise
        raise InputError(
            f"Expected a `device` that the module can go to, such as 'cpu', but got {str(device)!r} "
            f'({shorten(str(error), 100)}). Leave it out, or let `xai.load(module, device="auto")` choose.'
        ) from error


def unwrapped(module: Any) -> nn.Module:
    """Return the network behind torch.compile and DataParallel, whose hooks would not fire.

    Raises:
        UnsupportedModelError: no module.
    """
    if not isinstance(module, nn.Module):
        raise UnsupportedModelError(
            f"Expected a torch.nn.Module, but got {type(module).__name__}. Load models with `xai.load(...)`, or wrap "
            "the function in a module."
        )
    inner = getattr(module, "_orig_mod", module)
    if isinstance(inner, nn.DataParallel | nn.parallel.DistributedDataParallel):
        inner = inner.module
    if not isinstance(inner, nn.Module):
        raise UnsupportedModelError(f"{type(module).__name__} holds no module.")
    return inner


def _whole(value: Any) -> int | None:
    try:
        return index(value)
    except _NOT_NUMBERS:
        return None


def _items(values: Any) -> list[Any]:
    try:
        return [] if isinstance(values, str | bytes) else list(values)
    except TypeError:
        return []


def _numbers(values: Any) -> tuple[float, ...] | None:
    if isinstance(values, str | bytes | Mapping):
        return None
    try:
        return tuple(float(value) for value in values)
    except _NOT_NUMBERS:
        return None


def _shown(value: Any) -> str:
    return reprlib.repr(value)


_SHARES = {"linf": 0.5, "l2": 0.25, "l1": 0.25}  # of the distance from black to white: beyond it a scale is doubted
_LEVELS = 255
_DIVIDED = 64  # k/255/255 with k up to this was divided twice


def check_eps(eps: float, norm: str, name: str = "eps") -> float:
    """Return a radius.

    Raises:
        RangeError: no finite number of at least 0, or an linf radius above 1, the distance from black to white.
    """
    if isinstance(eps, bool) or not isinstance(eps, int | float) or not 0 <= eps < float("inf"):
        raise RangeError(
            f"Expected `{name}` as a number of at least 0 in the scale of pixels in [0, 1] (8/255, not 8), "
            f"but got {eps!r}."
        )
    if norm == "linf" and eps > 1:
        raise RangeError(
            f"Expected `{name}` in the scale of pixels in [0, 1], from black to white, but got {eps:.4g}. "
            f"Write {eps:.4g}/255 if grey levels are meant."
        )
    return float(eps)


def radius_doubts(radii: Sequence[float], norm: str, pixels: int) -> tuple[str, ...]:
    """Return what speaks for another scale than that of pixels in [0, 1].

    Args:
        radii: as used.
        norm: "linf", "l2" or "l1".
        pixels: numbers in one image.
    """
    widths = {"linf": 1.0, "l2": pixels**0.5, "l1": float(pixels)}
    largest, limit = max(radii), _SHARES[norm] * widths[norm]
    found = []
    if largest > limit:
        part = f"more than {_SHARES[norm]:.0%} of the distance from black to white"
        found.append(f"eps {largest:.4g} ({norm}) is {part}: radii are in the scale of pixels in [0, 1], 8/255, not 8")
    for eps in radii:
        times = eps * _LEVELS**2
        if norm == "linf" and 1 <= round(times) <= _DIVIDED and isclose(times, round(times), rel_tol=1e-6):
            found.append(f"eps {eps:.3g} is {round(times)}/255/255: it looks divided by 255 twice")
    return tuple(found)
