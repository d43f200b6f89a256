"""Digests of code and an account of all files: what a work item depends on."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np

from xai.audits.execution.store import canonical
from xai.core.runtime.randomness import image_key
from xai.datasets.dataset import Dataset
from xai.errors import DataError, ImageError

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


USED, UNREADABLE, NOT_DRAWN, SKIPPED = "used", "unreadable", "not drawn", "no image"
STATUSES = (USED, UNREADABLE, NOT_DRAWN, SKIPPED)
_SHOWN = 50


@dataclass(frozen=True)
class ManifestEntry:
    """What became of one file or row.

    Attributes:
        name: identifier in the data, or path below its folder.
        status: one of `STATUSES`.
        key: digest of the pixels in hex, "" where they were not read.
        label: number of the class in the data, None where there is none.
        why: of what could not be used.
    """

    name: str
    status: str
    key: str = ""
    label: int | None = None
    why: str = ""


@dataclass(frozen=True)
class Manifest:
    """All lines of one data set, the used ones in the order of the data.

    Attributes:
        lines: each file or row once.
    """

    lines: tuple[ManifestEntry, ...]

    @cached_property
    def used(self) -> tuple[ManifestEntry, ...]:
        """The images that are measured."""
        return tuple(line for line in self.lines if line.status == USED)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of pixels and labels of what is used; names and order change nothing."""
        return hashlib.sha256(canonical(sorted([line.key, line.label] for line in self.used))).hexdigest()

    @cached_property
    def content(self) -> bytes:
        """One JSON line per file."""
        return b"".join(canonical(vars(line)) + b"\n" for line in self.lines)

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many files of each status; they add up to all."""
        counted = Counter(line.status for line in self.lines)
        return {status: counted[status] for status in STATUSES}

    def to_dict(self) -> dict[str, Any]:
        """Return counts that add up to all files, and what could not be used."""
        keys = Counter(line.key for line in self.used)
        return {
            "total": len(self.lines),
            "counts": self.counts,
            "unreadable": [[line.name, line.why] for line in self.lines if line.status == UNREADABLE][:_SHOWN],
            "no_image": [line.name for line in self.lines if line.status == SKIPPED][:_SHOWN],
            "repeated": sum(count - 1 for count in keys.values()),
            "sha256": hashlib.sha256(self.content).hexdigest(),
            "fingerprint": self.fingerprint,
        }


def read_manifest(data: Dataset, drawn: Dataset) -> tuple[Manifest, np.ndarray]:
    """Read every image that was drawn once.

    Args:
        data: all images.
        drawn: those to measure, of the same source.

    Returns:
        The manifest, and the numbers in `drawn` of the images that can be read.

    Raises:
        DataError: none can be read.
    """
    lines, usable = [], []
    labels, ids = drawn.labels, drawn.ids
    for k in range(len(drawn)):
        label = None if labels is None else int(labels[k])
        try:
            pixels = drawn.images.decoded([k])[0].pixels
        except ImageError as error:
            lines.append(ManifestEntry(ids[k], UNREADABLE, "", label, str(error)))
        else:
            lines.append(ManifestEntry(ids[k], USED, image_key(pixels).hex(), label))
            usable.append(k)
    if not usable:
        raise DataError(f"{data.name}: none of {len(drawn)} images can be read ({lines[0].why}).")
    taken, names = set(drawn.rows.tolist()), data.ids[:]  # at once: one by one takes longer than all the rest
    lines += [
        ManifestEntry(name, NOT_DRAWN) for name, row in zip(names, data.rows.tolist(), strict=True) if row not in taken
    ]
    lines += [ManifestEntry(name, SKIPPED) for name in _other_files(data)]
    return Manifest(tuple(lines)), np.array(usable, dtype=np.int64)


def _other_files(data: Dataset) -> list[str]:
    """Return the files below a folder of images that are not among its rows."""
    folder = Path(data.name)
    rows = data.source.count
    names = set(data.source.identify(np.arange(rows))) if folder.is_dir() else set()
    if not names or not all((folder / name).is_file() for name in sorted(names)[:3]):
        return []  # no folder, or one of arrays whose rows are no files
    files_below = []
    for root, _, files in os.walk(folder):
        files_below += [(Path(root) / name).relative_to(folder).as_posix() for name in files]
    return sorted(set(files_below) - names)
