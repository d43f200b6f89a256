"""Audits at work: one at a time in a thread of the process, so that pages stay usable and a reload finds them again."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import streamlit as st

import xai
from xai.dashboard.launch import AUDITS_VARIABLE

Progress = Callable[[int, int], None]
Work = Callable[[Progress, Callable[[], bool]], object]
WAITING, WORKING, DONE, STOPPED, BROKEN = "waiting", "working", "done", "stopped", "broken"
STORE = "store"  # of finished work, shared by all audits of the folder
_FILE = "audit.json"


@dataclass(eq=False)
class Run:
    """An audit that was begun here.

    Attributes:
        folder: that it writes to.
        title: of model and data.
        state: one of the names above.
        done: rows through the network so far.
        total: rows in all; 0 before that is known.
        error: one sentence, where it broke.
    """

    folder: Path
    title: str
    state: str = WAITING
    done: int = 0
    total: int = 0
    error: str = ""
    _stop: Event = field(default_factory=Event)

    @property
    def open(self) -> bool:
        """Whether it waits or works."""
        return self.state in {WAITING, WORKING}

    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop and has not yet."""
        return self.open and self._stop.is_set()

    def stop(self) -> None:
        """Ask it to stop; it does so between two batches, and what is finished is kept."""
        self._stop.set()

    def work(self, work: Work, turn: Lock) -> None:
        """Do the work when it is its turn; whatever becomes of it is a state, never an exception of the thread."""
        with turn:
            if self._stop.is_set():
                self.state = STOPPED
                return
            self.state = WORKING
            try:
                work(self._progress, self._stop.is_set)
                self.state = DONE
            except xai.Stopped:
                self.state = STOPPED
            except xai.XaiError as error:
                self.state, self.error = BROKEN, str(error)
            except Exception as error:  # noqa: BLE001  (a thread has nobody above it who would tell)
                self.state, self.error = BROKEN, f"{type(error).__name__}: {error}"

    def _progress(self, done: int, total: int) -> None:
        self.done, self.total = done, total


@dataclass(eq=False)
class Runs:
    """All audits of this process."""

    by_folder: dict[Path, Run] = field(default_factory=dict)
    turn: Lock = field(default_factory=Lock)
    _guard: Lock = field(default_factory=Lock)

    def find(self, folder: Path) -> Run | None:
        """Return the run that writes to a folder."""
        return self.by_folder.get(folder)

    def start(self, folder: Path, title: str, work: Work) -> Run:
        """Begin, or return the run that is at it."""
        with self._guard:
            found = self.by_folder.get(folder)
            if found is not None and found.open:
                return found
            run = self.by_folder[folder] = Run(folder, title)
            Thread(target=run.work, args=(work, self.turn), daemon=True, name=f"audit {folder.name}").start()
            return run

    def open_ones(self) -> list[Run]:
        """Return those that wait or work."""
        return [run for run in list(self.by_folder.values()) if run.open]


@st.cache_resource(show_spinner=False)
def runs() -> Runs:
    """Return the audits of this process."""
    return Runs()


def audits_folder() -> Path:
    """Return where audits are: the folder named at the start, or `audits/` beside it."""
    return Path(os.environ.get(AUDITS_VARIABLE) or "audits").absolute()


def finished() -> list[Path]:
    """Return the folders of finished audits, the newest first."""
    place = audits_folder()
    files = list(place.glob(f"*/{_FILE}")) if place.is_dir() else []
    return [file.parent for file in sorted(files, key=lambda file: (-file.stat().st_mtime, file.parent.name))]


def open_audit(folder: Path) -> xai.Audit | None:
    """Return a finished audit; None where there is none.

    Raises:
        XaiError: it is damaged.
    """
    file = folder / _FILE
    return _read(folder, file.stat().st_mtime_ns) if file.is_file() else None


@st.cache_resource(show_spinner=False, max_entries=32)
def _read(folder: Path, changed: int) -> xai.Audit:  # noqa: ARG001  (a file written anew is read anew)
    return xai.Audit.load(folder)


def begin(folder: Path, title: str, asked: Mapping[str, Any], model: Callable[[], Any]) -> Run:
    """Begin an audit, or go on with it.

    Args:
        folder: to write to.
        title: of model and data.
        asked: tables as in `xai.toml`, without the model.
        model: gives what `xai.audit` takes as `model`: a network of its own, that no page uses.
    """

    def work(progress: Progress, should_stop: Callable[[], bool]) -> object:
        return xai.audit(asked, model=model(), out=folder, progress=progress, should_stop=should_stop)

    return runs().start(folder, title, work)
