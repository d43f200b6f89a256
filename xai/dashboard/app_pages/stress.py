"""The page "Stress": how much change the answer to one picture can take."""

import streamlit as st

from xai.dashboard.attacked import attack
from xai.dashboard.choices import choose_one
from xai.dashboard.controls import choose_case
from xai.dashboard.jobs import run_next
from xai.dashboard.language import m, t
from xai.dashboard.proven import prove
from xai.dashboard.worse import worsen

st.header(t("How much change can the answer take?"), anchor=False)
left, right = st.columns([1, 2.4], gap="medium")

with left:
    model, picture, prediction = choose_case()

with right:
    ways = (m("Corruptions"), m("Attacks"), m("Proofs"))
    way = choose_one(t("What changes"), ways, "way")
    if way == ways[0]:
        jobs = worsen(model, picture)
    elif way == ways[1]:
        jobs = attack(model, picture, prediction)
    else:
        jobs = prove(model, picture, prediction)
    run_next(jobs)
