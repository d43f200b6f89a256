"""The page "History": the audits of a folder, the trend of each check, the pinned baseline, and one of them whole."""

import streamlit as st

from xai.dashboard.auditing import show_others
from xai.dashboard.jobs import run_next
from xai.dashboard.language import t
from xai.dashboard.pasts import choose_past, offer_pin, pasts, say_where, show_list, show_past, show_trend

st.header(t("How did it go?"), anchor=False)
show_others(None)
run_next([])
found = pasts()
if not found:
    say_where()
    st.stop()
show_list(found)
left, right = st.columns([1, 1.6], gap="medium")
with left:
    past = choose_past(t("Open"), "run", found, 0)
    offer_pin(past)
with right:
    show_trend(found)
show_past(past)
