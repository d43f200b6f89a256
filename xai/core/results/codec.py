"""Results as files and JSON, never as a pickle.

Fields become plain JSON and arrays; dataclasses are read back by their type hints.
"""

import hashlib
import io
import json
import os
import platform
import secrets
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints
from zipfile import ZipFile

import numpy as np
import torch
from torch import Tensor

from xai.errors import RecordError

SCHEMA = 1
MANIFEST = "manifest.json"
ARRAYS = "values.npz"
_RATIO, _FREE = 200, 1 << 30  # how far arrays may be compressed, and bytes that they may hold however far


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    numbers = {"python": platform.python_version()}
    for package in ("xai-toolkit", "torch", "numpy", "captum"):
        try:
            numbers[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            numbers[package] = "unknown"
    return tuple(numbers.items())


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return dict(_versions())


def plain(value: Any) -> Any:
    """Return a setting JSON-ready; arrays and tensors become their shape and digest."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "shape") and hasattr(value, "tolist"):
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        if array.ndim == 0:
            return array.tolist()
        return {"shape": list(array.shape), "sha256": hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()}
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def finite(value: Any) -> Any:
    """Return a JSON value in which NaN and infinity are None."""
    if isinstance(value, Mapping):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def record_of(record: Any) -> dict[str, Any]:
    """Return the fields of a dataclass, JSON-ready: NaN and infinity become None, arrays their shape and digest."""
    return {f.name: finite(plain(getattr(record, f.name))) for f in fields(record)}


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        RecordError: the folder cannot be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")  # with the rights of any new file, unlike mkstemp
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise RecordError(f"{path}: cannot be written ({error.strerror}). Choose another folder.") from error


def write_record(
    folder: Path, kind: str, fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray], files: Mapping[str, bytes]
) -> None:
    """Write a result into a folder: arrays and files first, the manifest last.

    A folder without a manifest is not a result; an older result in the folder is replaced.

    Raises:
        RecordError: the folder cannot be written.
    """
    _make_folder(folder)
    stream = io.BytesIO()
    np.savez_compressed(stream, **dict(arrays))  # type: ignore[arg-type]  # numpy types every keyword as its option
    contents = {ARRAYS: stream.getvalue(), **files}
    for name, content in contents.items():
        write_file(folder / name, content)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    manifest = {"schema": SCHEMA, "kind": kind, **fields, "files": digests}
    write_file(folder / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())


@contextmanager
def restoring(path: str | os.PathLike[str], kind: str) -> Iterator[None]:
    """Turn whatever the fields of a saved result do to its class into one line.

    Raises:
        RecordError: fields are missing, or of another kind.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise RecordError(f"{path}: the saved {kind} is damaged or incomplete. Make it again.") from error


def _make_folder(folder: Path) -> None:
    """Make the folder, without the manifest of an older result."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)
    except OSError as error:
        raise RecordError(f"{folder}: cannot be written ({error.strerror}). Choose another folder.") from error


def read_record(folder: Path, kind: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the fields and arrays of a saved result.

    Raises:
        RecordError: no such result, another kind, a damaged file, or a newer schema.
    """
    try:
        fields = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        content = (folder / ARRAYS).read_bytes()
    except FileNotFoundError as error:
        raise RecordError(
            f"{folder}: no saved {kind} here ({Path(error.filename).name} is missing). Check the path."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise RecordError(
            f"{folder}: the saved {kind} cannot be read ({type(error).__name__}). Save it again."
        ) from error
    if not isinstance(fields, dict) or fields.get("kind") != kind:
        raise RecordError(f"{folder}: expected a saved {kind}, but this is another kind of result.")
    if not isinstance(fields.get("schema"), int) or not isinstance(fields.get("files"), dict):
        raise RecordError(f"{folder}: {MANIFEST} is damaged or was changed after it was saved. Make the result again.")
    if fields["schema"] > SCHEMA:
        raise RecordError(
            f"{folder}: written by a newer version of xai (schema {fields['schema']}). Update xai-toolkit."
        )
    if hashlib.sha256(content).hexdigest() != fields["files"].get(ARRAYS):
        raise RecordError(f"{folder}: {ARRAYS} is damaged or was changed after it was saved. Make the result again.")
    try:
        return fields, unpacked(content)
    except ValueError as error:
        raise RecordError(
            f"{folder}: {ARRAYS} holds something else than plain arrays. Make the result again."
        ) from error


def unpacked(content: bytes) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz archive in memory.

    Raises:
        ValueError: damaged, arrays of objects, which would be unpickled, or far more than its bytes can hold.
    """
    try:
        with ZipFile(io.BytesIO(content)) as archive:
            total = sum(member.file_size for member in archive.infolist())
        contents = {}
        if total <= _FREE + _RATIO * len(content):
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                contents = dict(arrays)
    except Exception as error:  # zipfile, zlib and numpy raise anything on damaged files
        raise ValueError(f"not an archive of plain arrays ({type(error).__name__})") from error
    if total > _FREE + _RATIO * len(content):
        raise ValueError(f"{len(content):,} bytes that claim to hold {total:,}")
    if not all(isinstance(array, np.ndarray) for array in contents.values()):  # numpy gives other members as bytes
        raise ValueError("an archive with members that are no arrays")
    return contents


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
