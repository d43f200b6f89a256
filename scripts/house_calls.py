"""Count the files that a call of a public verb enters; one process per call: `python scripts/house_calls.py VERB`.

Counted are entries of functions, methods and lambdas in files of xai/, in the order in which they happen. A hop is an
entry in another file than the entry before. What runs because a module is imported during the call is not counted.
The calls are fixed, so that the figures of two checkouts can be compared: the shipped network example:fashion,
one image with Grad-CAM; four images with three steps of PGD; an audit of the whole test set with the check accuracy.
"""

import inspect
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

MODEL, DATA = "example:fashion", "example:fashion-test"


class CallCounter:
    """Counts entries of functions in files below a folder while it is installed as the profile function."""

    def __init__(self, folder: str) -> None:
        self.folder = folder.rstrip("/") + "/"
        self.files: set[str] = set()
        self.classes: set[str] = set()
        self.hops = 0
        self._importing = 0
        self._last = ""

    def run(self, call: Callable[[], object]) -> None:
        """Make the call and count what it enters, in threads that it starts too."""
        threading.setprofile(self._event)
        sys.setprofile(self._event)
        try:
            call()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    def _event(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event not in {"call", "return"} or not self._is_ours(frame):
            return
        if not code.co_flags & inspect.CO_OPTIMIZED:  # the body of a module or of a class
            self._importing += 1 if event == "call" else -1
        elif event == "call" and not self._importing:
            self._enter(frame)

    def _is_ours(self, frame: FrameType) -> bool:
        """Say whether the code lies below the folder or was generated for a data class."""
        return frame.f_code.co_filename.startswith(self.folder) or frame.f_code.co_filename == "<string>"

    def _enter(self, frame: FrameType) -> None:
        code = frame.f_code
        if code.co_varnames[:1] == ("self",):
            kind = type(frame.f_locals.get("self"))
            self.classes |= {f"{kind.__module__}.{kind.__qualname__}"} if kind.__module__.startswith("xai.") else set()
        if code.co_filename == "<string>":
            return
        self.files.add(code.co_filename.removeprefix(self.folder))
        self.hops += code.co_filename != self._last
        self._last = code.co_filename


def count(verb: str) -> dict[str, Any]:
    """Return the files, the hops and the classes of a verb, or the public names and members for "public"."""
    import xai

    if verb == "public":
        return _public(xai)
    classifier, data = xai.load(MODEL), xai.load_data(DATA)
    image = data.images[0]
    calls: dict[str, Callable[[], object]] = {
        "explain": lambda: xai.explain(classifier, image, method="gradcam"),
        "attack": lambda: xai.attack(classifier, data.images[:4], data.labels[:4], method="pgd", steps=3),
        "audit": lambda: xai.audit(model=MODEL, data=DATA, checks=["accuracy"]),
    }
    counter = CallCounter(str(Path(xai.__path__[0])))
    counter.run(calls[verb])
    return {"files": sorted(counter.files), "hops": counter.hops, "classes": sorted(counter.classes)}


def _public(package: Any) -> dict[str, Any]:
    """Return the public names, and the public attributes and fields of the classes among them."""
    classes = [name for name in package.__all__ if inspect.isclass(getattr(package, name))]
    return {
        "names": list(package.__all__),
        "members": [f"{name}.{member}" for name in classes for member in _members(getattr(package, name))],
    }


def _members(kind: type) -> list[str]:
    fields = getattr(kind, "__dataclass_fields__", {})
    return sorted(member for member in {*dir(kind), *fields} if not member.startswith("_"))


def count_in_child(verb: str, checkout: Path) -> dict[str, Any] | None:
    """Return the counts of a verb in a fresh process on a checkout, or None where the call fails."""
    with tempfile.TemporaryDirectory() as folder:
        child = subprocess.run(
            [sys.executable, "-W", "ignore", str(Path(__file__).resolve()), verb],
            env=child_environment(checkout, folder),
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    if child.returncode:
        print(f"{verb}: {child.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    counts: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return counts


def child_environment(checkout: Path, folder: str) -> dict[str, str]:
    """Return the environment of a child: it imports the checkout, computes with one thread and caches in a folder."""
    return {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "XAI_CACHE": folder}


if __name__ == "__main__":
    print(json.dumps(count(sys.argv[1])))
