"""The page "Audit": thresholds first, then the plan, the run, and the verdicts with their pictures."""

import streamlit as st

from xai.dashboard.asking import choose_baseline, choose_checks, choose_data
from xai.dashboard.auditing import control, place_of, show_file, show_others, show_plan, watch
from xai.dashboard.board import show_audit
from xai.dashboard.controls import choose_model
from xai.dashboard.jobs import run_next
from xai.dashboard.language import t
from xai.dashboard.pins import pinned
from xai.dashboard.runs import audits_folder, finished, open_audit
from xai.dashboard.work import sentences

st.header(t("Is the network good enough?"), anchor=False)
left, right = st.columns([1, 2.4], gap="medium")

with left:
    model = choose_model()
    data = choose_data(model)
    baseline = choose_baseline([folder.name for folder in finished()], pinned())

with right:
    asked = choose_checks(data, model, None if baseline is None else str(audits_folder() / baseline))
    folder = place_of(model, asked)
    buttons = st.container(horizontal=True)
    jobs = show_plan(model, asked, folder, buttons)
    with buttons, sentences():
        run = control(model, asked, folder)
    if run is not None and run.open:
        watch(run)
    else:
        with sentences():
            audit = open_audit(folder)
        if audit is not None:
            show_audit(audit, "audit")
    show_others(folder)
    show_file(asked)
    run_next(jobs)
