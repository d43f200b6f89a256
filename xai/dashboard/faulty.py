"""The page "Bias", data faults: pictures that occur twice, labels that look wrong, broken ones, unequal classes."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import streamlit as st

import xai
from xai.dashboard.files import whole_zip
from xai.dashboard.frames import show_frame
from xai.dashboard.gallery import Shot, show_row
from xai.dashboard.jobs import Job, asked_for, result_of
from xai.dashboard.language import t, told
from xai.dashboard.offers import offer
from xai.dashboard.script import show_script
from xai.dashboard.sets import Sample, draw, names_for, to_ask
from xai.dashboard.words import file_stem, percent, safe, sentence
from xai.dashboard.work import Model, sentences

_USUAL, _MOST = 1000, 5000  # training pictures
_SHOWN = 12  # pictures
_BETWEEN = 128  # grey level of the line between two pictures


def choose_training(model: Model, seed: int) -> Sample | None:
    """Let the user choose what the network learnt from, of which some are drawn; None leaves leaks out."""
    name: str | None = st.selectbox(
        t("Learnt from"),
        [None, *names_for(model)],
        format_func=lambda name: name or t("not given"),
        key="train",
        help=t("Finds pictures that are in both."),
        bind="query-params",
    )
    if name is None:
        return None
    count = int(st.number_input(t("How many of these"), 10, _MOST, _USUAL, 10, key="train_count", bind="query-params"))
    with sentences(), st.spinner(t("Drawing pictures …")):
        return draw(name, count, seed)


def look_for_faults(model: Model, sample: Sample, train: Sample | None) -> list[Job]:
    """Let the user look for faults of the data; return what is still to be done."""
    samples = [sample] if train is None else [sample, train]
    rows = sum(len(one.data) for one in samples)
    job = to_ask("data_faults", t("Looking at the data"), model, samples, st.container(), rows, seed=sample.seed)
    if not asked_for(job, t("Look for faults of the data"), t("{rows} pictures are compared", rows=rows), first=True):
        return []
    found = result_of(job)
    if found is not None:
        _show(model, samples, found)
    return [job]


def _show(model: Model, samples: list[Sample], found: xai.DataFaults) -> None:
    if found.findings:
        count = (
            t("One kind of fault")
            if len(found.findings) == 1
            else t("{count} kinds of faults", count=len(found.findings))
        )
        st.warning(t("**{count}** in {count_2} pictures.", count=count, count_2=len(found)), icon=":material/report:")
        st.markdown("\n".join(f"- {safe(sentence(str(fault)), 800)}" for fault in found.findings))
    else:
        st.success(t("**Nothing found** in {count} pictures.", count=len(found)), icon=":material/check_circle:")
    _show_suspects(found)
    _show_pairs(found)
    if found.broken:
        with st.expander(t("{count} broken pictures", count=len(found.broken)), icon=":material/broken_image:"):
            rows = pd.DataFrame([asdict(one) for one in found.broken])
            show_frame(rows, t("Broken pictures and what is wrong with them"))
    for note in found.notes:
        st.caption(safe(sentence(note)))
    _downloads(found)
    names = ["data", "train"][: len(samples)]
    show_script(
        model,
        *(f"{name} = {one.code}" for name, one in zip(names, samples, strict=True)),
        f"found = xai.data_faults(clf, {', '.join(names)}, seed={samples[0].seed})",
        "print(found, found.rows)",
        "found.plot()",
    )


def _show_suspects(found: xai.DataFaults) -> None:
    """Show pictures whose label is probably wrong, and what they look like."""
    if not found.suspects:
        return
    st.markdown(t("**Labels to check**"))
    st.caption(t("A wrong label and a picture that the network finds hard look alike: only a look decides."))
    shots = []
    for one, pixels in zip(found.suspects[:_SHOWN], found.suspect_pictures, strict=False):
        said = t(
            "{row}: labelled {given}, looks like {suggested} ({other})",
            row=one.row,
            given=one.given,
            suggested=one.suggested,
            other=percent(one.other),
        )
        shots.append(Shot(_coloured(pixels), safe(said, 100), said))
    show_row(shots, "labels_to_check")
    with st.expander(t("All {count}", count=len(found.suspects)), icon=":material/table:"):
        rows = pd.DataFrame([asdict(one) for one in found.suspects])
        show_frame(rows, t("Labels to check, the most suspicious first"))


def _show_pairs(found: xai.DataFaults) -> None:
    """Show pictures that are the same, one above the other."""
    if not found.pairs:
        return
    st.markdown(t("**The same picture twice**"))
    shots = []
    for pair, (first, second) in zip(found.pairs[:_SHOWN], found.pair_pictures, strict=False):
        line = np.full((1, first.shape[1]), _BETWEEN, np.uint8)
        ends = [
            f"{told(split)} {row}"
            for split, row in ((pair.first_split, pair.first_row), (pair.second_split, pair.second_row))
        ]
        said = " = ".join(ends) + (f", {told(pair.turn)}" if pair.turn else "")
        labels = (
            t("; {first}, but {second}", first=pair.labels[0], second=pair.labels[1])
            if pair.labels[0] != pair.labels[1]
            else ""
        )
        shots.append(Shot(_coloured(np.concatenate([first, line, second])), safe(said + labels, 100), said + labels))
    show_row(shots, "twice")
    with st.expander(t("All {count}", count=len(found.pairs)), icon=":material/table:"):
        rows = pd.DataFrame([asdict(one) | {"labels": ", ".join(one.labels)} for one in found.pairs])
        show_frame(rows, t("Pairs of the same picture, the closest first"))


def _coloured(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels[..., None], 3, -1)


def _downloads(found: xai.DataFaults) -> None:
    stem = file_stem(found.data[0], "faults")
    with st.container(horizontal=True):
        csv = found.rows.to_csv(index=False).encode
        offer(
            t("Pictures (.csv)"), csv, f"{stem}.csv", "text/csv", "faults_csv", t("A line per pair, label and picture")
        )
        tip = t("A folder that xai.DataFaults.load reads back")
        offer(t("Everything (.zip)"), lambda: whole_zip(found), f"{stem}.zip", "application/zip", "faults_zip", tip)
