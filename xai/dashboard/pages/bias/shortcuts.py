"""The page "Bias", shortcuts and data faults."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import streamlit as st
import torch

import xai
from xai.dashboard import charts
from xai.dashboard import widgets as ui
from xai.dashboard.session import DataSample, Job, SharedModel
from xai.dashboard.text import bullets, describe_map, file_stem, m, percent, safe, sentence, t, told

_ROWS = 30_000  # about
_MOST_PROBED = 400  # images that the library draws from those given
_BETWEEN = 128  # grey level of the line between two images
_SIGNS = {
    "shortcut": ":material/warning:",
    "not confirmed": ":material/help:",
    "within another": ":material/subdirectory_arrow_right:",
    "sensitivity": ":material/ssid_chart:",
    "fragile": ":material/broken_image:",
    "too small to tell": ":material/hourglass_empty:",
    "no evidence": ":material/check_circle:",
}
_ABOUT = {
    "shortcut": m("a shortcut"),
    "not confirmed": m("a class depends on it, and the data do not explain why"),
    "within another": m("the same as another one"),
    "sensitivity": m("flips images to one class, but does not occur with this class in the data"),
    "fragile": m("errors of all kinds, so no shortcut"),
    "too small to tell": m("too few images"),
    "no evidence": m("no evidence of a shortcut"),
}


def look_for_shortcuts(model: SharedModel, sample: DataSample) -> list[Job]:
    """Let the user look for shortcuts; return what is still to be done."""
    st.caption(
        t(
            "Marks, texts, borders, compression, grey levels, tint and blur that go with a class are searched for in "
            "the data, inserted into images of other classes, and removed from images of the class. A shortcut flips "
            "images to its class far more often than equally large controls, and removing it lowers the accuracy."
        )
    )
    rows = _ROWS * min(len(sample.data), _MOST_PROBED) // _MOST_PROBED

    def show(result: xai.results.ShortcutResult) -> None:
        _show_shortcuts(model, sample, result)

    texts = m("Inserting probes"), m("Search for shortcuts"), m("About {rows} rows")
    return ui.ask_verb("shortcuts", texts, model, [sample], show, rows)


def _show_shortcuts(model: SharedModel, sample: DataSample, result: xai.results.ShortcutResult) -> None:
    count = len(result.findings)
    if count:
        text = t("One shortcut found.") if count == 1 else t("{count} shortcuts found.", count=count)
        st.warning(f"**{text}**", icon=":material/warning:")
        st.markdown(bullets((response.reason for response in result.findings), 800))
    elif result.verdict == "inconclusive":
        words = t(
            "**Inconclusive**: a class depends on something that these images do not explain. Search the training set."
        )
        st.warning(words, icon=":material/help:")
    else:
        st.success(t("**No shortcut found** with {count} probes.", count=len(result)), icon=":material/check_circle:")
    _show_one(result, _choose(result))
    with st.expander(t("All probes"), icon=":material/table:"):
        ui.show_lines(_lines(result), t("Probes, their verdicts and reasons"))
        ui.show_notes(result.notes, together=True)
    table = ui.csv_file(result.table, t("Probes"), t("A line per probe"))
    ui.show_downloads(result, "shortcuts", file_stem(str(result.model["name"]), "shortcuts"), table)
    ui.show_verb_code(model, "shortcuts", {"data": sample}, ",table")


def _choose(result: xai.results.ShortcutResult) -> int:
    """Let the user choose a probe, the suspicious ones first."""
    place = {response: number for number, response in enumerate(result.responses)}
    harm = (result.predictions != result.labels).mean((2, 1))
    order = sorted(place.values(), key=lambda k: (list(_SIGNS).index(result.responses[k].verdict), -harm[k]))
    number: int = st.selectbox(t("Probe"), order, format_func=lambda k: _named(result, k), key="probe")
    return number


def _named(result: xai.results.ShortcutResult, number: int) -> str:
    response = result.responses[number]
    about = t(_ABOUT[response.verdict])
    return f"{about[:1].upper()}{about[1:]}: {told(response.words)} ({told(response.place)})"


def _show_one(result: xai.results.ShortcutResult, number: int) -> None:
    """Show what a probe does as it gets stronger, and images that it turned."""
    response = result.responses[number]
    text = t("Dose-response curve. {reason}", reason=told(response.reason))
    ui.show_chart(charts.dose_response(result, number), "dose", text)
    if response not in result.findings:
        st.markdown(safe(sentence(response.reason), 800))
    places = np.flatnonzero(result.shown[:, 0] == number)
    if not len(places):
        st.caption(t("Images are stored for probes that attract predictions to one class."))
        return
    labels = [result.class_names[int(result.labels[row])] for row in result.shown[places, 1]]
    before, after = ([torch.from_numpy(part[place]) for place in places] for part in (result.before, result.after))
    as_is = [t("{label}, unchanged", label=label) for label in labels]
    st.caption(t("Unchanged, correctly classified"))
    ui.show_row(list(map(ui.GalleryImage.of, before, labels, as_is)), "without_probe")
    st.caption(t("With the probe, predicted as {label}", label=safe(response.label)))
    with_probe = [t("{label} with the probe", label=label) for label in labels]
    shots = list(map(ui.GalleryImage.of, after, [response.label] * len(places), with_probe))
    opened = ui.choose_image(dict(enumerate(shots, 1)), f"probe_{number}") or 1
    _show_map(result, int(places[opened - 1]), shots[opened - 1].pixels, response.label)


def _show_map(result: xai.results.ShortcutResult, place: int, pixels: np.ndarray, label: str) -> None:
    """Show why an image with the probe is predicted as it is."""
    heatmap = result.heatmaps[place].astype(np.float32)
    title = t("Why {label}", label=label)
    panel = ui.MapPanel(title, heatmap, told("explanation, positive part"), describe_map(title, label, heatmap))
    ui.show_small_maps(ui.pack(pixels, [panel], (0, 0, *heatmap.shape)), key="probe map")


def _lines(result: xai.results.ShortcutResult) -> list[dict[str, str]]:
    order = sorted(result.responses, key=lambda response: list(_SIGNS).index(response.verdict))
    return [
        {
            t("Probe"): safe(f"{told(response.words)} ({told(response.place)})"),
            t("Verdict"): f"{_SIGNS[response.verdict]} {t(_ABOUT[response.verdict])}",
            t("Observation"): safe(sentence(response.reason), 800),
        }
        for response in order
    ]


def look_for_faults(model: SharedModel, sample: DataSample, train: DataSample | None) -> list[Job]:
    """Let the user look for faults of the data; return what is still to be done."""
    samples = [sample] if train is None else [sample, train]

    def show(result: xai.results.DataFaults) -> None:
        _show_faults(model, samples, result)

    texts = m("Checking the data"), m("Search for data faults"), m("{rows} images are compared")
    return ui.ask_verb("data_faults", texts, model, samples, show)


def _show_faults(model: SharedModel, samples: list[DataSample], result: xai.results.DataFaults) -> None:
    kinds = len(result.findings)
    if kinds:
        count = t("One kind of fault") if kinds == 1 else t("{count} kinds of faults", count=kinds)
        st.warning(t("**{count}** in {count_2} images.", count=count, count_2=len(result)), icon=":material/report:")
        st.markdown(bullets(map(str, result.findings), 800))
    else:
        st.success(t("**No data fault found** in {count} images.", count=len(result)), icon=":material/check_circle:")
    _show_suspects(result)
    _show_pairs(result)
    if result.broken:
        title, alt = (t("{count} damaged images", count=len(result.broken)), t("Damaged images and their faults"))
        ui.show_table(title, pd.DataFrame([asdict(damaged) for damaged in result.broken]), alt, icon="broken_image")
    ui.show_notes(result.notes)
    table = ui.csv_file(result.rows, t("Images"), t("A line per pair, label and image"))
    ui.show_downloads(result, "faults", file_stem(result.data["names"][0], "faults"), table)
    ui.show_verb_code(model, "data_faults", dict(zip(("data", "train"), samples, strict=False)), ",rows")


def _show_suspects(result: xai.results.DataFaults) -> None:
    """Show images whose label is probably wrong, and what they look like."""
    if not result.suspects:
        return
    st.markdown(t("**Labels to check**"))
    st.caption(t("A wrong label and an image that is hard for the model look alike: inspect them."))
    shots = []
    for suspect, pixels in zip(result.suspects[: ui.SHOWN], result.suspect_images, strict=False):
        text = t(
            "{row}: labelled {given}, looks like {suggested} ({other})",
            row=suspect.row,
            given=suspect.given,
            suggested=suspect.suggested,
            other=percent(suspect.other),
        )
        shots.append(ui.GalleryImage.of(_coloured(pixels), text))
    ui.show_row(shots, "labels_to_check")
    rows = pd.DataFrame([asdict(suspect) for suspect in result.suspects])
    ui.show_table(t("All {count}", count=len(rows)), rows, t("Labels to check, the most suspicious first"))


def _show_pairs(result: xai.results.DataFaults) -> None:
    """Show images that are the same, one above the other."""
    if not result.pairs:
        return
    st.markdown(t("**Duplicate images**"))
    shots = []
    for pair, (first, second) in zip(result.pairs[: ui.SHOWN], result.pair_images, strict=False):
        line = np.full((1, first.shape[1]), _BETWEEN, np.uint8)
        ends = (pair.first_split, pair.first_row), (pair.second_split, pair.second_row)
        text = " = ".join(f"{told(split)} {row}" for split, row in ends) + (f", {told(pair.turn)}" if pair.turn else "")
        if pair.labels[0] != pair.labels[1]:
            text += t("; {first} and {second}", first=pair.labels[0], second=pair.labels[1])
        shots.append(ui.GalleryImage.of(_coloured(np.concatenate([first, line, second])), text))
    ui.show_row(shots, "twice")
    rows = pd.DataFrame([asdict(pair) | {"labels": ", ".join(pair.labels)} for pair in result.pairs])
    ui.show_table(t("All {count}", count=len(rows)), rows, t("Pairs of duplicate images, the most similar first"))


def _coloured(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels[..., None], 3, -1)
