"""Choices that all pages share: Streamlit forgets them when the page changes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import streamlit as st

from xai.dashboard.language import t


def remember(kind: str, name: str) -> None:
    """Keep what was chosen for the other pages."""
    st.session_state[f"kept {kind}"] = name


def take_over(offered: Mapping[str, Sequence[str]]) -> None:
    """Choose what the page before had chosen, unless the link has a choice of its own.

    Args:
        offered: what there is, by the name of the choice.
    """
    for kind, names in offered.items():
        kept = st.session_state.get(f"kept {kind}")
        if kept is not None and kept in names[1:] and kind not in st.query_params:  # the first is chosen by default
            st.session_state[kind] = st.query_params[kind] = kept


def only_among(kind: str, names: Sequence[str]) -> None:
    """Forget a choice that this page does not offer."""
    if kind in st.session_state and st.session_state[kind] not in names:
        del st.session_state[kind]
    if kind in st.query_params and st.query_params[kind] not in names:
        del st.query_params[kind]


def choose_next(kind: str, name: str) -> None:
    """Choose what has just been added to what is offered, and run the page again.

    Streamlit puts a choice into the address only where the widget was already there with the same options, so the page
    runs once with the new options and once more with the choice: see `settled`.
    """
    st.session_state[f"next {kind}"] = name
    st.rerun()


@contextmanager
def settled(kind: str) -> Iterator[None]:
    """Surround the widget of a choice on the page that `choose_next` is called on."""
    waiting = f"next {kind}", f"now {kind}"
    if waiting[1] in st.session_state:
        st.session_state[kind] = st.session_state.pop(waiting[1])
    yield
    if waiting[0] in st.session_state:
        st.session_state[waiting[1]] = st.session_state.pop(waiting[0])
        st.rerun()


def choose_one(label: str, texts: Sequence[str], key: str) -> str:
    """Let the user choose one of some texts, the first one at the start; the choice is in the address.

    Args:
        label: in the language of the page.
        texts: in English, as `t` takes them; what is returned is one of these.
        key: of the choice, in the address too.
    """
    chosen: str = st.segmented_control(
        label, texts, default=texts[0], required=True, format_func=t, key=key, bind="query-params"
    )
    return chosen
