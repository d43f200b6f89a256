"""The page "Explain": one image, one model, and the maps that say why."""

from collections.abc import Sequence
from inspect import signature
from typing import Any

import streamlit as st

import xai
from xai.dashboard import widgets as ui
from xai.dashboard.pages.explain.comparison import check_maps, compare, show_agreement
from xai.dashboard.pages.explain.result import show_basket, show_model, show_page_maps, show_together
from xai.dashboard.session import (
    ExplanationRequest,
    Job,
    PageExplanation,
    SharedModel,
    explanation_job,
    methods_job,
    session_jobs,
)
from xai.dashboard.text import describe_method, m, method_label, t, told

MOST_CLASSES = 3  # so that the maps of all fit on a page, and through the wire
MOST_METHODS = 6
_SCORES = {"logit": m("logit"), "probability": m("probability"), "margin": m("margin over the next class")}
_ACROSS = 3


def choose_classes(prediction: xai.results.Prediction) -> tuple[int, ...]:
    """Let the user choose classes to explain, one map each; none stands for the predicted one."""
    names = ui.class_names(prediction.class_names)
    chosen: list[int] = st.multiselect(
        t("Why this class?"),
        list(names),
        format_func=names.__getitem__,
        key="class",
        max_selections=MOST_CLASSES,
        select_all=False,
        placeholder=t("predicted: {label}", label=prediction.label),
        bind="query-params",
    )
    return tuple(chosen)


def choose_score() -> str:
    """Let the user choose which number of the class is explained."""
    chosen: str = st.selectbox(
        t("Score"),
        list(_SCORES),
        format_func=lambda name: t(_SCORES[name]),
        key="score",
        help=t(
            "A probability saturates where the model is confident; the logit does not. The margin is "
            "the logit minus the largest other one."
        ),
        bind="query-params",
    )
    return chosen


def choose_versus(prediction: xai.results.Prediction, targets: Sequence[int], score: str) -> int | None:
    """Let the user choose a class to explain against; None for no other."""
    names, explained, nothing = ui.class_names(prediction.class_names), set(targets or [prediction.index]), t("none")
    chosen: int | None = st.selectbox(
        t("Compared with class"),
        [None, *(k for k in names if k not in explained)],
        format_func=lambda k: nothing if k is None else names[k],
        placeholder=nothing,
        key="versus",
        disabled=score == "margin",
        help=t("Explains the difference of the two scores. The margin has its other class already: the next best."),
        bind="query-params",
    )
    return None if score == "margin" else chosen


def choose_methods(model: SharedModel) -> list[xai.results.MethodInfo]:
    """Let the user choose among all registered methods; those tried on this model and not advised say so."""
    methods = {info.name: info for info in xai.methods()}
    tried = session_jobs().find(("methods", model.key))
    doubtful = {info.name for info in tried if not info.advised} if isinstance(tried, tuple) else set()
    if "methods" not in st.session_state:
        st.session_state["methods"] = _linked(list(methods))

    def named(name: str) -> str:
        text = method_label(methods[name])
        return t("{text} · not advised here", text=text) if name in doubtful else text

    chosen = st.multiselect(
        t("Methods, side by side"),
        list(methods),
        format_func=named,
        key="methods",
        max_selections=MOST_METHODS,
        select_all=False,
        help=t("Name, family, and how many rows go through the model, forward and backward."),
    )
    st.query_params["method"] = ",".join(chosen)
    return [methods[name] for name in chosen]


def _linked(offered: Sequence[str]) -> list[str]:
    """Return the methods that the address names, or the usual one."""
    named = [name for name in st.query_params.get("method", "").split(",") if name in offered]
    return list(dict.fromkeys(named))[:MOST_METHODS] or [signature(xai.explain).parameters["method"].default]


def advise(model: SharedModel) -> list[Job]:
    """Offer to try every method on the model, and say which it can use and why; return what is still to be done."""
    with st.expander(t("Which methods suit this model?"), key="advice", icon=":material/rule:"):
        job = methods_job(model, st.container())
        if not session_jobs().has_requested(job.key):
            st.markdown(t("Each method is tried on a small grey image. A large model takes a minute."))
            st.button(
                t("Try all methods"), on_click=session_jobs().request, args=(job.key,), icon=":material/play_arrow:"
            )
            return []
        tried = ui.result_of(job)
        if tried:
            ui.show_lines([describe_method(info) for info in tried], t("Which methods suit this model?"))
        return [job]


def choose_settings(model: SharedModel, methods: Sequence[xai.results.MethodInfo]) -> list[tuple[dict[str, Any], int]]:
    """Let the user choose layer, seed and settings of each method that has any; return settings and seed of each."""
    able = [info for info in methods if info.settings or info.stochastic]
    columns = st.columns(min(_ACROSS, len(able))) if able else []
    across = _ACROSS if len(able) == 1 else 1
    places = {info.name: columns[k % _ACROSS] for k, info in enumerate(able)}
    return [_settings(model, info, places[info.name], across) if info.name in places else ({}, 0) for info in methods]


def _settings(
    model: SharedModel, method: xai.results.MethodInfo, place: Any, across: int
) -> tuple[dict[str, Any], int]:
    settings: dict[str, Any] = {}
    seed = 0
    with place.expander(t("Settings of {title}", title=told(method.title)), icon=":material/tune:"):
        if "maps" in method.needs and (layer := ui.choose_layer(model.layers, f"layer_{method.name}")):
            settings = {"layer": layer}
        settings |= ui.choose_own(method, across)
        if method.stochastic:
            seed = ui.choose_seed(f"seed_{method.name}")
    return settings, seed


if __name__ == "__main__":  # Streamlit runs it as a script
    ui.show_heading("explain")
    left, right = st.columns([1, 2.4], gap="medium")

    with left:
        model, image, prediction = ui.choose_case()
        show_basket()

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
            ExplanationRequest(method, targets, versus, score, chosen, seed)
            for method, (chosen, seed) in zip(methods, settings, strict=True)
        ]
        if not questions:
            st.info(t("Choose a method to see its map."), icon=":material/arrow_upward:")
            st.stop()
        progress = st.container()
        jobs = [explanation_job(model, image, question, progress.container()) for question in questions]
        explanations = [ui.result_of(job) for job in jobs]
        page_maps = [
            PageExplanation(question, explanation, job.key)
            for question, explanation, job in zip(questions, explanations, jobs, strict=True)
            if explanation is not None
        ]
        if page_maps:
            comparison = compare(page_maps, None if versus is None else prediction.class_names[versus])
            check_maps(page_maps)
            ui.show_maps(comparison.packed, key="viewer")
            if comparison.agreement is not None:
                show_agreement(comparison.agreement)
                show_together(comparison.agreement)
            jobs += show_page_maps(model, image, page_maps)
            ui.show_code(model, image, questions)
            show_model(page_maps[0].explanation)
        jobs += advise(model)
        ui.run_next(jobs)
