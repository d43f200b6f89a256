"""What the pages show of an answer."""

from functools import partial

import streamlit as st

import xai
from xai.dashboard.files import map_npy, picture_png, whole_zip
from xai.dashboard.pictures import Picture
from xai.dashboard.words import code_for, describe_preprocessing, file_stem, percent, safe, sentence
from xai.dashboard.work import Model, Question


def show_prediction(prediction: xai.Prediction) -> None:
    """Show the five most probable classes as bars."""
    st.markdown("**What the network sees**")
    for label, share in prediction.top(5):
        st.progress(min(1.0, max(0.0, share)), text=f"{safe(label, 60)} · {percent(share)}")


def show_notes(explanation: xai.Explanation) -> None:
    """Show what was chosen and what to beware of."""
    notes = [note if note.startswith(explanation.names) else sentence(note) for note in explanation.notes]
    st.markdown("\n".join(f"- {safe(note)}" for note in notes))


def show_downloads(explanation: xai.Explanation) -> None:
    """Offer picture, raw map and the whole result; each is made when it is asked for."""
    stem = file_stem(explanation.names[0].rsplit(".", 1)[0], explanation.labels[0], explanation.method)
    files = [
        ("Picture", picture_png, "png", "image/png", "Picture, map and overlay side by side"),
        ("Everything", whole_zip, "zip", "application/zip", "A folder that xai.Explanation.load reads back"),
        ("Raw map", map_npy, "npy", "application/octet-stream", "Signed values (H, W), float32, for numpy.load"),
    ]
    with st.container(horizontal=True):
        for label, make, suffix, mime, tip in files:
            st.download_button(
                f"{label} (.{suffix})",
                partial(make, explanation),
                f"{stem}.{suffix}",
                mime,
                key=f"download_{suffix}",
                help=tip,
                on_click="ignore",
                icon=":material/download:",
            )


def show_code(model: Model, picture: Picture, question: Question) -> None:
    """Show the lines of Python that make the same picture, with a button that copies them."""
    labels = model.classifier.labels
    target: str | int | None = question.target
    if question.target is not None and labels.count(labels[question.target]) == 1:
        target = labels[question.target]
    with st.expander("Copy the code", icon=":material/code:"):
        text = code_for(model.name, picture.code, question.method.name, target, dict(question.settings), question.seed)
        st.code(text, language="python", wrap_lines=True)


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
