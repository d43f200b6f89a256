"""The page "Out of distribution": the threshold, the images next to it, and one image judged."""

from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st

import xai
from xai.dashboard import charts
from xai.dashboard import widgets as ui
from xai.dashboard.pages.ood import detector as ood
from xai.dashboard.session import Job, SharedModel, SourceImage
from xai.dashboard.text import bullets, counted, describe_map, file_stem, m, safe, sentence, t, told

_REJECTED = "out-of-distribution"  # as a verdict of the library
_METHOD = "occlusion"
_KINDS = {
    "missed": m("out-of-distribution, accepted"),
    "caught": m("out-of-distribution, rejected"),
    "alarm": m("in-distribution, rejected"),
    "kept": m("in-distribution, accepted"),
}


def detect(model: SharedModel, plan: ood.DetectorPlan) -> list[Job]:
    """Let the user fit a detector and look at what it says; return what is still to be done."""
    job = ood.detector_job(model, plan, st.container())
    tip = t("About {rows} images through the model", rows=job.rows)
    return ui.ask(job, t("Fit a detector"), tip, lambda result: _show(model, result))


def _show(model: SharedModel, result: ood.DetectorResult) -> list[Job]:
    alpha, opened = _show_boundary(model, result)
    st.markdown(t("**One image**"))
    image = ui.upload_image("odd") or opened
    jobs = [*_show_judged(model, result, image, alpha), *_show_methods(model, result)]
    csv = ui.csv_file(_verdicts(result), t("Verdicts"), t("A line per image"))
    ui.show_downloads(
        result.detector, "ood", file_stem(str(result.detector.model["name"]), "ood", result.detector.method), csv
    )
    code = ("print(d.table, d.notes, d.guarantee(alpha=0.05).sentence)", "print(d.judge(test), d.judge(ood_images))")
    ui.show_script(model, *result.plan.code, *code)
    return jobs


def _verdicts(result: ood.DetectorResult) -> pd.DataFrame:
    pair = (("in-distribution", result.inside), ("out-of-distribution", result.outside))
    return pd.concat([judgement.table.assign(set=name) for name, judgement in pair])


def _show_boundary(model: SharedModel, result: ood.DetectorResult) -> tuple[float, SourceImage | None]:
    """Show scores, what the threshold does and the images next to it.

    Returns:
        The share of in-distribution images that may be rejected, and the image that was opened.
    """
    tip = t("Sets the threshold: the dashed line. The guarantee below holds for images like those used to calibrate.")
    label = t("In-distribution images that may be rejected (%)")
    alpha = st.slider(label, 0.5, 50.0, 5.0, 0.5, key="alpha", help=tip, bind="query-params") / 100
    inside, outside = _at(result, result.inside, alpha), _at(result, result.outside, alpha)
    st.markdown(f"**{safe(sentence(result.detector.guarantee(alpha).sentence))}**")
    text = _what_happens(result, inside, outside)
    groups = {t("in-distribution, held out"): inside.scores.numpy(), t("out-of-distribution"): outside.scores.numpy()}
    chart = charts.histogram(groups, result.detector.threshold(alpha), result.detector.fitted.detector.unit)
    ui.show_chart(chart, "scores", t("Histogram of scores. {text}", text=text))
    st.markdown(text)
    return alpha, _show_images(model, result, inside, outside, alpha)


def _at(result: ood.DetectorResult, judged: xai.Judgement, alpha: float) -> xai.Judgement:
    """Return a judgement with another threshold: its p-values stay."""
    return replace(judged, alpha=alpha, guarantee=result.detector.guarantee(alpha))


def _what_happens(result: ood.DetectorResult, inside: xai.Judgement, outside: xai.Judgement) -> str:
    """Say how many of both kinds are rejected."""
    alarms, caught = (judged.verdicts.count(_REJECTED) for judged in (inside, outside))
    return t(
        "At this threshold {share} of the held-out in-distribution images are rejected, and "
        "{share_2} of the out-of-distribution ones ({strange}).",
        share=counted(alarms, len(inside)),
        share_2=counted(caught, len(outside)),
        strange=safe(told(result.plan.ood_name)),
    )


def _show_images(
    model: SharedModel, result: ood.DetectorResult, inside: xai.Judgement, outside: xai.Judgement, alpha: float
) -> SourceImage | None:
    """Show the images nearest to the threshold; each can be opened."""
    numbers = {
        **dict(zip(("missed", "caught"), _split(outside), strict=True)),
        **dict(zip(("kept", "alarm"), _split(inside), strict=True)),
    }
    kind = ui.choose_group(t("Images next to the threshold"), _KINDS, numbers, "boundary")
    is_ood = kind in {"missed", "caught"}
    judged = outside if is_ood else inside
    away = np.abs(judged.scores.numpy()[numbers[kind]] - result.detector.threshold(alpha))
    rows = numbers[kind][np.argsort(away, kind="stable")][: ui.SHOWN]
    if len(numbers[kind]) > ui.SHOWN:
        st.caption(t("The {shown} next to the threshold.", shown=ui.SHOWN))
    shots = {int(k): _shot(model, result, judged, int(k), is_ood=is_ood) for k in rows}
    key = "outside" if is_ood else "inside"
    ui.choose_image(shots, key, result.plan.key)
    opened = ui.opened_image(key, result.plan.key)  # it stays when the threshold moves beyond it
    return None if opened is None or opened >= len(judged) else result.image(is_ood=is_ood, k=opened)


def _split(judged: xai.Judgement) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the accepted and of the rejected images."""
    rejected = np.array([verdict == _REJECTED for verdict in judged.verdicts])
    return np.flatnonzero(~rejected), np.flatnonzero(rejected)


def _shot(
    model: SharedModel, result: ood.DetectorResult, judged: xai.Judgement, k: int, *, is_ood: bool
) -> ui.GalleryImage:
    """Return an image as the model sees it."""
    seen = model.classifier.prepare(result.image(is_ood=is_ood, k=k).content).inputs
    text = t("{k}: p {p:.2g}, predicted as {label}", k=k, p=float(judged.p_values[k]), label=judged.predicted[k])
    kind = t("Out-of-distribution") if is_ood else t("In-distribution")
    return ui.GalleryImage.of(seen, text, t("{value} image {text}", value=kind, text=text))


def _show_judged(model: SharedModel, result: ood.DetectorResult, image: SourceImage | None, alpha: float) -> list[Job]:
    """Show the verdict on an image, similar images and, when asked, a map of its score; return what is to do."""
    if image is None:
        st.caption(t("Open one of the images above, or upload your own."))
        return []
    job = ood.judgement_job(model, result, image, st.container())
    judged = ui.result_of(job)
    if judged is None:
        return [job]
    _show_verdict(result, judged, image.name, alpha)
    _show_neighbours(model, result, judged)
    return [job, *_show_map(model, result, image)]


def _show_verdict(result: ood.DetectorResult, judged_image: ood.JudgedImage, title: str, alpha: float) -> None:
    judged = _at(result, judged_image.judgement, alpha)
    rejected = judged.verdict == _REJECTED
    word = (
        t("Out-of-distribution: do not use its prediction.")
        if rejected
        else t("In-distribution: no evidence against using its prediction.")
    )
    text = t(
        "**{word}** {name}, predicted as **{answer}**: p = {p_value:.3g}, {value} {alpha:g}.",
        word=word,
        name=safe(title, 80),
        answer=safe(judged.predicted[0]),
        p_value=judged.p_value,
        value=t("at most") if rejected else t("above"),
        alpha=judged.alpha,
    )
    show_box, icon = (st.warning, "block") if rejected else (st.success, "check_circle")
    show_box(text, icon=f":material/{icon}:")
    st.markdown(bullets(judged.reasons[0].split("; ")))
    method = safe(told(result.detector.fitted.detector.title))
    st.caption(t("p is the share of in-distribution images with at least as high a score of {method}.", method=method))
    ui.show_notes([note for note in judged.notes if "p-values guarantee nothing" in note])


def _show_neighbours(model: SharedModel, result: ood.DetectorResult, judged: ood.JudgedImage) -> None:
    """Show the images that were learnt from and are most like it to the model."""
    if judged.neighbours is None:
        return
    st.caption(
        t("The most similar images that the detector was fitted on, with the distance of their features (0 to 2)")
    )
    fit, shots = result.plan.fit, []
    for number, distance in zip(
        judged.neighbours["number"].tolist(), judged.neighbours["distance"].tolist(), strict=True
    ):
        text = f"{number}: {fit.label(number)}, {distance:.2f}"
        seen = model.classifier.prepare(fit.data.images[number]).inputs
        shots.append(ui.GalleryImage.of(seen, text, t("Similar image {text}", text=text)))
    ui.show_row(shots, "similar")


def _show_map(model: SharedModel, result: ood.DetectorResult, image: SourceImage) -> list[Job]:
    infos = {info.name: info for info in xai.methods()}
    method = ui.choose_method(t("Which pixels are out-of-distribution?"), infos, _METHOD, "score_method")
    job = ood.score_map_job(model, result, image, method, st.container())

    def show(explanation: xai.Explanation) -> None:
        ui.show_small_maps(_packed(explanation, told(method.title)), key="score map")
        ui.show_script(
            model,
            *result.plan.code,
            f"image = {image.code}",
            f"e = d.explain(image, {method.name!r}, seed={result.plan.seed})",
            "e.save('ood.png')",
            "j = d.judge(image)",
            "print(j.verdict, j.p_value)",
        )

    return ui.ask(
        job, t("Show them"), t("Explains the score itself: about {rows} rows", rows=job.rows), show, first=False
    )


def _packed(explanation: xai.Explanation, title: str) -> dict[str, object]:
    text = describe_map(title, t("out-of-distribution score"), ui.shown_values(explanation.heatmap))
    text = text.replace(t("against the class"), t("for an in-distribution image"))
    panel = ui.MapPanel(
        t("{title}: out-of-distribution score", title=title), explanation.heatmap, told(explanation.unit), text
    )
    return ui.pack(explanation.images[0], [panel], explanation.geometries[0].seen)


def _show_methods(model: SharedModel, result: ood.DetectorResult) -> list[Job]:
    """Say why the method was chosen, and let the user compare all on the out-of-distribution images."""
    detector = result.detector
    title, label = (safe(told(word)) for word in (detector.fitted.detector.title, detector.fitted.detector.label))
    st.markdown(t("**The method: {title}** ({label})", title=title, label=label))
    st.markdown(bullets(detector.notes, 800))
    if detector.table is not None and len(detector.table):
        assert detector.choice is not None
        with st.expander(t("AUROC of each method on shifts of your images"), icon=":material/table:"):
            _table(
                detector.table, detector.choice.chosen, t("AUROC of each method on shifts of in-distribution images")
            )
    job = ood.detector_comparison_job(model, result, st.container())
    label, tip = t("Compare all methods on these images"), t("{rows} rows, and some twice", rows=job.rows)
    return ui.ask(job, label, tip, lambda compared: _show_comparison(compared, detector), first=False)


def _show_comparison(compared: xai.OODComparison, detector: xai.OODDetector) -> None:
    names = ["method", "auroc", "auroc_low", "auroc_high", "fpr_ood_accepted@95id", "fpr_id_rejected@95ood"]
    rows = compared.table[[*names, "against_msp"]]
    text = t("All methods on in-distribution and these out-of-distribution images, the best first")
    _table(rows, detector.fitted.detector.label, text)
    st.caption(
        t(
            "AUROC with its 95 % interval; share of out-of-distribution images accepted where 95 % of "
            "the in-distribution ones are accepted; share of in-distribution images rejected where 95 "
            "% of the out-of-distribution ones are rejected; the paired test against MSP."
        )
    )


def _table(rows: pd.DataFrame, chosen: str, alt: str) -> None:
    """Show a table of methods, the chosen one marked."""
    marks = ["\N{BLACK RIGHT-POINTING TRIANGLE}" if name == chosen else "" for name in rows["method"]]
    numbers = [str(name) for name in rows.select_dtypes("float")]
    config = dict.fromkeys(numbers, st.column_config.NumberColumn(format="%.3f"))
    ui.show_frame(rows.assign(chosen=marks)[["chosen", *rows]], alt, (), config)
