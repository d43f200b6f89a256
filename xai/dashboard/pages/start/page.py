"""The page "Start": a photo explained at once, example cases, a model, data, and what was understood of both."""

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

import xai
from xai.dashboard import widgets as ui
from xai.dashboard.pages.start.setup import offer_own_images, offer_own_model, show_data_summary, show_model_summary
from xai.dashboard.session import (
    DATA,
    MODEL,
    ExplanationRequest,
    Job,
    SharedModel,
    SourceImage,
    explanation_job,
    garments,
    predicted,
)
from xai.dashboard.text import m, safe, t

_SIDE, _THUMB = 224, 110


@dataclass(frozen=True)
class ExampleCase:
    """A link with an image.

    Attributes:
        title: a question.
        text: what is to be seen.
        alt: of its image.
        page: its name.
        query: what is chosen there.
        photo: name of a sample photograph, or a class of the example data.
    """

    title: str
    text: str
    alt: str
    page: str
    query: Mapping[str, str]
    photo: str


CASES = (
    ExampleCase(
        m("Why espresso?"),
        m(
            "A model with 1,000 classes predicts what a photo shows. A heatmap shows which pixels the "
            "prediction depends on."
        ),
        m("A cup of espresso on a saucer"),
        "explain",
        {"model": "efficientnet_lite0", "photo": "coffee"},
        "coffee",
    ),
    ExampleCase(
        m("How small a change fools it?"),
        m("A sneaker is perturbed too little to be seen, and a small model predicts another class."),
        m("A sneaker, small and grey"),
        "stress",
        {"model": "example:fashion", "garment": "Sneaker", "way": "Attacks"},
        "Sneaker",
    ),
    ExampleCase(
        m("Do two methods agree?"),
        m("The same bag explained by gradients and by occlusion, and a map of where both differ."),
        m("A bag, small and grey"),
        "explain",
        {"model": "example:fashion", "garment": "Bag", "method": "gradcam,occlusion"},
        "Bag",
    ),
)


def show_cases(paths: Mapping[str, Any]) -> None:
    """Show the cases beside each other.

    Args:
        paths: the pages by name.
    """
    for column, case in zip(st.columns(len(CASES)), CASES, strict=True):
        with column.container(border=True, height="stretch"):
            image, words = st.columns([1, 2])
            with image, st.container(width=_THUMB):
                ui.show_image(ui.GalleryImage(_pixels(case.photo), "", t(case.alt)))
            with words:
                st.markdown(f"**{t(case.title)}**")
                st.caption(t(case.text))
                link(paths[case.page], t("Show it"), case.query)


def link(page: Any, label: str, query: Mapping[str, str]) -> None:
    """Show a link to another page with choices made; the language goes along, and names choices as that page does."""
    language = {"lang": st.query_params["lang"]} if "lang" in st.query_params else {}
    st.page_link(
        page,
        label=label,
        icon=":material/arrow_forward:",
        query_params={**{name: t(value) for name, value in query.items()}, **language},
    )


@st.cache_data(show_spinner=False)
def _pixels(name: str) -> np.ndarray:
    """Return the image of a case, cut square."""
    photos = {photo.name: photo for photo in xai.sample_photos()}
    if name not in photos:
        grey = np.asarray(garments()[name].content)[0]
        return np.repeat(np.round(255 * grey).astype(np.uint8)[..., None], 3, -1)
    with Image.open(photos[name].path) as image:
        side = min(image.size)
        left, top = ((edge - side) // 2 for edge in image.size)
        cut = image.convert("RGB").crop((left, top, left + side, top + side))
        return np.asarray(cut.resize((_SIDE, _SIDE)))


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


def show_doctor() -> None:
    """Show what is installed here, and whether it works."""
    with st.expander(
        t("Is everything installed?"), icon=":material/stethoscope:", key="doctor", on_change="rerun"
    ) as box:
        if not box.open:
            return
        result = _diagnosed()
        if result.ok:
            st.success(t("Everything needed is installed."), icon=":material/check_circle:")
        else:
            st.warning(t("Something needed is missing."), icon=":material/warning:")
        st.code(str(result), language=None)


@st.cache_resource(show_spinner=False, ttl=60)
def _diagnosed() -> xai.results.Diagnosis:
    return xai.diagnose()


if __name__ == "__main__":  # Streamlit runs it as a script
    ui.show_heading("start")
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.caption(t("Everything runs on this machine; no image and no model leaves it."), width="content")
        ui.choose_language()
    paths, first = ui.linked_pages(), st.container(border=True)
    show_cases(paths)
    left, right = st.columns(2, gap="medium")

    with left, st.container(border=True):
        st.subheader(t("Model"), anchor=False)
        chosen = st.container()
        offer_own_model()
        with chosen, ui.settled(MODEL):
            model = ui.choose_model()
        show_model_summary(model)

    with right, st.container(border=True):
        st.subheader(t("Images"), anchor=False)
        chosen = st.container()
        offer_own_images()
        with chosen, ui.settled(DATA):
            name = ui.choose_data()
        show_data_summary(name, model)

    show_doctor()
    ui.offer_sign_out()
    with first:
        jobs = explain_one(model, paths["explain"])
    ui.run_next(jobs)
