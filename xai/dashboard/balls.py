"""The ball that a changed picture stays in: its norm and radius as widgets and as code."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from xai.dashboard.language import m, t
from xai.dashboard.words import ABOUT_NORMS, NORMS, radius

_STEPS = 64  # of the slider
_LABELS = {"linf": m("eps in 1/255"), "l2": "eps", "l1": "eps"}
_WITHIN = {
    "linf": m("no pixel changes by more than {}"),
    "l2": m("the l2 length of the change is at most {}"),
    "l1": m("all changes sum to at most {}"),
}


def choose_norm(key: str, place: Any = st) -> str:
    """Let the user choose how the size of a change is measured, in a column or where the page is."""
    chosen: str = place.selectbox(
        t("Norm"), list(NORMS), format_func=NORMS.__getitem__, key=key, help=t(ABOUT_NORMS), bind="query-params"
    )
    return chosen


def choose_eps(
    norm: str,
    key: str,
    largest: Mapping[str, float],
    usual: Mapping[str, float],
    tip: str,
    place: Any = st,
    *,
    disabled: bool = False,
) -> float:
    """Let the user choose a radius; return it in the scale of pixels in [0, 1].

    Args:
        norm: has its own slider, which begins a step above 0.
        key: what the name in the address begins with; the norm follows.
        largest: radius by norm; of l-inf in 1/255.
        usual: what is proposed, likewise.
        tip: about the radius.
        place: a column, or where the page is.
        disabled: shown only.
    """
    most = float(largest[norm])
    shown: float = place.slider(
        t(_LABELS[norm]),
        most / _STEPS,
        most,
        float(usual[norm]),
        most / _STEPS,
        key=f"{key}_{norm}",
        disabled=disabled,
        help=tip,
        bind="query-params",
    )
    return shown / 255 if norm == "linf" else shown


def eps_code(eps: float, norm: str) -> str:
    """Return a radius as Python writes it: "8 / 255" for l-inf, else "0.5"."""
    return f"{255 * eps:g} / 255" if norm == "linf" else f"{eps:g}"


def within(eps: float, norm: str) -> str:
    """Say which changes are in the ball: "no pixel changes by more than 8/255"."""
    return t(_WITHIN[norm]).format(radius(eps, norm))
