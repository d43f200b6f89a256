"""What surrounds every page: the menu, the sign-in, and background work with its progress.

Streamlit reads `.streamlit/secrets.toml` in the folder that it is started in, or in the home folder.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import streamlit as st
from streamlit.runtime.scriptrunner import StopException

import xai
from xai.dashboard.environment import sign_in_configured
from xai.dashboard.session import (
    BackgroundTask,
    DataSample,
    Job,
    Key,
    PageLink,
    SharedModel,
    session_id,
    session_jobs,
    task_queue,
    verb_job,
)
from xai.dashboard.text import LANGUAGES, duration, language, m, percent, safe, set_language, speak, t

_PULSE = 0.1  # seconds between two looks at a task
_SECONDS = 1.0  # between two looks at tasks of other pages
_STOP = ":material/stop_circle:"
_PLACE = "place_for_work"


def result_of(job: Job) -> Any | None:
    """Return the result; None while there is none, and the slot says why. Quick ones are done at once."""
    result = session_jobs().find(job.key)
    if result is None and job.quick:
        with job.slot, st.spinner(f"{job.title} …"):
            result = _done(job)
    if isinstance(result, xai.XaiError):
        job.slot.error(f"{job.title}\\: {safe(result)}", icon=":material/error:")
        return None
    if result is None and job.key in session_jobs().stopped:
        _offer_again(job)
    return result


def requested(job: Job, label: str, tip: str, *, first: bool = False) -> bool:
    """Say whether a job was asked for; while it is not done, show the button that does: `first` of its page or not.

    The first job of a page asks for itself where it takes seconds, so that every page opens with a result.
    """
    if first and job.instant:
        session_jobs().request(job.key)
    is_requested = session_jobs().has_requested(job.key)
    if not is_requested or session_jobs().find(job.key) is None:
        job.slot.button(
            label,
            key=f"ask {job.key}",
            on_click=session_jobs().request,
            args=(job.key,),
            disabled=is_requested,  # it stays until there is a result: what is below it would jump, "Stop" as well
            help=tip,
            icon=":material/play_arrow:",
            type="primary" if first else "secondary",
        )
    return is_requested


def ask(
    job: Job, label: str, tip: str, show: Callable[[Any], Sequence[Job] | None], *, first: bool = True
) -> list[Job]:
    """Let the user begin a job and show its result; return what is still to be done.

    Args:
        job: that is begun by the button.
        label: of the button.
        tip: about what it costs.
        show: shows the result; returns further jobs that the page has then, if any.
        first: whether it is the first button of its page.
    """
    if not requested(job, label, tip, first=first):
        return []
    result = result_of(job)
    if result is None:
        return [job]
    if session_jobs().uses_example(job.key):
        _offer_to_repeat(job)
    return [job, *(show(result) or ())]


def _offer_to_repeat(job: Job) -> None:
    """Say that a result comes with the package, and offer to compute it here."""
    with job.slot.container(horizontal=True, vertical_alignment="center"):
        st.caption(t("An example result, computed in advance."), width="content")
        repeat = session_jobs().repeat
        st.button(t("Run it again"), key=f"repeat {job.key}", on_click=repeat, args=(job.key,), type="tertiary")


def ask_verb(
    verb: str,
    texts: tuple[str, str, str],
    model: SharedModel,
    samples: Sequence[DataSample],
    show: Callable[[Any], None],
    rows: int = 0,
    **arguments: Hashable,
) -> list[Job]:
    """Let the user ask a verb of xai about data sets, and show its result; return what is still to be done.

    Args:
        verb: "bias", "drift", ...
        texts: what is done, the label of the button, and what it costs: "{rows}" stands for the rows.
        model: asked about.
        samples: the data sets, in the order in which the verb takes them.
        show: shows the result.
        rows: how many go through the model, about; 0 for as many as there are images.
        arguments: further arguments of the verb, besides the seed.
    """
    rows = rows or sum(len(sample.data) for sample in samples)
    title, label, tip = (t(text, rows=rows) for text in texts)
    job = verb_job(verb, title, model, samples, st.container(), rows, seed=samples[0].seed, **arguments)
    return ask(job, label, tip, show)


def show_verdict(verdict: str, words: Mapping[str, str], text: str, icon: str) -> None:
    """Show a verdict in words and colour: no evidence of anything, too few images to tell, or a finding."""
    show = {"no evidence": st.success, "too small to tell": st.info}.get(verdict, st.warning)
    show(f"**{t(words[verdict])}**{text}", icon=f":material/{icon}:")


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
    task_queue().leave_all_but({job.key for job in jobs} | session_jobs().requested, session_id())
    _show_elsewhere({job.key for job in jobs})
    open_jobs = [job for job in jobs if session_jobs().find(job.key) is None and job.key not in session_jobs().stopped]
    open_jobs.sort(key=lambda job: job.rows)
    for job in open_jobs[1:]:
        job.slot.caption(t("{title}: waits for its turn.", title=job.title))
    if open_jobs:
        _follow(open_jobs[0])
        st.rerun()


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
        session_jobs().switch(job.key)
        raise
    if task.failure is not None:
        raise task.failure
    place.empty()


def _begin(job: Job) -> BackgroundTask:
    speak()
    return task_queue().start(job.key, job.title, job.ask, session_id(), _here())


def _here() -> PageLink | None:
    """Return the page that is shown, with its choices."""
    page = st.session_state.get("page")
    return None if page is None else PageLink(page, dict(st.query_params))


def _how_far(task: BackgroundTask, title: str) -> str:
    if not task.working:
        return t("{title}: waits for its turn.", title=title)
    return f"{title} · {percent(task.share)}{time_left(task)}" if task.share else f"{title} …"


def time_left(task: BackgroundTask) -> str:
    """Say about how long a task still takes; "" before that can be told."""
    seconds = task.seconds_left
    return "" if seconds is None else t(", about {time} left", time=duration(seconds))


def _show_elsewhere(here: set[Key]) -> None:
    """Show what this session waits for on other pages, or with other choices."""
    tasks = [task for task in task_queue().open_tasks(session_id()) if task.key not in here]
    if tasks and _PLACE in st.session_state:
        place, pages = st.session_state[_PLACE]
        for task in tasks:
            with place.container(horizontal=True, vertical_alignment="center"):
                _show_one_elsewhere(task, pages)


def _show_one_elsewhere(task: BackgroundTask, pages: Mapping[str, Any]) -> None:
    _show_progress(task)
    if task.link is not None and task.link.page in pages:
        st.page_link(pages[task.link.page], label=t("Show it"), query_params=task.link.query)
    st.button(t("Stop"), key=f"leave {task.key}", on_click=session_jobs().switch, args=(task.key,), icon=_STOP)


@st.fragment(run_every=_SECONDS)
def _show_progress(task: BackgroundTask) -> None:
    if task.over and task.key in task_queue().done:
        st.progress(1.0, t("{title}: done.", title=task.title))
    else:
        st.progress(task.share, _how_far(task, task.title))


def _switch(job: Job, label: str, icon: str) -> None:
    """Show the button that stops a job or runs it again.

    It is one button with two labels: the browser keeps one that has the focus until it is left, and what is below it
    would then jump away from under the pointer.
    """
    st.button(label, key=f"switch {job.key}", on_click=session_jobs().switch, args=(job.key,), icon=icon)


def _done(job: Job) -> Any:
    """Do it and keep what came of it; an error is kept, too, because asking again would give it again."""
    try:
        return session_jobs().keep(job.key, job.ask(None))
    except xai.XaiError as error:
        return session_jobs().keep(job.key, error)


def _offer_again(job: Job) -> None:
    with job.slot.empty().container(horizontal=True, vertical_alignment="center"):
        st.progress(0.0, t("{title}: stopped.", title=job.title))
        _switch(job, t("Run it again"), ":material/replay:")


@contextmanager
def stop_on_error() -> Iterator[None]:
    """Turn what goes wrong on purpose into a sentence on the page, and end the run there."""
    try:
        yield
    except xai.XaiError as error:
        st.error(safe(error), icon=":material/error:")
        st.stop()


_FOLDER, _STYLE = (Path(__file__).parents[1] / name for name in ("pages", "style"))


class PageEntry(NamedTuple):
    """A page of the menu.

    Attributes:
        name: of its script and in its address.
        title: in the menu, the browser's tab and the heading.
        icon: in the menu, by its Material name.
        tip: what it is for.
    """

    name: str
    title: str
    icon: str
    tip: str


PAGES = [
    PageEntry("start", m("Start"), "home", m("Explain, stress-test and audit an image classifier")),
    PageEntry("explain", m("Explain"), "center_focus_strong", m("Why this prediction? Heatmaps over one image")),
    PageEntry("dream", m("Dream"), "bedtime", m("An image that maximises a class, a layer or a channel")),
    PageEntry(
        "stress", m("Stress"), "tune", m("How small a change fools it? One image, corrupted, attacked or certified")
    ),
    PageEntry(
        "robustness",
        m("Robustness"),
        "shield",
        m("How robust is the model? A data set under attacks and corruptions, with certificates"),
    ),
    PageEntry(
        "ood",
        m("Out of distribution"),
        "travel_explore",
        m("When should you distrust the prediction? Out-of-distribution images, calibration, drift"),
    ),
    PageEntry("bias", m("Bias"), "groups", m("Where does the model fail? Groups, shortcuts, weak slices, data faults")),
    PageEntry(
        "compare",
        m("Compare"),
        "compare_arrows",
        m("Which model is better? Two models on the same data, or two audits"),
    ),
    PageEntry(
        "audit",
        m("Audit"),
        "fact_check",
        m("Does the model meet the thresholds? Time estimate, run, verdicts, reports"),
    ),
    PageEntry("history", m("History"), "history", m("Finished audits, trends, the pinned baseline")),
]


def show_heading(name: str) -> None:
    """Show the heading of a page, which is its name in the menu, and what the page is for."""
    page = next(page for page in PAGES if page.name == name)
    st.title(t(page.title), anchor=False)
    st.caption(t(page.tip))


def show_style() -> None:
    """Add the rules of style to a page; they take no place on it."""
    names = ["page.css", *(["dark.css"] if st.context.theme.type == "dark" else [])]
    rules = "".join(map(_read, names))
    st.html(f"<style>{rules}</style>")


@cache
def _read(name: str) -> str:
    return (_STYLE / name).read_text(encoding="utf-8")


def page_file(name: str) -> Path:
    """Return the script of a page: a file of its own, or `page.py` in its folder."""
    alone = _FOLDER / f"{name}.py"
    return alone if alone.is_file() else _FOLDER / name / "page.py"


def linked_pages() -> dict[str, Any]:
    """Return all pages by name, the first one being shown by default."""
    return {
        p.name: st.Page(
            page_file(p.name),
            title=t(p.title),
            icon=f":material/{p.icon}:",
            url_path=p.name,
            help=t(p.tip),
            default=p is PAGES[0],
        )
        for p in PAGES
    }


def require_sign_in() -> None:
    """Where a provider is set up, show only a button to whoever has not signed in, and end the run there."""
    if not sign_in_configured() or st.user.is_logged_in:
        return
    st.title(t("Sign in"), anchor=False)
    st.markdown(t("This dashboard is for those who have an account with its operator."))
    st.button(t("Sign in"), key="sign_in", on_click=st.login, icon=":material/login:", type="primary")
    st.stop()


def offer_sign_out() -> None:
    """Offer to sign out, where one has to sign in."""
    if sign_in_configured():
        st.button(t("Sign out"), key="sign_out", on_click=st.logout, icon=":material/logout:")


def choose_language() -> None:
    """Let the user choose the language."""
    if "language choice" not in st.session_state:
        st.session_state["language choice"] = language()
    st.segmented_control(
        "Language · Idioma",
        list(LANGUAGES),
        format_func=LANGUAGES.__getitem__,
        required=True,
        key="language choice",
        on_change=_choose,
        label_visibility="collapsed",
    )


def _choose() -> None:
    set_language(st.session_state["language choice"])
