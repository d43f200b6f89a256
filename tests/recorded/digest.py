"""Short records of results: what is kept of a number, a word or an array, and when two of them are the same."""

import math
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np
import torch

TOLERANCE = 1e-6  # relative to the scale of each entry
_ZERO = 1e-12  # numbers that are 0 but for rounding have no scale of their own
# Differences of mean kernels of order 1 in float32: the processor's rounding of those, 6e-8, is in what is left.
_KERNEL_SCALE = {"drift": 0.01}
_EXACT = 1e-11  # of arrays of whole numbers, whose sums are exact in float64
_FEW = 6  # single entries kept of an array
_LONGEST = 24  # texts kept one by one

# word of a result today -> word that was recorded; for words of the vocabulary only
RENAMED = {
    "too_few_images": "too_few_pictures",
    "unbounded_attack_fails": "unbounded_eps_does_not_fool",
    "out-of-distribution": "foreign",
    "in-distribution": "ordinary",
}


def digest(value: Any) -> Any:
    """Return a record of one value, ready for JSON.

    Args:
        value: a number, text, truth value, None, enum, tensor or array, or a sequence of those.

    Returns:
        The value itself where it is short; of an array of numbers its shape, kind, sums, projections on fixed random
        vectors and a few entries; of many texts how often each occurs.
    """
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool | np.bool_):
        return value if value is None else bool(value)
    if isinstance(value, str):
        return RENAMED.get(str(value), str(value))
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return _short(value) if math.isfinite(value) else str(float(value))
    return _of_many(value)


def _of_many(value: Any) -> Any:
    if isinstance(value, Mapping):
        raise TypeError("Name the entries of a mapping one by one, or give its values: its keys are words.")
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return _of_numbers(value)
    items = list(value.ravel()) if isinstance(value, np.ndarray) else list(value)
    if items and all(isinstance(item, str | Enum) for item in items) and len(items) > _LONGEST:
        return _of_texts([digest(item) for item in items])
    if len(items) > _LONGEST // 2 and all(_is_row(item) for item in items) and len(set(map(len, items))) == 1:
        return [_of_numbers(np.array(column, dtype=float)) for column in zip(*items, strict=True)]  # None becomes NaN
    return [digest(item) for item in items]


def _is_row(item: Any) -> bool:
    return isinstance(item, list | tuple) and all(value is None or isinstance(value, int | float) for value in item)


def _of_texts(words: Sequence[str]) -> dict[str, Any]:
    """Return how often each word occurs, and the sum of the places where it does."""
    return {word: [words.count(word), sum(k for k, one in enumerate(words) if one == word)] for word in set(words)}


def _of_numbers(array: np.ndarray) -> dict[str, Any]:
    flat = array.astype(np.float64).ravel()
    finite = np.isfinite(flat)
    values = np.where(finite, flat, 0.0)
    directions = np.random.default_rng(0).standard_normal((3, len(values)))
    places = np.unique(np.linspace(0, len(values) - 1, _FEW).round().astype(int)) if len(values) else []
    return {
        "shape": list(array.shape),
        "kind": array.dtype.kind.replace("u", "i"),
        "not_finite": [int(np.isnan(flat).sum()), int(np.isposinf(flat).sum()), int(np.isneginf(flat).sum())],
        "sum": _short(values.sum()),
        "absolute_sum": _short(np.abs(values).sum()),
        "norm": _short(np.sqrt((values**2).sum())),
        "largest": _short(np.abs(values).max(initial=0.0)),
        "projections": [_short(row @ values) for row in directions],
        "entries": [_short(values[place]) for place in places],
    }


def _short(value: float) -> float:
    return float(f"{value:.13g}")


def least_scale(name: str) -> float:
    """Return the least scale of single numbers of a call: that of what they are differences of; 0 for most."""
    return _KERNEL_SCALE.get(name.partition(" ")[0], 0.0)


def differences(recorded: Any, found: Any, place: str = "", least: float = 0.0) -> Iterator[str]:
    """Yield what differs between two records, each with its place and by how much of its scale.

    Args:
        recorded: of `digest`, or a mapping of such.
        found: likewise.
        place: what the record is called in the sentences.
        least: scale of single numbers at least, see `least_scale`.
    """
    if isinstance(recorded, Mapping) and isinstance(found, Mapping):
        yield from _of_mappings(recorded, found, place, least)
    elif isinstance(recorded, list) and isinstance(found, list):
        if len(recorded) != len(found):
            yield f"{place}: {len(recorded)} values were recorded, {len(found)} came"
        for k, (before, after) in enumerate(zip(recorded, found, strict=False)):
            yield from differences(before, after, f"{place}[{k}]", least)
    elif type(recorded) is float and type(found) is float:
        yield from _apart(recorded, found, max(abs(recorded), least), TOLERANCE, place)
    elif recorded != found or type(recorded) is not type(found):
        yield f"{place}: {recorded!r} was recorded, {found!r} came"


def _of_mappings(recorded: Mapping[str, Any], found: Mapping[str, Any], place: str, least: float) -> Iterator[str]:
    if recorded.keys() != found.keys():
        yield f"{place}: recorded and not there: {sorted(recorded.keys() - found.keys())}; there and not recorded: " + (
            f"{sorted(found.keys() - recorded.keys())}"
        )
    elif "projections" in recorded:
        yield from _of_arrays(recorded, found, place)
    else:
        for key in recorded:
            yield from differences(recorded[key], found[key], f"{place}/{key}" if place else key, least)


def _of_arrays(recorded: Mapping[str, Any], found: Mapping[str, Any], place: str) -> Iterator[str]:
    for key in ("shape", "kind", "not_finite"):
        if recorded[key] != found[key]:
            yield f"{place}: {key} {recorded[key]} was recorded, {found[key]} came"
            return
    tolerance = TOLERANCE if recorded["kind"] == "f" else _EXACT
    scales = {"sum": "absolute_sum", "absolute_sum": "absolute_sum", "norm": "norm", "largest": "largest"}
    for key, scale in scales.items():
        yield from _apart(recorded[key], found[key], recorded[scale], tolerance, f"{place}.{key}")
    for key, scale in (("projections", "norm"), ("entries", "largest")):
        for k, (before, after) in enumerate(zip(recorded[key], found[key], strict=True)):
            yield from _apart(before, after, recorded[scale], tolerance, f"{place}.{key}[{k}]")


def _apart(recorded: float, found: float, scale: float, tolerance: float, place: str) -> Iterator[str]:
    apart = abs(recorded - found)
    if apart > tolerance * scale + _ZERO:
        share = apart / scale if scale else math.inf
        yield f"{place}: {recorded:.10g} was recorded, {found:.10g} came ({share:.1e} of its scale)"
