"""The limited process that reads untrusted files. It has little memory and time, no network and no other program.

Runs beside the caller as `serve`, with torch imported once; each file gets a fork of it. The caller's side is `reader`.
"""

import ctypes
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from xai.errors import MissingExtraError, XaiError
from xai.models.sandbox import MOST

Task = Callable[[int, int, dict[str, Any]], dict[str, Any]]
_NEW_NETWORK, _NEW_USER = 0x40000000, 0x10000000
_NEVER = (
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "pty.",
    "subprocess.",
    "socket.",
    "webbrowser.",
)


def serve(number: int) -> None:
    """Answer requests from the socket with this number until its other end closes."""
    offline = _leave_network()
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks that ended leave nothing behind
    with socket.socket(fileno=number) as line:
        while True:
            message, given, _, _ = socket.recv_fds(line, MOST, 3)
            if not message:
                return
            request = json.loads(message) | {"offline": offline}
            task = _task(request["task"])  # its libraries are imported here, once for all forks, and before any limit
            if os.fork() == 0:
                line.close()
                _work(task, request, given)
            for descriptor in given:
                os.close(descriptor)


def _leave_network() -> bool:
    """Give this process a network of its own with nothing in it; False where the system does not allow it."""
    try:
        library = ctypes.CDLL(None)
        return 0 in {library.unshare(_NEW_USER | _NEW_NETWORK), library.unshare(_NEW_NETWORK)}
    except (OSError, AttributeError):  # not Linux
        return False


def _work(task: Task, request: dict[str, Any], given: Sequence[int]) -> NoReturn:
    """Read one file and end this process; whatever goes wrong becomes one line for the caller."""
    source, target, reply = given
    try:
        _limit(request)
        reply_content = task(source, target, request)
    except XaiError as error:
        reply_content = {"refused": str(error)}
    except MemoryError:
        reply_content = {"refused": f"{request['name']}: reading it needs more memory than a file of its size may."}
    except BaseException as error:  # noqa: BLE001 (damaged files raise anything, and nothing may leave this process)
        reply_content = {"refused": f"{request['name']}: damaged ({type(error).__name__}). Copy or download it again."}
    os.write(reply, json.dumps(reply_content | {"offline": request["offline"]}).encode()[:MOST])
    os._exit(0)


def _task(name: str) -> Task:
    """Return the function of a task; what is not installed is found when a file asks for it."""
    if name == "keras":
        from xai.models.keras_trial import import_keras, try_keras

        with suppress(MissingExtraError):
            import_keras()  # which asks for the processor and whether there is IPv6: not under the watch
        return try_keras
    if name == "onnx":
        from xai.models.onnx.trial import import_onnx, try_onnx

        import_onnx()
        return try_onnx
    from xai.models.sandbox.weights import hand_over

    return hand_over


def _limit(request: dict[str, Any]) -> None:
    import resource

    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(request["seconds"]))
    limits = {
        resource.RLIMIT_CPU: int(request["seconds"]),
        resource.RLIMIT_FSIZE: int(request["most_written"]),
        resource.RLIMIT_CORE: 0,
    }
    if sys.platform == "linux":
        with open("/proc/self/statm", encoding="ascii") as pages:  # noqa: PTH123 (no pathlib in a fork)
            in_use = int(pages.read().split()[0]) * resource.getpagesize()
        limits[resource.RLIMIT_AS] = in_use + int(request["memory"])
    for kind, most in limits.items():
        resource.setrlimit(kind, (most, most))
    sys.addaudithook(_watch)


def _watch(event: str, _: tuple[object, ...]) -> None:
    """End at once where anything starts a program or opens a connection."""
    if event.startswith(_NEVER):
        os._exit(1)
