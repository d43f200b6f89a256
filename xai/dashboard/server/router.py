"""The script that Streamlit runs: it shows the requested page.

`app.py` is the same for a checkout. The pages, their addresses and their names are in `widgets/background.py: PAGES`.
"""

import numpy as np
import streamlit as st
from PIL import Image

from xai.dashboard import widgets as ui
from xai.dashboard.text import keep_language


def run() -> None:
    """Show the requested page; the first one by default.

    Where a sign-in is set up, nothing is shown before it.
    """
    st.set_page_config(page_title="xai", page_icon=_icon(), layout="wide")
    with ui.stop_on_error():
        ui.require_sign_in()
    pages = ui.linked_pages()
    page = st.navigation(list(pages.values()), position="top")
    st.set_page_config(page_title=f"{page.title} · xai")
    if st.session_state.get("page") != page.url_path:
        st.session_state["page"] = page.url_path
        ui.keep_choices()
        keep_language()
    ui.place_for_work({entry.url_path: entry for entry in pages.values()})
    ui.show_style()
    if page.url_path not in {"audit", "history"}:  # these show them in their own place
        ui.show_others(None)
    page.run()


def _icon() -> Image.Image:
    """Return a small image of a warm spot; a named icon would be fetched from the network."""
    row, column = np.mgrid[0:32, 0:32]
    heat = np.exp(-((row - 15.5) ** 2 + (column - 15.5) ** 2) / 90.0)
    colours = ([0.0, 0.35, 0.7, 1.0], [20, 140, 240, 252], [10, 40, 120, 240], [60, 105, 30, 160])
    pixels = np.stack([np.interp(heat, colours[0], channel) for channel in colours[1:]], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


if __name__ == "__main__":
    run()
