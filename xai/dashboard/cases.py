"""The page "Start": cases to begin with, each a link that shows something at once; the state of the installation."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

import xai
from xai.dashboard.gallery import Shot, show
from xai.dashboard.language import m, t
from xai.dashboard.pictures import garments

_FOLDER = Path(__file__).parent / "app_pages"
_SIDE, _THUMB = 224, 110


@dataclass(frozen=True)
class Case:
    """A link with a picture.

    Attributes:
        title: a question.
        text: what is to be seen.
        alt: of its picture.
        page: file of the page.
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
    Case(
        m("Why espresso?"),
        m("A network that knows 1,000 classes names a photograph. A map over it shows what the answer hangs on."),
        m("A cup of espresso on a saucer"),
        "explain.py",
        {"model": "efficientnet_lite0", "photo": "coffee"},
        "coffee",
    ),
    Case(
        m("How little does it take?"),
        m("A sneaker is changed so slightly that nobody sees it, until a small network takes it for something else."),
        m("A sneaker, small and grey"),
        "stress.py",
        {"model": "example:fashion", "garment": "Sneaker", "way": "Attacks"},
        "Sneaker",
    ),
    Case(
        m("Do two methods agree?"),
        m("The same bag explained by gradients and by covering it piece by piece, and a map of where both differ."),
        m("A bag, small and grey"),
        "explain.py",
        {"model": "example:fashion", "garment": "Bag", "method": "gradcam,occlusion"},
        "Bag",
    ),
)


def show_cases(paths: Mapping[str, Any]) -> None:
    """Show the cases beside each other.

    Args:
        paths: the pages by file.
    """
    for column, case in zip(st.columns(len(CASES)), CASES, strict=True):
        with column.container(border=True, height="stretch"):
            picture, words = st.columns([1, 2])
            with picture, st.container(width=_THUMB):
                show(Shot(_pixels(case.photo), "", t(case.alt)))
            with words:
                st.markdown(f"**{t(case.title)}**")
                st.caption(t(case.text))
                link(paths[case.page], t("Show it"), case.query)


def link(page: Any, label: str, query: Mapping[str, str]) -> None:
    """Show a link to another page with choices made; the language goes along, and names choices as that page does."""
    kept = {"lang": st.query_params["lang"]} if "lang" in st.query_params else {}
    st.page_link(
        page,
        label=label,
        icon=":material/arrow_forward:",
        query_params={**{name: t(value) for name, value in query.items()}, **kept},
    )


@st.cache_data(show_spinner=False)
def _pixels(name: str) -> np.ndarray:
    """Return the picture of a case, cut square."""
    photos = {photo.name: photo for photo in xai.sample_photos()}
    if name not in photos:
        grey = np.asarray(garments()[name].content)[0]
        return np.repeat(np.round(255 * grey).astype(np.uint8)[..., None], 3, -1)
    with Image.open(photos[name].path) as picture:
        side = min(picture.size)
        left, top = ((edge - side) // 2 for edge in picture.size)
        cut = picture.convert("RGB").crop((left, top, left + side, top + side))
        return np.asarray(cut.resize((_SIDE, _SIDE)))


def show_doctor() -> None:
    """Show what is installed here, and whether it works."""
    with st.expander(
        t("Is everything installed?"), icon=":material/stethoscope:", key="doctor", on_change="rerun"
    ) as box:
        if not box.open:
            return
        found = _diagnosed()
        if found.ok:
            st.success(t("Everything that is needed is here."), icon=":material/check_circle:")
        else:
            st.warning(t("Something that is needed is missing."), icon=":material/warning:")
        st.code(str(found), language=None)


@st.cache_resource(show_spinner=False, ttl=60)
def _diagnosed() -> xai.Diagnosis:
    return xai.diagnose()
