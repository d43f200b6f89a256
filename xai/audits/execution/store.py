"""A content-addressed store of finished work.

The value of a key never changes, so work is done once and an interrupted run resumes.

A shard is one file, published whole: written beside its place under another name, synced, renamed, the folder synced.
Whoever reads it checks length and digest. Two writers of one key write the same bytes, so that nobody need wait; a
killed one leaves a draft, which is removed once nobody holds its lock.
"""

import hashlib
import io
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np

from xai.core.results.codec import unpacked
from xai.core.results.message import message_table, with_messages
from xai.errors import RecordError

try:
    import fcntl
except ImportError:  # Windows: drafts are told from living ones by their age alone
    fcntl = None  # type: ignore[assignment]

SCHEMA = 1
_DRAFT = ".draft-"
_OLD = 24 * 3600  # seconds
_FACTS = "facts.json"
_TRIES = 5
_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)  # made once: it writes many lines


@dataclass(frozen=True, eq=False)
class StoredResult:
    """What one piece of work found, or all pieces of a stage together.

    Attributes:
        arrays: by name; of work on images each has one line per image, or per image shown.
        facts: JSON-ready; of work in parts the facts of each part, as "parts".
        rows: (n,) numbers in the data set of the images of a stage.
        planned: how many images the stage was to be of.
    """

    arrays: Mapping[str, np.ndarray]
    facts: Mapping[str, Any] = field(default_factory=dict)
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    planned: int = 0

    def __getitem__(self, name: str) -> np.ndarray:
        """Return one array."""
        return self.arrays[name]

    @property
    def parts(self) -> list[Any]:
        """Facts of each part of the work."""
        return list(self.facts["parts"])


def canonical(value: Any) -> bytes:
    """Return the one JSON text of a value: sorted, without blanks, no NaN."""
    return _JSON.encode(value).encode()


def key_of(content: Mapping[str, Any]) -> str:
    """Return the key that stands for a piece of work: the SHA-256 of everything that it depends on."""
    return hashlib.sha256(canonical(content)).hexdigest()


class Store:
    """Parts by key in a folder.

    Args:
        folder: made when something is published.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """Return where a part is."""
        return self.folder / key[:2] / f"{key}.part"

    def has(self, key: str) -> bool:
        """Whether a part is there."""
        return self.path(key).is_file()

    def read(self, key: str) -> StoredResult | None:
        """Return a part; None when it is not there, or damaged and so to be made again."""
        try:
            content = self.path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise RecordError(f"{self.path(key)}: cannot be read ({error.strerror}).") from error
        return _unpacked(key, content)

    def publish(self, key: str, part: StoredResult) -> None:
        """Put a part in its place, whole or not at all.

        Raises:
            RecordError: the folder cannot be written, or the disk is full.
        """
        publish(self.path(key), _packed(key, part))

    def take_over(self, key: str, lender: "Store") -> bool:
        """Put a part of another store here too; return whether it has one that is not damaged.

        Raises:
            RecordError: the folder cannot be written, or the disk is full.
        """
        part = lender.read(key)
        if part is None:
            return False
        self.publish(key, part)
        return True

    def remove(self, key: str) -> None:
        """Take a damaged part away."""
        with suppress(OSError):
            self.path(key).unlink(missing_ok=True)

    def clean(self) -> int:
        """Remove the drafts of writers that are gone; return how many."""
        return sum(clean(folder) for folder in _folders(self.folder))


def publish(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, and durably; nothing is written where it holds this content already.

    Raises:
        RecordError: the folder cannot be written, or the disk is full.
    """
    with suppress(OSError):
        if path.stat().st_size == len(content) and path.read_bytes() == content:
            return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(_TRIES):
            if _replaced(path, content):
                return
    except OSError as error:
        raise RecordError(
            f"{path}: cannot be written ({error.strerror}). Make room or choose another folder; what is there stays, "
            "and the same command goes on from it."
        ) from error
    raise RecordError(f"{path}: another process keeps removing what is written here. Choose another folder.")


def _replaced(path: Path, content: bytes) -> bool:
    """Write a draft and rename it; False when somebody took it for a dead one."""
    draft = path.with_name(f"{_DRAFT}{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with _locked(draft) as handle:
            _write(handle, content)
            os.fsync(handle)
            os.replace(draft, path)  # noqa: PTH105  (the calls that the kill tests stop at all go through os)
    except FileNotFoundError:
        return False
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    _sync(path.parent)
    return True


@contextmanager
def _locked(draft: Path) -> Iterator[int]:
    """Open a new file, with a lock that the system releases when this process ends, however it ends."""
    handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


def _write(handle: int, content: bytes) -> None:
    view = memoryview(content)
    while len(view):
        view = view[os.write(handle, view) :]


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def clean(folder: Path) -> int:
    """Remove the drafts in a folder whose writers are gone; return how many."""
    removed = 0
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            if entry.name.startswith(_DRAFT) and _is_dead(Path(entry.path)):
                with suppress(OSError):
                    Path(entry.path).unlink()
                    removed += 1
    return removed


def _is_dead(draft: Path) -> bool:
    if fcntl is None:
        import time

        return time.time() - draft.stat().st_mtime > _OLD
    try:
        handle = os.open(draft, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(handle)


def _folders(folder: Path) -> list[Path]:
    with suppress(OSError):
        return [folder, *(Path(entry.path) for entry in os.scandir(folder) if entry.is_dir())]
    return []


def _packed(key: str, part: StoredResult) -> bytes:
    """Return a head with length and digest, then the arrays; the same bytes for the same part."""
    stream = io.BytesIO()
    facts = np.frombuffer(canonical([part.facts, message_table(part.facts)]), dtype=np.uint8)
    arrays: dict[str, Any] = {name: np.ascontiguousarray(array) for name, array in sorted(part.arrays.items())}
    np.savez(stream, **{_FACTS: facts, **arrays})
    body = stream.getvalue()
    head = {"xai": SCHEMA, "key": key, "length": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    return canonical(head) + b"\n" + body


def _unpacked(key: str, content: bytes) -> StoredResult | None:
    line, _, body = content.partition(b"\n")
    try:
        head = json.loads(line)
        sound = head["key"] == key and head["length"] == len(body)
        if not sound or hashlib.sha256(body).hexdigest() != head["sha256"]:
            return None
        arrays = unpacked(body)
        facts, messages = json.loads(arrays.pop(_FACTS).tobytes())
        return StoredResult(arrays, with_messages(facts, messages))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


_ROOT = __name__.partition(".")[0]
_PACKAGE = Path(__file__).parents[2]
_NOT_WORK = ("cli", "dashboard", "plots", "reports", "pytest_plugin.py", "__init__.py")
_IMPORT = re.compile(
    rf"^[ \t]*(?:from[ \t]+({_ROOT}[\w.]*)[ \t]+import[ \t]*(\([^)]*\)|[^\n]*)|import[ \t]+({_ROOT}[\w.]+))", re.M
)
_NAME = re.compile(r"(?:^|[(,])\s*(\w+)")
_REGISTRY = re.compile(r"^(\w+): Registry\[.*MODULES", re.M)
_MODULES = re.compile(r"^MODULES = \{(.*?)^\}", re.M | re.S)  # of a folder whose files are imported by name


@cache
def code_digest() -> str:
    """Return the SHA-256 of all code that results depend on: xai but for what only shows them."""
    places = [path.relative_to(_PACKAGE) for path in sorted(_PACKAGE.rglob("*.py"))]
    names = [_module_of(place) for place in places if place.parts[0] not in _NOT_WORK]
    return _digest(names)


@cache
def digest_of(*modules: str) -> str:
    """Return the SHA-256 of some modules and of all that they import, directly or not.

    Comments, docstrings, annotations of positions and blank lines change nothing: what is hashed is what runs.
    """
    return _digest(sorted(reach_of(*modules)))


@cache
def reach_of(*modules: str) -> frozenset[str]:
    """Return some modules and all modules of xai that they import, also inside functions, directly or not."""
    reached: set[str] = set()
    left = list(modules)
    while left:
        name = left.pop()
        if name not in reached:
            reached.add(name)
            left += _imports(name)
    return frozenset(reached)


@cache
def own_digest(*modules: str) -> str:
    """Return the SHA-256 of some modules alone."""
    return _digest(list(modules))


def _digest(names: list[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode() + b"\0" + _compiled(name))
    return digest.hexdigest()


def _module_of(place: Path) -> str:
    parts = [_ROOT, *place.with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def _source(name: str) -> str | None:
    """Return the text of a module; None where there is no such module."""
    place = _PACKAGE.joinpath(*name.split(".")[1:])
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file():
            return path.read_text(encoding="utf-8")
    return None


@cache
def _imports(name: str) -> tuple[str, ...]:
    """Return the modules of xai that a module imports, but for what only shows results."""
    work = (module for module in _named(name) if module.split(".")[1:2] not in ([part] for part in _NOT_WORK))
    return tuple(dict.fromkeys(module for module in work if _source(module) is not None))


def _named(name: str) -> Iterator[str]:
    for package, names, whole in _IMPORT.findall(_source(name) or ""):
        if whole:
            yield whole
            continue
        own = [imported for imported in _NAME.findall(re.sub(r"#[^\n]*", "", names)) if imported.isidentifier()]
        yield package
        yield from (f"{package}.{imported}" for imported in own)
        if any(imported in _REGISTRY.findall(_source(package) or "") for imported in own):
            yield from _methods(package.rpartition(".")[0], name)


def _methods(folder: str, reader: str) -> Iterator[str]:
    """Yield the modules that a registry imports by name; files of its own folder only enter themselves."""
    if not reader.startswith(f"{folder}."):
        for table in _MODULES.findall(_source(folder) or ""):
            yield from (f"{folder}.{module}" for module in re.findall(r': "(\w+)"', table))


@cache
def _compiled(name: str) -> bytes:
    """Return a digest of what a module runs."""
    code = compile(_source(name) or "", name, "exec", optimize=2, dont_inherit=True)  # 2: without docstrings
    digest = hashlib.sha256()
    _feed(digest, code)
    return digest.digest()


def _feed(digest: "hashlib._Hash", code: CodeType) -> None:
    """Hash instructions, names and constants; lines and positions are left out."""
    for part in (code.co_code, code.co_exceptiontable):
        digest.update(part + b"\0")
    digest.update(repr((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_name)).encode())
    digest.update(repr((code.co_flags, code.co_argcount, code.co_kwonlyargcount, code.co_posonlyargcount)).encode())
    for constant in code.co_consts:
        _feed_constant(digest, constant)


def _feed_constant(digest: "hashlib._Hash", constant: object) -> None:
    if isinstance(constant, CodeType):
        _feed(digest, constant)
        return
    shown = sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant  # a set has no order
    digest.update(f"{type(constant).__name__}:{shown!r}\0".encode())
