"""The page "Explain": one picture, one network, and the map that says why."""

import streamlit as st

from xai.dashboard.controls import (
    choose_class,
    choose_method,
    choose_model,
    choose_sample,
    choose_settings,
    upload_picture,
)
from xai.dashboard.panels import show
from xai.dashboard.results import show_code, show_downloads, show_model, show_notes, show_prediction
from xai.dashboard.work import Question, explained, predicted, sentences

st.header("Why this answer?", anchor=False)
left, right = st.columns([1, 2.4], gap="medium")

with left:
    uploaded = upload_picture()
    samples = st.container()
    model = choose_model()
    with samples:
        picture = uploaded or choose_sample(model)
    with sentences(), st.spinner("Looking at the picture …"):
        prediction = predicted(model, picture)
    show_prediction(prediction)

with right:
    first, second, third = st.columns([2, 1.2, 1.2])
    with first:
        target = choose_class(prediction)
    with second:
        method = choose_method()
    with third:
        settings, seed = choose_settings(model, method)
    question = Question(method, target, settings, seed)
    with sentences(), st.spinner(f"{method.title} is at work …"):
        answer = explained(model, picture, question)
    show(answer.packed, key="viewer")
    show_notes(answer.explanation)
    show_downloads(answer.explanation)
    show_code(model, picture, question)
    show_model(answer.explanation)
