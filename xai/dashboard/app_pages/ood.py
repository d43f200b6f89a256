"""The page "Out of distribution": when an answer must not be used, and how far probabilities can be believed."""

import streamlit as st

from xai.dashboard.choices import choose_one
from xai.dashboard.controls import choose_model
from xai.dashboard.drifting import choose_two, compare_data
from xai.dashboard.foreign import choose_plan, detect
from xai.dashboard.jobs import run_next
from xai.dashboard.language import m, t
from xai.dashboard.sets import choose_sample
from xai.dashboard.sureness import calibrate

st.header(t("When must the answer not be used?"), anchor=False)
ways = (m("Foreign pictures"), m("Probabilities"), m("Drift"))
way = choose_one(t("Question"), ways, "ood_about")
left, right = st.columns([1, 2.4], gap="medium")

with left:
    model = choose_model()
    if way == ways[0]:
        plan = choose_plan(model)
    elif way == ways[1]:
        sample = choose_sample(model, "probabilities", usual=1000, most=5000)
    else:
        pair = choose_two()

with right:
    if way == ways[0]:
        run_next(detect(model, plan))
    else:
        run_next(calibrate(model, sample) if way == ways[1] else compare_data(model, pair))
