"""Kill a tiny audit again and again, and compare what comes out in the end with an audit that nobody disturbed.

    python kill_loop.py FOLDER random KILLS            SIGKILL after a random time
    python kill_loop.py FOLDER steps EVERY             SIGKILL before, and after, each open, write, fsync and rename
    python kill_loop.py FOLDER errors EVERY            ENOSPC, EIO and EROFS at each of them
    python kill_loop.py FOLDER pairs COUNT             two runs on one folder at once, one of them killed at random

Each run is a fork of this process, which has run the audit once, so that a run takes little time. Several pairs of a
word and a number can be given; each prints one JSON line.
"""

import errno
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import torch

torch.set_num_threads(1)
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
from small_audits import CHECKS, sources, tables, write_data  # noqa: E402

import xai  # noqa: E402
from xai.audits.execution import store  # noqa: E402
from xai.errors import RecordError  # noqa: E402

CALLS = ("open", "write", "fsync", "replace")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS)
REFUSED, FINISHED = 7, 0


class Loop:
    """Runs in forks, and what they left."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, write_data(folder)
        self.found: Counter[str] = Counter()
        self.run(folder / "warm")
        began = time.monotonic()
        assert self.finished(self.start(folder / "clean"))
        self.seconds = time.monotonic() - began
        self.clean = self.content(folder / "clean")

    def start(self, out: Path, before: Callable[[], None] | None = None) -> int:
        """Fork a run; return its process."""
        pid = os.fork()
        if pid:
            return pid
        code = 9
        try:
            if before is not None:
                before()
            self.run(out)
            code = FINISHED
        except RecordError as error:
            code = REFUSED if "\n" not in str(error) else 8
        finally:
            os._exit(code)

    def run(self, out: Path) -> None:
        """Run the audit: two checks, eight work items, twelve images of evidence."""
        xai.audit({**tables(self.data), **sources(self.data), "check": [CHECKS[0], CHECKS[2]]}, out=out)

    def finished(self, pid: int) -> bool:
        """Wait; say whether the run finished. Anything but a finish, a kill or a one-line refusal is counted."""
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            self.found["kills"] += 1
            return False
        code = os.WEXITSTATUS(status)
        self.found["refusals"] += code == REFUSED
        self.found["strange ends"] += code not in {FINISHED, REFUSED}
        return code == FINISHED

    def content(self, out: Path) -> dict[str, bytes]:
        """Return everything that must not differ: the audit, its images, the manifest, the store."""
        held = [path for path in out.rglob("*") if path.is_file() and path.name not in {"log.jsonl", "plan.json"}]
        return {path.relative_to(out).as_posix(): path.read_bytes() for path in held}

    def parts(self, out: Path) -> set[str]:
        return {path.name for path in out.rglob("*.part")}

    def judge(self, out: Path) -> None:
        """Compare what is there in the end; drafts would show as further files."""
        self.found["audits"] += 1
        self.found["different"] += self.content(out) != self.clean
        lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines() if line.endswith("}")]
        done = Counter(line["key"] for line in lines if line.get("event") == "done")
        self.found["done twice"] += sum(times > 1 for times in done.values())

    def kept(self, out: Path, before: set[str]) -> None:
        self.found["lost parts"] += len(before - self.parts(out))


def at_random(loop: Loop, kills: int) -> None:
    draw = random.Random(0)
    for number in count():
        out = loop.folder / f"random-{number}"
        while True:
            before, pid = loop.parts(out), loop.start(out)
            time.sleep(draw.uniform(0, 0.35 * loop.seconds))
            os.kill(pid, signal.SIGKILL)
            if loop.finished(pid):
                break
            loop.kept(out, before)
        loop.judge(out)
        if loop.found["kills"] >= kills:
            return


def counting(number: int, act: Callable[[str], Any], *, after: bool = False) -> Callable[[], None]:
    """Return what makes the `number`-th call of the file system do something else."""

    def install() -> None:
        calls = iter(count())
        for name in CALLS:
            system_call = getattr(os, name)

            def wrapped(*given: Any, real: Any = system_call, name: str = name, **named: Any) -> Any:
                mine = next(calls) == number
                if mine and not after:
                    act(name)
                answer = real(*given, **named)
                if mine and after:
                    act(name)
                return answer

            setattr(store.os, name, wrapped)

    return install


def die(_name: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_steps(loop: Loop, every: int) -> None:
    for after in (False, True):
        for number in count(0, every):
            out, kills = loop.folder / f"step-{number}-{after}", loop.found["kills"]
            loop.finished(loop.start(out, counting(number, die, after=after)))
            if loop.found["kills"] == kills:
                break  # there are no more calls
            loop.found["steps"] += 1
            before = loop.parts(out)
            loop.finished(loop.start(out))
            loop.kept(out, before)
            loop.judge(out)


def with_errors(loop: Loop, every: int) -> None:
    for kind in ERRORS:
        for number in count(0, every):
            out, seen = loop.folder / f"error-{kind}-{number}", loop.folder / "seen"
            seen.unlink(missing_ok=True)

            def fail(name: str, kind: int = kind, seen: Path = seen) -> None:
                seen.touch()
                raise OSError(kind, os.strerror(kind), name)

            loop.finished(loop.start(out, counting(number, fail)))
            if not seen.exists():
                break
            loop.found["steps"] += 1
            loop.finished(loop.start(out))
            loop.judge(out)


def in_pairs(loop: Loop, number: int) -> None:
    draw = random.Random(0)
    for k in range(number):
        out = loop.folder / f"pair-{k}"
        one, two = loop.start(out), loop.start(out)
        if k % 2:
            time.sleep(draw.uniform(0, loop.seconds))
            os.kill(one, signal.SIGKILL)
        killed = not loop.finished(one)
        loop.found["unfinished"] += not loop.finished(two)
        left = {name: content for name, content in loop.content(out).items() if ".draft" not in name}
        loop.found["different"] += left != loop.clean
        if killed:  # perhaps after the other had finished and tidied up: the next run does
            loop.finished(loop.start(out))
        loop.found["different"] += loop.content(out) != loop.clean
        loop.found["audits"] += 1


def main() -> None:
    folder, *asked = sys.argv[1:]
    loop = Loop(Path(folder))
    ways = {"random": at_random, "steps": at_steps, "errors": with_errors, "pairs": in_pairs}
    for what, number in zip(asked[::2], asked[1::2], strict=True):
        loop.found.clear()
        ways[what](loop, int(number))
        sys.stdout.write(json.dumps({name: int(value) for name, value in loop.found.items()}) + "\n")


if __name__ == "__main__":
    main()
