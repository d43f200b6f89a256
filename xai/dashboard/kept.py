"""Explanations that a session keeps for a report: a button at each answer, a list with notes, and the files."""

import tempfile
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import streamlit as st
from PIL import Image

import xai
from xai.dashboard.gallery import Shot, show
from xai.dashboard.jobs import desk
from xai.dashboard.keeping import Key, size_of
from xai.dashboard.language import language, t, told
from xai.dashboard.words import safe
from xai.dashboard.work import Answer

MOST = 20  # explanations
_MOST_BYTES = 384 * 2**20  # of all pictures and maps that are kept
_MOST_NOTE = 2000  # characters
_SIDE, _WIDTH = 160, 72  # pixels of a thumbnail: held, shown
_FILES = (("html", "text/html", "jinja2", "report"), ("pdf", "application/pdf", "weasyprint", "pdf"))


@dataclass(eq=False)
class Entry:
    """One explanation of the report.

    Attributes:
        number: of its own in this session.
        key: of the answer.
        title: what it explains.
        explanation: with its picture.
        rating: whether it can be believed, where that was asked.
        note: what the user writes to it.
        pixels: (h, w, 3) uint8, a small picture of it.
    """

    number: int
    key: Key
    title: str
    explanation: xai.Explanation
    rating: xai.Rating | None
    note: str
    pixels: np.ndarray


@dataclass(eq=False)
class Collection:
    """What a session keeps, in the order in which it was added."""

    entries: list[Entry] = field(default_factory=list)
    numbers: int = 0

    def add(self, answer: Answer) -> None:
        """Keep an answer."""
        found = answer.explanation
        small = Image.fromarray(found.overlay())
        small.thumbnail((_SIDE, _SIDE))
        title = t("{title} for {label}", title=told(answer.question.method.title), label=", ".join(found.labels))
        entry = Entry(self.numbers, answer.key, title, found, _rating_of(answer), "", np.asarray(small))
        self.entries.append(entry)
        self.numbers += 1

    def remove(self, number: int) -> None:
        """Keep one no longer."""
        self.entries = [entry for entry in self.entries if entry.number != number]

    def room_for(self, explanation: xai.Explanation) -> bool:
        """Say whether one more fits."""
        held = [*(entry.explanation for entry in self.entries), explanation]
        return len(held) <= MOST and sum(map(size_of, held)) <= _MOST_BYTES


def collection() -> Collection:
    """Return the collection of this session."""
    if "collection" not in st.session_state:
        st.session_state["collection"] = Collection()
    found: Collection = st.session_state["collection"]
    return found


def offer_to_keep(answer: Answer) -> None:
    """Show the button that adds an answer to the report; a rating that came later goes along."""
    kept, method = collection(), answer.question.method.name
    entry = next((entry for entry in kept.entries if entry.key == answer.key), None)
    if entry is not None:
        entry.rating = _rating_of(answer) or entry.rating
    room = entry is not None or kept.room_for(answer.explanation)
    st.button(
        t("Add to report") if entry is None else t("In the report"),
        key=f"keep {method}",
        on_click=kept.add,
        args=(answer,),
        disabled=entry is not None or not room,
        help=None if room else t("The report is full: remove something from it first."),
        icon=":material/note_add:" if entry is None else ":material/check:",
    )


def show_kept() -> None:
    """Show what is kept: a note to each, a button that removes it, and the report as files."""
    kept = collection()
    label = t("Report · {n}", n=len(kept.entries))
    with st.popover(label, icon=":material/article:", key="report", width="stretch", disabled=not kept.entries):
        for entry in kept.entries:
            _show(entry, kept)
        if kept.entries:
            _show_files(kept)


def _show(entry: Entry, kept: Collection) -> None:
    picture, words = st.columns([1, 3], vertical_alignment="center")
    with picture, st.container(width=_WIDTH):
        show(Shot(entry.pixels, "", entry.title))
    with words:
        st.markdown(f"**{safe(entry.title, 120)}** · {safe(entry.explanation.names[0], 60)}")
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
            on_click=kept.remove,
            args=(entry.number,),
            type="tertiary",
            icon=":material/delete:",
        )


def _show_files(kept: Collection) -> None:
    """Offer the report; it is made when it is asked for."""
    with st.container(horizontal=True):
        for kind, mime, package, extra in _FILES:
            missing = find_spec(package) is None
            command = f"pip install 'xai-toolkit[{extra}]'"
            st.download_button(
                f"{kind.upper()} (.{kind})",
                partial(_written, list(kept.entries), kind, language()),
                f"explanations.{kind}",
                mime,
                key=f"report {kind}",
                help=t("Needs a package: {command}", command=command) if missing else _tip(kind),
                disabled=missing,
                on_click="ignore",
                icon=":material/download:",
            )


def _tip(kind: str) -> str:
    return t("One page that works offline") if kind == "html" else t("Tagged, for print")


def _written(entries: list[Entry], kind: str, chosen: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = xai.report(
            [entry.explanation for entry in entries],
            Path(folder) / f"report.{kind}",
            notes=[entry.note for entry in entries],
            ratings=[entry.rating for entry in entries],
            language=chosen,
        )
        return path.read_bytes()


def _rating_of(answer: Answer) -> xai.Rating | None:
    found = desk().find(("rating", *answer.key))
    return found if isinstance(found, xai.Rating) else None
