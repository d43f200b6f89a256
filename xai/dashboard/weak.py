"""The page "Bias", slices: kinds of pictures on which the network is wrong more often."""

import numpy as np
import streamlit as st
import torch

import xai
from xai.dashboard.charts import draw
from xai.dashboard.files import whole_zip
from xai.dashboard.gallery import Shot, as_pixels, show_row
from xai.dashboard.gaps import right_by_slice
from xai.dashboard.jobs import Job, asked_for, result_of
from xai.dashboard.results import offer
from xai.dashboard.script import show_script
from xai.dashboard.sets import Sample, to_ask
from xai.dashboard.words import file_stem, interval, percent, safe, sentence
from xai.dashboard.work import Model


def look_for_slices(model: Model, sample: Sample) -> list[Job]:
    """Let the user look for weak slices; return what is still to be done."""
    st.caption(
        "Kinds of pictures (by class, brightness, contrast, sharpness, size, likeness) with more mistakes are looked "
        "for on one half of the pictures, and count only if the other half says so, too."
    )
    rows = len(sample.data)
    job = to_ask("slices", "Looking for weak slices", model, [sample], st.container(), rows, seed=sample.seed)
    if not asked_for(job, "Look for weak slices", f"{rows} pictures go through the network", first=True):
        return []
    found = result_of(job)
    if found is not None:
        _show(model, sample, found)
    return [job]


def _show(model: Model, sample: Sample, found: xai.SliceResult) -> None:
    if found.findings:
        count = "One kind" if len(found.findings) == 1 else f"{len(found.findings)} kinds"
        said = f"{count} of pictures with more mistakes than others"
        st.warning(f"**{said}.**", icon=":material/pie_chart:")
        draw(right_by_slice(found), "slices", said)
        st.caption("Share answered right with its 95 % interval, on the half that they were not found on.")
        for number in range(len(found.findings)):
            _show_slice(found, number)
    else:
        few = sum(one.verdict == "too small to tell" for one in found.slices)
        more = f" {few} of them could not have shown it: too few pictures." if few else ""
        st.success(
            f"**No weak slice found** among {len(found)} that were tested.{more}", icon=":material/check_circle:"
        )
    with st.expander("All that was tested", icon=":material/table:"):
        st.dataframe(found.table, hide_index=True, alt="Slices tested, with accuracy, intervals and verdicts")
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
    confused = f" Most often taken for {safe(one.confused)}." if one.confused else ""
    st.markdown(
        f"**{number + 1}: {safe(one.words[:1].upper() + one.words[1:])}.** {right} of {one.pictures} right, all others "
        f"{percent(one.rest)}.{confused}"
    )
    places = np.flatnonzero(found.shown[:, 0] == found.slices.index(one))
    if not len(places):
        return
    pixels = as_pixels(torch.from_numpy(found.pictures[places]))
    shots = []
    for k, row in enumerate(found.shown[places, 1]):
        truth, answer = (found.class_names[int(part[row])] for part in (found.labels, found.said))
        said = f"{truth}, taken for {answer}"
        shots.append(Shot(pixels[k], safe(said, 80), said))
    show_row(shots)


def _downloads(found: xai.SliceResult) -> None:
    stem = file_stem(str(found.model["name"]), "slices")
    with st.container(horizontal=True):
        csv = found.table.to_csv(index=False).encode
        offer("Slices (.csv)", csv, f"{stem}.csv", "text/csv", "slices_csv", "A line per slice")
        tip = "A folder that xai.SliceResult.load reads back"
        offer("Everything (.zip)", lambda: whole_zip(found), f"{stem}.zip", "application/zip", "slices_zip", tip)
