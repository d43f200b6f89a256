"""Weights that were read once, kept as safetensors under the SHA-256 of the file that they came from."""

import atexit
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

_FORM = "2"  # of the content; another one does not find files of this one
_MOST = 8 << 30  # bytes kept; the oldest go first


def folder() -> Path:
    """Return where they are: XAI_CACHE, or xai/ in the user's cache; a folder of this user alone."""
    base = os.environ.get("XAI_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xai"
    place = Path(base) / "weights"
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        writable = os.access(place, os.W_OK)
    except OSError:
        writable = False
    return place if writable else _for_this_process()


@cache
def _for_this_process() -> Path:
    place = Path(tempfile.mkdtemp(prefix="xai-weights-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place


def find(digest: str) -> Path | None:
    """Return the kept weights of a file, when they are what was kept: their own SHA-256 is in their name."""
    for path in folder().glob(f"{digest}.{_FORM}.*.safetensors"):
        with path.open("rb") as file:
            if path.name.split(".")[2] == hashlib.file_digest(file, "sha256").hexdigest():
                os.utime(path)
                return path
        path.unlink(missing_ok=True)
    return None


@contextmanager
def fresh() -> Iterator[IO[bytes]]:
    """Yield an empty file beside the kept ones; it goes unless `keep` moved it."""
    with tempfile.NamedTemporaryFile(dir=folder(), prefix="new-", suffix=".tmp", delete=False) as file:
        try:
            yield file
        finally:
            Path(file.name).unlink(missing_ok=True)


def keep(digest: str, path: Path) -> Path:
    """Move weights to where `find` finds them, and let the oldest go."""
    with path.open("rb") as file:
        own = hashlib.file_digest(file, "sha256").hexdigest()
    cached = path.with_name(f"{digest}.{_FORM}.{own}.safetensors")
    path.replace(cached)
    _prune(cached)
    return cached


def _prune(newest: Path) -> None:
    cached = sorted(newest.parent.glob("*.safetensors"), key=lambda path: path.stat().st_mtime, reverse=True)
    total = 0
    for path in cached:
        total += path.stat().st_size
        if total > _MOST and path != newest:
            path.unlink(missing_ok=True)
