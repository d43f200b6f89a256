"""The page "Out of distribution": one picture, whether its answer may be used, and why."""

import numpy as np
import streamlit as st

import xai
from xai.dashboard.boundary import at
from xai.dashboard.detection import Detection, OneJudged, to_explain_score, to_judge
from xai.dashboard.gallery import Shot, as_pixels, show_row
from xai.dashboard.jobs import Job, asked_for, result_of
from xai.dashboard.language import t, told
from xai.dashboard.panels import Panel, pack, show_small, shown_pixels
from xai.dashboard.pictures import Picture
from xai.dashboard.script import show_script
from xai.dashboard.words import describe_map, safe, sentence
from xai.dashboard.work import Model

_USUAL = "occlusion"


def show_judged(model: Model, found: Detection, picture: Picture | None, alpha: float) -> list[Job]:
    """Show the verdict on a picture, pictures like it and, when asked, what is foreign in it; return what is to do."""
    if picture is None:
        st.caption(t("Open one of the pictures above, or upload one of your own."))
        return []
    job = to_judge(model, found, picture, st.container())
    one = result_of(job)
    if one is None:
        return [job]
    _show_verdict(found, one, picture.name, alpha)
    _show_neighbours(model, found, one)
    return [job, *_show_map(model, found, picture)]


def _show_verdict(found: Detection, one: OneJudged, title: str, alpha: float) -> None:
    judged = at(found, one.judgement, alpha)
    name, answer, p_value = safe(title, 80), safe(judged.predicted[0]), judged.p_value
    rejected = judged.verdict == "foreign"
    show_box = st.warning if rejected else st.success
    word = t("Foreign: its answer must not be used.") if rejected else t("Ordinary: nothing speaks against its answer.")
    show_box(
        t(
            "**{word}** {name}, which the network calls **{answer}**: p = {p_value:.3g}, {value} {alpha:g}.",
            word=word,
            name=name,
            answer=answer,
            p_value=p_value,
            value=t("at most") if rejected else t("above"),
            alpha=judged.alpha,
        ),
        icon=":material/block:" if rejected else ":material/check_circle:",
    )
    st.markdown("\n".join(f"- {safe(sentence(reason))}" for reason in judged.reasons[0].split("; ")))
    method = safe(told(found.detector.fitted.detector.title))
    st.caption(t("p is the share of ordinary pictures that look at least as foreign to {method}.", method=method))
    seen = [note for note in judged.notes if "p-values promise nothing" in note]
    for note in seen:
        st.caption(safe(sentence(note)))


def _show_neighbours(model: Model, found: Detection, one: OneJudged) -> None:
    """Show the pictures that were learnt from and are most like it to the network."""
    if one.neighbours is None:
        return
    st.caption(t("The most similar pictures that were learnt from, with the distance of their features (0 to 2)"))
    fit, shots = found.plan.fit, []
    for number, distance in zip(one.neighbours["number"].tolist(), one.neighbours["distance"].tolist(), strict=True):
        said = f"{number}: {fit.label(number)}, {distance:.2f}"
        seen = model.classifier.prepare(fit.data.images[number]).inputs
        shots.append(Shot(as_pixels(seen)[0], safe(said, 80), t("Similar picture {said}", said=said)))
    show_row(shots, "similar")


def _show_map(model: Model, found: Detection, picture: Picture) -> list[Job]:
    infos = {info.name: info for info in xai.methods()}
    name = st.selectbox(
        t("Which pixels are foreign?"),
        list(infos),
        list(infos).index(_USUAL),
        format_func=lambda name: told(infos[name].title),
        key="score_method",
        bind="query-params",
    )
    job = to_explain_score(model, found, picture, infos[name], st.container())
    if not asked_for(job, t("Show them"), t("Explains the score itself: about {rows} rows", rows=job.rows)):
        return []
    explanation = result_of(job)
    if explanation is not None:
        show_small(_packed(explanation, told(infos[name].title)), key="score map")
        show_script(
            model,
            *found.plan.code,
            f"image = {picture.code}",
            f"e = d.explain(image, {name!r}, seed={found.plan.seed})",
            "e.save('foreign.png')",
            "j = d.judge(image)",
            "print(j.verdict, j.p_value)",
        )
    return [job]


def _packed(explanation: xai.Explanation, title: str) -> dict[str, object]:
    heatmap: np.ndarray = explanation.heatmap
    small = heatmap[np.ix_(*(shown_pixels(side, heatmap.shape) for side in heatmap.shape))]
    said = describe_map(title, t("foreignness"), small).replace(t("against the class"), t("for an ordinary picture"))
    panel = Panel(t("{title}: what is foreign", title=title), heatmap, told(explanation.unit), said)
    return pack(explanation.pictures[0], [panel], explanation.geometries[0].seen)
