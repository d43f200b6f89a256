"""Results on disk: plain JSON and arrays, the manifest last, never a pickle."""

import hashlib
import io
import json
import os
import platform
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np

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
    except (LookupError, TypeError, ValueError, AttributeError) as error:
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
