"""Pictures on a page: enlarged without smoothing, in rows that wrap, each with words for those who cannot see it."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

from xai.dashboard.language import t

TIMES = 10  # what differences of attacked pictures are multiplied by
_LADDER = (10, 5, 2, 1)
_CLIPPED = 0.01  # share of values that may lie beyond what can be shown
_SIDE = 224  # pixels that small pictures are enlarged to
_SMALL = 96  # of a picture in a row: seven fit beside the left column


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
    pixels = pixels if pixels.shape[-1] == 3 else np.repeat(pixels[..., :1], 3, -1)
    found: np.ndarray = np.round(255 * np.clip(pixels, 0, 1)).astype(np.uint8)
    return found


def magnified(clean: np.ndarray, changed: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the difference of two uint8 pictures around grey, and the largest factor up to ten at which it fits."""
    added = (changed.astype(np.float64) - clean) / 2
    times = next((t for t in _LADDER if np.mean(np.abs(t * added) > 127.5) <= _CLIPPED), 1)
    return np.clip(np.round(127.5 + times * added), 0, 255).astype(np.uint8), times


def show(shot: Shot) -> None:
    """Show a picture as wide as its place."""
    caption = shot.caption.replace(" %", "\N{NO-BREAK SPACE}%")
    st.image(_address(_enlarged(shot.pixels)), caption, width="stretch", alt=shot.alt)


def show_beside(shots: Sequence[Shot]) -> list[Any]:
    """Show a few pictures beside each other; return their columns."""
    columns: list[Any] = st.columns(len(shots))
    for column, shot in zip(columns, shots, strict=True):
        with column:
            show(shot)
    return columns


def show_row(shots: Sequence[Shot]) -> None:
    """Show small pictures in a row that wraps."""
    with st.container(horizontal=True):
        for shot in shots:
            with st.container(width=_SMALL):
                show(shot)


def choose_shot(shots: dict[int, Shot], key: str) -> int | None:
    """Show small pictures with a button each; return the number of the one that was opened, if it is among them."""
    with st.container(horizontal=True):
        for number, shot in shots.items():
            with st.container(width=_SMALL):
                show(shot)
                st.button(
                    t("Open {number}", number=number),
                    key=f"{key} {number}",
                    on_click=_open,
                    args=(key, number),
                    width="stretch",
                )
    chosen = opened_shot(key)
    return chosen if chosen in shots else None


def opened_shot(key: str) -> int | None:
    """Return the number of the picture that was opened, whether it is still shown or not."""
    chosen: int | None = st.session_state.get(f"{key} opened")
    return chosen


def _open(key: str, number: int) -> None:
    st.session_state[f"{key} opened"] = number


def _address(pixels: np.ndarray) -> str:
    """Return a picture as a data address: files of a run that is cut short are gone before a busy browser asks."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + b64encode(file.getvalue()).decode()


def _enlarged(pixels: np.ndarray) -> np.ndarray:
    times = max(1, _SIDE // max(pixels.shape[:2]))
    return pixels.repeat(times, 0).repeat(times, 1)
