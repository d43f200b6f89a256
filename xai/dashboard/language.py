"""The language of the pages: English texts are their own keys, and a catalogue has them in Spanish.

What checks and verdicts are called, and what the library says, is looked up in the catalogue of the reports, so that
both say the same.
"""

import json
from collections.abc import Mapping
from contextvars import ContextVar
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

import xai

LANGUAGES: Mapping[str, str] = {"en": "English", "es": "Español"}
_PARAMETER, _CHOSEN = "lang", "language"
_FOLDER = Path(__file__).parent / "locale"
_SPOKEN: ContextVar[str] = ContextVar("spoken", default="en")


def t(text: str, /, **values: Any) -> str:
    """Return an English text in the language of the page, its places filled.

    Args:
        text: a constant, so that a test can find it and compare it with the catalogue.
        values: for its {places}; what comes from a file or a network goes through `safe` first.
    """
    said = in_language(text, language())
    return said.format(**values) if values else said


def in_language(text: str, chosen: str) -> str:
    """Return a constant text in a language; as it is where no catalogue has it."""
    return text if chosen == "en" else _catalogue(chosen).get(text) or xai.translate(text, chosen, sentence=True)


def m(text: str, /) -> str:
    """Mark a text that `t` will be given later; return it as it is."""
    return text


def told(text: str) -> str:
    """Return what the library says (a note, a reason, a title) in the language of the page."""
    return _told(text, language())


def report_word(key: str, /, **values: Any) -> str:
    """Return a message of the reports, such as "verdict.fail", in the language of the page."""
    return xai.translate(key, language(), **values)


def language() -> str:
    """Return the language of the page: that of the link, the one chosen before, or the browser's."""
    if get_script_run_ctx(suppress_warning=True) is None:
        return _SPOKEN.get()
    if (asked := st.query_params.get(_PARAMETER)) in LANGUAGES:
        st.session_state[_CHOSEN] = asked
    chosen: str | None = st.session_state.get(_CHOSEN)
    return chosen or ("es" if (st.context.locale or "").lower().startswith("es") else "en")


def speak() -> None:
    """Let what begins from here, in whatever thread, speak the language of the page."""
    _SPOKEN.set(language())


def keep_language() -> None:
    """Put the language into the address: a link names choices in it, and must not depend on who opens it."""
    if _PARAMETER not in st.query_params:
        st.query_params[_PARAMETER] = language()


def choose_language() -> None:
    """Let the user choose the language."""
    if "language choice" not in st.session_state:
        st.session_state["language choice"] = language()
    st.segmented_control(
        "Language · Idioma",
        list(LANGUAGES),
        format_func=LANGUAGES.__getitem__,
        required=True,
        key="language choice",
        on_change=_choose,
        label_visibility="collapsed",
    )


def _choose() -> None:
    st.session_state[_CHOSEN] = st.query_params[_PARAMETER] = st.session_state["language choice"]


@lru_cache(maxsize=4096)  # the page runs again at each choice
def _told(text: str, chosen: str) -> str:
    return xai.translate(text, chosen, sentence=True)


@cache
def _catalogue(language: str) -> Mapping[str, str]:
    found: dict[str, str] = json.loads((_FOLDER / f"{language}.json").read_text(encoding="utf-8"))
    return found
