"""The page "Compare": where two networks look on the same picture."""

from inspect import signature

import streamlit as st

import xai
from xai.dashboard.comparison import panel_of
from xai.dashboard.jobs import Job, result_of
from xai.dashboard.language import t, told
from xai.dashboard.panels import pack, show
from xai.dashboard.script import show_pair
from xai.dashboard.sets import Sample
from xai.dashboard.words import safe
from xai.dashboard.work import Model, Question, to_explain

_USUAL = signature(xai.explain).parameters["method"].default


def show_both(model: Model, other: Model, sample: Sample, number: int) -> list[Job]:
    """Show the maps of both networks over one picture, each for its own answer; return what is still to be done."""
    infos = {info.name: info for info in xai.methods()}
    st.markdown(
        t(
            "**Picture {number}** ({truth}): where each looks for its own answer",
            number=number,
            truth=safe(sample.label(number)),
        )
    )
    name = st.selectbox(
        t("Method"),
        list(infos),
        list(infos).index(_USUAL),
        format_func=lambda one: told(infos[one].title),
        key="compare_method",
        bind="query-params",
    )
    question = Question(infos[name], (), None, "logit", {}, 0)
    picture = sample.picture(number)
    jobs = [to_explain(one, picture, question, st.container()) for one in (model, other)]
    found = [result_of(job) for job in jobs]
    maps = [one for one in found if one is not None]
    if len(maps) == len(jobs):
        panels = [
            panel_of(
                f"{one.name}: {told(infos[name].title)}", explanation.labels[0], explanation.heatmap, explanation.unit
            )
            for one, explanation in zip((model, other), maps, strict=True)
        ]
        show(pack(maps[0].pictures[0], panels, maps[0].geometries[0].seen), key="both maps")
        show_pair((model, other), picture, question)
    return jobs
