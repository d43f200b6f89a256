"""Digests of code: what a piece of work depends on, and nothing else."""

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType

_ROOT = __name__.partition(".")[0]
_PACKAGE = Path(__file__).parent.parent
_NOT_WORK = ("cli", "dashboard", "plots", "reports", "pytest_plugin.py", "api.py", "__init__.py")
_IMPORT = re.compile(
    rf"^[ \t]*(?:from[ \t]+({_ROOT}[\w.]*)[ \t]+import[ \t]*(\([^)]*\)|[^\n]*)|import[ \t]+({_ROOT}[\w.]+))", re.M
)
_NAME = re.compile(r"(?:^|[(,])\s*(\w+)")
_LISTS = frozenset({f"{_ROOT}.audits.stages"})  # packages that only list what others define


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
    found: set[str] = set()
    left = list(modules)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += _imports(name)
    return frozenset(found)


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
    """Return the modules of xai that a module imports."""
    return tuple(dict.fromkeys(found for found in _named(name) if _source(found) is not None))


def _named(name: str) -> Iterator[str]:
    for package, names, whole in _IMPORT.findall(_source(name) or ""):
        if whole:
            yield whole
            continue
        own = [found for found in _NAME.findall(re.sub(r"#[^\n]*", "", names)) if found.isidentifier()]
        if package not in _LISTS:
            yield package
        for one in own:
            yield f"{package}.{one}"
            if package in _LISTS:
                yield from _defining(package, one)


@cache
def _defining(package: str, name: str) -> tuple[str, ...]:
    """Return the module that a package takes a name from."""
    return tuple(found for found, names, _ in _IMPORT.findall(_source(package) or "") if name in _NAME.findall(names))


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
