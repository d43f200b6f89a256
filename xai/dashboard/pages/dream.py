"""The page "Dream": an image that a layer, a channel or a class likes."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import streamlit as st

import xai
from xai.dashboard import charts
from xai.dashboard import widgets as ui
from xai.dashboard.session import Job, Report, SharedModel, SourceImage, progress_arguments
from xai.dashboard.text import file_stem, m, percent, safe, t, told

_GOALS = (m("a class"), m("a layer"))
_STARTS = (m("noise"), m("an image"))
_ROWS = 3  # of a step: a forward, and a backward counted as two
_FRAMES = 12
_LEAST, _SIDE = 336, 720  # pixels that the image is wide on the page


@dataclass(frozen=True, eq=False)
class DreamRequest:
    """What is dreamt of.

    Attributes:
        arguments: for `xai.deep_dream`, those that are not the default.
        image: to start from; None for noise.
        steps: in all, about.
    """

    arguments: Mapping[str, Hashable]
    image: SourceImage | None
    steps: int


def choose_dream(model: SharedModel) -> DreamRequest:
    """Let the user choose what is dreamt of, from what, and how."""
    goal = ui.choose_one(t("Image for"), _GOALS, "dream_goal")
    arguments = _class(model) if goal == _GOALS[0] else _layer(model)
    start = ui.choose_one(t("Begins with"), _STARTS, "dream_start")
    image = None if start == _STARTS[0] else ui.upload_image() or ui.choose_sample_image(model)
    octaves, steps = (6, 25) if image is None else (4, 15)
    left, right = st.columns(2)
    sizes = t("Sizes, each 1.4 times the one before")
    octaves = ui.choose_number(t("Octaves"), f"octaves_{start}", 1, 12, octaves, place=left, tip=sizes)
    steps = ui.choose_number(t("Steps at each"), f"steps_{start}", 1, 500, steps, 5, place=right)
    left, right = st.columns(2)
    side = ui.choose_number(t("Longer side (0: unchanged)"), "dream_size", 0, 2048, 0, 32, place=left)
    seed = ui.choose_seed("dream_seed", right)
    arguments |= {
        "octaves": octaves,
        "steps": steps,
        **({"size": side} if side else {}),
        **({"seed": seed} if seed else {}),
    }
    return DreamRequest(arguments, image, octaves * steps)


def _class(model: SharedModel) -> dict[str, Hashable]:
    names = ui.class_names(model.classifier.class_names)
    k: int = st.selectbox(
        t("Class"), list(names), format_func=names.__getitem__, key="dream_class", bind="query-params"
    )
    return {"target": model.class_name(k)}


def _layer(model: SharedModel) -> dict[str, Hashable]:
    layer = ui.choose_layer(model.layers, "dream_layer")
    if layer is None:
        return {}
    label, tip = t("Channel (empty: all of them)"), t("Its number, from 0")
    text = st.text_input(label, key="dream_channel", bind="query-params", help=tip).strip()
    if text and not text.isdigit():
        st.error(t("Expected the number of a channel, from 0."), icon=":material/error:")
        st.stop()
    return {"layer": layer, **({"channel": int(text)} if text else {})}


def dream(model: SharedModel, wish: DreamRequest) -> list[Job]:
    """Let the user dream; show the image and how it came about; return what is still to be done."""

    def work(classifier: xai.Classifier, report: Report | None) -> xai.results.DeepDream:
        arguments: dict[str, Any] = {**progress_arguments(report), **wish.arguments}
        return xai.deep_dream(classifier, image=None if wish.image is None else wish.image.open(), **arguments)

    about = () if wish.image is None else (wish.image.identity, wish.image.name)
    key = ("dream", model.key, *about, *sorted(wish.arguments.items()))
    job = Job(key, t("Dreaming"), model.ask(work), st.container(), _ROWS * wish.steps)
    tip = t("{n} steps over the whole image", n=wish.steps)
    return ui.ask(job, t("Generate the image"), tip, lambda result: _show(model, wish, result))


def _show(model: SharedModel, wish: DreamRequest, result: xai.results.DeepDream) -> None:
    text = _summary(result)
    with st.container(width=int(np.clip(2 * result.pixels.shape[1], _LEAST, _SIDE))):
        ui.show_image(ui.GalleryImage(result.pixels, "", text))
    st.markdown(safe(text))
    ui.show_notes(result.notes)
    _show_steps(result)
    if len(result.frames) > 1:
        st.markdown(f"**{t('Intermediate images')}**")
        ui.show_row([_frame(result, k) for k in range(min(len(result.frames), _FRAMES))], "frames")
    ui.show_downloads(
        result,
        "dream",
        file_stem(str(result.model["name"]), "dream", result.target_name or result.layer or ""),
        ui.Download(t("Image"), "png", partial(ui.saved, result, "dream.png"), t("PNG, lossless")),
        ui.Download(t("Film"), "gif", partial(ui.saved, result, "dream.gif"), t("All frames")),
    )
    arguments = ", ".join(f"{name}={value!r}" for name, value in wish.arguments.items())
    image = [] if wish.image is None else [f"image = {wish.image.code}"]
    more = "" if wish.image is None else "image=image, "
    ui.show_script(model, *image, f"d = xai.deep_dream(clf, {more}{arguments})", "d.save('dream.png')", "d.plot()")


def _show_steps(result: xai.results.DeepDream) -> None:
    values, octaves = result.objective.tolist(), result.octave.tolist()
    chart = t(
        "{goal}: {first:.3g} at first, {last:.3g} at last.", goal=told(result.goal), first=values[0], last=values[-1]
    )
    st.markdown(f"**{t('Objective, step by step')}**")
    ui.show_chart(charts.climb(values, octaves), "climb", chart)
    steps = enumerate(zip(values, octaves, strict=True), 1)
    rows = [{"step": k, "value": value, "octave": octave + 1} for k, (value, octave) in steps]
    ui.offer_chart_rows(rows, "dream_steps", "climb_csv")
    st.caption(f"{safe(chart)} {t('Values of different octaves are taken at different sizes.')}")


def _summary(result: xai.results.DeepDream) -> str:
    if result.target_name is None or result.probability is None:
        return t("An image that maximises {goal}.", goal=told(result.goal))
    share = percent(result.probability)
    if result.prediction in {None, result.target_name}:
        return t("The model predicts {label} with probability {share}.", label=result.target_name, share=share)
    return t(
        "The model gives {label} the probability {share}, and predicts {other}.",
        label=result.target_name,
        share=share,
        other=result.prediction,
    )


def _frame(result: xai.results.DeepDream, k: int) -> ui.GalleryImage:
    pixels = np.round(255 * np.clip(result.frames[k], 0, 1)).astype(np.uint8)
    return ui.GalleryImage.of(pixels, t("after frame {k} of {n}", k=k + 1, n=len(result.frames)))


ui.show_heading("dream")
left, right = st.columns([1, 2.4], gap="medium")

with left:
    model = ui.choose_model()
    wish = choose_dream(model)

with right:
    ui.run_next(dream(model, wish))
