"""The page "Robustness": how a data set fares under attack, with proofs, and under corruptions."""

import streamlit as st

from xai.dashboard.controls import choose_model
from xai.dashboard.curve import measure_curve
from xai.dashboard.jobs import run_next
from xai.dashboard.language import m, t
from xai.dashboard.matrix import measure_matrix
from xai.dashboard.sets import choose_sample

st.header(t("How robust is the network?"), anchor=False)
left, right = st.columns([1, 2.4], gap="medium")

with left:
    model = choose_model()
    sample = choose_sample(model)

with right:
    ways = (m("Attacks and proofs"), m("Corruptions"))
    way = st.segmented_control(
        t("What changes"), ways, default=ways[0], required=True, format_func=t, key="question", bind="query-params"
    )
    run_next(measure_curve(model, sample) if way == ways[0] else measure_matrix(model, sample))
