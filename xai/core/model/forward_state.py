"""State that a forward pass writes into modules, such as counters and caches. It is no part of what a model is."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from xai.core.model.fingerprint import Place, attributes, remember_caches
from xai.core.model.hooks import random_states_kept

_SMALL = 10_000_000  # buffers of more numbers are not compared
_TIMES = 8
_ROUNDING = 64  # units of rounding by which two answers to one image may differ
_AHEAD = (
    1,
    10,
    101,
    1_009,
    1_000_003,
)  # calls that counters are set ahead by: few, and many that no round period divides
_COUNTERS = 64  # numbers of a tensor that may count
_ABSENT = object()


def find_caches(before: "Snapshot", places: list[Place]) -> list[Place]:
    """Return which places are new buffers that are not saved with the weights, and remember that they are caches."""
    caches = [(part, name) for part, name in places if before.lacked(part, name)]
    remember_caches({part: before.buffers(part) for part, _ in caches})
    return caches


class Snapshot:
    """The attributes and the buffers of a module, to be compared with what they are later.

    Args:
        parts: the module and everything in it.
    """

    def __init__(self, parts: list[nn.Module]) -> None:
        self._parts = parts
        self._values = [dict(_values(part, copied=True)) for part in parts]
        self._buffers = {id(part): frozenset(part._buffers.keys()) for part in parts}

    def buffers(self, part: nn.Module) -> frozenset[str]:
        """Return the names of the buffers that a part had."""
        return self._buffers[id(part)]

    def lacked(self, part: nn.Module, name: str) -> bool:
        """Return whether a buffer is new and not saved with the weights."""
        return name in part._non_persistent_buffers_set and name not in self.buffers(part)

    def logged(self, place: Place) -> bool:
        """Return whether a place is a list to which entries were added and nothing else: a log of what came."""
        part, name = place
        index = next(k for k, other in enumerate(self._parts) if other is part)
        old: Any = self._values[index].get(name)
        new: Any = dict(_values(part)).get(name)
        lists = isinstance(old, tuple) and isinstance(new, tuple) and old[:1] == new[:1] == ("list",)
        return lists and len(old) == len(new) == 3 and old[1] <= new[1] and new[2][: old[1]] == old[2]

    def changes(self) -> list[Place]:
        """Return where something was written, added or removed since, buffers last."""
        places = list[Place]()
        for part, old in zip(self._parts, self._values, strict=True):
            new = dict(_values(part))
            places += [
                (part, name) for name in {**old, **new} if not _same(old.get(name, _ABSENT), new.get(name, _ABSENT))
            ]
        return sorted(places, key=lambda place: place[1] in place[0]._buffers)


def _values(part: nn.Module, *, copied: bool = False) -> Iterator[tuple[str, Any]]:
    yield from attributes(part)
    for name, buffer in part._buffers.items():
        if buffer is None or buffer.numel() <= _SMALL:
            yield name, buffer.clone() if copied and buffer is not None else buffer


def _same(old: Any, new: Any) -> bool:
    if not isinstance(old, Tensor) or not isinstance(new, Tensor):
        return old is new or (type(old) is type(new) and not isinstance(old, Tensor) and (old == new or old != old))
    return old.shape == new.shape and bool(torch.equal(old.nan_to_num(), new.nan_to_num()))


def written_always(
    forward: Callable[[], Tensor], between: Callable[[], object], parts: list[nn.Module]
) -> list[Place] | None:
    """Return where every answer writes, None where an answer was seen to change with what is written.

    What is written once, as a table of positions or a scale that the first image sets, is none of it.

    Args:
        forward: scores of one image.
        between: answers other images.
        parts: the module and everything in it.

    Cost: two forwards of the image and eight of the others, and six more where something counts.
    """
    first = _seeded(forward)
    for _ in range(_TIMES):
        _seeded(between)
    before = Snapshot(parts)
    if not _equal(first, _seeded(forward)):
        return None
    places = before.changes()
    counters = [_Counter(*place) for place in places]
    try:
        for ahead in _AHEAD:
            for counter in counters:
                counter.jump(ahead)
            if counters and not _equal(first, _seeded(forward)):
                return None
    finally:
        for counter in counters:
            counter.restore()
    return places


def _seeded(forward: Callable[[], Any]) -> Any:
    """Return an answer with the random numbers that all others have: noise is no dependence."""
    with random_states_kept():
        return forward()


def _equal(scores: Tensor, other: Tensor) -> bool:
    precision = torch.finfo(scores.dtype).eps if scores.is_floating_point() else 0.0
    return float((scores - other).abs().max()) <= _ROUNDING * precision * float(scores.abs().max())


class _Counter:
    """One number, or several whole ones, that change with each answer."""

    def __init__(self, part: nn.Module, name: str) -> None:
        self._part, self._name = part, name
        value = getattr(part, name, None)
        self._old = value.clone() if isinstance(value, Tensor) else value

    @property
    def _counts(self) -> bool:
        if isinstance(self._old, Tensor):
            whole = not self._old.is_floating_point() and self._old.dtype != torch.bool
            return self._old.numel() <= (_COUNTERS if whole else 1) and self._old.dtype != torch.bool
        return isinstance(self._old, int | float) and not isinstance(self._old, bool)

    def jump(self, ahead: int) -> None:
        """Set it ahead."""
        if isinstance(self._old, Tensor | int | float) and self._counts:
            self._set(self._old + ahead)

    def restore(self) -> None:
        """Set it back."""
        if self._counts:
            self._set(self._old)

    def _set(self, value: Any) -> None:
        if isinstance(value, Tensor):
            with torch.no_grad():
                getattr(self._part, self._name).copy_(value)
        else:
            setattr(self._part, self._name, value)
