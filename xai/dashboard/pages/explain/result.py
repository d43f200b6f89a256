"""Explanations on the page: maps, verdicts, agreement, files, and the report that a session collects."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import streamlit as st
from PIL import Image

import xai
from xai.dashboard import widgets as ui
from xai.dashboard.pages.explain.variants import show_fills, show_layers
from xai.dashboard.session import Job, Key, PageExplanation, SharedModel, SourceImage, rating_job, session_jobs, size_of
from xai.dashboard.text import (
    bullets,
    describe_preprocessing,
    file_stem,
    language,
    m,
    number_list,
    safe,
    sentence,
    t,
    told,
)

MOST = 20  # explanations
_MOST_BYTES = 384 * 2**20  # of all images and maps that are kept
_MOST_NOTE = 2000  # characters
_SIDE, _WIDTH = 160, 72  # pixels of a thumbnail: held, shown


@dataclass(eq=False)
class ReportEntry:
    """One explanation of the report.

    Attributes:
        number: of its own in this session.
        key: of the prediction.
        title: what it explains.
        explanation: with its image.
        rating: whether it can be believed, where that was asked.
        note: what the user writes to it.
        pixels: (h, w, 3) uint8, a small image of it.
    """

    number: int
    key: Key
    title: str
    explanation: xai.Explanation
    rating: xai.results.Rating | None
    note: str
    pixels: np.ndarray


@dataclass(eq=False)
class ReportBasket:
    """What a session keeps, in the order in which it was added."""

    entries: list[ReportEntry] = field(default_factory=list)
    numbers: int = 0

    def add(self, page_map: PageExplanation) -> None:
        """Keep an answer."""
        result = page_map.explanation
        small = Image.fromarray(result.overlay())
        small.thumbnail((_SIDE, _SIDE))
        title = t(
            "{title} for {label}", title=told(page_map.question.method.title), label=", ".join(result.target_names)
        )
        entry = ReportEntry(self.numbers, page_map.key, title, result, rating_of(page_map), "", np.asarray(small))
        self.entries.append(entry)
        self.numbers += 1

    def remove(self, number: int) -> None:
        """Keep one no longer."""
        self.entries = [entry for entry in self.entries if entry.number != number]

    def room_for(self, explanation: xai.Explanation) -> bool:
        """Say whether one more fits."""
        explanations = [*(entry.explanation for entry in self.entries), explanation]
        return len(explanations) <= MOST and sum(map(size_of, explanations)) <= _MOST_BYTES


def report_basket() -> ReportBasket:
    """Return the collection of this session."""
    if "report_basket" not in st.session_state:
        st.session_state["report_basket"] = ReportBasket()
    result: ReportBasket = st.session_state["report_basket"]
    return result


def offer_to_add(page_map: PageExplanation) -> None:
    """Show the button that adds an answer to the report; a rating that came later goes along."""
    basket, method = report_basket(), page_map.question.method.name
    entry = next((entry for entry in basket.entries if entry.key == page_map.key), None)
    if entry is not None:
        entry.rating = rating_of(page_map) or entry.rating
    room = entry is not None or basket.room_for(page_map.explanation)
    st.button(
        t("Add to report") if entry is None else t("In the report"),
        key=f"keep {method}",
        on_click=basket.add,
        args=(page_map,),
        disabled=entry is not None or not room,
        help=None if room else t("The report is full: remove something from it first."),
        icon=":material/note_add:" if entry is None else ":material/check:",
    )


def show_basket() -> None:
    """Show what is basket: a note to each, a button that removes it, and the report as files."""
    basket = report_basket()
    label = t("Report · {n}", n=len(basket.entries))
    with st.popover(label, icon=":material/article:", key="report", width="stretch", disabled=not basket.entries):
        for entry in basket.entries:
            _show_entry(entry, basket)
        if basket.entries:
            _show_files(basket)


def _show_entry(entry: ReportEntry, basket: ReportBasket) -> None:
    image, words = st.columns([1, 3], vertical_alignment="center")
    with image, st.container(width=_WIDTH):
        ui.show_image(ui.GalleryImage(entry.pixels, "", entry.title))
    with words:
        st.markdown(f"**{safe(entry.title, 120)}** · {safe(entry.explanation.image_names[0], 60)}")
        entry.note = st.text_area(
            t("Note"),
            entry.note,
            key=f"note {entry.number}",
            max_chars=_MOST_NOTE,
            height=68,
            placeholder=t("What does it show?"),
            label_visibility="collapsed",
        )
        st.button(
            t("Remove"),
            key=f"remove {entry.number}",
            on_click=basket.remove,
            args=(entry.number,),
            type="tertiary",
            icon=":material/delete:",
        )


def _show_files(basket: ReportBasket) -> None:
    """Offer the report; it is made when it is asked for."""
    tips = {"html": t("One page that works offline"), "pdf": t("Tagged, for print")}
    with st.container(horizontal=True):
        for kind, tip in tips.items():
            missing = ui.missing_package(kind)
            make = partial(_written, list(basket.entries), kind, language())
            name = f"explanations.{kind}"
            ui.offer_download(kind.upper(), make, name, f"report {kind}", missing or tip, disabled=bool(missing))


def _written(entries: list[ReportEntry], kind: str, chosen: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = xai.report(
            [entry.explanation for entry in entries],
            Path(folder) / f"report.{kind}",
            notes=[entry.note for entry in entries],
            ratings=[entry.rating for entry in entries],
            language=chosen,
        )
        return path.read_bytes()


def rating_of(page_map: PageExplanation) -> xai.results.Rating | None:
    """Return the rating of a map; None where it was not checked."""
    result = session_jobs().find(("rating", *page_map.key))
    return result if isinstance(result, xai.results.Rating) else None


WORDS = {
    "trust": (m("Trust"), ":material/check_circle:"),
    "doubt": (m("Doubt"), ":material/help:"),
    "reject": (m("Reject"), ":material/cancel:"),
}


def show_reliability(model: SharedModel, image: SourceImage, page_map: PageExplanation) -> list[Job]:
    """Show what the checks found, where they were asked for; return the job then."""
    job = rating_job(model, image, page_map, st.container())
    requested = session_jobs().has_requested(job.key)
    rating = ui.result_of(job) if requested else None
    if rating is not None:
        with job.slot:
            show_rating(rating)
    return [job] if requested else []


def show_rating(rating: xai.results.Rating) -> None:
    """Show the verdict as a colour, a sign and a word, the reasons, and each check with its figures."""
    word, icon = WORDS[rating.verdict]
    word = t(word)
    show = {"trust": st.success, "doubt": st.warning, "reject": st.error}[rating.verdict]
    show(f"**{word}**{_each(rating)}\\: {safe(told(rating.meaning))}", icon=icon)
    st.markdown("\n\n".join(_reasons(rating)))
    with st.expander(t("All checks"), icon=":material/checklist:"):
        ui.show_lines(_lines(rating), t("Checks, their verdicts and values"))


def _reasons(rating: xai.results.Rating) -> list[str]:
    """Return lists of reasons, worst first; one per class when there are several."""
    if len(rating) == 1:
        return [bullets(rating.reasons)]
    worst_first = list(WORDS)[::-1]
    result = []
    for label, checks in zip(rating.target_names, rating.checks, strict=True):
        text = sorted((c for c in checks if c.verdict in WORDS), key=lambda c: worst_first.index(c.verdict))
        result.append(f"**{safe(label)}**\n\n{bullets(check.reason for check in text)}")
    return result


def _each(rating: xai.results.Rating) -> str:
    """Return the verdict of each class when there are several."""
    if len(rating) == 1:
        return ""
    return " · " + ", ".join(
        f"{safe(label)}\\: {t(WORDS[verdict][0]).lower()}"
        for label, verdict in zip(rating.target_names, rating.verdicts, strict=True)
    )


def _sign(verdict: str) -> str:
    """Return a verdict with its sign: never colour alone."""
    return f"{WORDS[verdict][1]} {t(WORDS[verdict][0]).lower()}" if verdict in WORDS else safe(told(verdict))


def _lines(rating: xai.results.Rating) -> Sequence[dict[str, str]]:
    several = len(rating) > 1
    return [
        {
            **({t("Class"): safe(label)} if several else {}),
            t("Check"): safe(told(check.name)),
            t("Verdict"): _sign(check.verdict),
            t("Values"): safe(number_list(check.values)),
        }
        for label, checks in zip(rating.target_names, rating.checks, strict=True)
        for check in checks
    ]


def show_page_maps(model: SharedModel, image: SourceImage, page_maps: Sequence[PageExplanation]) -> list[Job]:
    """Show of each answer what was chosen, whether it can be believed, and the files; return what was asked for."""
    every = [page_map.explanation for page_map in page_maps]
    common = [note for note in every[0].notes if all(note in other.notes for other in every)]
    if len(page_maps) > 1:
        _show_notes(every[0], common)
    jobs: list[Job] = []
    for page_map in page_maps:
        notes = page_map.explanation.notes
        with st.container(border=len(page_maps) > 1):
            if len(page_maps) > 1:
                st.markdown(f"**{safe(told(page_map.question.method.title))}**")
                notes = tuple(note for note in notes if note not in common)
            _show_notes(page_map.explanation, notes)
            for show in (show_reliability, show_fills, show_layers):
                jobs += show(model, image, page_map)
            _show_downloads(page_map)
    return jobs


def _show_notes(explanation: xai.Explanation, notes: Sequence[str]) -> None:
    """Show what was chosen and what to beware of."""
    sentences = [told(note) if note.startswith(explanation.image_names) else sentence(note) for note in notes]
    if sentences:
        st.markdown("\n".join(f"- {safe(note)}" for note in sentences))


def _show_downloads(page_map: PageExplanation) -> None:
    """Offer image, raw map and the whole result, each made when it is asked for; and a place in the report."""
    explanation = page_map.explanation
    stem = _stem(explanation, explanation.method)
    files = (
        ui.Download(t("Image"), "png", partial(ui.image_png, explanation), t("Image, map and overlay side by side")),
        ui.everything(explanation),
        ui.Download(
            t("Raw map"), "npy", partial(ui.map_npy, explanation), t("Signed values (H, W), float32, for numpy.load")
        ),
    )
    with st.container(horizontal=True):
        for file in files:
            key = f"download_{file.suffix}_{explanation.method}"
            ui.offer_download(file.label, file.make, f"{stem}.{file.suffix}", key, file.tip)
        offer_to_add(page_map)


def show_together(agreement: xai.results.Agreement) -> None:
    """Offer all explanations in one file."""
    tip = t("All images side by side, and an image and a folder of each method")
    name = f"{_stem(agreement.explanations[0], 'side-by-side')}.zip"
    ui.offer_download(t("All methods"), partial(ui.agreement_zip, agreement), name, "download_all", tip)


def _stem(explanation: xai.Explanation, last: str) -> str:
    return file_stem(explanation.image_names[0].rsplit(".", 1)[0], *explanation.target_names, last)


def show_model(explanation: xai.Explanation) -> None:
    """Show what identifies the model and what it does to images."""
    with st.expander(t("Model and preprocessing"), icon=":material/fingerprint:"):
        st.markdown(
            t(
                "**{model}**, fingerprint (SHA-256 of weights, architecture and preprocessing):",
                model=safe(explanation.model["name"]),
            )
        )
        st.code(explanation.model["fingerprint"], language=None, wrap_lines=True)
        st.markdown(safe(describe_preprocessing(explanation.model["preprocessing"])))
        versions = ", ".join(f"{name} {version}" for name, version in explanation.versions.items())
        st.caption(safe(versions))
