"""The page "Audit": thresholds first, then the time estimate, the run, and the verdicts."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

import xai
from xai.dashboard import widgets as ui
from xai.dashboard.environment import audits_folder
from xai.dashboard.pages.audit.form import AuditRequest, choose_checks, choose_data
from xai.dashboard.session import (
    STORE,
    BackgroundTask,
    Job,
    SharedModel,
    audit_path,
    audit_task,
    finished_audits,
    open_audit,
    open_model,
    pinned,
    start_audit,
    upload_store,
)
from xai.dashboard.text import duration, file_stem, safe, t, told, toml_text, written

_DIGITS = 8


def audit_folder(model: SharedModel, request: AuditRequest) -> Path:
    """Return the folder of an audit: the same for the same questions, so that asking again goes on with it."""
    request_text = json.dumps([model.fingerprint, request.shown], sort_keys=True, default=str)
    stem = file_stem(model.name, str(request.shown["data"]["source"]))
    return audits_folder() / f"{stem}-{hashlib.sha256(request_text.encode()).hexdigest()[:_DIGITS]}"


def show_plan(model: SharedModel, request: AuditRequest, folder: Path, slot: Any) -> list[Job]:
    """Show what the audit would do and about how long it takes, when requested; return what is still to be done."""

    def plan(_report: object) -> xai.results.AuditPlan:
        result: xai.results.AuditPlan = xai.Audit.plan(
            _stored(request), model=source_of_network(model.name)(), out=folder
        )
        return result

    key = ("audit plan", model.key, str(folder), json.dumps(request.shown, sort_keys=True, default=str))
    job = Job(key, t("Planning"), plan, slot, rows=9)
    tip = t("Loads everything and times a few images")
    return ui.ask(job, t("Estimate the time"), tip, _show_plan, first=False)


def _stored(request: AuditRequest) -> dict[str, Any]:
    """Return the tables with the store that all audits share, so that another threshold costs nothing."""
    return {**request.tables, "audit": {**request.tables["audit"], "store": str(audits_folder() / STORE)}}


def source_of_network(name: str) -> Callable[[], Any]:
    """Return what gives `xai.audit` a model of its own: by name, so that the audit can say how to repeat it."""
    if name in upload_store().models:
        return partial(open_model, name)
    return lambda: name


def _show_plan(plan: xai.results.AuditPlan) -> None:
    st.markdown(
        t(
            "Estimated time: **{time}** on this machine, for **{left} of {pieces}** steps not yet computed.",
            left=written("{value:,}", plan.left),
            pieces=written("{value:,}", plan.pieces),
            time=duration(plan.seconds),
        )
    )
    titles = {info.name: info.title for info in xai.Audit.available_checks()}
    lines = [
        {
            t("Check"): safe(t(titles[check.metric])),
            t("Remaining"): f"{check.left} / {check.pieces}",
            t("Time"): duration(check.seconds),
            t("Remarks"): safe(told(check.missing)),
        }
        for check in plan.checks
    ]
    ui.show_lines(lines, t("Estimated time of each check"))
    st.caption(t("Hash of the thresholds, written before the model is loaded"))
    st.code(plan.thresholds_sha256, language=None, wrap_lines=True)


def control(model: SharedModel, request: AuditRequest, folder: Path) -> BackgroundTask | None:
    """Show the button that begins, or goes on with, an audit; return its work, if there is some in this process."""
    task = audit_task(folder)
    if task is None or task.over:
        done, begun = (folder / "audit.json").is_file(), folder.is_dir()
        title = f"{model.name} · {request.shown['data']['source']}"
        st.button(
            t("Run it again") if done else t("Resume") if begun else t("Run the audit"),
            key="run_audit",
            type="secondary" if done else "primary",
            icon=":material/play_arrow:",
            on_click=_start,
            args=(folder, title, _stored(request), source_of_network(model.name)),
            help=t("Runs in the background, also when this page is closed. Finished work is kept."),
        )
    if task is not None and task.failure is not None:
        st.error(safe(_failure(task.failure)), icon=":material/error:")
    if task is not None and task.cancelled:
        st.info(t("Stopped. Finished work is kept: resume it here."), icon=":material/pause_circle:")
    return task


def _start(folder: Path, title: str, tables: Mapping[str, Any], source: Callable[[], Any]) -> None:
    start_audit(folder, title, tables, source)


def _failure(error: BaseException) -> str:
    return str(error) if isinstance(error, xai.XaiError) else f"{type(error).__name__}: {error}"


def show_file(request: AuditRequest) -> None:
    """Show the questions as `xai.toml`, to run them elsewhere."""
    with st.expander(t("Copy the code"), icon=":material/code:"):
        text = toml_text(request.shown)
        st.code(text, language="toml")
        st.code("xai audit xai.toml --out audit/", language="bash")
        st.download_button("xai.toml", text, "xai.toml", "application/toml", key="toml", icon=":material/download:")


def choose_baseline(names: Sequence[str], pinned: str | None) -> str | None:
    """Let the user choose an earlier audit to compare with; the pinned one is proposed."""
    if not names:
        return None
    places = [None, *names]
    chosen: str | None = st.selectbox(
        t("Baseline"),
        places,
        places.index(pinned) if pinned in places else 0,
        format_func=lambda name: name or t("none"),
        key="audit_baseline",
        help=t("An earlier audit, for drops and for explanation drift."),
        bind="query-params",
    )
    return chosen


def show_outcome(task: BackgroundTask | None, folder: Path, request: AuditRequest) -> None:
    """Show how far the audit is, or its verdict; before it began, what would be asked."""
    if task is not None and not task.over:
        ui.watch(task)
        return
    with ui.stop_on_error():
        audit = open_audit(folder)
    if audit is not None:
        ui.show_audit(audit, "audit")
        return
    titles = {info.name: info.title for info in xai.Audit.available_checks()}
    checks = [check for check in request.shown.get("check", ()) if isinstance(check, Mapping)]
    names = [safe(t(titles[check["metric"]])) for check in checks if check.get("metric") in titles]
    st.info(t("Not run yet: {checks}.", checks=", ".join(names)), icon=":material/pending:")


if __name__ == "__main__":  # Streamlit runs it as a script
    ui.show_heading("audit")
    left, right = st.columns([1, 2.4], gap="medium")

    with left:
        model = ui.choose_model("example:fashion-robust")
        data = choose_data(model)
        baseline = choose_baseline([folder.name for folder in finished_audits()], pinned())

    with right:
        first, buttons = st.container(), st.container(horizontal=True)
        with st.expander(t("Checks and thresholds"), icon=":material/tune:"):
            request = choose_checks(data, model, None if baseline is None else str(audit_path(baseline)))
        folder = audit_folder(model, request)
        jobs = show_plan(model, request, folder, buttons)
        with buttons, ui.stop_on_error():
            task = control(model, request, folder)
        with first:
            show_outcome(task, folder, request)
        ui.show_others(folder)
        show_file(request)
        ui.run_next(jobs)
