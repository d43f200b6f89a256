"""The rules of style that are added to Streamlit's themes."""

from functools import cache
from pathlib import Path

import streamlit as st

_FOLDER = Path(__file__).parents[1] / "style"


def show_style() -> None:
    """Add the rules of style to a page; they take no place on it."""
    names = ["page.css", *(["dark.css"] if st.context.theme.type == "dark" else [])]
    rules = "".join(map(_read, names))
    st.html(f"<style>{rules}</style>")


@cache
def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
