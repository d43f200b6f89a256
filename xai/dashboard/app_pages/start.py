"""The page "Start": cases to begin with, a network, pictures, and what was understood of both."""

import streamlit as st

from xai.dashboard.bringing import offer_network, offer_pictures
from xai.dashboard.cases import show_cases, show_doctor
from xai.dashboard.choices import settled
from xai.dashboard.controls import choose_model
from xai.dashboard.jobs import run_next
from xai.dashboard.language import choose_language, t
from xai.dashboard.router import linked_pages
from xai.dashboard.sets import choose_data
from xai.dashboard.signin import offer_sign_out
from xai.dashboard.understood import show_network, show_pictures
from xai.dashboard.uploads import DATA, MODEL

st.header(t("What does the network look at, what fools it, whom does it fail?"), anchor=False)
with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
    st.caption(t("Everything runs on this machine; no picture and no network leaves it."), width="content")
    choose_language()
show_cases(linked_pages())
left, right = st.columns(2, gap="medium")

with left, st.container(border=True):
    st.subheader(t("Network"), anchor=False)
    chosen = st.container()
    offer_network()
    with chosen, settled(MODEL):
        model = choose_model()
    show_network(model)

with right, st.container(border=True):
    st.subheader(t("Pictures"), anchor=False)
    chosen = st.container()
    offer_pictures()
    with chosen, settled(DATA):
        name = choose_data()
    show_pictures(name, model)

show_doctor()
offer_sign_out()
run_next([])
