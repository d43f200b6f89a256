"""What the pages show of answers."""

from collections.abc import Callable, Sequence
from functools import partial

import streamlit as st

import xai
from xai.dashboard.belief import show_belief
from xai.dashboard.files import map_npy, picture_png, together_zip, whole_zip
from xai.dashboard.jobs import Job
from xai.dashboard.pictures import Picture
from xai.dashboard.words import call_for, code_for, describe_preprocessing, file_stem, percent, safe, sentence
from xai.dashboard.work import Answer, Model, Question


def show_prediction(prediction: xai.Prediction) -> None:
    """Show the five most probable classes as bars."""
    st.markdown("**What the network sees**")
    for label, share in prediction.top(5):
        st.progress(min(1.0, max(0.0, share)), text=f"{safe(label, 60)} · {percent(share)}")


def show_answers(model: Model, picture: Picture, answers: Sequence[Answer]) -> list[Job]:
    """Show of each answer what was chosen, whether it can be believed, and the files; return what was asked for."""
    every = [answer.explanation for answer in answers]
    common = [note for note in every[0].notes if all(note in other.notes for other in every)]
    if len(answers) > 1:
        _show_notes(every[0], common)
    jobs = []
    for answer in answers:
        notes = answer.explanation.notes
        with st.container(border=len(answers) > 1):
            if len(answers) > 1:
                st.markdown(f"**{safe(answer.question.method.title)}**")
                notes = tuple(note for note in notes if note not in common)
            _show_notes(answer.explanation, notes)
            jobs.append(show_belief(model, picture, answer))
            _show_downloads(answer.explanation)
    return [job for job in jobs if job is not None]


def _show_notes(explanation: xai.Explanation, notes: Sequence[str]) -> None:
    """Show what was chosen and what to beware of."""
    kept = [note if note.startswith(explanation.names) else sentence(note) for note in notes]
    if kept:
        st.markdown("\n".join(f"- {safe(note)}" for note in kept))


def _show_downloads(explanation: xai.Explanation) -> None:
    """Offer picture, raw map and the whole result; each is made when it is asked for."""
    stem = _stem(explanation, explanation.method)
    files: list[tuple[str, Callable[[xai.Explanation], bytes], str, str, str]] = [
        ("Picture", picture_png, "png", "image/png", "Picture, map and overlay side by side"),
        ("Everything", whole_zip, "zip", "application/zip", "A folder that xai.Explanation.load reads back"),
        ("Raw map", map_npy, "npy", "application/octet-stream", "Signed values (H, W), float32, for numpy.load"),
    ]
    with st.container(horizontal=True):
        for label, make, suffix, mime, tip in files:
            _offer(
                f"{label} (.{suffix})",
                partial(make, explanation),
                f"{stem}.{suffix}",
                mime,
                f"download_{suffix}_{explanation.method}",
                tip,
            )


def show_together(agreement: xai.Agreement) -> None:
    """Offer all explanations in one file."""
    first = agreement.explanations[0]
    tip = "All pictures side by side, and a picture and a folder of each method"
    name = f"{_stem(first, 'side-by-side')}.zip"
    _offer("All methods (.zip)", partial(together_zip, agreement), name, "application/zip", "download_all", tip)


def _offer(label: str, make: Callable[[], bytes], name: str, mime: str, key: str, tip: str) -> None:
    st.download_button(label, make, name, mime, key=key, help=tip, on_click="ignore", icon=":material/download:")


def _stem(explanation: xai.Explanation, last: str) -> str:
    return file_stem(explanation.names[0].rsplit(".", 1)[0], *explanation.labels, last)


def show_code(model: Model, picture: Picture, questions: Sequence[Question]) -> None:
    """Show the lines of Python that make the same picture, with a button that copies them."""
    calls = [_call(model, question) for question in questions]
    with st.expander("Copy the code", icon=":material/code:"):
        st.code(code_for(model.name, picture.code, calls), language="python", wrap_lines=True)


def _call(model: Model, question: Question) -> str:
    named = [_named(model, k) for k in question.targets]
    target = named if len(named) > 1 else next(iter(named), None)
    extras = dict(question.extras)
    if question.versus is not None:
        extras["versus"] = _named(model, question.versus)
    return call_for(question.method.name, target, question.seed, extras)


def _named(model: Model, k: int) -> str | int:
    """Return a class by name where the name is its own."""
    labels = model.classifier.labels
    return labels[k] if labels.count(labels[k]) == 1 else k


def show_model(explanation: xai.Explanation) -> None:
    """Show what identifies the network and what it does to pictures."""
    with st.expander("The network and its preprocessing", icon=":material/fingerprint:"):
        st.markdown(
            f"**{safe(explanation.model['name'])}**, fingerprint (SHA-256 of weights, wiring and preprocessing):"
        )
        st.code(explanation.model["fingerprint"], language=None, wrap_lines=True)
        st.markdown(safe(describe_preprocessing(explanation.model["preprocessing"])))
        versions = ", ".join(f"{name} {version}" for name, version in explanation.versions.items())
        st.caption(safe(versions))
