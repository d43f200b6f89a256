"""The page "Robustness": a data set under attacks and corruptions, with certificates."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import streamlit as st

import xai
from xai.dashboard import charts
from xai.dashboard import widgets as ui
from xai.dashboard.pages.robustness.curve import measure_curve
from xai.dashboard.session import DataSample, Job, SharedModel, corruptions_job
from xai.dashboard.text import file_stem, interval, m, percent, safe, t, told

_USUAL = ["noise", "digital"]


def measure_corruptions(model: SharedModel, sample: DataSample) -> list[Job]:
    """Let the user measure accuracy under corruptions; return what is still to be done."""
    infos = xai.methods(kind="corruption")
    families = list(dict.fromkeys(info.family for info in infos))
    chosen = st.pills(
        t("Families"),
        families,
        selection_mode="multi",
        wrap=True,
        default=_USUAL,
        format_func=told,
        key="families",
        bind="query-params",
    )
    names = [info.name for family in families for info in infos if info.family == family and family in chosen]
    if not names:
        st.info(t("Choose a family of corruptions."), icon=":material/arrow_upward:")
        return []
    st.caption(safe(", ".join(map(_display_name, names))))
    job = corruptions_job(model, sample, names, st.container())
    tip = t("{rows} corrupted images through the model", rows=job.rows)
    return ui.ask(
        job,
        t("Measure {count} corruptions", count=len(names)),
        tip,
        lambda result: _show_corruptions(model, sample, result),
    )


def _display_name(name: str) -> str:
    return told(name.replace("_", " "))


def _show_corruptions(model: SharedModel, sample: DataSample, result: xai.results.CorruptionResult) -> list[Job]:
    text = _summary(result)
    st.markdown(text)
    ui.show_chart(charts.accuracy_by_severity(result), "matrix", text, lambda cell: pick(result, cell))
    st.caption(t("Accuracy in % with its 95 % interval, by severity. Click a cell to see its images."))
    if result.mce is not None:
        st.markdown(t("Mean corruption error (AlexNet: 1): {mce}", mce=safe(result.mce)))
    ui.show_notes(result.notes)
    jobs = _show_images(model, sample, result)
    shares = dict.fromkeys(("accuracy", "low", "high", "error"), st.column_config.NumberColumn(format="percent"))
    table = result.table.assign(corruption=result.table["corruption"].str.replace("_", " "))
    ui.show_table(t("Table"), table, t("Accuracy by corruption and severity"), words=["corruption"], config=shares)
    ui.show_downloads(
        result,
        "matrix",
        file_stem(str(result.model["name"]), "corruptions"),
        ui.Download(t("Image"), "png", result.png, t("The matrix with its intervals")),
        ui.csv_file(result.table, t("Table"), t("A line per corruption and severity")),
    )
    ui.show_script(
        model,
        f"data = {sample.code}",
        f"result = xai.corruption_robustness(clf, data{sample.code_of_labels(model)}, names={list(result.names)})",
        "print(result.table)",
        "result.plot()",
    )
    return jobs


def _summary(result: xai.results.CorruptionResult) -> str:
    """Say in words how far the accuracy falls, and where most."""
    row, column = np.unravel_index(result.accuracy.argmin(), result.accuracy.shape)
    return t(
        "Accuracy {share} on {count} clean images, {mean} on average when corrupted. Worst: "
        "{name} at severity {severity:g}, {worst}.",
        share=interval(result.clean, *result.clean_interval),
        count=len(result),
        mean=percent(float(result.accuracy.mean())),
        name=_display_name(result.names[row]),
        severity=result.severities[column],
        worst=interval(float(result.accuracy[row, column]), *map(float, result.intervals[row, column])),
    )


def pick(result: xai.results.CorruptionResult, cell: Mapping[str, Any]) -> None:
    """Open the images of a cell of the matrix."""
    st.session_state["matrix_name"] = result.names[int(cell["row"])]
    st.session_state["matrix_severity"] = result.severities[int(cell["column"])]


def _show_images(model: SharedModel, sample: DataSample, result: xai.results.CorruptionResult) -> list[Job]:
    """Show the images that a corruption makes wrong; one that is opened is shown at all severities."""
    st.markdown(t("**Images that become misclassified**"))
    first, second = st.columns(2)
    name = first.selectbox(t("under"), result.names, format_func=_display_name, key="matrix_name", bind="query-params")
    severity = second.select_slider(
        t("at severity"), result.severities, result.severities[-1], key="matrix_severity", bind="query-params"
    )
    row, column = result.names.index(name), result.severities.index(severity)
    wrong = np.flatnonzero(result.clean_correct & ~result.correct[row, column]).tolist()
    clean = int(result.clean_correct.sum())
    st.caption(t("{count} of {value} correctly classified clean images.", count=len(wrong), value=clean))
    predictions = result.predictions[row, column]
    shots = {k: _shot(model, sample, k, name, severity, int(predictions[k])) for k in ui.first_of(wrong)}
    opened = ui.choose_image(shots, "corrupted")
    if opened is None:
        return []
    st.markdown(t("**Image {opened}** ({opened_2})", opened=opened, opened_2=safe(sample.label(opened))))
    return [ui.show_corrupted(model, sample.image(opened), name, severity, result.seed)]


def _shot(
    model: SharedModel, sample: DataSample, k: int, name: str, severity: float, prediction: int
) -> ui.GalleryImage:
    """Return an image as the model saw it when it was measured."""
    clean = model.classifier.prepare(sample.data.images[k]).inputs
    text = t(
        "{k}: {k_2}, predicted as {labels}", k=k, k_2=sample.label(k), labels=model.classifier.class_names[prediction]
    )
    return ui.GalleryImage.of(xai.corrupt(clean, name, severity), text)


if __name__ == "__main__":  # Streamlit runs it as a script
    ui.show_heading("robustness")
    left, right = st.columns([1, 2.4], gap="medium")

    with left:
        model = ui.choose_model("example:fashion-robust")
        sample = ui.choose_sample(model)

    with right:
        ways = (m("Attacks and certificates"), m("Corruptions"))
        way = ui.choose_one(t("What changes"), ways, "question")
        ui.run_next(measure_curve(model, sample) if way == ways[0] else measure_corruptions(model, sample))
