"""Audits of a folder: those that run, the finished ones, and the one that others are compared with."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import streamlit as st

import xai
from xai.dashboard.environment import audits_folder
from xai.dashboard.session.tasks import BackgroundTask, task_queue

STORE = "store"  # of finished work, shared by all audits of the folder
_AUDIT_FILE, _PIN_FILE = "audit.json", "pinned.json"


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
    """Return the folders of finished audits, the newest first."""
    place = audits_folder()
    files = list(place.glob(f"*/{_AUDIT_FILE}")) if place.is_dir() else []
    return [file.parent for file in sorted(files, key=lambda file: (-file.stat().st_mtime, file.parent.name))]


def open_audit(folder: Path) -> xai.Audit | None:
    """Return a finished audit; None where there is none.

    Raises:
        XaiError: it is damaged.
    """
    file = folder / _AUDIT_FILE
    return _read(folder, file.stat().st_mtime_ns) if file.is_file() else None


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
