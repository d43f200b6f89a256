"""The page "Dream": a picture that a layer, a channel or a class likes."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import streamlit as st

import xai
from xai.dashboard.charts import draw, offer_rows
from xai.dashboard.choices import choose_one
from xai.dashboard.controls import choose_sample
from xai.dashboard.files import saved, whole_zip
from xai.dashboard.gallery import Shot, show, show_row
from xai.dashboard.jobs import Job, asked_for, result_of, watched
from xai.dashboard.language import m, t, told
from xai.dashboard.offers import offer
from xai.dashboard.photos import upload_picture
from xai.dashboard.pictures import Picture
from xai.dashboard.script import show_script
from xai.dashboard.tasks import Report
from xai.dashboard.trends import climb
from xai.dashboard.words import file_stem, percent, safe, sentence
from xai.dashboard.work import Model

_GOALS = (m("a class"), m("a layer"))
_STARTS = (m("noise"), m("a picture"))
_ROWS = 3  # of a step: a forward, and a backward counted as two
_FRAMES = 12
_LEAST, _SIDE = 336, 720  # pixels that the picture is wide on the page


@dataclass(frozen=True, eq=False)
class Dream:
    """What is dreamt of.

    Attributes:
        asked: for `xai.deep_dream`, those that are not the default.
        picture: to start from; None for noise.
        steps: in all, about.
    """

    asked: Mapping[str, Hashable]
    picture: Picture | None
    steps: int


def choose_dream(model: Model) -> Dream:
    """Let the user choose what is dreamt of, from what, and how."""
    goal = choose_one(t("A picture for"), _GOALS, "dream_goal")
    asked = _class(model) if goal == _GOALS[0] else _layer(model)
    start = choose_one(t("Begins with"), _STARTS, "dream_start")
    picture = None if start == _STARTS[0] else upload_picture() or choose_sample(model)
    octaves, steps = (6, 25) if picture is None else (4, 15)
    left, right = st.columns(2)
    octaves = int(
        left.number_input(
            t("Octaves"),
            1,
            12,
            octaves,
            key=f"octaves_{start}",
            help=t("Sizes, each 1.4 times the one before"),
            bind="query-params",
        )
    )
    steps = int(right.number_input(t("Steps at each"), 1, 500, steps, 5, key=f"steps_{start}", bind="query-params"))
    left, right = st.columns(2)
    side = int(left.number_input(t("Longer side (0: as it is)"), 0, 2048, 0, 32, key="dream_size", bind="query-params"))
    seed = int(right.number_input(t("Seed"), 0, 2**31 - 1, 0, key="dream_seed", bind="query-params"))
    asked |= {
        "octaves": octaves,
        "steps": steps,
        **({"size": side} if side else {}),
        **({"seed": seed} if seed else {}),
    }
    return Dream(asked, picture, octaves * steps)


def _class(model: Model) -> dict[str, Hashable]:
    labels = model.classifier.labels
    names = list(range(len(labels)))
    k: int = st.selectbox(
        t("Class"), names, format_func=lambda k: _named(labels, k), key="dream_class", bind="query-params"
    )
    return {"target": labels[k] if labels.count(labels[k]) == 1 else k}


def _named(labels: tuple[str, ...], k: int) -> str:
    return labels[k] if labels.count(labels[k]) == 1 else f"{labels[k]} ({k})"


def _layer(model: Model) -> dict[str, Hashable]:
    layer = st.selectbox(
        t("Layer"),
        [None, *model.layers],
        format_func=lambda name: name or t("automatic"),
        key="dream_layer",
        bind="query-params",
    )
    if layer is None:
        return {}
    text = st.text_input(
        t("Channel (empty: all of them)"), key="dream_channel", bind="query-params", help=t("Its number, from 0")
    ).strip()
    if text and not text.isdigit():
        st.error(t("Expected the number of a channel, from 0."), icon=":material/error:")
        st.stop()
    return {"layer": layer, **({"channel": int(text)} if text else {})}


def dream(model: Model, wish: Dream) -> list[Job]:
    """Let the user dream; show the picture and how it came about; return what is still to be done."""
    about = () if wish.picture is None else (wish.picture.identity, wish.picture.name)
    key = ("dream", model.key, *about, *sorted(wish.asked.items()))
    job = Job(key, t("Dreaming"), partial(_dream, model, wish), st.container(), _ROWS * wish.steps)
    if not asked_for(
        job, t("Let it dream"), t("{n} steps, each a look at the whole picture", n=wish.steps), first=True
    ):
        return []
    found = result_of(job)
    if found is not None:
        _show(model, wish, found)
    return [job]


def _dream(model: Model, wish: Dream, report: Report | None) -> xai.DeepDream:
    image = None if wish.picture is None else wish.picture.open()
    with model.borrowed() as classifier:
        asked: dict[str, Any] = {**watched(report), **wish.asked}
        return xai.deep_dream(classifier, image=image, **asked)


def _show(model: Model, wish: Dream, found: xai.DeepDream) -> None:
    said = _said(found)
    with st.container(width=int(np.clip(2 * found.pixels.shape[1], _LEAST, _SIDE))):
        show(Shot(found.pixels, "", said))
    st.markdown(safe(said))
    for note in found.notes:
        st.caption(safe(sentence(note)))
    chart = t(
        "{goal}: {first:.3g} at first, {last:.3g} at last.",
        goal=told(found.goal),
        first=found.objective[0],
        last=found.objective[-1],
    )
    st.markdown(f"**{t('What was raised, step by step')}**")
    draw(climb(found.objective.tolist(), found.octave.tolist()), "climb", chart)
    steps = zip(found.objective.tolist(), found.octave.tolist(), strict=True)
    rows = [{"step": k, "value": value, "octave": octave + 1} for k, (value, octave) in enumerate(steps, 1)]
    offer_rows(rows, "dream_steps", "climb_csv")
    st.caption(f"{safe(chart)} {t('Values of different octaves are taken at different sizes.')}")
    if len(found.frames) > 1:
        st.markdown(f"**{t('On the way')}**")
        show_row([_frame(found, k) for k in range(min(len(found.frames), _FRAMES))], "frames")
    _downloads(found)
    arguments = ", ".join(f"{name}={value!r}" for name, value in wish.asked.items())
    image = [] if wish.picture is None else [f"image = {wish.picture.code}"]
    more = "" if wish.picture is None else "image=image, "
    show_script(model, *image, f"d = xai.deep_dream(clf, {more}{arguments})", "d.save('dream.png')", "d.plot()")


def _said(found: xai.DeepDream) -> str:
    if found.label is None or found.probability is None:
        return t("A picture that raises {goal}.", goal=told(found.goal))
    share = percent(found.probability)
    if found.predicted in {None, found.label}:
        return t("The network takes it for {label} with probability {share}.", label=found.label, share=share)
    return t(
        "The network gives {label} the probability {share}, and takes it for {other}.",
        label=found.label,
        share=share,
        other=found.predicted,
    )


def _frame(found: xai.DeepDream, k: int) -> Shot:
    pixels = np.round(255 * np.clip(found.frames[k], 0, 1)).astype(np.uint8)
    said = t("after part {k} of {n}", k=k + 1, n=len(found.frames))
    return Shot(pixels, safe(said), said)


def _downloads(found: xai.DeepDream) -> None:
    stem = file_stem(str(found.model["name"]), "dream", found.label or found.layer or "")
    with st.container(horizontal=True):
        offer(
            t("Picture (.png)"),
            partial(saved, found, "dream.png"),
            f"{stem}.png",
            "image/png",
            "dream_png",
            t("As it is, without loss"),
        )
        offer(
            t("Film (.gif)"),
            partial(saved, found, "dream.gif"),
            f"{stem}.gif",
            "image/gif",
            "dream_gif",
            t("All frames"),
        )
        tip = t("A folder that xai.DeepDream.load reads back")
        offer(t("Everything (.zip)"), partial(whole_zip, found), f"{stem}.zip", "application/zip", "dream_zip", tip)
