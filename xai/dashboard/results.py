"""What the pages show of answers."""

from collections.abc import Callable, Sequence
from functools import partial

import streamlit as st

import xai
from xai.dashboard.belief import show_belief
from xai.dashboard.files import map_npy, picture_png, together_zip, whole_zip
from xai.dashboard.fills import show_fills
from xai.dashboard.jobs import Job
from xai.dashboard.kept import offer_to_keep
from xai.dashboard.language import t, told
from xai.dashboard.offers import offer
from xai.dashboard.pictures import Picture
from xai.dashboard.strip import show_strip
from xai.dashboard.words import describe_preprocessing, file_stem, safe, sentence
from xai.dashboard.work import Answer, Model


def show_answers(model: Model, picture: Picture, answers: Sequence[Answer]) -> list[Job]:
    """Show of each answer what was chosen, whether it can be believed, and the files; return what was asked for."""
    every = [answer.explanation for answer in answers]
    common = [note for note in every[0].notes if all(note in other.notes for other in every)]
    if len(answers) > 1:
        _show_notes(every[0], common)
    jobs: list[Job | None] = []
    for answer in answers:
        notes = answer.explanation.notes
        with st.container(border=len(answers) > 1):
            if len(answers) > 1:
                st.markdown(f"**{safe(told(answer.question.method.title))}**")
                notes = tuple(note for note in notes if note not in common)
            _show_notes(answer.explanation, notes)
            jobs += [show_belief(model, picture, answer), show_fills(model, picture, answer)]
            jobs.append(show_strip(model, picture, answer))
            _show_downloads(answer)
    return [job for job in jobs if job is not None]


def _show_notes(explanation: xai.Explanation, notes: Sequence[str]) -> None:
    """Show what was chosen and what to beware of."""
    kept = [note if note.startswith(explanation.names) else sentence(note) for note in notes]
    if kept:
        st.markdown("\n".join(f"- {safe(note)}" for note in kept))


def _show_downloads(answer: Answer) -> None:
    """Offer picture, raw map and the whole result, each made when it is asked for; and a place in the report."""
    explanation = answer.explanation
    stem = _stem(explanation, explanation.method)
    files: list[tuple[str, Callable[[xai.Explanation], bytes], str, str, str]] = [
        (t("Picture"), picture_png, "png", "image/png", t("Picture, map and overlay side by side")),
        (t("Everything"), whole_zip, "zip", "application/zip", t("A folder that xai.Explanation.load reads back")),
        (t("Raw map"), map_npy, "npy", "application/octet-stream", t("Signed values (H, W), float32, for numpy.load")),
    ]
    with st.container(horizontal=True):
        for label, make, suffix, mime, tip in files:
            offer(
                f"{label} (.{suffix})",
                partial(make, explanation),
                f"{stem}.{suffix}",
                mime,
                f"download_{suffix}_{explanation.method}",
                tip,
            )
        offer_to_keep(answer)


def show_together(agreement: xai.Agreement) -> None:
    """Offer all explanations in one file."""
    first = agreement.explanations[0]
    tip = t("All pictures side by side, and a picture and a folder of each method")
    name = f"{_stem(first, 'side-by-side')}.zip"
    offer(t("All methods (.zip)"), partial(together_zip, agreement), name, "application/zip", "download_all", tip)


def _stem(explanation: xai.Explanation, last: str) -> str:
    return file_stem(explanation.names[0].rsplit(".", 1)[0], *explanation.labels, last)


def show_model(explanation: xai.Explanation) -> None:
    """Show what identifies the network and what it does to pictures."""
    with st.expander(t("The network and its preprocessing"), icon=":material/fingerprint:"):
        st.markdown(
            t(
                "**{model}**, fingerprint (SHA-256 of weights, wiring and preprocessing):",
                model=safe(explanation.model["name"]),
            )
        )
        st.code(explanation.model["fingerprint"], language=None, wrap_lines=True)
        st.markdown(safe(describe_preprocessing(explanation.model["preprocessing"])))
        versions = ", ".join(f"{name} {version}" for name, version in explanation.versions.items())
        st.caption(safe(versions))
