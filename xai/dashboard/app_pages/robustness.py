"""The page "Robustness": how a data set fares under attack, with proofs, and under corruptions."""

import streamlit as st

from xai.dashboard.choices import choose_one
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
    way = choose_one(t("What changes"), ways, "question")
    run_next(measure_curve(model, sample) if way == ways[0] else measure_matrix(model, sample))
