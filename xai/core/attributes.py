"""What a module keeps beside weights, buffers and parts, as values that can be compared and digested."""

import functools
import hashlib
import types
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

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
