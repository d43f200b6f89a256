"""Slow work of a session: done once, with progress, and it can be stopped.

The work is done in the run of the page itself. Streamlit ends a run only where it draws, so each report of progress is
a place where "Stop", or any other choice on the page, takes effect; what was borrowed from the network is given back on
the way out. Nothing goes on when a browser is closed.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import streamlit as st

import xai
from xai.dashboard.language import t
from xai.dashboard.words import percent, safe

Key = tuple[Hashable, ...]
Report = Callable[[int, int], None]
_MOST_BYTES = 512 * 2**20
_QUICK = 8  # rows
_FEWEST = 12  # results that are kept however large they are, so that those on the page fit
_PULSE = 0.3  # seconds between two looks at whether the page wants a job to stop


@dataclass(eq=False)
class Desk:
    """What a session has found out, and what it has asked for.

    Attributes:
        wanted: asked for by a button.
        stopped: asked for, and stopped.
        shown: the last comparison and what it was made of.
    """

    wanted: set[Key] = field(default_factory=set)
    stopped: set[Key] = field(default_factory=set)
    shown: tuple[Key, Any] | None = None
    _found: OrderedDict[Key, Any] = field(default_factory=OrderedDict)

    def find(self, key: Key) -> Any | None:
        """Return a result, or the error that came instead; None when there is neither."""
        if key in self._found:
            self._found.move_to_end(key)
        return self._found.get(key)

    def keep(self, key: Key, value: Any) -> Any:
        """Keep a result and return it; those used longest ago go first."""
        self._found[key] = value
        while len(self._found) > _FEWEST and sum(map(_bytes, self._found.values())) > _MOST_BYTES:
            self._found.popitem(last=False)
        return value

    def want(self, key: Key) -> None:
        """Ask for a result."""
        self.wanted.add(key)

    def switch(self, key: Key) -> None:
        """Stop it, or run it again."""
        self.stopped ^= {key}


@dataclass(frozen=True, eq=False)
class Job:
    """Something to find out.

    Attributes:
        key: all that the result depends on.
        title: what is done, in words.
        ask: does it; reports progress when given a callable `(done, total)`.
        slot: a container of the page for progress, errors and buttons.
        rows: how many go through the network, about; what takes few is done first.
    """

    key: Key
    title: str
    ask: Callable[[Report | None], Any]
    slot: Any  # a Streamlit container
    rows: int

    @property
    def quick(self) -> bool:
        """Whether it is too short for a bar."""
        return self.rows <= _QUICK


def desk() -> Desk:
    """Return the desk of this session."""
    if "desk" not in st.session_state:
        st.session_state["desk"] = Desk()
    found: Desk = st.session_state["desk"]
    return found


def result_of(job: Job) -> Any | None:
    """Return the result; None while there is none, and the slot says why. Quick ones are done at once."""
    found = desk().find(job.key)
    if found is None and job.quick:
        with job.slot, st.spinner(f"{job.title} …"):
            found = _done(job, None)
    if isinstance(found, xai.XaiError):
        job.slot.error(f"{job.title}\\: {safe(found)}", icon=":material/error:")
        return None
    if found is None and job.key in desk().stopped:
        _offer_again(job)
    return found


def asked_for(job: Job, label: str, tip: str, *, first: bool = False) -> bool:
    """Say whether a job was asked for; while it is not done, show the button that does: `first` of its page or not."""
    wanted = job.key in desk().wanted
    if not wanted or desk().find(job.key) is None:
        job.slot.button(
            label,
            key=f"ask {job.key}",
            on_click=desk().want,
            args=(job.key,),
            disabled=wanted,  # not taken away before there is a result: what is below it would jump, "Stop" as well
            help=tip,
            icon=":material/play_arrow:",
            type="primary" if first else "secondary",
        )
    return wanted


def run_next(jobs: Sequence[Job]) -> None:
    """Do the shortest job that is still open, then run the page again with its result."""
    open_jobs = [job for job in jobs if desk().find(job.key) is None and job.key not in desk().stopped]
    open_jobs.sort(key=lambda job: job.rows)
    for job in open_jobs[1:]:
        job.slot.caption(t("{title}: waits for its turn.", title=job.title))
    if open_jobs:
        _run(open_jobs[0])
        st.rerun()


def watched(report: Report | None) -> dict[str, Any]:
    """Return `progress` and a `should_stop` that draws, too, for work that asks more often than it reports."""
    if report is None:
        return {}
    seen = {"at": time.monotonic(), "done": 0, "total": 1}

    def progress(done: int, total: int) -> None:
        seen.update(at=time.monotonic(), done=done, total=total)
        report(done, total)

    def should_stop() -> bool:
        if time.monotonic() - seen["at"] > _PULSE:
            progress(int(seen["done"]), int(seen["total"]))
        return False

    return {"progress": progress, "should_stop": should_stop}


def in_turn(report: Report | None, count: int) -> Report | None:
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


def parts(report: Report | None, count: int) -> list[Report | None]:
    """Return what reports the progress of each of `count` equal parts as that of the whole."""

    def part(k: int) -> Report | None:
        return None if report is None else lambda done, total: report(k * total + done, count * total)

    return [part(k) for k in range(count)]


def _run(job: Job) -> None:
    place = job.slot.empty()
    with place.container(horizontal=True, vertical_alignment="center"):
        bar = st.progress(0.0, f"{job.title} …")
        _switch(job, t("Stop"), ":material/stop_circle:")

    def report(done: int, total: int) -> None:
        share = min(1.0, done / max(total, 1))
        bar.progress(share, f"{job.title} · {percent(share)}")

    _done(job, report)
    place.empty()


def _switch(job: Job, label: str, icon: str) -> None:
    """Show the button that stops a job or runs it again.

    It is one button with two labels: the browser keeps one that has the focus until it is left, and what is below it
    would then jump away from under the pointer.
    """
    st.button(label, key=f"switch {job.key}", on_click=desk().switch, args=(job.key,), icon=icon)


def _done(job: Job, report: Report | None) -> Any:
    """Do it and keep what came of it; an error is kept, too, because asking again would give it again."""
    try:
        return desk().keep(job.key, job.ask(report))
    except xai.XaiError as error:
        return desk().keep(job.key, error)


def _offer_again(job: Job) -> None:
    with job.slot.empty().container(horizontal=True, vertical_alignment="center"):
        st.progress(0.0, t("{title}: stopped.", title=job.title))
        _switch(job, t("Run it again"), ":material/replay:")


def _bytes(value: Any) -> int:
    """Return about how much memory a result takes: arrays, tensors, texts, and the maps that an explanation makes."""
    if isinstance(value, xai.Explanation):
        maps = sum(4 * picture.shape[0] * picture.shape[1] for picture in value.pictures)
        return int(maps + value.pictures[0].nbytes + value.attribution.nbytes)
    if is_dataclass(value):
        return sum(_bytes(getattr(value, f.name)) for f in fields(value))
    if isinstance(value, Mapping):
        return sum(map(_bytes, value.values()))
    if isinstance(value, tuple | list):
        return sum(map(_bytes, value))
    return len(value) if isinstance(value, str) else int(getattr(value, "nbytes", 0))
