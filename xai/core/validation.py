"""Arguments checked where they are given: every validator that more than one place needs."""

import math
import reprlib
from collections.abc import Iterable, Mapping, Sequence, Set, Sized
from operator import index
from typing import Any, TypeVar, cast

import numpy as np

from xai.core.results.message import Message
from xai.errors import InputError, NameLookupError, RangeError, ShapeError

T = TypeVar("T")
_SEED_LIMIT = 1 << 63
_LARGEST = 10.0  # of mean and std of pixels in [0, 1]: beyond it they are in grey levels
_NOT_NUMBERS = (TypeError, ValueError, OverflowError, RuntimeError)  # the last: a tensor with more than one value


def check_whole(
    name: str, value: T, least: int = 1, most: int | None = None, *, optional: bool = False, cure: str = ""
) -> T:
    """Return a whole number as an `int`.

    Args:
        name: of the argument, for the error.
        value: an int, a numpy integer or an integer tensor of one value; True and False are none.
        least: the smallest one allowed.
        most: the largest one allowed; None for no limit.
        optional: None is allowed and returned.
        cure: a sentence that ends the error.

    Raises:
        RangeError: anything else.

    Example:
        >>> check_whole("steps", 10)
        10
    """
    if optional and value is None:
        return value
    whole = _whole(value)
    if whole is None or whole < least or (most is not None and whole > most):
        span = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise RangeError(_expected(name, f"as a whole number {span}", value, cure))
    return cast(T, whole)


def check_number(name: str, value: T, interval: str, *, optional: bool = False, cure: str = "") -> T:
    """Return a finite number inside an interval as a `float`.

    Args:
        name: of the argument, for the error.
        value: a number; True, False, NaN and text are none.
        interval: such as "[0, 1]" with both ends, "(0, 1)" without them, "[0, inf)" for any from 0.
        optional: None is allowed and returned.
        cure: a sentence that ends the error.

    Raises:
        RangeError: anything else.

    Example:
        >>> check_number("width", 0.25, "(0, 1]")
        0.25
    """
    if optional and value is None:
        return value
    low, high = map(float, interval[1:-1].split(","))
    number = _number(value)
    if number is None or not _is_inside(number, low, high, interval):
        raise RangeError(_expected(name, _in_words(low, high, interval), value, cure))
    return cast(T, number)


def check_level(level: float, name: str = "level") -> float:
    """Return the level of a confidence interval, from 0.5 to below 1.

    Raises:
        RangeError: anything else.
    """
    return check_number(name, level, "[0.5, 1)", cure="95 % is 0.95.")


def check_alpha(alpha: float, name: str = "alpha") -> float:
    """Return a significance level or share of errors, above 0 and below 1.

    Raises:
        RangeError: anything else.
    """
    return check_number(name, alpha, "(0, 1)", cure="5 % is 0.05.")


def check_choice(kind: str, value: T, known: Iterable[str], *, optional: bool = False) -> T:
    """Return a name that is one of those known.

    Args:
        kind: of the name, for the error: "norm", "setting of pgd".
        value: the name.
        known: the names to choose from.
        optional: None is allowed and returned.

    Raises:
        NameLookupError: anything else; near names are suggested.

    Example:
        >>> check_choice("norm", "l2", ("linf", "l2", "l1"))
        'l2'
    """
    names = list(known)
    if not (isinstance(value, str) and value in names) and not (optional and value is None):
        raise NameLookupError(kind, value, names)
    return value


def check_choices(kind: str, values: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """Return names that are all known, such as the keys of settings.

    Raises:
        NameLookupError: the first one that is not; near names are suggested.
    """
    names = list(known)
    return tuple(check_choice(kind, value, names) for value in values)


def check_flag(name: str, value: T, *, optional: bool = False) -> T:
    """Return True or False.

    Raises:
        RangeError: anything else, but None where it is `optional`.
    """
    if not isinstance(value, bool) and not (optional and value is None):
        raise RangeError(_expected(name, "as True or False", value))
    return value


def check_length(name: str, values: Sized, count: int, of: str = "images") -> None:
    """Raise unless there is one value for each of `count` things.

    Raises:
        ShapeError: more or fewer.
    """
    if len(values) != count:
        raise ShapeError(
            f"Expected `{name}` for {count} {of}, one each, but got {len(values)}. Give ({count},) values."
        )


def check_seed(seed: object) -> int:
    """Return the seed as a plain integer.

    Raises:
        RangeError: no whole number, or one that does not fit into 64 bits.
    """
    whole = _whole(seed)
    if whole is None or not -_SEED_LIMIT <= whole < _SEED_LIMIT:
        raise RangeError(_expected("seed", "as a whole number of at most 64 bits", seed))
    return whole


def check_progress(progress: T) -> T:
    """Return what reports progress.

    Raises:
        InputError: neither None, True, False nor a callable.
    """
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        words = "as None, True for a bar, or a callable `(done, total)`"
        raise InputError(_expected("progress", words, progress))
    return progress


_SHARES = {"linf": 0.5, "l2": 0.25, "l1": 0.25}  # of the distance from black to white: beyond it a scale is doubted
_LEVELS = 255
_DIVIDED = 64  # k/255/255 with k up to this was divided twice


def check_eps(eps: float, norm: str, name: str = "eps") -> float:
    """Return a radius.

    Raises:
        RangeError: no finite number of at least 0, or an linf radius above 1, the distance from black to white.
    """
    radius = _number(eps)
    if radius is None or not 0 <= radius < math.inf:
        raise RangeError(
            _expected(name, "as a number of at least 0 in the scale of pixels in [0, 1] (8/255, not 8)", eps)
        )
    if norm == "linf" and radius > 1:
        raise RangeError(
            f"Expected `{name}` in the scale of pixels in [0, 1], from black to white, but got {radius:.4g}. "
            f"Write {radius:.4g}/255 if grey levels are meant."
        )
    return radius


def radius_doubts(radii: Sequence[float], norm: str, pixels: int) -> tuple[str, ...]:
    """Return the evidence for another scale than that of pixels in [0, 1].

    Args:
        radii: as used.
        norm: "linf", "l2" or "l1".
        pixels: numbers in one image.
    """
    widths = {"linf": 1.0, "l2": pixels**0.5, "l1": float(pixels)}
    largest, limit = max(radii), _SHARES[norm] * widths[norm]
    doubts = []
    if largest > limit:
        template = (
            "eps {eps:.4g} ({norm}) is more than {share:.0%} of the distance from black to white: radii are in the "
            "scale of pixels in [0, 1], 8/255, not 8"
        )
        doubts.append(Message(template, eps=largest, norm=norm, share=_SHARES[norm]))
    for eps in radii:
        times = eps * _LEVELS**2
        if norm == "linf" and 1 <= round(times) <= _DIVIDED and math.isclose(times, round(times), rel_tol=1e-6):
            template = "eps {eps:.3g} is {level}/255/255: it looks divided by 255 twice"
            doubts.append(Message(template, eps=eps, level=round(times)))
    return tuple(doubts)


def checked_channels(channels: Any) -> int:
    """Return the number of channels.

    Raises:
        ShapeError: not a whole number of at least 1.
    """
    count = _whole(channels)
    if count is None or count < 1:
        cure = "Give 3 for colour or 1 for grey."
        raise ShapeError(_expected("channels", "as a whole number of at least 1", channels, cure))
    return count


def checked_per_channel(values: Any, default: float, channels: int, name: str) -> tuple[float, ...]:
    """Return one finite number per channel, all `default` when `values` is None.

    Raises:
        ShapeError: no numbers, or another count than of channels.
        RangeError: NaN or infinity, or a `std` that is not above 0.
    """
    if values is None:
        return (default,) * channels
    numbers = _numbers(values)
    if numbers is None or len(numbers) != channels:
        raise ShapeError(
            f"Expected `{name}` as {channels} number(s), one per channel, but got {_shown(values)}. "
            f"Write {name}={[0.5] * min(channels, 4)}, with your own numbers."
        )
    if not all(map(math.isfinite, numbers)) or (name == "std" and min(numbers) <= 0):
        permitted = "above 0" if name == "std" else "without NaN and infinity"
        raise RangeError(
            f"Expected `{name}` {permitted}, but got {_shown(numbers)}. Give what the model was trained with, in the "
            "scale of pixels in [0, 1]."
        )
    if max(map(abs, numbers)) > _LARGEST:
        raise RangeError(
            f"Expected `{name}` in the scale of pixels in [0, 1], but got {_shown(numbers)}. Divide by 255 if it "
            "is in grey levels."
        )
    return numbers


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


def checked_class_names(class_names: Any) -> tuple[str, ...] | None:
    """Return the class names, or None for None.

    Raises:
        InputError: a single string, something without order, or no name at all.
    """
    if class_names is None:
        return None
    names = () if isinstance(class_names, Mapping | Set) else tuple(map(str, _items(class_names)))
    if not names:
        raise InputError(
            f"Expected `class_names` as a list in the order of the outputs, but got {_shown(class_names)}. "
            'Write class_names=["cat", "dog"], for instance, or leave it out.'
        )
    return names


def checked_crop_ratio(ratio: Any) -> float:
    """Return the side of the crop as a share of the resized image.

    Raises:
        RangeError: not in (0, 1].
    """
    return float(check_number("crop_ratio", ratio, "(0, 1]", cure="0.875 is the usual one."))


def _whole(value: Any) -> int | None:
    try:
        return None if isinstance(value, bool) else index(value)
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


def _number(value: object) -> float | None:
    if isinstance(value, bool | np.bool_) or getattr(value, "ndim", 0) != 0:
        return None
    return (_numbers([value]) or (None,))[0] if not isinstance(value, str | bytes) else None


def _is_inside(number: float, low: float, high: float, interval: str) -> bool:
    above = number > low if interval[0] == "(" else number >= low
    below = number < high if interval[-1] == ")" else number <= high
    return above and below and math.isfinite(number)


def _in_words(low: float, high: float, interval: str) -> str:
    open_low, open_high = interval[0] == "(", interval[-1] == ")"
    if high == math.inf:
        return f"above {low:g}" if open_low else f"of at least {low:g}"
    if open_low:
        return f"above {low:g} and {'below' if open_high else 'at most'} {high:g}"
    return f"from {low:g} to {'below ' if open_high else ''}{high:g}"


def _expected(name: str, words: str, value: object, cure: str = "") -> str:
    return f"Expected `{name}` {words}, but got {_shown(value)}. {cure}".rstrip()
