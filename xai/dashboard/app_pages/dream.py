"""The page "Dream": what a class, a layer or a channel of the network likes to see."""

import streamlit as st

from xai.dashboard.controls import choose_model
from xai.dashboard.dreaming import choose_dream, dream
from xai.dashboard.jobs import run_next
from xai.dashboard.language import t

st.header(t("What does it want to see?"), anchor=False)
left, right = st.columns([1, 2.4], gap="medium")

with left:
    model = choose_model()
    wish = choose_dream(model)

with right:
    run_next(dream(model, wish))
