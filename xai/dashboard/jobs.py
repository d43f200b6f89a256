"""Slow work of a page: done once, with progress, and it can be stopped.

It is done by a task of the process (see `tasks.py`), so that neither a click nor a reload ends it. The run of the page
waits with it, and what else is done on the page has precedence: Streamlit begins anew where the page draws.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import StopException, get_script_run_ctx

import xai
from xai.dashboard.keeping import Kept, Key
from xai.dashboard.language import speak, t
from xai.dashboard.tasks import Link, Report, Task, office
from xai.dashboard.words import percent, safe

_QUICK = 8  # rows
_PULSE = 0.1  # seconds between two looks at a task
_SECONDS = 1.0  # between two looks at tasks of other pages
_STOP = ":material/stop_circle:"
_PLACE = "place_for_work"


@dataclass(eq=False)
class Desk:
    """What a session has asked for, and what it has been told.

    Attributes:
        wanted: asked for by a button.
        stopped: asked for, and stopped.
        shown: the last comparison and what it was made of.
        told: the results.
    """

    wanted: set[Key] = field(default_factory=set)
    stopped: set[Key] = field(default_factory=set)
    shown: tuple[Key, Any] | None = None
    told: Kept = field(default_factory=Kept)

    def find(self, key: Key) -> Any | None:
        """Return a result, or the error that came instead; None when there is neither."""
        found = self.told.find(key)
        if found is None:
            found = office().done.find(key)
            if found is not None:
                self.told.keep(key, found)
        return found

    def keep(self, key: Key, value: Any) -> Any:
        """Keep a result for this session and all others, and return it."""
        return office().done.keep(key, self.told.keep(key, value))

    def want(self, key: Key) -> None:
        """Ask for a result."""
        self.wanted.add(key)

    def wants(self, key: Key) -> bool:
        """Say whether it was asked for: here, or by this page before it was loaded anew, which counts as here."""
        if office().knows(key):
            self.want(key)
        return key in self.wanted

    def switch(self, key: Key) -> None:
        """Stop it, or run it again."""
        self.stopped ^= {key}
        if key in self.stopped:
            office().leave(key, session())


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


def session() -> str:
    """Return what this browser session is called."""
    context = get_script_run_ctx(suppress_warning=True)
    return "" if context is None else context.session_id


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
            found = _done(job)
    if isinstance(found, xai.XaiError):
        job.slot.error(f"{job.title}\\: {safe(found)}", icon=":material/error:")
        return None
    if found is None and job.key in desk().stopped:
        _offer_again(job)
    return found


def asked_for(job: Job, label: str, tip: str, *, first: bool = False) -> bool:
    """Say whether a job was asked for; while it is not done, show the button that does: `first` of its page or not."""
    wanted = desk().wants(job.key)
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


def place_for_work(pages: Mapping[str, Any]) -> None:
    """Keep a place at the top of a page for what goes on elsewhere.

    Args:
        pages: those that can be gone to, by address.
    """
    st.session_state[_PLACE] = st.container(), pages


def run_next(jobs: Sequence[Job]) -> None:
    """Have the shortest job that is still open done, then run the page again with its result.

    What this page no longer asks for by itself is given up; what was asked for by a button goes on.
    """
    office().leave_all_but({job.key for job in jobs} | desk().wanted, session())
    _show_elsewhere({job.key for job in jobs})
    open_jobs = [job for job in jobs if desk().find(job.key) is None and job.key not in desk().stopped]
    open_jobs.sort(key=lambda job: job.rows)
    for job in open_jobs[1:]:
        job.slot.caption(t("{title}: waits for its turn.", title=job.title))
    if open_jobs:
        _follow(open_jobs[0])
        st.rerun()


def watched(report: Report | None) -> dict[str, Any]:
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


def _follow(job: Job) -> None:
    """Show how far a job is until it is over; each look is a place where a click on the page takes effect."""
    place = job.slot.empty()
    with place.container(horizontal=True, vertical_alignment="center"):
        bar = st.progress(0.0, f"{job.title} …")
        _switch(job, t("Stop"), _STOP)
    task = _begin(job)
    try:
        while not task.over:
            bar.progress(task.share, _how_far(task, job.title))
            task.wait(_PULSE)
    except StopException:  # Streamlit's own button at the top of the page
        desk().switch(job.key)
        raise
    if task.failure is not None:
        raise task.failure
    place.empty()


def _begin(job: Job) -> Task:
    speak()
    return office().start(job.key, job.title, job.ask, session(), _here())


def _here() -> Link | None:
    """Return the page that is shown, with its choices."""
    page = st.session_state.get("page")
    return None if page is None else Link(page, dict(st.query_params))


def _how_far(task: Task, title: str) -> str:
    if not task.working:
        return t("{title}: waits for its turn.", title=title)
    return f"{title} · {percent(task.share)}" if task.share else f"{title} …"


def _show_elsewhere(here: set[Key]) -> None:
    """Show what this session waits for on other pages, or with other choices."""
    tasks = [task for task in office().open_tasks(session()) if task.key not in here]
    if tasks and _PLACE in st.session_state:
        place, pages = st.session_state[_PLACE]
        for task in tasks:
            with place.container(horizontal=True, vertical_alignment="center"):
                _show_one_elsewhere(task, pages)


def _show_one_elsewhere(task: Task, pages: Mapping[str, Any]) -> None:
    _show_progress(task)
    if task.link is not None and task.link.page in pages:
        st.page_link(pages[task.link.page], label=t("Show it"), query_params=task.link.query)
    st.button(t("Stop"), key=f"leave {task.key}", on_click=desk().switch, args=(task.key,), icon=_STOP)


@st.fragment(run_every=_SECONDS)
def _show_progress(task: Task) -> None:
    if task.over and task.key in office().done:
        st.progress(1.0, t("{title}: done.", title=task.title))
    else:
        st.progress(task.share, _how_far(task, task.title))


def _switch(job: Job, label: str, icon: str) -> None:
    """Show the button that stops a job or runs it again.

    It is one button with two labels: the browser keeps one that has the focus until it is left, and what is below it
    would then jump away from under the pointer.
    """
    st.button(label, key=f"switch {job.key}", on_click=desk().switch, args=(job.key,), icon=icon)


def _done(job: Job) -> Any:
    """Do it and keep what came of it; an error is kept, too, because asking again would give it again."""
    try:
        return desk().keep(job.key, job.ask(None))
    except xai.XaiError as error:
        return desk().keep(job.key, error)


def _offer_again(job: Job) -> None:
    with job.slot.empty().container(horizontal=True, vertical_alignment="center"):
        st.progress(0.0, t("{title}: stopped.", title=job.title))
        _switch(job, t("Run it again"), ":material/replay:")
