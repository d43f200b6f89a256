"""The page "Compare": two networks on the same pictures, or two audits."""

import streamlit as st

from xai.dashboard.choices import choose_one
from xai.dashboard.controls import choose_model
from xai.dashboard.jobs import run_next
from xai.dashboard.language import m, t
from xai.dashboard.pasts import pasts, say_where
from xai.dashboard.sets import choose_sample
from xai.dashboard.sidebyside import show_both
from xai.dashboard.versus import choose_other, compare_audits, compare_networks

st.header(t("Which one is better?"), anchor=False)
ways = (m("Two networks"), m("Two audits"))
way = choose_one(t("What is compared"), ways, "compare_about")

if way == ways[1]:
    found = pasts()
    if len(found) < 2:
        say_where()
        st.stop()
    compare_audits(found)
else:
    left, right = st.columns([1, 2.4], gap="medium")
    with left:
        model = choose_model()
        other = choose_other(model)
        sample = choose_sample(model, "compare_count", usual=500, most=5000)
    with right:
        jobs, opened = compare_networks(model, other, sample)
        if opened is not None:
            jobs += show_both(model, other, sample, opened)
        run_next(jobs)
