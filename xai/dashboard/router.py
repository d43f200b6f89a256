"""The pages, in order. A new page is one file in `app_pages/` and one line here."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import streamlit as st
from PIL import Image

from xai.dashboard.controls import keep_model

_FOLDER = Path(__file__).parent / "app_pages"


class _Entry(NamedTuple):
    file: str
    title: str
    icon: str
    tip: str


PAGES = [
    _Entry("explain.py", "Explain", ":material/center_focus_strong:", "Why this answer? Maps over one picture"),
    _Entry("stress.py", "Stress", ":material/tune:", "One picture made worse, or attacked"),
    _Entry("robustness.py", "Robustness", ":material/shield:", "A data set under attack, proofs, corruptions"),
    _Entry("ood.py", "Out of distribution", ":material/travel_explore:", "Foreign pictures, probabilities, drift"),
    _Entry("bias.py", "Bias", ":material/groups:", "Groups, shortcuts, weak slices, faults of the data"),
]


def run() -> None:
    """Show the page that was asked for; the first one by default."""
    st.set_page_config(page_title="xai", page_icon=_icon(), layout="wide")
    pages = [st.Page(_FOLDER / p.file, title=p.title, icon=p.icon, help=p.tip, default=p is PAGES[0]) for p in PAGES]
    page = st.navigation(pages, position="top")
    if st.session_state.get("page") != page.title:
        st.session_state["page"] = page.title
        keep_model()
    page.run()


def _icon() -> Image.Image:
    """Return a small picture of a warm spot; a named icon would be fetched from the network."""
    row, column = np.mgrid[0:32, 0:32]
    heat = np.exp(-((row - 15.5) ** 2 + (column - 15.5) ** 2) / 90.0)
    colours = ([0.0, 0.35, 0.7, 1.0], [20, 140, 240, 252], [10, 40, 120, 240], [60, 105, 30, 160])
    pixels = np.stack([np.interp(heat, colours[0], channel) for channel in colours[1:]], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))
