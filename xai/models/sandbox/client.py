"""The client of the limited process that reads files. Tensors come back as safetensors."""

import atexit
import hashlib
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any

from xai.errors import CheckpointError
from xai.models.sandbox import MOST

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


_START = 60  # seconds that the process may take to start, on a busy machine
_SECONDS = 10
_BYTES_A_SECOND = 50 << 20
_MEMORY = 1 << 30
_KEPT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")  # without which torch may not be found


def can_limit() -> bool:
    """Whether this system has what the limited process needs (Linux, macOS)."""
    return hasattr(os, "fork") and hasattr(socket, "send_fds")


def ask(task: str, path: Path, file: IO[bytes], target: IO[bytes], **more: Any) -> dict[str, Any]:
    """Have a file read in the limited process and return its answer.

    Args:
        task: "weights", "onnx" or "keras".
        path: for messages.
        file: what is read.
        target: what the process may write to.
        more: for the task.

    Raises:
        CheckpointError: what the process says of the file, or that it needed more memory or time than it may.
    """
    size = os.fstat(file.fileno()).st_size
    seconds = _SECONDS + size // _BYTES_A_SECOND
    request = {
        "task": task,
        "name": str(path),
        "seconds": seconds,
        "memory": _MEMORY + 4 * size,
        "most_written": (64 << 20) + 4 * size,
        **more,
    }
    reply_content = _Process.shared().ask(request, (file.fileno(), target.fileno()), _START + seconds)
    if reply_content is None:
        raise CheckpointError(
            f"{path}: reading it took more memory or time than a file of {size:,} bytes may, or tried what no model "
            "does, so it was stopped. Do not use this file."
        )
    if "refused" in reply_content:
        raise CheckpointError(str(reply_content["refused"])[:600])
    return reply_content


class _Process:
    """The limited process of this process; started when first asked, ended with this one."""

    _one: "_Process | None" = None
    _lock = threading.Lock()

    @classmethod
    def shared(cls) -> "_Process":
        """Return the running one; a fork of this process starts its own."""
        with cls._lock:
            if cls._one is None or cls._one.owner != os.getpid() or cls._one.process.poll() is not None:
                cls._one = cls()
            return cls._one

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.folder = tempfile.mkdtemp(prefix="xai-reader-")
        self.line, theirs = socket.socketpair()
        roots = [str(Path(__file__).parents[3]), *(place for place in sys.path if Path(place).is_absolute())]
        serve = f"from xai.models.sandbox.worker import serve; serve({theirs.fileno()})"
        start = f"import sys; sys.path[:0] = {roots!r}; {serve}"
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-c", start],
                pass_fds=[theirs.fileno()],
                cwd=self.folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        atexit.register(self.close)

    def ask(self, request: Mapping[str, Any], files: tuple[int, int], seconds: float) -> dict[str, Any] | None:
        """Return the answer, or None when the process ended or took too long."""
        replies, reply = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self.line, [json.dumps(request).encode()], [*files, reply])
            os.close(reply)
            return _received(replies, seconds)
        except (BrokenPipeError, ConnectionResetError):
            os.close(reply)
            return None
        finally:
            os.close(replies)

    def close(self) -> None:
        """End it, from the process that started it."""
        if self.owner == os.getpid():
            self.line.close()
            try:
                self.process.wait(2)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            shutil.rmtree(self.folder, ignore_errors=True)


def _received(replies: int, seconds: float) -> dict[str, Any] | None:
    end, content = time.monotonic() + seconds, b""
    while len(content) <= MOST:
        ready, _, _ = select.select([replies], [], [], max(0.0, end - time.monotonic()))
        part = os.read(replies, MOST) if ready else b""
        if not part:
            break
        content += part
    try:
        reply_content = json.loads(content)
    except ValueError:
        return None
    return reply_content if isinstance(reply_content, dict) else None


def _environment() -> dict[str, str]:
    variables = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {
        **variables,
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "KERAS_BACKEND": "torch",
        "KERAS_HOME": ".",
    }
