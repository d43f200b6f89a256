"""What Streamlit's themes leave to be wished for: less nothing above a page, and words that can be read."""

import streamlit as st

_HEIGHT = "3.9rem"  # of the menu
_ON_PRIMARY = "#0b1526"  # on the light blue of the dark theme: 8:1
_TOP = f"""
[data-testid="stMainBlockContainer"] {{ padding-top: {_HEIGHT}; padding-bottom: 3rem; }}
[data-testid="stMainBlockContainer"] h1 {{ font-size: 1.9rem; padding: 0.4rem 0 0; }}
"""
_DARK = f"""
[data-testid="stBaseButton-primary"], [data-testid="stBaseButton-primary"] p, [data-baseweb="tag"],
[data-baseweb="tag"] span, [data-baseweb="tag"] svg {{ color: {_ON_PRIMARY}; fill: {_ON_PRIMARY}; }}
"""


def show_style() -> None:
    """Add the rules of style to a page; they take no place on it."""
    dark = st.context.theme.type == "dark"
    st.html(f"<style>{_TOP}{_DARK if dark else ''}</style>")
