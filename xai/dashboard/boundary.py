"""The page "Out of distribution": where the verdict turns, and the pictures next to it; nothing is computed anew."""

from dataclasses import replace

import numpy as np
import streamlit as st

import xai
from xai.dashboard.charts import draw
from xai.dashboard.detection import Detection
from xai.dashboard.distributions import histogram
from xai.dashboard.gallery import Shot, as_pixels, choose_shot, opened_shot
from xai.dashboard.language import m, t, told
from xai.dashboard.pictures import Picture
from xai.dashboard.words import counted, safe, sentence
from xai.dashboard.work import Model

_SHOWN = 12  # pictures of a gallery
_FOREIGN = "foreign"  # as a verdict of the library
_KINDS = {
    "missed": m("foreign, accepted"),
    "caught": m("foreign, rejected"),
    "alarm": m("ordinary, rejected"),
    "kept": m("ordinary, accepted"),
}


def show_boundary(model: Model, found: Detection) -> tuple[float, Picture | None]:
    """Show scores, what the threshold does and the pictures next to it.

    Returns:
        The share of ordinary pictures that may be rejected, and the picture that was opened.
    """
    chosen = st.slider(
        t("Ordinary pictures that may be rejected (%)"),
        0.5,
        50.0,
        5.0,
        0.5,
        key="alpha",
        help=t("Sets the threshold: the dashed line. The promise below holds for pictures like those that calibrate."),
        bind="query-params",
    )
    alpha = float(chosen) / 100
    inside, outside = at(found, found.inside, alpha), at(found, found.outside, alpha)
    promise = found.detector.guarantee(alpha)
    st.markdown(f"**{safe(sentence(promise.sentence))}**")
    said = _what_happens(found, inside, outside)
    groups = {t("ordinary, kept back"): inside.scores.numpy(), t("foreign"): outside.scores.numpy()}
    unit = found.detector.fitted.detector.unit
    draw(
        histogram(groups, found.detector.threshold(alpha), unit), "scores", t("Histogram of scores. {said}", said=said)
    )
    st.markdown(said)
    return alpha, _show_pictures(model, found, inside, outside, alpha)


def at(found: Detection, judged: xai.Judgement, alpha: float) -> xai.Judgement:
    """Return a judgement with another threshold: its p-values stay."""
    return replace(judged, alpha=alpha, guarantee=found.detector.guarantee(alpha))


def _what_happens(found: Detection, inside: xai.Judgement, outside: xai.Judgement) -> str:
    """Say how many of both kinds are rejected."""
    alarms, caught = (judged.verdicts.count(_FOREIGN) for judged in (inside, outside))
    return t(
        "At this threshold {share} of the ordinary pictures kept back are rejected, and "
        "{share_2} of the foreign ones ({strange}).",
        share=counted(alarms, len(inside)),
        share_2=counted(caught, len(outside)),
        strange=safe(told(found.plan.strange)),
    )


def _show_pictures(
    model: Model, found: Detection, inside: xai.Judgement, outside: xai.Judgement, alpha: float
) -> Picture | None:
    """Show the pictures nearest to the threshold; each can be opened."""
    numbers = {
        **dict(zip(("missed", "caught"), _split(outside), strict=True)),
        **dict(zip(("kept", "alarm"), _split(inside), strict=True)),
    }
    kind = st.segmented_control(
        t("Pictures next to the threshold"),
        list(_KINDS),
        default="missed",
        required=True,
        wrap=True,
        format_func=lambda name: f"{t(_KINDS[name])}: {len(numbers[name])}",
        key="boundary",
        bind="query-params",
    )
    foreign = kind in {"missed", "caught"}
    judged = outside if foreign else inside
    limit = found.detector.threshold(alpha)
    rows = numbers[kind][np.argsort(np.abs(judged.scores.numpy()[numbers[kind]] - limit), kind="stable")][:_SHOWN]
    if len(numbers[kind]) > _SHOWN:
        st.caption(t("The {shown} next to the threshold.", shown=_SHOWN))
    shots = {int(k): _shot(model, found, judged, int(k), foreign=foreign) for k in rows}
    key = "foreign" if foreign else "ordinary"
    choose_shot(shots, key, found.plan.key)
    opened = opened_shot(key, found.plan.key)  # it stays when the threshold moves beyond it
    return None if opened is None or opened >= len(judged) else found.picture(foreign=foreign, k=opened)


def _split(judged: xai.Judgement) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the accepted and of the rejected pictures."""
    rejected = np.array([verdict == _FOREIGN for verdict in judged.verdicts])
    return np.flatnonzero(~rejected), np.flatnonzero(rejected)


def _shot(model: Model, found: Detection, judged: xai.Judgement, k: int, *, foreign: bool) -> Shot:
    """Return a picture as the network sees it."""
    seen = model.classifier.prepare(found.picture(foreign=foreign, k=k).content).inputs
    said = t("{k}: p {p:.2g}, called {label}", k=k, p=float(judged.p_values[k]), label=judged.predicted[k])
    return Shot(
        as_pixels(seen)[0],
        safe(said, 80),
        t("{value} picture {said}", value=t("Foreign") if foreign else t("Ordinary"), said=said),
    )
