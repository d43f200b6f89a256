"""Slow work of a page as jobs, with the progress they report.

It is done by a task of the process (see `tasks.py`), so that neither a click nor a reload ends it. The run of the page
waits with it, and what else is done on the page has precedence: Streamlit begins anew where the page draws.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

import xai
from xai.dashboard.environment import audits_folder
from xai.dashboard.session.examples import example_audits, example_result, has_example
from xai.dashboard.session.tasks import BackgroundTask, Key, Report, ResultCache, task_queue

_QUICK = 8  # rows
_INSTANT = 6000  # rows of a model that comes with the package: some seconds on two cores
STORE = "store"  # of finished work, shared by all audits of the folder
_AUDIT_FILE, _PIN_FILE = "audit.json", "pinned.json"


@dataclass(eq=False)
class SessionJobs:
    """Requests of a session, and their results.

    Attributes:
        requested: asked for by a button.
        stopped: asked for, and stopped.
        repeated: computed here although a result comes with the package.
        shown: the last comparison and what it was made of.
        results: the results.
    """

    requested: set[Key] = field(default_factory=set)
    stopped: set[Key] = field(default_factory=set)
    repeated: set[Key] = field(default_factory=set)
    shown: tuple[Key, Any] | None = None
    results: ResultCache = field(default_factory=ResultCache)

    def find(self, key: Key) -> Any | None:
        """Return a result, or the error that came instead; None when there is neither."""
        result = self.results.find(key)
        if result is None:
            result = task_queue().done.find(key)
            if result is None and self.uses_example(key):
                return example_result(key)
            if result is not None:
                self.results.keep(key, result)
        return result

    def uses_example(self, key: Key) -> bool:
        """Say whether the result is the one that comes with the package."""
        return has_example(key) and key not in self.repeated

    def repeat(self, key: Key) -> None:
        """Ask for a result although one comes with the package."""
        self.repeated.add(key)
        self.request(key)

    def keep(self, key: Key, value: Any) -> Any:
        """Keep a result for this session and all others, and return it."""
        return task_queue().done.keep(key, self.results.keep(key, value))

    def request(self, key: Key) -> None:
        """Ask for a result."""
        self.requested.add(key)

    def has_requested(self, key: Key) -> bool:
        """Say whether it was asked for: here, or by this page before it was loaded anew, which counts as here."""
        if task_queue().knows(key):
            self.request(key)
        return key in self.requested or self.uses_example(key)

    def switch(self, key: Key) -> None:
        """Stop it, or run it again."""
        self.stopped ^= {key}
        if key in self.stopped:
            task_queue().leave(key, session_id())


@dataclass(frozen=True, eq=False)
class Job:
    """Something to find out.

    Attributes:
        key: all that the result depends on.
        title: what is done, in words.
        ask: does it; reports progress when given a callable `(done, total)`.
        slot: a container of the page for progress, errors and buttons.
        rows: how many go through the model, about; what takes few is done first.
        example: whether the model is a small one that comes with the package.
    """

    key: Key
    title: str
    ask: Callable[[Report | None], Any]
    slot: Any  # a Streamlit container
    rows: int
    example: bool = False

    @property
    def instant(self) -> bool:
        """Whether it takes seconds on any machine: few rows of a small model that comes with the package."""
        return self.example and self.rows <= _INSTANT

    @property
    def quick(self) -> bool:
        """Whether it is too short for a bar."""
        return self.rows <= _QUICK


def session_id() -> str:
    """Return what this browser session is called."""
    context = get_script_run_ctx(suppress_warning=True)
    return "" if context is None else context.session_id


def session_jobs() -> SessionJobs:
    """Return the jobs of this session."""
    if "jobs" not in st.session_state:
        st.session_state["jobs"] = SessionJobs()
    result: SessionJobs = st.session_state["jobs"]
    return result


def progress_arguments(report: Report | None) -> dict[str, Any]:
    """Return `progress` and a `should_stop` for work that asks more often than it reports."""
    if report is None:
        return {}
    last = [0, 1]

    def progress(done: int, total: int) -> None:
        last[:] = done, total
        report(done, total)

    def should_stop() -> bool:
        report(*last)  # leaves from there
        return False

    return {"progress": progress, "should_stop": should_stop}


def progress_in_turn(report: Report | None, count: int) -> Report | None:
    """Return what takes reports that begin anew for each of `count` parts, and reports the whole."""
    if report is None:
        return None
    tell: Callable[[int, int], None] = report
    seen = {"part": 0, "done": 0}

    def part(done: int, total: int) -> None:
        seen["part"] += done < seen["done"]
        seen["done"] = done
        tell(min(seen["part"], count - 1) * total + done, count * total)

    return part


def progress_parts(report: Report | None, count: int) -> list[Report | None]:
    """Return what reports the progress of each of `count` equal parts as that of the whole."""

    def part(k: int) -> Report | None:
        return None if report is None else lambda done, total: report(k * total + done, count * total)

    return [part(k) for k in range(count)]


def start_audit(folder: Path, title: str, tables: Mapping[str, Any], model: Callable[[], Any]) -> BackgroundTask:
    """Begin an audit, or go on with it.

    Args:
        folder: to write to.
        title: of model and data.
        tables: as in `xai.toml`, without the model.
        model: gives what `xai.audit` takes as `model`: a model of its own, that no page uses.
    """

    def work(task: BackgroundTask) -> object:
        return xai.audit(tables, model=model(), out=folder, progress=task.report, should_stop=task.should_stop)

    return task_queue().start_lasting(("audit", str(folder)), title, work)


def audit_task(folder: Path) -> BackgroundTask | None:
    """Return the work on an audit, which may be over; None where it was not begun in this process."""
    return next(iter(task_queue().lasting(("audit", str(folder)))), None)


def open_audits() -> list[BackgroundTask]:
    """Return the audits that wait or work."""
    return task_queue().lasting()


def finished_audits() -> list[Path]:
    """Return the folders of finished audits, the newest first; those that come with the package while there is none."""
    place = audits_folder()
    files = list(place.glob(f"*/{_AUDIT_FILE}")) if place.is_dir() else []
    own = [file.parent for file in sorted(files, key=lambda file: (-file.stat().st_mtime, file.parent.name))]
    return own or example_audits()


def audit_path(name: str) -> Path:
    """Return the folder of a finished audit by name."""
    folders = {folder.name: folder for folder in finished_audits()}
    return folders.get(name, audits_folder() / name)


def open_audit(folder: Path) -> xai.Audit | None:
    """Return a finished audit: from its folder, else the one of that name that comes with the package, else None.

    Raises:
        XaiError: it is damaged.
    """
    finished = {example.name: example for example in example_audits()}
    place = folder if (folder / _AUDIT_FILE).is_file() else finished.get(folder.name, folder)
    file = place / _AUDIT_FILE
    return _read(place, file.stat().st_mtime_ns) if file.is_file() else None


@st.cache_resource(show_spinner=False, max_entries=32)
def _read(folder: Path, changed: int) -> xai.Audit:  # noqa: ARG001  (a file written anew is read anew)
    return xai.Audit.load(folder)


def pinned() -> str | None:
    """Return the folder's name of the pinned audit, where it is still there."""
    try:
        name = json.loads((audits_folder() / _PIN_FILE).read_text(encoding="utf-8"))["baseline"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return name if name in [folder.name for folder in finished_audits()] else None


def pin(name: str | None) -> None:
    """Pin an audit as the baseline, or none.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        (audits_folder() / _PIN_FILE).write_text(json.dumps({"baseline": name}) + "\n", encoding="utf-8")
    except OSError as error:
        raise xai.InputError(
            f"{_PIN_FILE}: cannot be written ({error.strerror}). "
            "Start the dashboard where you may write, or with --audits."
        ) from error
