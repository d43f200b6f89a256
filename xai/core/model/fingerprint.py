"""The fingerprint of a model: its weights and settings.

It comes as a digest and as a state that is quick to compare.
"""

import dis
import functools
import hashlib
import types
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_views: "weakref.WeakKeyDictionary[nn.Module, tuple[list[int], list[list[Tensor]]]]" = weakref.WeakKeyDictionary()
_known: "weakref.WeakKeyDictionary[nn.Module, tuple[object, str]]" = weakref.WeakKeyDictionary()


def fingerprint_module(module: nn.Module, *, fresh: bool = False) -> str:
    """Return the SHA-256 of all weights, buffers and the modules' names and settings.

    Settings are all attributes that are numbers, words, tensors, arrays, functions (by their code) or containers of
    these; of other objects the type counts. What every forward was seen to write without any effect on the answer is
    left out (`is_written`).
    Remembered per module until a tensor, a module or a setting is replaced; `fresh` reads all weights again,
    which also sees a write through `.data` that leaves the ends of a tensor alone. Costs one pass over the weights.
    """
    state = _quick_state(module)
    known = _known.get(module)
    if known is not None and known[0] == state and not fresh:
        return known[1]
    digest = hashlib.sha256()
    named = list(module.named_modules())
    for (name, part), settings in zip(named, settings_of([part for _, part in named]), strict=True):
        digest.update(f"{name}:{type(part).__module__}.{type(part).__qualname__}({part.extra_repr()});".encode())
        digest.update(repr(settings).encode())
    for name, tensor in [*module.named_parameters(), *_buffers(module)]:
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(_module_content(tensor))
    _known[module] = (state, digest.hexdigest())
    return digest.hexdigest()


def fingerprint_mapping(settings: Mapping[str, Any]) -> str:
    """Return the SHA-256 of plain settings."""
    return hashlib.sha256(repr(sorted(settings.items())).encode()).hexdigest()


def _buffers(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Return the buffers by name, each once, without those that a forward writes and no answer depends on."""
    left_out = {id(b) for part in parts_of(module) for name, b in part._buffers.items() if is_written(part, name)}
    return [(name, buffer) for name, buffer in module.named_buffers() if id(buffer) not in left_out]


def _module_content(tensor: Tensor) -> bytes:
    flat = tensor.detach().to("cpu").contiguous().flatten()
    return bytes(flat.view(torch.uint8).numpy()) if flat.numel() else b""


def _quick_state(module: nn.Module) -> object:
    """What is cheap to look at: modules and their settings; address, version, first and last value of each tensor."""
    parts = parts_of(module)
    slots = [tensor for part in parts for tensor in (*part._parameters.values(), *kept_buffers(part).values())]
    tensors = [tensor for tensor in slots if tensor is not None]
    places = [tensor.data_ptr() for tensor in tensors]
    written = [0 if tensor.is_inference() else tensor._version for tensor in tensors]
    with torch.no_grad():
        values = tuple(tuple(torch.cat(group).tolist()) for group in _ends(module, tensors, places))
    return tuple(map(id, parts)), repr(settings_of(parts)), places, written, values


def _ends(module: nn.Module, tensors: list[Tensor], places: list[int]) -> list[list[Tensor]]:
    """Return views of the first and last value of each tensor, by type and device; kept while nothing moves."""
    cached = _views.get(module)
    if cached is not None and cached[0] == places:
        return cached[1]
    ends: dict[object, list[Tensor]] = {}
    for tensor in tensors:
        if tensor.numel():
            span = 1 + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
            pair = tensor.detach().as_strided((min(2, span),), (max(1, span - 1),))
            ends.setdefault((tensor.dtype, tensor.device), []).append(pair)
    _views[module] = (places, list(ends.values()))
    return _views[module][1]


def parts_of(module: nn.Module) -> list[nn.Module]:
    """Return the module and everything in it, each once; several times faster than `module.modules()`."""
    seen: dict[int, nn.Module] = {}
    waiting: list[nn.Module | None] = [module]
    while waiting:
        part = waiting.pop()
        if part is not None and id(part) not in seen:
            seen[id(part)] = part
            waiting.extend(part._modules.values())
    return list(seen.values())


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
        pairs = [(described(key, 0), described(entry, depth - 1)) for key, entry in list(value.items())[:_MANY]]
        return type(value).__name__, len(value), sorted(pairs, key=repr)
    if depth and isinstance(value, list | tuple | set | frozenset):
        entries = [described(entry, depth - 1) for entry in list(value)[:_MANY]]
        return (
            type(value).__name__,
            len(value),
            sorted(entries, key=repr) if isinstance(value, set | frozenset) else entries,
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
        return "partial", *(described(part, depth) for part in (value.func, value.args, value.keywords))
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
    inner = [_code(constant) if isinstance(constant, types.CodeType) else repr(constant) for constant in code.co_consts]
    return hashlib.sha256(repr((code.co_code, code.co_names, inner)).encode()).hexdigest()


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


def settings_of(parts: list[nn.Module]) -> list[list[tuple[str, object]]]:
    """Return what each module keeps beside weights, buffers and parts, which its `extra_repr` need not mention."""
    return [[(name, value) for name, value in attributes(part) if not is_written(part, name)] for part in parts]


def state_of(module: nn.Module) -> tuple[Any, ...]:
    """Return what tells a module from itself changed: its parts, hooks, plain settings, and versions of its tensors.

    Weights are not read: a tensor written to has another version, and one put in its place another identity. What a
    forward writes and no answer depends on is left out.
    """
    parts = parts_of(module)
    hooks = [(*part._forward_hooks, *part._forward_pre_hooks) for part in parts]
    tensors = [tensor for part in parts for tensor in (*part._parameters.values(), *kept_buffers(part).values())]
    versions = [(id(t), 0 if t.is_inference() else t._version) for t in tensors if t is not None]
    return tuple(map(id, parts)), repr(settings_of(parts)), tuple(map(tuple, hooks)), tuple(versions)


def kept_buffers(part: nn.Module) -> dict[str, Tensor | None]:
    """Return a module's own buffers without those that a forward writes and no answer depends on."""
    if part not in _written and part not in _cached:
        return part._buffers
    return {name: buffer for name, buffer in part._buffers.items() if not is_written(part, name)}


def writes_itself(module: nn.Module) -> bool:
    """Return whether a forward was seen to write into the module without any effect on the answer."""
    return bool(_written or _cached) and any(part in _written or part in _cached for part in parts_of(module))


def leave_out(places: list[Place]) -> None:
    """Remember that every forward writes at these places, and that no answer was seen to depend on it."""
    for part, name in places:
        _written.setdefault(part, set()).add(name)


def remember_caches(buffers: Mapping[nn.Module, frozenset[str]]) -> None:
    """Remember which modules make buffers while they answer, and the names of those that they had before."""
    _cached.update({part: names for part, names in buffers.items() if part not in _cached})


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
