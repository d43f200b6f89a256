"""Dataclasses to plain fields and arrays, and back by their type hints; nothing in a file can run."""

import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from torch import Tensor

from xai.core.results.serialization import plain

_SEQUENCES = (tuple, list, Sequence)


def encode(record: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the fields of a dataclass JSON-ready, and its arrays and tensors by name.

    Fields with the metadata {"saved": False} are left out; they need a default.
    Arrays within nested dataclasses and mappings are named "outer.inner"; tuples of arrays "name.0", "name.1".
    """
    arrays: dict[str, np.ndarray] = {}
    return _encode_fields(record, "", arrays), arrays


def decode(kind: type[Any], record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Any:
    """Return the dataclass that `encode` took apart.

    Args:
        kind: the dataclass.
        record: its fields.
        arrays: its arrays.

    Raises:
        LookupError, TypeError, ValueError: a field is missing or of another kind.
    """
    return _decode_fields(kind, record, arrays, "")


def _saved(record: Any) -> list[str]:
    """Return the names of the fields that a file has: all but those with `metadata={"saved": False}`."""
    return [f.name for f in fields(record) if f.init and f.metadata.get("saved", True)]


def _encode_fields(record: Any, prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    encoded = {name: _encode(getattr(record, name), prefix + name, arrays) for name in _saved(record)}
    return {name: value for name, value in encoded.items() if value is not _ARRAY}


def _encode(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, np.ndarray | Tensor):
        arrays[name] = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        return _ARRAY
    if is_dataclass(value) and not isinstance(value, type):
        return _encode_fields(value, f"{name}.", arrays)
    if isinstance(value, list | tuple):
        parts = [_encode(item, f"{name}.{k}", arrays) for k, item in enumerate(value)]
        return [None if part is _ARRAY else part for part in parts]
    if isinstance(value, Mapping):
        parts_by_key = {str(key): _encode(item, f"{name}.{key}", arrays) for key, item in value.items()}
        return {key: None if part is _ARRAY else part for key, part in parts_by_key.items()}
    return value.value if isinstance(value, Enum) else plain(value)


class _Array:
    """Stands for a value that is among the arrays."""


_ARRAY = _Array()


def _decode_fields(kind: type[Any], record: Mapping[str, Any], arrays: Mapping[str, np.ndarray], prefix: str) -> Any:
    decoded, hints = {}, get_type_hints(kind)
    for name in _saved(kind):
        if prefix + name in arrays:
            decoded[name] = _array(hints[name], arrays[prefix + name])
        else:
            decoded[name] = _decode(hints[name], record[name], arrays, prefix + name)
    return kind(**decoded)


def _decode(hint: Any, value: Any, arrays: Mapping[str, np.ndarray], name: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if value is None:
        return None
    if origin in (Union, types.UnionType):
        return _decode(_most_structured(arguments), value, arrays, name)
    if origin in _SEQUENCES:
        return _decode_items(origin, arguments, value, arrays, name)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _decode_item(arguments[1], item, arrays, f"{name}.{key}") for key, item in value.items()}
    if is_dataclass(hint):
        return _decode_fields(hint, value, arrays, f"{name}.")  # type: ignore[arg-type]  # a class
    return hint(value) if isinstance(hint, type) and issubclass(hint, Enum) else value


def _decode_items(
    origin: Any, arguments: tuple[Any, ...], value: Any, arrays: Mapping[str, np.ndarray], name: str
) -> Any:
    whole = (len(arguments) == 2 and arguments[1] is Ellipsis) or origin is not tuple
    if isinstance(value, str) or (not whole and len(value) != len(arguments)):
        raise ValueError(f"{name}: expected a list of the right length")
    items = []
    for k, item in enumerate(value):
        items.append(_decode_item(arguments[0 if whole else k], item, arrays, f"{name}.{k}"))
    return tuple(items) if origin is not list else items


def _decode_item(hint: Any, value: Any, arrays: Mapping[str, np.ndarray], name: str) -> Any:
    return _array(hint, arrays[name]) if name in arrays else _decode(hint, value, arrays, name)


def _most_structured(hints: tuple[Any, ...]) -> Any:
    """Return the hint of a union that says how to build its value: a dataclass or a container before plain values."""
    others = [hint for hint in hints if hint is not type(None)]
    return max(others, key=lambda hint: bool(get_origin(hint)) or is_dataclass(hint))


def _array(hint: Any, value: np.ndarray) -> Any:
    hints = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return torch.from_numpy(np.array(value)) if Tensor in hints else value
