"""Pictures on a page: enlarged without smoothing, in rows that wrap, each with words for those who cannot see it."""

from base64 import b64encode
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import streamlit as st

import xai
from xai.dashboard.albums import album_zip, enlarged, png
from xai.dashboard.language import t
from xai.dashboard.offers import offer
from xai.dashboard.words import file_stem

TIMES = 10  # what differences of attacked pictures are multiplied by
_LADDER = (10, 5, 2, 1)
_CLIPPED = 0.01  # share of values that may lie beyond what can be shown
_SMALL = 96  # of a picture in a row: seven fit beside the left column
_DIGITS = 9  # of a number in the address


@dataclass(frozen=True, eq=False)
class Shot:
    """A picture with words.

    Attributes:
        pixels: (h, w, 3) uint8.
        caption: Markdown that is safe to show.
        alt: plain words for those who cannot see it.
    """

    pixels: np.ndarray
    caption: str
    alt: str


def as_pixels(images: Any) -> np.ndarray:
    """Return pictures (N, C, h, w) in [0, 1] as (N, h, w, 3) uint8."""
    pixels = np.moveaxis(images.detach().cpu().double().numpy(), 1, -1)
    return np.stack([xai.to_rgb(np.round(255 * np.clip(one, 0, 1)).astype(np.uint8)) for one in pixels])


def magnified(clean: np.ndarray, changed: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the difference of two uint8 pictures around grey, and the largest factor up to ten at which it fits."""
    added = (changed.astype(np.float64) - clean) / 2
    times = next((t for t in _LADDER if np.mean(np.abs(t * added) > 127.5) <= _CLIPPED), 1)
    return np.clip(np.round(127.5 + times * added), 0, 255).astype(np.uint8), times


def show(shot: Shot) -> None:
    """Show a picture as wide as its place."""
    caption = shot.caption.replace(" %", "\N{NO-BREAK SPACE}%")
    st.image(_address(enlarged(shot.pixels)), caption, width="stretch", alt=shot.alt)


def show_beside(shots: Sequence[Shot]) -> list[Any]:
    """Show a few pictures beside each other; return their columns."""
    columns: list[Any] = st.columns(len(shots))
    for column, shot in zip(columns, shots, strict=True):
        with column:
            show(shot)
    return columns


def show_row(shots: Sequence[Shot], key: str) -> None:
    """Show small pictures in a row that wraps, and offer them as files; no two rows of a page have the same key."""
    with st.container(horizontal=True):
        for shot in shots:
            with st.container(width=_SMALL):
                show(shot)
    _offer(dict(enumerate(shots, 1)), key)


def choose_shot(shots: Mapping[int, Shot], key: str, about: Hashable = None) -> int | None:
    """Show small pictures with a button each; return the number of the one that was opened, if it is among them.

    Args:
        shots: by number.
        key: of the gallery; the opened number is in the address under "opened_KEY".
        about: what the numbers belong to; of anything else no picture is open.
    """
    with st.container(horizontal=True):
        for number, shot in shots.items():
            with st.container(width=_SMALL):
                show(shot)
                st.button(
                    t("Open {number}", number=number),
                    key=f"{key} {number}",
                    on_click=_open,
                    args=(key, about, number),
                    width="stretch",
                )
    _offer(shots, key)
    chosen = opened_shot(key, about)
    return chosen if chosen in shots else None


def opened_shot(key: str, about: Hashable = None) -> int | None:
    """Return the number of the picture that was opened, by a click or a link, whether it is still shown or not."""
    name, place = f"opened_{key}", f"{key} opened"
    linked = st.query_params.get(name, "")
    if place not in st.session_state and linked.isdecimal() and len(linked) <= _DIGITS:
        _open(key, about, int(linked))
    opened_of, number = st.session_state.get(place, (about, None))
    if number is None or opened_of != about:
        st.query_params.pop(name, None)
        return None
    if linked != str(number):
        st.query_params[name] = str(number)
    chosen: int = number
    return chosen


def _open(key: str, about: Hashable, number: int) -> None:
    st.session_state[f"{key} opened"] = about, number


def _offer(shots: Mapping[int, Shot], key: str) -> None:
    """Offer the pictures as files, made when they are asked for."""
    if shots:
        pictures = {f"{number:02d}": (shot.pixels, shot.alt) for number, shot in shots.items()}
        tip = t("Each picture as PNG, and what it shows")
        name = f"{file_stem(key)}.zip"
        offer(t("Pictures (.zip)"), partial(album_zip, pictures), name, "application/zip", f"{key} zip", tip)


def _address(pixels: np.ndarray) -> str:
    """Return a picture as a data address: files of a run that is cut short are gone before a busy browser asks."""
    return "data:image/png;base64," + b64encode(png(pixels)).decode()
