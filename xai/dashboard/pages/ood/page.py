"""The page "Out of distribution": a threshold and one image judged, calibration and drift."""

from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st

import xai
from xai.dashboard import charts
from xai.dashboard import widgets as ui
from xai.dashboard.pages.ood import detector as ood
from xai.dashboard.pages.ood.detector import choose_plan
from xai.dashboard.session import DataSample, Job, SharedModel, SourceImage, data_names, draw_sample, with_parts
from xai.dashboard.text import bullets, counted, describe_map, file_stem, interval, m, percent, safe, sentence, t, told

_REJECTED = "out-of-distribution"  # as a verdict of the library
_METHOD = "occlusion"
_KINDS = {
    "missed": m("out-of-distribution, accepted"),
    "caught": m("out-of-distribution, rejected"),
    "alarm": m("in-distribution, rejected"),
    "kept": m("in-distribution, accepted"),
}
_USUAL, _MOST = 500, 5000  # images of each of two data sets


def detect(model: SharedModel, plan: ood.DetectorPlan) -> list[Job]:
    """Let the user fit a detector and look at what it says; return what is still to be done."""
    job = ood.detector_job(model, plan, st.container())
    tip = t("About {rows} images through the model", rows=job.rows)
    return ui.ask(job, t("Fit a detector"), tip, lambda result: _show(model, result))


def _show(model: SharedModel, result: ood.DetectorResult) -> list[Job]:
    alpha, opened = _show_boundary(model, result)
    st.markdown(t("**One image**"))
    image = ui.upload_image("ood_image") or opened
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


def _at(result: ood.DetectorResult, judged: xai.results.Judgement, alpha: float) -> xai.results.Judgement:
    """Return a judgement with another threshold: its p-values stay."""
    return replace(judged, alpha=alpha, guarantee=result.detector.guarantee(alpha))


def _what_happens(result: ood.DetectorResult, inside: xai.results.Judgement, outside: xai.results.Judgement) -> str:
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
    model: SharedModel,
    result: ood.DetectorResult,
    inside: xai.results.Judgement,
    outside: xai.results.Judgement,
    alpha: float,
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


def _split(judged: xai.results.Judgement) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the accepted and of the rejected images."""
    rejected = np.array([verdict == _REJECTED for verdict in judged.verdicts])
    return np.flatnonzero(~rejected), np.flatnonzero(rejected)


def _shot(
    model: SharedModel, result: ood.DetectorResult, judged: xai.results.Judgement, k: int, *, is_ood: bool
) -> ui.GalleryImage:
    """Return an image as the model sees it."""
    seen = model.classifier.prepare(result.image(is_ood=is_ood, k=k).content).inputs
    text = t("{k}: p {p:.2g}, predicted as {label}", k=k, p=float(judged.p_values[k]), label=judged.predictions[k])
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
        "**{word}** {name}, predicted as **{prediction}**: p = {p_value:.3g}, {value} {alpha:g}.",
        word=word,
        name=safe(title, 80),
        prediction=safe(judged.predictions[0]),
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
        text = t("{k}: {label}, distance {distance:.2f}", k=number, label=fit.label(number), distance=distance)
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


def _show_comparison(compared: xai.results.OODComparison, detector: xai.OODDetector) -> None:
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


_VERDICTS = {
    "overconfident": m("Overconfident: its confidence is higher than its accuracy."),
    "underconfident": m("Underconfident: its confidence is lower than its accuracy."),
    "miscalibrated": m("Miscalibrated, in both directions."),
    "no evidence": m("Calibrated: no evidence of miscalibration."),
    "too small to tell": m("Too few images."),
}
_DRIFT_VERDICTS = {
    "drift": m("The two data sets differ by more than chance."),
    "no evidence": m("No evidence of drift."),
    "too small to tell": m("Too few images."),
}


def calibrate(model: SharedModel, sample: DataSample) -> list[Job]:
    """Let the user measure calibration; return what is still to be done."""

    def show(result: xai.results.Calibration) -> None:
        _show_calibration(model, sample, result)

    texts = m("Measuring"), m("Measure the calibration"), m("{rows} images through the model")
    return ui.ask_verb("calibration", texts, model, [sample], show)


def _show_calibration(model: SharedModel, sample: DataSample, result: xai.results.Calibration) -> None:
    ui.show_verdict(result.verdict, _VERDICTS, f" {_summary(result)}", "speed")
    ui.show_chart(charts.reliability(result), "reliability", t("Reliability curve. {text}", text=_summary(result)))
    st.caption(
        t(
            "On the {value} images not used to fit the temperature. On the dashed line, confidence "
            "equals accuracy. Bars: 95 % intervals.",
            value=int(result.is_evaluation.sum()),
        )
    )
    st.markdown(bullets(result.reasons))
    ui.show_notes(result.notes, together=True)
    with st.expander(t("When only the most confident predictions are used"), icon=":material/filter_alt:"):
        text = t("Error rate by coverage")
        ui.show_chart(charts.risk_by_coverage(result), "risk", text)
    measures = t("Calibration measures with intervals and tests")
    ui.show_table(t("All figures"), result.table.round(4), measures)
    ui.show_table(t("Class by class"), result.per_class.round(4), t("Calibration of each class"), icon="category")
    table = ui.csv_file(result.table, t("Table"), t("A line per figure"))
    ui.show_downloads(result, "calibration", file_stem(str(result.model["name"]), "calibration"), table)
    ui.show_verb_code(model, "calibration", {"data": sample}, "verdict,reasons,table")


def _summary(result: xai.results.Calibration) -> str:
    """Say accuracy, confidence, error and temperature in two sentences."""
    measures, warm, (low, high) = result.measures, result.temperature, result.ece_interval
    return t(
        "Mean confidence {confidence}, accuracy {right}. The expected calibration error (ECE) is {ece:.3f}; corrected "
        "for chance, {low:.3f} to {high:.3f}. With temperature {value:.2f} ({low_2:.2f} to {high_2:.2f}) it would be "
        "{value_2:.3f} instead of {value_3:.3f}, on held-out images.",
        confidence=percent(measures.confidence),
        right=interval(measures.accuracy, *measures.accuracy_interval),
        ece=result.ece,
        low=low,
        high=high,
        value=warm.value,
        low_2=warm.low,
        high_2=warm.high,
        value_2=result.after.ece.value,
        value_3=result.before.ece.value,
    )


def compare_data(model: SharedModel, pair: tuple[DataSample, DataSample]) -> list[Job]:
    """Let the user look for drift; return what is still to be done."""

    def show(result: xai.results.Drift) -> None:
        _show_drift(model, pair, result)

    texts = m("Comparing the data"), m("Compare the data"), m("{rows} images through the model, then 500 relabellings")
    return ui.ask_verb("drift", texts, model, pair, show)


def _show_drift(model: SharedModel, pair: tuple[DataSample, DataSample], result: xai.results.Drift) -> None:
    verdict = t(_DRIFT_VERDICTS[result.verdict])
    ui.show_verdict(result.verdict, _DRIFT_VERDICTS, "", "difference")
    st.markdown(bullets(result.reasons))
    ui.show_notes(result.notes, together=True)
    st.markdown(t("**How often each class is predicted**"))
    names = [f"{order} {sample.name}" for order, sample in zip(("1:", "2:"), pair, strict=True)]
    text = t("Share of each class among the predictions in both data sets. {verdict}", verdict=verdict)
    ui.show_chart(charts.shares_of_classes(result, names), "classes", text)
    tests = t("Tests of drift with sizes and p-values")
    ui.show_table(t("All tests"), result.table.round(4), tests, words=["name"])
    shares = t("Shares of each class with intervals")
    ui.show_table(t("Class by class"), result.per_class.round(4), shares, icon="category")
    table = ui.csv_file(result.table, t("Tests"), t("A line per test"))
    ui.show_downloads(result, "drift", file_stem(str(result.model["name"]), "drift"), table)
    ui.show_verb_code(model, "drift", dict(zip(("first", "second"), pair, strict=True)), "verdict,table")


def choose_two() -> tuple[DataSample, DataSample]:
    """Let the user choose two data sets; one that is chosen twice is halved."""
    with ui.stop_on_error():
        names = with_parts(data_names())
    first = st.selectbox(t("Compare"), names, key="drift_a", help=t("The reference data."), bind="query-params")
    others = [name for name in names if name.partition("@")[0] != names[0]]
    second = st.selectbox(t("with"), names, names.index(others[0]), key="drift_b", bind="query-params")
    count, seed = ui.choose_size(t("How many of each"), "drift_count", _USUAL, _MOST)
    with ui.stop_on_error(), st.spinner(t("Sampling images …")):
        if first == second:
            whole = draw_sample(first, 2 * count, seed)
            pair = whole.every(2, 0), whole.every(2, 1)
        else:
            pair = draw_sample(first, count, seed), draw_sample(second, count, seed)
    st.caption(t("{count} and {count_2} images.", count=len(pair[0].data), count_2=len(pair[1].data)))
    return pair


if __name__ == "__main__":  # Streamlit runs it as a script
    ui.show_heading("ood")
    ways = (m("Out-of-distribution images"), m("Calibration"), m("Drift"))
    way = ui.choose_one(t("Question"), ways, "ood_about")
    left, right = st.columns([1, 2.4], gap="medium")

    with left:
        model = ui.choose_model("example:fashion")
        if way == ways[0]:
            plan = choose_plan(model)
        elif way == ways[1]:
            sample = ui.choose_sample(model, "probabilities", usual=1000, most=5000)
        else:
            pair = choose_two()

    with right:
        if way == ways[0]:
            ui.run_next(detect(model, plan))
        else:
            ui.run_next(calibrate(model, sample) if way == ways[1] else compare_data(model, pair))
