"""The viewer's Python half: one picture and the maps over it, packed for the browser."""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

import xai
from xai.dashboard.language import LANGUAGES, language

_SIDES = ((2, 1024), (6, 640))  # up to so many maps: pixels; many are shown small, so they need not be sent large
_SIDE_OF_MANY = 400
_PART = 480  # pixels
_LOSSLESS = 65_536  # pixels up to which a picture is sent as PNG


def _text(name: str) -> str:
    return (Path(__file__).parent / "viewer" / name).read_text(encoding="utf-8")


def _spoken(text: str, chosen: str) -> str:
    """Return a file of the viewer in a language: texts between tags and in quotes, the longest first.

    The words are beside the files, so that reports, which have the same viewer, speak the same way.
    """
    words: dict[str, str] = {} if chosen == "en" else json.loads(_text(f"{chosen}.json"))
    for word in sorted(words, key=len, reverse=True):
        for left, right in ((">", "<"), ('"', '"'), ("`", "`")):
            text = text.replace(f"{left}{word}{right}", f"{left}{words[word]}{right}")
    return text


def _component(chosen: str) -> Any:
    return st.components.v2.component(
        "xai_viewer" if chosen == "en" else f"xai_viewer_{chosen}",
        html=_spoken(_text("viewer.html"), chosen),
        css=_text("viewer.css"),
        js=_spoken(_text("panel.js") + _text("viewer.js"), chosen),
    )


_viewers = {chosen: _component(chosen) for chosen in LANGUAGES}


@dataclass(frozen=True, eq=False)
class Panel:
    """One map over the picture.

    Attributes:
        title: shown above it.
        values: (H, W) raw signed values in the picture's pixels.
        unit: what they are measured in.
        alt: a sentence for those who cannot see it; shown below it, too.
    """

    title: str
    values: np.ndarray
    unit: str
    alt: str


def pack(picture: np.ndarray, panels: Sequence[Panel], seen: tuple[float, float, float, float]) -> dict[str, Any]:
    """Return what the viewer needs, JSON-ready.

    Pictures larger than 1024 pixels a side (640 for more than two maps, 400 for more than six) are shown smaller. A
    shown pixel then stands for one pixel of the original, near its middle, and carries that pixel's value unchanged.

    Args:
        picture: (H, W, C) uint8.
        panels: maps of the same H and W.
        seen: top, left, bottom, right of what the model sees, in pixels of the picture.
    """
    rows, columns = (shown_pixels(side, picture.shape[:2], len(panels)) for side in picture.shape[:2])
    return {
        "picture": {
            "src": _data_uri(picture, len(rows), len(columns)),
            "width": len(columns),
            "height": len(rows),
            "columns": picture.shape[1],
            "rows": picture.shape[0],
        },
        "seen": [float(edge) for edge in seen],
        "panels": [
            {
                "title": panel.title,
                "unit": panel.unit,
                "alt": panel.alt,
                "low": float(panel.values.min()),
                "high": float(panel.values.max()),
                "values": _base64(panel.values[np.ix_(rows, columns)].astype("<f4").tobytes()),
            }
            for panel in panels
        ],
    }


def show_small(packed: dict[str, Any], *, key: str) -> None:
    """Show a packed picture in a part of the page: small ones need no more."""
    with st.container(width=_PART):
        show(packed, key=key)


def show(packed: dict[str, Any], *, key: str) -> None:
    """Show a packed picture with its maps: hover, opacity, threshold, colours, zoom and pan, all in the browser."""
    _viewers[language()](data=packed, key=key)


def shown_pixels(side: int, size: tuple[int, ...], panels: int = 1) -> np.ndarray:
    """Return which pixels along one side of a picture of `size` are shown."""
    most = next((pixels for count, pixels in _SIDES if panels <= count), _SIDE_OF_MANY)
    count = max(1, round(side * min(1.0, most / max(size))))
    return ((np.arange(count) + 0.5) * side / count).astype(np.int64)


def _data_uri(picture: np.ndarray, height: int, width: int) -> str:
    image = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else xai.to_rgb(picture))
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    if width * height <= _LOSSLESS:
        image.save(stream, "PNG")
        return f"data:image/png;base64,{_base64(stream.getvalue())}"
    image.save(stream, "JPEG", quality=92, subsampling=0)
    return f"data:image/jpeg;base64,{_base64(stream.getvalue())}"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
