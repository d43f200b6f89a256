"""Attributes of modules as values, and what a forward pass writes: counters and caches, no part of what a model is."""

import dis
import functools
import hashlib
import types
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai.core.model.hooks import parts_of, random_states_kept

_OWN = frozenset(vars(nn.Module()))  # of torch itself, `training` too
_PLAIN = (bool, int, float, complex, str, bytes, type(None), range, slice, torch.dtype, torch.device)
_DERIVED = ("_orig", "_g", "_v")  # pruning and norms of weights make a tensor of these parameters at each forward
_MANY, _DEEP, _SAMPLED = 1000, 4, 100_000  # entries of a container, containers in one another, numbers looked at


def attributes(part: nn.Module) -> Iterator[tuple[str, object]]:
    """Yield the names of a module's own attributes and their values as `described` gives them.

    Left out are what torch keeps in every module, weights that are made of parameters anew for each forward, and what a
    class names in `told_of_it`, which tells of the module and changes no answer.
    """
    skipped = _OWN | getattr(type(part), "told_of_it", frozenset())
    for name, value in vars(part).items():
        if name not in skipped and not any(name + end in part._parameters for end in _DERIVED):
            yield name, described(value)


def described(value: object, depth: int = _DEEP) -> object:
    """Return a value in a form whose `repr` is the same in every process and differs where the value does.

    Numbers and words stand for themselves; tensors and arrays for their content (a sample of it where they are large),
    functions for their code, data classes for their fields; of any other object only the type counts.
    """
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Tensor):
        return _content(value)
    if isinstance(value, np.ndarray | np.generic):
        return _array(np.asarray(value))
    if depth and (isinstance(value, types.SimpleNamespace) or (is_dataclass(value) and not isinstance(value, type))):
        return type(value).__qualname__, described(vars(value) if hasattr(value, "__dict__") else repr(value), depth)
    if depth and isinstance(value, Mapping):
        pairs = [(described(key, 0), described(one, depth - 1)) for key, one in list(value.items())[:_MANY]]
        return type(value).__name__, len(value), sorted(pairs, key=repr)
    if depth and isinstance(value, list | tuple | set | frozenset):
        found = [described(one, depth - 1) for one in list(value)[:_MANY]]
        return (
            type(value).__name__,
            len(value),
            sorted(found, key=repr) if isinstance(value, set | frozenset) else found,
        )
    return _function(value, depth) if callable(value) else type(value).__qualname__


def _content(tensor: Tensor) -> object:
    about = "Tensor", str(tensor.dtype), tuple(tensor.shape)
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type == "meta":
        return about
    flat = tensor.detach().reshape(-1)
    some = flat[:: -(-len(flat) // _SAMPLED) or 1].cpu().contiguous()
    return *about, hashlib.sha256(bytes(some.view(torch.uint8).numpy()) if len(some) else b"").hexdigest()


def _array(array: np.ndarray) -> object:
    about = "array", str(array.dtype), array.shape
    if array.dtype.hasobject:
        return about
    some = array.reshape(-1)[:: -(-array.size // _SAMPLED) or 1]  # without torch, which takes no turned or locked ones
    return *about, hashlib.sha256(some.tobytes()).hexdigest()


def _function(value: Any, depth: int) -> object:
    """Describe a function by its name, code, defaults and what it closes over; a class or a callable by its type."""
    if isinstance(value, functools.partial):
        return "partial", *(described(one, depth) for one in (value.func, value.args, value.keywords))
    if isinstance(value, types.MethodType):
        value = value.__func__
    name = getattr(value, "__qualname__", type(value).__qualname__)
    if not isinstance(value, types.FunctionType) or not depth:
        return str(getattr(value, "__module__", "")), name
    cells = [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]
    return name, _code(value.__code__), described([value.__defaults__, cells], depth - 1)


def _is_filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # not set yet
        return False


def _code(code: types.CodeType) -> str:
    inner = [_code(one) if isinstance(one, types.CodeType) else repr(one) for one in code.co_consts]
    return hashlib.sha256(repr((code.co_code, code.co_names, inner)).encode()).hexdigest()


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
Place = tuple[nn.Module, str]
_written: "weakref.WeakKeyDictionary[nn.Module, set[str]]" = weakref.WeakKeyDictionary()
_cached: "weakref.WeakKeyDictionary[nn.Module, frozenset[str]]" = weakref.WeakKeyDictionary()


def is_written(part: nn.Module, name: str) -> bool:
    """Return whether every forward writes an attribute or buffer on which no answer was seen to depend.

    So is a buffer that is not saved with the weights, in a module that makes such ones while it answers: a mask or a
    table for one more number of images, or for one more size.
    """
    if name in _written.get(part, ()):
        return True
    return part in _cached and name in part._non_persistent_buffers_set and name not in _cached[part]


def state_of(module: nn.Module) -> tuple[Any, ...]:
    """Return what tells a module from itself changed: its parts, hooks, plain settings, and versions of its tensors.

    Weights are not read: a tensor written to has another version, and one put in its place another identity. What a
    forward writes and no answer depends on is left out.
    """
    parts = parts_of(module)
    settings = [
        (k, name, value)
        for k, part in enumerate(parts)
        for name, value in attributes(part)
        if not is_written(part, name)
    ]
    hooks = [(*part._forward_hooks, *part._forward_pre_hooks) for part in parts]
    tensors = [tensor for part in parts for tensor in (*part._parameters.values(), *kept_buffers(part).values())]
    versions = [(id(t), 0 if t.is_inference() else t._version) for t in tensors if t is not None]
    return tuple(map(id, parts)), repr(settings), tuple(map(tuple, hooks)), tuple(versions)


def kept_buffers(part: nn.Module) -> dict[str, Tensor | None]:
    """Return a module's own buffers without those that a forward writes and no answer depends on."""
    if part not in _written and part not in _cached:
        return part._buffers
    return {name: buffer for name, buffer in part._buffers.items() if not is_written(part, name)}


def writes_itself(module: nn.Module) -> bool:
    """Return whether a forward was seen to write into the module without any effect on the answer."""
    return any(part in _written or part in _cached for part in parts_of(module))


def leave_out(places: list[Place]) -> None:
    """Remember that every forward writes at these places, and that no answer was seen to depend on it."""
    for part, name in places:
        _written.setdefault(part, set()).add(name)


def find_caches(before: "Snapshot", places: list[Place]) -> list[Place]:
    """Return which places are new buffers that are not saved with the weights, and remember that they are caches."""
    found = [(part, name) for part, name in places if before.lacked(part, name)]
    _cached.update({part: before.buffers(part) for part, _ in found if part not in _cached})
    return found


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
        index = next(k for k, one in enumerate(self._parts) if one is part)
        old: Any = self._values[index].get(name)
        new: Any = dict(_values(part)).get(name)
        lists = isinstance(old, tuple) and isinstance(new, tuple) and old[:1] == new[:1] == ("list",)
        return lists and len(old) == len(new) == 3 and old[1] <= new[1] and new[2][: old[1]] == old[2]

    def changes(self) -> list[Place]:
        """Return where something was written, added or removed since, buffers last."""
        found = list[Place]()
        for part, old in zip(self._parts, self._values, strict=True):
            new = dict(_values(part))
            found += [
                (part, name) for name in {**old, **new} if not _same(old.get(name, _ABSENT), new.get(name, _ABSENT))
            ]
        return sorted(found, key=lambda place: place[1] in place[0]._buffers)


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
    answer: Callable[[], Tensor], between: Callable[[], object], parts: list[nn.Module]
) -> list[Place] | None:
    """Return where every answer writes, None where an answer was seen to change with what is written.

    What is written once, as a table of positions or a scale that the first image sets, is none of it.

    Args:
        answer: scores of one image.
        between: answers other images.
        parts: the module and everything in it.

    Cost: two forwards of the image and eight of the others, and six more where something counts.
    """
    first = _seeded(answer)
    for _ in range(_TIMES):
        _seeded(between)
    before = Snapshot(parts)
    if not _equal(first, _seeded(answer)):
        return None
    places = before.changes()
    counters = [_Counter(*place) for place in places]
    try:
        for ahead in _AHEAD:
            for counter in counters:
                counter.jump(ahead)
            if counters and not _equal(first, _seeded(answer)):
                return None
    finally:
        for counter in counters:
            counter.restore()
    return places


def _seeded(answer: Callable[[], Any]) -> Any:
    """Return an answer with the random numbers that all others have: noise is no dependence."""
    with random_states_kept():
        return answer()


def _equal(one: Tensor, other: Tensor) -> bool:
    precision = torch.finfo(one.dtype).eps if one.is_floating_point() else 0.0
    return float((one - other).abs().max()) <= _ROUNDING * precision * float(one.abs().max())


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


def may_write(parts: list[nn.Module]) -> bool:
    """Return whether the code of any forward sets attributes, or changes buffers of its module in place."""
    return any(_Code.of(type(part)).sets or (part._buffers and _Code.of(type(part)).in_place) for part in parts)


@dataclass(frozen=True)
class _Code:
    """What the methods of a class do that its forward may call."""

    sets: bool
    in_place: bool

    @staticmethod
    def of(kind: type) -> "_Code":
        if kind not in _codes_of:
            codes = list(_reachable(kind))
            _codes_of[kind] = _Code(any(map(_sets, codes)), any(map(_in_place, codes)))
        return _codes_of[kind]


_codes_of: "weakref.WeakKeyDictionary[type, _Code]" = weakref.WeakKeyDictionary()


def _reachable(kind: type) -> Iterator[CodeType]:
    """Yield the code of forward and of the methods that it names, of classes outside of torch."""
    waiting, seen = ["forward"], set[str]()
    while waiting:
        name = waiting.pop()
        owner = next((base for base in kind.__mro__ if name in vars(base)), nn.Module)
        if name in seen or owner.__module__.partition(".")[0] == "torch":
            continue
        seen.add(name)
        for code in _codes(vars(owner)[name]):
            yield code
            waiting.extend(code.co_names)


def _codes(member: Any) -> Iterator[CodeType]:
    member = getattr(member, "fget", None) or getattr(member, "__func__", member)  # properties, static methods
    member = getattr(member, "__wrapped__", member)
    if isinstance(member, FunctionType):
        yield from _nested(member.__code__)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _sets(code: CodeType) -> bool:
    named = {"setattr", "register_buffer", "__dict__", "__setattr__"} & set(code.co_names)
    return bool(named) or any(step.opname == "STORE_ATTR" for step in dis.get_instructions(code))


def _in_place(code: CodeType) -> bool:
    """Return whether a method whose name ends in an underscore is called, or an item set."""
    named = any(name.endswith("_") and not name.startswith("_") for name in code.co_names)
    return named or any(step.opname == "STORE_SUBSCR" for step in dis.get_instructions(code))
