"""The page "Compare": two models on the same images, or two audits.

Each comparison says better, worse or inconclusive.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
import streamlit as st

import xai
from xai.dashboard import charts
from xai.dashboard import widgets as ui
from xai.dashboard.session import (
    DataSample,
    ExplanationRequest,
    Job,
    Report,
    SharedModel,
    explanation_job,
    load_model,
    model_names,
    pinned,
    progress_arguments,
    progress_in_turn,
)
from xai.dashboard.text import file_stem, m, report_word, safe, script, t, told, written

CHECKS = ("accuracy", "calibration")
VERDICTS = ("better", "worse", "cannot tell")
METHOD = signature(xai.explain).parameters["method"].default
GROUPS = {
    "first": m("only the first is right"),
    "second": m("only the second is right"),
    "neither": m("both wrong, with different predictions"),
}


@dataclass(frozen=True, eq=False)
class ModelComparison:
    """Two models on the same images.

    Attributes:
        comparison: check by check.
        predictions: (2, n) class names.
    """

    comparison: xai.results.AuditComparison
    predictions: np.ndarray


def compare_audits(result: Sequence[ui.PastAudit]) -> None:
    """Let the user choose two audits and show what the second does better and worse."""
    names = [past.name for past in result]
    left, right = st.columns(2)
    baseline = pinned()
    first = names.index(baseline) if baseline in names else len(names) - 1
    with left:
        before = ui.choose_audit(t("Reference"), "before", result, first)
    with right:
        after = ui.choose_audit(t("Compared"), "after", result, int(names[0] == before.name))
    if before.name == after.name:
        st.info(t("Choose two different audits."), icon=":material/arrow_upward:")
        return
    with ui.stop_on_error():
        comparison = xai.compare(before.audit, after.audit)
    show_comparison(comparison)
    file = ui.csv_file(comparison.table, t("Table"), t("A line per check"))
    ui.offer_download(file.label, file.make, f"{file_stem(before.name, after.name)}.csv", "compare_csv", file.tip)
    code = [f"{name} = xai.Audit.load({past.name!r})" for name, past in (("before", before), ("after", after))]
    ui.show_text("\n".join(["import xai", "", *code, "print(xai.compare(before, after))", ""]))


def show_comparison(result: xai.results.AuditComparison) -> None:
    """Show in words, as a chart and as a table what is better and worse."""
    counts = {name: sum(difference.verdict == name for difference in result.differences) for name in VERDICTS}
    words = {name: report_word(f"change.{name}") for name in (*VERDICTS, "not paired")}
    text = ", ".join(f"{words[name]}: {count}" for name, count in counts.items())
    headline = accuracy_headline(result)
    box = st.error if counts["worse"] else st.success if counts["better"] else st.info
    box(f"{headline} {text}." if headline else f"**{text}**", icon=":material/compare_arrows:")
    after, before = (safe(difference["model"]) for difference in (result.after, result.before))
    shared = t(
        "{after} compared with {before}, on {n} images of both audits.",
        after=after,
        before=before,
        n=written("{value:,}", result.shared),
    )
    st.caption(shared)
    rows = [chart_row(difference) for difference in result.differences if difference.difference is not None]
    if rows:
        ui.show_chart(charts.differences(rows, words), "differences", text)
        st.caption(t("Differences with their 95 % intervals, paired by image; Holm-adjusted p-values."))
    lines = [
        {
            t("Check"): safe(t(difference.title)),
            t("Before"): ui.measure_text(difference.before, difference.unit),
            t("After"): ui.measure_text(difference.after, difference.unit),
            t("Verdict"): words[difference.verdict],
        }
        for difference in result.differences
    ]
    ui.show_lines(lines, t("Every check in both audits"))
    ui.show_notes(result.notes)


def accuracy_headline(result: xai.results.AuditComparison) -> str:
    """Say which of the two is more accurate; "" where the accuracy was not compared."""
    difference = next((difference for difference in result.differences if difference.id == "accuracy"), None)
    if difference is None or difference.difference is None:
        return ""
    values = {
        "before": ui.measure_text(difference.before, difference.unit),
        "after": ui.measure_text(difference.after, difference.unit),
    }
    if difference.verdict == "cannot tell":
        return t("**No significant difference in accuracy: {before} and {after}**", **values)
    name = safe(result.after["model"])
    if difference.verdict == "worse":
        return t("**{name} is less accurate: {before} to {after}**", name=name, **values)
    return t("**{name} is more accurate: {before} to {after}**", name=name, **values)


def chart_row(difference: Any) -> dict[str, Any]:
    """Return a difference as a line of the chart; shares and points in percent."""
    scale = 100 if difference.unit in {"share", "points"} else 1
    ends = [scale * value for value in (difference.difference, difference.low, difference.high)]
    text = "{:+.3g} ({:+.3g} \N{EN DASH} {:+.3g})".format(*ends).replace("-", "\N{MINUS SIGN}")
    span = dict(zip(("difference", "low", "high"), ends, strict=True))
    return {"check": t(difference.title), **span, "verdict": difference.verdict, "text": text}


def choose_other(model: SharedModel) -> SharedModel:
    """Let the user choose the model that is compared with the first; those with as many classes are offered first."""
    classes = {info.name: info.num_classes for info in xai.catalogue()}
    names = [name for name in model_names() if name != model.name]
    names.sort(key=lambda name: classes.get(name) != model.classifier.num_classes)
    name = st.selectbox(t("Compared with"), names, key="other", bind="query-params")
    with ui.stop_on_error(), st.spinner(t("Loading the model …")):
        return load_model(name)


def compare_models(model: SharedModel, other: SharedModel, sample: DataSample) -> list[Job]:
    """Show which of two models is better, and where they disagree; return what is still to be done."""
    if set(sample.data.class_names) - set(other.classifier.class_names):
        st.info(t("The second model does not know the classes of these images."), icon=":material/info:")
        return []

    def show(result: ModelComparison) -> list[Job]:
        show_comparison(result.comparison)
        opened = show_disagreement(model, other, sample, result)
        return [] if opened is None else show_both(model, other, sample, opened)

    key, n = ("duel", model.key, other.key, *sample.key), len(sample.data)
    title, are_examples = t("Running both models"), model.example and other.example
    job = Job(
        key, title, lambda report: ask_both(model, other, sample, report), st.container(), 2 * n, example=are_examples
    )
    return ui.ask(job, t("Compare the models"), t("{n} images through both models", n=n), show)


def ask_both(model: SharedModel, other: SharedModel, sample: DataSample, report: Report | None) -> ModelComparison:
    """Audit two models on the same images."""
    ask = progress_arguments(progress_in_turn(report, 4))
    audits, predictions = [], []
    for candidate in (model, other):
        with candidate.borrowed() as classifier:
            outputs = classifier.outputs(sample.data, **ask)
            audits.append(xai.audit(model=classifier, data=sample.data, checks=CHECKS, **ask))
        names = np.array(candidate.classifier.class_names, dtype=object)
        predictions.append(names[outputs.logits.argmax(1).cpu().numpy()])
    return ModelComparison(xai.compare(*audits), np.stack(predictions))


def show_disagreement(
    model: SharedModel, other: SharedModel, sample: DataSample, result: ModelComparison
) -> int | None:
    """Show the images on which both answer differently; return the one that was opened."""
    labels = np.array([sample.label(k) for k in range(len(sample.data))], dtype=object)
    first, second = result.predictions
    right = first == labels, second == labels
    groups = {
        "first": np.flatnonzero(right[0] & ~right[1]).tolist(),
        "second": np.flatnonzero(~right[0] & right[1]).tolist(),
        "neither": np.flatnonzero(~right[0] & ~right[1] & (first != second)).tolist(),
    }
    st.markdown(f"**{t('Where they disagree')}**")
    st.caption(t("First: {first}. Second: {second}.", first=safe(model.name, 60), second=safe(other.name, 60)))
    group = ui.choose_group(t("Images"), GROUPS, groups, "disagreement", label_visibility="collapsed")
    shots = {}
    for k in ui.first_of(groups[group]):
        words = {"label": labels[k], "first": first[k], "second": second[k]}
        text = t("{k}: {label}; first: {first}; second: {second}", k=k, **words)
        shots[k] = ui.GalleryImage.of(sample.data.images[k], text)
    return ui.choose_image(shots, "disagreement")


def show_both(model: SharedModel, other: SharedModel, sample: DataSample, number: int) -> list[Job]:
    """Show the maps of both models over one image, each for its own answer; return what is still to be done."""
    label = safe(sample.label(number))
    st.markdown(
        t("**Image {number}** ({label}): each model's attribution for its own prediction", number=number, label=label)
    )
    infos = {info.name: info for info in xai.methods()}
    method = ui.choose_method(t("Method"), infos, METHOD, "compare_method")
    question = ExplanationRequest(method, (), None, "logit", {}, 0)
    image = sample.image(number)
    jobs = [explanation_job(candidate, image, question, st.container()) for candidate in (model, other)]
    maps = [result for result in map(ui.result_of, jobs) if result is not None]
    if len(maps) == len(jobs):
        panels = [
            ui.panel_of(f"{candidate.name}: {told(method.title)}", result.target_names[0], result.heatmap, result.unit)
            for candidate, result in zip((model, other), maps, strict=True)
        ]
        ui.show_maps(ui.pack(maps[0].images[0], panels, maps[0].geometries[0].seen), key="both maps")
        calls = [ui.call_of(candidate, question) for candidate in (model, other)]
        lines = [f"image = {image.code}", f"first = {calls[0]}", f"other = {other.code}"]
        lines += [f"second = {calls[1].replace('(clf, ', '(other, ')}", "first.plot(), second.plot()"]
        ui.show_text(script(model.code, *lines))
    return jobs


ui.show_heading("compare")
ways = (m("Two models"), m("Two audits"))
way = ui.choose_one(t("What is compared"), ways, "compare_about")

if way == ways[1]:
    audits = ui.past_audits()
    if len(audits) < 2:
        ui.show_no_audits()
        st.stop()
    compare_audits(audits)
else:
    left, right = st.columns([1, 2.4], gap="medium")
    with left:
        model = ui.choose_model("example:fashion")
        other = choose_other(model)
        sample = ui.choose_sample(model, "compare_count", usual=500, most=5000)
    with right:
        ui.run_next(compare_models(model, other, sample))
