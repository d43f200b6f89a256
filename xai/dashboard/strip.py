"""The same map at several layers of the network, first to last: which layer to look at is a choice that can be seen."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import streamlit as st
from PIL import Image

import xai
from xai.dashboard.gallery import Shot, show
from xai.dashboard.jobs import Job, parts, result_of, watched
from xai.dashboard.language import language, t, told
from xai.dashboard.pictures import Picture
from xai.dashboard.tasks import Report
from xai.dashboard.words import describe_map, safe
from xai.dashboard.work import Answer, Model, Question

_MOST = 6  # layers
_SIDE = 224  # pixels of a thumbnail
_WIDTH = 104  # pixels of the page: six fit beside the left column
_ROWS_OF_A_CHECK = 15  # a layer that is named is tried before it is believed


@dataclass(frozen=True, eq=False)
class Stage:
    """What a method sees at one layer.

    Attributes:
        layer: its name.
        pixels: (h, w, 3) uint8, what the network sees of the picture, under the map; None where there is no map.
        told: a sentence about the map, or why there is none.
        size: of the map at the layer, "14 x 14"; "" where it is not known.
    """

    layer: str
    pixels: np.ndarray | None
    told: str
    size: str


def show_strip(model: Model, picture: Picture, answer: Answer) -> Job | None:
    """Show the map at other layers once it is asked for; return the job then. Nothing for methods without a layer."""
    method = answer.question.method
    if "maps" not in method.needs:
        return None
    key = f"strip {method.name}"
    with st.expander(t("The same at other layers"), icon=":material/layers:", key=key, on_change="rerun") as box:
        if not box.open:
            return None
        job = to_look(model, picture, answer)
        found = result_of(job)
        if found is not None:
            st.caption(t("From the first layers to the last: early ones see edges, late ones things."))
            with st.container(horizontal=True):
                for stage in found:
                    with st.container(width=_WIDTH):
                        _show(stage, answer)
    return job


def to_look(model: Model, picture: Picture, answer: Answer) -> Job:
    """Return the job whose result is a tuple of stages."""
    question = answer.question
    others = {name: value for name, value in question.settings.items() if name != "layer"}
    asked = Question(question.method, question.targets[:1], question.versus, question.score, others, question.seed)
    rows = _MOST * (question.method.forward + question.method.backward + _ROWS_OF_A_CHECK)
    key = ("strip", language(), model.key, picture.identity, picture.name, *asked.key)
    return Job(
        key,
        t("{title} at other layers", title=told(question.method.title)),
        partial(_look, model, picture, asked),
        st.container(),
        rows,
    )


def _look(model: Model, picture: Picture, question: Question, report: Report | None) -> tuple[Stage, ...]:
    with model.borrowed() as classifier:
        layers = xai.layers(classifier, most=_MOST)
        told = parts(report, len(layers))
        return tuple(_stage(classifier, picture, question, layer, told[k]) for k, layer in enumerate(layers))


def _stage(
    classifier: xai.Classifier, picture: Picture, question: Question, layer: str, report: Report | None
) -> Stage:
    try:
        found = xai.explain(
            classifier,
            picture.open(),
            question.method.name,
            question.target,
            question.seed,
            layer=layer,
            **watched(report),
            **question.extras,
        )
    except xai.XaiError as error:  # one layer that cannot be looked at must not hide the others
        return Stage(layer, None, str(error), "")
    top, left, bottom, right = map(int, found.geometries[0].seen)
    small = Image.fromarray(found.overlay()[top:bottom, left:right])
    small.thumbnail((_SIDE, _SIDE))
    size = "" if found.coarse is None else " x ".join(str(side) for side in found.coarse.shape[1:])
    told = describe_map(question.method.title, found.labels[0], found.heatmaps[0])
    return Stage(layer, np.asarray(small), told, size)


def _show(stage: Stage, answer: Answer) -> None:
    """Show a stage, and the button that makes its layer that of the method."""
    name = safe(stage.layer, 60) + (f"\n\n{stage.size}" if stage.size else "")
    if stage.pixels is None:
        st.caption(f"{name}\n\n{safe(stage.told)}")
        return
    show(Shot(stage.pixels, name, t("At layer {layer}: {told}", layer=stage.layer, told=stage.told)))
    here = answer.explanation.layer == stage.layer
    st.button(
        t("Chosen") if here else t("Choose"),
        key=f"layer {answer.question.method.name} {stage.layer}",
        on_click=_choose,
        args=(answer.question.method.name, stage.layer),
        disabled=here,
        width="stretch",
    )


def _choose(method: str, layer: str) -> None:
    st.session_state[f"layer_{method}"] = layer
