"""A photo, what the model predicts, and why: what the page "Start" opens with."""

from inspect import signature
from typing import Any

import streamlit as st

import xai
from xai.dashboard import widgets as ui
from xai.dashboard.session import ExplanationRequest, Job, SharedModel, SourceImage, explanation_job, predicted
from xai.dashboard.text import safe, t

_METHOD = signature(xai.explain).parameters["method"].default
_CARRIED = (ui.UPLOAD_KEY, "photo", "garment", "lang")  # choices of this page that the page "Explain" has too


def explain_one(model: SharedModel, page: Any) -> list[Job]:
    """Let the user drop a photo; show prediction and heatmap, of a sample as long as there is none.

    Args:
        model: asked about.
        page: the page "Explain", for all that else can be asked.

    Returns:
        What is still to be done.
    """
    left, middle, right = st.columns([1, 1.1, 1], gap="medium")
    with left:
        image = ui.upload_image() or ui.choose_sample_image(model)
    with ui.stop_on_error(), right, st.spinner(t("Reading the image …")):
        prediction = predicted(model, image)
    method = next(info for info in xai.methods() if info.name == _METHOD)
    job = explanation_job(model, image, ExplanationRequest(method, (), None, "logit", {}, 0), middle.container())
    with right:
        ui.show_prediction(prediction)
        _link(page, model)
    with middle:
        _show_why(image, prediction, ui.result_of(job))
    return [job]


def _show_why(image: SourceImage, prediction: xai.results.Prediction, explanation: xai.Explanation | None) -> None:
    """Show the heatmap over the image, and the image alone while there is none."""
    st.markdown(f"**{t('Why')}**")
    if explanation is None:
        ui.show_image(ui.GalleryImage.of(image.content, image.name))
        return
    text = t("Bright: the pixels that the prediction {label} depends on most (Grad-CAM).", label=prediction.label)
    ui.show_image(ui.GalleryImage(explanation.overlay(), safe(text), text))


def _link(page: Any, model: SharedModel) -> None:
    choices = {name: st.query_params[name] for name in _CARRIED if name in st.query_params}
    st.page_link(
        page,
        label=t("All methods, and whether to trust the map"),
        icon=":material/arrow_forward:",
        query_params={**choices, "model": model.name},
    )
