"""The page "Bias": groups that fare worse, shortcuts, weak kinds of pictures, faults of the data."""

import streamlit as st

from xai.dashboard.choices import choose_one
from xai.dashboard.controls import choose_model
from xai.dashboard.faulty import choose_training, look_for_faults
from xai.dashboard.groups import compare_groups
from xai.dashboard.jobs import run_next
from xai.dashboard.language import m, t
from xai.dashboard.planted import look_for_shortcuts
from xai.dashboard.sets import choose_sample
from xai.dashboard.weak import look_for_slices

st.header(t("Whom does it fail, and why?"), anchor=False)
ways = (m("Groups"), m("Shortcuts"), m("Slices"), m("Data faults"))
way = choose_one(t("Question"), ways, "bias_about")
left, right = st.columns([1, 2.4], gap="medium")

with left:
    model = choose_model()
    sample = choose_sample(model, "bias_count", usual=1000, most=5000)
    train = choose_training(model, sample.seed) if way == ways[3] else None

with right:
    if way == ways[0]:
        jobs = compare_groups(model, sample)
    elif way == ways[1]:
        jobs = look_for_shortcuts(model, sample)
    elif way == ways[2]:
        jobs = look_for_slices(model, sample)
    else:
        jobs = look_for_faults(model, sample, train)
    run_next(jobs)
