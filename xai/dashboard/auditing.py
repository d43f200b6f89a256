"""The page "Audit": the plan with its estimate, the run with its progress, and where it is kept."""

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

import xai
from xai.dashboard.asking import Asked
from xai.dashboard.jobs import Job, asked_for, result_of
from xai.dashboard.language import t, told
from xai.dashboard.runs import BROKEN, STOPPED, STORE, WAITING, Run, audits_folder, begin, runs
from xai.dashboard.tables import written
from xai.dashboard.tasks import Report
from xai.dashboard.uploads import shelf
from xai.dashboard.words import file_stem, percent, safe
from xai.dashboard.work import Model, open_network

_SECONDS = 1.0  # between two looks at a run
_DIGITS = 8
_LONG = 90  # seconds above which minutes are told


def place_of(model: Model, asked: Asked) -> Path:
    """Return the folder of an audit: the same for the same questions, so that asking again goes on with it."""
    told = json.dumps([model.fingerprint, asked.shown], sort_keys=True, default=str)
    stem = file_stem(model.name, str(asked.shown["data"]["source"]))
    return audits_folder() / f"{stem}-{hashlib.sha256(told.encode()).hexdigest()[:_DIGITS]}"


def show_plan(model: Model, asked: Asked, folder: Path, slot: Any) -> list[Job]:
    """Show what the audit would do and about how long it takes, when asked; return what is still to be done."""
    key = ("audit plan", model.key, str(folder), json.dumps(asked.shown, sort_keys=True, default=str))
    job = Job(key, t("Planning"), partial(_plan, model.name, asked, folder), slot, rows=9)
    if not asked_for(job, t("Plan it"), t("Loads everything and times a few pictures; asks nothing else")):
        return []
    found = result_of(job)
    if found is not None:
        _show_plan(found)
    return [job]


def _plan(name: str, asked: Asked, folder: Path, report: Report | None) -> xai.AuditPlan:  # noqa: ARG001
    return xai.plan_audit(_stored(asked), model=source_of_network(name)(), out=folder)


def _stored(asked: Asked) -> dict[str, Any]:
    """Return the tables with the store that all audits share, so that another threshold costs nothing."""
    return {**asked.tables, "audit": {**asked.tables["audit"], "store": str(audits_folder() / STORE)}}


def source_of_network(name: str) -> Callable[[], Any]:
    """Return what gives `xai.audit` a network of its own: by name, so that the audit can say how to repeat it."""
    if name in shelf().networks:
        return partial(open_network, name)
    return lambda: name


def _show_plan(plan: xai.AuditPlan) -> None:
    st.markdown(
        t(
            "**{left} of {pieces}** pieces of work are left, about **{time}** on this machine.",
            left=f"{plan.left:,}",
            pieces=f"{plan.pieces:,}",
            time=_time(plan.seconds),
        )
    )
    titles = {info.name: info.title for info in xai.audit_checks()}
    lines = [
        {
            t("Check"): safe(t(titles[one.metric])),
            t("Left"): f"{one.left} / {one.pieces}",
            t("Time"): _time(one.seconds),
            t("Remarks"): safe(told(one.missing)),
        }
        for one in plan.checks
    ]
    st.table(lines, border="horizontal", hide_index=True, alt=t("What each check would cost"))
    st.caption(t("Digest of the thresholds, written down before the network is loaded"))
    st.code(plan.thresholds_sha256, language=None, wrap_lines=True)


def _time(seconds: float) -> str:
    if seconds < 1:
        return "< 1 s"
    return f"{seconds:.0f} s" if seconds < _LONG else f"{seconds / 60:.0f} min"


def control(model: Model, asked: Asked, folder: Path) -> Run | None:
    """Show the button that begins, or goes on with, an audit; return its run, if it has one in this process."""
    run = runs().find(folder)
    if run is None or not run.open:
        done, begun = (folder / "audit.json").is_file(), folder.is_dir()
        label = t("Run it again") if done else t("Go on") if begun else t("Run the audit")
        st.button(
            label,
            key="run_audit",
            type="secondary" if done else "primary",
            icon=":material/play_arrow:",
            on_click=_begin,
            args=(folder, f"{model.name} · {asked.shown['data']['source']}", _stored(asked), model.name),
            help=t("Goes on in the background, also when this page is closed. Finished work is kept."),
        )
    if run is not None and run.state == BROKEN:
        st.error(safe(run.error), icon=":material/error:")
    if run is not None and run.state == STOPPED:
        st.info(t("Stopped. What is finished is kept: it goes on from here."), icon=":material/pause_circle:")
    return run


def _begin(folder: Path, title: str, tables: dict[str, Any], name: str) -> None:
    begin(folder, title, tables, source_of_network(name))


def watch(run: Run) -> None:
    """Show how far an audit is, and the button that stops it; runs the page again when it has ended.

    The button is no part of what is drawn anew every second: a click on it could fall between two drawings.
    """
    with st.container(horizontal=True, vertical_alignment="center"):
        _show_progress(run)
        st.button(
            t("Stop"),
            key=f"stop {run.folder.name}",
            on_click=run.stop,
            disabled=run.stopping,
            icon=":material/stop_circle:",
        )


@st.fragment(run_every=_SECONDS)
def _show_progress(run: Run) -> None:
    if not run.open:
        st.rerun()
    share = min(1.0, run.done / run.total) if run.total else 0.0
    title = safe(run.title)
    if run.stopping:
        text = t("{title}: stopping …", title=title)
    elif run.state == WAITING:
        text = t("{title}: waits for another audit.", title=title)
    else:
        text = t("{title}: summing up …", title=title) if share == 1 else f"{title} · {percent(share)}"
    st.progress(share, text)


def show_others(folder: Path | None) -> None:
    """Show the audits at work but the one of this folder: a reload, or another page, finds them here."""
    for run in runs().open_ones():
        if run.folder != folder:
            watch(run)


def show_file(asked: Asked) -> None:
    """Show the questions as `xai.toml`, to run them elsewhere."""
    with st.expander(t("Copy the code"), icon=":material/code:"):
        text = written(asked.shown)
        st.code(text, language="toml")
        st.code("xai audit xai.toml --out audit/", language="bash")
        st.download_button("xai.toml", text, "xai.toml", "application/toml", key="toml", icon=":material/download:")
