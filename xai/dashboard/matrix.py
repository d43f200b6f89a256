"""The page "Robustness", corruptions: accuracy of a data set by corruption and severity."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import streamlit as st

import xai
from xai.dashboard.charts import accuracy_by_severity, draw
from xai.dashboard.files import whole_zip
from xai.dashboard.frames import show_frame
from xai.dashboard.gallery import Shot, as_pixels, choose_shot
from xai.dashboard.jobs import Job, asked_for, result_of
from xai.dashboard.language import t, told
from xai.dashboard.offers import offer
from xai.dashboard.script import show_script
from xai.dashboard.sets import Sample, to_corruptions
from xai.dashboard.words import file_stem, interval, percent, safe, sentence
from xai.dashboard.work import Model
from xai.dashboard.worse import show_worse

_USUAL = ["noise", "digital"]
_SHOWN = 12  # pictures of a gallery


def measure_matrix(model: Model, sample: Sample) -> list[Job]:
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
    st.caption(safe(", ".join(told(name.replace("_", " ")) for name in names)))
    job = to_corruptions(model, sample, names, st.container())
    tip = t("{rows} corrupted pictures go through the network", rows=job.rows)
    if not asked_for(job, t("Measure {count} corruptions", count=len(names)), tip, first=True):
        return []
    found = result_of(job)
    return [job] if found is None else [job, *_show(model, sample, found)]


def _show(model: Model, sample: Sample, found: xai.CorruptionResult) -> list[Job]:
    said = _said(found)
    st.markdown(said)
    draw(accuracy_by_severity(found), "matrix", said, lambda cell: _pick(found, cell))
    st.caption(t("Accuracy in % with its 95 % interval, by severity. Click a cell to see its pictures."))
    if found.mce is not None:
        st.markdown(t("Mean corruption error (AlexNet: 1): {mce}", mce=safe(found.mce)))
    for note in found.notes:
        st.caption(safe(sentence(note)))
    jobs = _show_pictures(model, sample, found)
    with st.expander(t("Table"), icon=":material/table:"):
        shares = dict.fromkeys(("accuracy", "low", "high", "error"), st.column_config.NumberColumn(format="percent"))
        table = found.table.assign(corruption=found.table["corruption"].str.replace("_", " "))
        show_frame(table, t("Accuracy by corruption and severity"), ["corruption"], shares)
    _downloads(found)
    show_script(
        model,
        f"data = {sample.code}",
        f"found = xai.corruption_robustness(clf, data{sample.code_of_truth(model)}, names={list(found.names)})",
        "print(found.table)",
        "found.plot()",
    )
    return jobs


def _said(found: xai.CorruptionResult) -> str:
    """Say in words how far the accuracy falls, and where most."""
    row, column = np.unravel_index(found.accuracy.argmin(), found.accuracy.shape)
    name, severity = told(found.names[row].replace("_", " ")), found.severities[column]
    worst = interval(float(found.accuracy[row, column]), *map(float, found.intervals[row, column]))
    return t(
        "{share} of {count} clean pictures are right, and {mean} on average when corrupted. "
        "Worst: {name} at severity {severity:g}, {worst}.",
        share=interval(found.clean, *found.clean_interval),
        count=len(found),
        mean=percent(float(found.accuracy.mean())),
        name=name,
        severity=severity,
        worst=worst,
    )


def _pick(found: xai.CorruptionResult, cell: Mapping[str, Any]) -> None:
    """Open the pictures of a cell of the matrix."""
    st.session_state["matrix_name"] = found.names[int(cell["row"])]
    st.session_state["matrix_severity"] = found.severities[int(cell["column"])]


def _show_pictures(model: Model, sample: Sample, found: xai.CorruptionResult) -> list[Job]:
    """Show the pictures that a corruption makes wrong; one that is opened is shown at all severities."""
    st.markdown(t("**Pictures that turn wrong**"))
    first, second = st.columns(2)
    name = first.selectbox(
        t("under"), found.names, format_func=lambda n: told(n.replace("_", " ")), key="matrix_name", bind="query-params"
    )
    severity = second.select_slider(
        t("at severity"), found.severities, found.severities[-1], key="matrix_severity", bind="query-params"
    )
    row, column = found.names.index(name), found.severities.index(severity)
    wrong = np.flatnonzero(found.clean_correct & ~found.correct[row, column]).tolist()
    first_ones = t("; the first {shown}", shown=_SHOWN) if len(wrong) > _SHOWN else ""
    st.caption(
        t(
            "{count} of {value} that are right when clean{first_ones}.",
            count=len(wrong),
            value=int(found.clean_correct.sum()),
            first_ones=first_ones,
        )
    )
    answers = found.predictions[row, column]
    shots = {k: _shot(model, sample, k, name, severity, int(answers[k])) for k in wrong[:_SHOWN]}
    opened = choose_shot(shots, "corrupted")
    if opened is None:
        return []
    st.markdown(t("**Picture {opened}** ({opened_2})", opened=opened, opened_2=safe(sample.label(opened))))
    return [show_worse(model, sample.picture(opened), name, severity, found.seed)]


def _shot(model: Model, sample: Sample, k: int, name: str, severity: float, answer: int) -> Shot:
    """Return a picture as the network saw it when it was measured."""
    clean = model.classifier.prepare(sample.data.images[k]).inputs
    said = t("{k}: {k_2}, taken for {labels}", k=k, k_2=sample.label(k), labels=model.classifier.labels[answer])
    return Shot(as_pixels(xai.corrupt(clean, name, severity))[0], safe(said, 80), said)


def _downloads(found: xai.CorruptionResult) -> None:
    stem = file_stem(str(found.model["name"]), "corruptions")
    with st.container(horizontal=True):
        offer(
            t("Picture (.png)"), found.png, f"{stem}.png", "image/png", "matrix_png", t("The matrix with its intervals")
        )
        csv = found.table.to_csv(index=False).encode
        offer(t("Table (.csv)"), csv, f"{stem}.csv", "text/csv", "matrix_csv", t("A line per corruption and severity"))
        tip = t("A folder that xai.CorruptionResult.load reads back")
        offer(t("Everything (.zip)"), lambda: whole_zip(found), f"{stem}.zip", "application/zip", "matrix_zip", tip)
