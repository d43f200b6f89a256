"""Files to take along."""

from collections.abc import Callable

import streamlit as st


def offer(
    label: str, make: Callable[[], bytes], name: str, mime: str, key: str, tip: str, *, disabled: bool = False
) -> None:
    """Offer a file that is made when it is asked for."""
    st.download_button(
        label, make, name, mime, key=key, help=tip, disabled=disabled, on_click="ignore", icon=":material/download:"
    )
