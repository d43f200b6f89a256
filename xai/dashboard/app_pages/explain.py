"""The page "Explain": one picture, one network, and the maps that say why."""

import streamlit as st

from xai.dashboard.comparison import compare, show_agreement
from xai.dashboard.controls import (
    advise,
    choose_case,
    choose_classes,
    choose_methods,
    choose_score,
    choose_settings,
    choose_versus,
)
from xai.dashboard.jobs import result_of, run_next
from xai.dashboard.kept import show_kept
from xai.dashboard.language import t
from xai.dashboard.panels import show
from xai.dashboard.results import show_answers, show_model, show_together
from xai.dashboard.script import show_code
from xai.dashboard.work import Answer, Question, to_explain

st.header(t("Why this answer?"), anchor=False)
left, right = st.columns([1, 2.4], gap="medium")

with left:
    model, picture, prediction = choose_case()
    show_kept()

with right:
    first, second, third = st.columns([1.6, 1.2, 1])
    with first:
        targets = choose_classes(prediction)
    with third:
        score = choose_score()
    with second:
        versus = choose_versus(prediction, targets, score)
    methods = choose_methods(model)
    settings = choose_settings(model, methods)
    questions = [
        Question(method, targets, versus, score, chosen, seed)
        for method, (chosen, seed) in zip(methods, settings, strict=True)
    ]
    if not questions:
        st.info(t("Choose a method to see its map."), icon=":material/arrow_upward:")
        st.stop()
    progress = st.container()
    jobs = [to_explain(model, picture, question, progress.container()) for question in questions]
    found = [result_of(job) for job in jobs]
    answers = [
        Answer(question, explanation, job.key)
        for question, explanation, job in zip(questions, found, jobs, strict=True)
        if explanation is not None
    ]
    if answers:
        comparison = compare(answers, None if versus is None else prediction.labels[versus])
        show(comparison.packed, key="viewer")
        if comparison.agreement is not None:
            show_agreement(comparison.agreement)
            show_together(comparison.agreement)
        jobs += show_answers(model, picture, answers)
        show_code(model, picture, questions)
        show_model(answers[0].explanation)
    jobs += advise(model)
    run_next(jobs)
