"""The page "Bias", slices: kinds of pictures on which the network is wrong more often."""

import numpy as np
import streamlit as st
import torch

import xai
from xai.dashboard.charts import draw
from xai.dashboard.files import whole_zip
from xai.dashboard.frames import show_frame
from xai.dashboard.gallery import Shot, as_pixels, show_row
from xai.dashboard.gaps import right_by_slice
from xai.dashboard.jobs import Job, asked_for, result_of
from xai.dashboard.language import t, told
from xai.dashboard.offers import offer
from xai.dashboard.script import show_script
from xai.dashboard.sets import Sample, to_ask
from xai.dashboard.words import file_stem, interval, percent, safe, sentence
from xai.dashboard.work import Model


def look_for_slices(model: Model, sample: Sample) -> list[Job]:
    """Let the user look for weak slices; return what is still to be done."""
    st.caption(
        t(
            "Kinds of pictures (by class, brightness, contrast, sharpness, size, likeness) with "
            "more mistakes are looked for on one half of the pictures, and count only if the "
            "other half says so, too."
        )
    )
    rows = len(sample.data)
    job = to_ask("slices", t("Looking for weak slices"), model, [sample], st.container(), rows, seed=sample.seed)
    if not asked_for(
        job, t("Look for weak slices"), t("{rows} pictures go through the network", rows=rows), first=True
    ):
        return []
    found = result_of(job)
    if found is not None:
        _show(model, sample, found)
    return [job]


def _show(model: Model, sample: Sample, found: xai.SliceResult) -> None:
    if found.findings:
        count = t("One kind") if len(found.findings) == 1 else t("{count} kinds", count=len(found.findings))
        said = t("{count} of pictures with more mistakes than others", count=count)
        st.warning(f"**{said}.**", icon=":material/pie_chart:")
        draw(right_by_slice(found), "slices", said)
        st.caption(t("Share answered right with its 95 % interval, on the half that they were not found on."))
        for number in range(len(found.findings)):
            _show_slice(found, number)
    else:
        few = sum(one.verdict == "too small to tell" for one in found.slices)
        more = t(" {few} of them could not have shown it: too few pictures.", few=few) if few else ""
        st.success(
            t("**No weak slice found** among {count} that were tested.{more}", count=len(found), more=more),
            icon=":material/check_circle:",
        )
    with st.expander(t("All that was tested"), icon=":material/table:"):
        show_frame(found.table, t("Slices tested, with accuracy, intervals and verdicts"))
        st.caption(" ".join(safe(sentence(note)) for note in found.notes))
    _downloads(found)
    show_script(
        model,
        f"data = {sample.code}",
        f"found = xai.slices(clf, data, seed={sample.seed})",
        "print(found, found.table)",
        "found.plot()",
    )


def _show_slice(found: xai.SliceResult, number: int) -> None:
    """Show a weak slice in words, and pictures of it that are wrong."""
    one = found.findings[number]
    right = interval(one.accuracy, *one.accuracy_interval)
    confused = t(" Most often taken for {confused}.", confused=safe(one.confused)) if one.confused else ""
    st.markdown(
        t(
            "**{value}: {value_2}.** {right} of {pictures} right, all others {rest}.{confused}",
            value=number + 1,
            value_2=safe(told(one.words)[:1].upper() + told(one.words)[1:]),
            right=right,
            pictures=one.pictures,
            rest=percent(one.rest),
            confused=confused,
        )
    )
    places = np.flatnonzero(found.shown[:, 0] == found.slices.index(one))
    if not len(places):
        return
    pixels = as_pixels(torch.from_numpy(found.pictures[places]))
    shots = []
    for k, row in enumerate(found.shown[places, 1]):
        truth, answer = (found.class_names[int(part[row])] for part in (found.labels, found.said))
        said = t("{truth}, taken for {answer}", truth=truth, answer=answer)
        shots.append(Shot(pixels[k], safe(said, 80), said))
    show_row(shots, f"slice_{number}")


def _downloads(found: xai.SliceResult) -> None:
    stem = file_stem(str(found.model["name"]), "slices")
    with st.container(horizontal=True):
        csv = found.table.to_csv(index=False).encode
        offer(t("Slices (.csv)"), csv, f"{stem}.csv", "text/csv", "slices_csv", t("A line per slice"))
        tip = t("A folder that xai.SliceResult.load reads back")
        offer(t("Everything (.zip)"), lambda: whole_zip(found), f"{stem}.zip", "application/zip", "slices_zip", tip)
