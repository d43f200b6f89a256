"""The pages, in order. A new page is one file in `app_pages/` and one line here."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import streamlit as st
from PIL import Image

from xai.dashboard.controls import keep_choices
from xai.dashboard.jobs import place_for_work
from xai.dashboard.language import keep_language, m, t
from xai.dashboard.signin import require_sign_in
from xai.dashboard.work import sentences

_FOLDER = Path(__file__).parent / "app_pages"


class _Entry(NamedTuple):
    file: str
    title: str
    icon: str
    tip: str


PAGES = [
    _Entry("start.py", m("Start"), ":material/home:", m("A network, pictures, and cases to begin with")),
    _Entry("explain.py", m("Explain"), ":material/center_focus_strong:", m("Why this answer? Maps over one picture")),
    _Entry("dream.py", m("Dream"), ":material/bedtime:", m("A picture that a class, a layer or a channel likes")),
    _Entry("stress.py", m("Stress"), ":material/tune:", m("One picture made worse, or attacked")),
    _Entry("robustness.py", m("Robustness"), ":material/shield:", m("A data set under attack, proofs, corruptions")),
    _Entry("ood.py", m("Out of distribution"), ":material/travel_explore:", m("Foreign pictures, sureness, drift")),
    _Entry("bias.py", m("Bias"), ":material/groups:", m("Groups, shortcuts, weak slices, faults of the data")),
    _Entry("compare.py", m("Compare"), ":material/compare_arrows:", m("Two networks, or two audits")),
    _Entry("audit.py", m("Audit"), ":material/fact_check:", m("Thresholds, plan, run, verdicts, reports")),
    _Entry("history.py", m("History"), ":material/history:", m("Audits so far, trends, the pinned baseline")),
]


def run() -> None:
    """Show the page that was asked for; the first one by default."""
    st.set_page_config(page_title="xai", page_icon=_icon(), layout="wide")
    with sentences():
        require_sign_in()
    pages = linked_pages()
    page = st.navigation(list(pages.values()), position="top")
    if st.session_state.get("page") != page.url_path:
        st.session_state["page"] = page.url_path
        keep_choices()
        keep_language()
    place_for_work({one.url_path: one for one in pages.values()})
    page.run()


def linked_pages() -> dict[str, Any]:
    """Return all pages by file, the first one being shown by default."""
    return {
        p.file: st.Page(_FOLDER / p.file, title=t(p.title), icon=p.icon, help=t(p.tip), default=p is PAGES[0])
        for p in PAGES
    }


def _icon() -> Image.Image:
    """Return a small picture of a warm spot; a named icon would be fetched from the network."""
    row, column = np.mgrid[0:32, 0:32]
    heat = np.exp(-((row - 15.5) ** 2 + (column - 15.5) ** 2) / 90.0)
    colours = ([0.0, 0.35, 0.7, 1.0], [20, 140, 240, 252], [10, 40, 120, 240], [60, 105, 30, 160])
    pixels = np.stack([np.interp(heat, colours[0], channel) for channel in colours[1:]], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))
