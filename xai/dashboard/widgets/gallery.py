"""Images on a page, and the viewer of maps over one.

Images can be enlarged, and lie in rows that wrap, each with a caption.
"""

import base64
import io
import json
from base64 import b64encode
from collections.abc import Hashable, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

import xai
from xai.dashboard.text import LANGUAGES, describe_map, file_stem, language, m, safe, t, told
from xai.dashboard.widgets.results import images_zip, offer_download, png

SHOWN = 12  # images of a gallery
TIMES = 10  # what differences of attacked images are multiplied by
_SIDE = 224  # pixels that small images are enlarged to
_LADDER = (10, 5, 2, 1)
_CLIPPED = 0.01  # share of values that may lie beyond what can be shown
_SMALL = 96  # of an image in a row: seven fit beside the left column
_DIGITS = 9  # of a number in the address


@dataclass(frozen=True, eq=False)
class GalleryImage:
    """An image with words.

    Attributes:
        pixels: (h, w, 3) uint8.
        caption: Markdown that is safe to show.
        alt: plain words for those who cannot see it.
    """

    pixels: np.ndarray
    caption: str
    alt: str

    @classmethod
    def of(cls, image: Any, text: str, alt: str | None = None) -> "GalleryImage":
        """Return an image with a text as its caption, and for those who cannot see it unless `alt` is given.

        Args:
            image: (h, w, 3) uint8, or a tensor (C, h, w) or (1, C, h, w) in [0, 1].
            text: in words that may come from anywhere.
            alt: likewise.
        """
        pixels = image if isinstance(image, np.ndarray) else as_pixels(image.reshape(1, *image.shape[-3:]))[0]
        return cls(pixels, safe(text, 80), text if alt is None else alt)

    @classmethod
    def difference(cls, pixels: np.ndarray, times: int = TIMES) -> "GalleryImage":
        """Return the difference of a clean and a changed image, around grey."""
        added = t("Difference times {times}", times=times) if times > 1 else t("Difference")
        caption = t("{added} (grey: no change)", added=added)
        return cls(pixels, caption, t("{added} between clean and changed image", added=added))


def enlarged(pixels: np.ndarray) -> np.ndarray:
    """Return a small image larger, its pixels as squares."""
    times = max(1, _SIDE // max(pixels.shape[:2]))
    return pixels.repeat(times, 0).repeat(times, 1)


def differences(changed: Any, clean: Any) -> np.ndarray:
    """Return what was added to images (N, C, h, w), ten times and around grey, as (N, h, w, 3) uint8."""
    return as_pixels(0.5 + TIMES * (changed - clean) / 2)


def first_of(rows: Any, text: str = "", most: int = SHOWN) -> list[Any]:
    """Return the first of what there is to show, and say so where that is not all; `text` goes on about their order."""
    if len(rows) > most:
        st.caption(t("The first {shown} of {all}", shown=most, all=len(rows)) + (text or "."))
    return list(rows[:most])


def choose_group(label: str, words: Mapping[str, str], groups: Mapping[str, Sized], key: str, **settings: Any) -> str:
    """Let the user choose a group of images, the first one at the start; the choice is in the address.

    Args:
        label: of the choice.
        words: what the groups are called, in English.
        groups: the numbers of their images.
        key: of the choice.
        settings: of the widget.
    """
    chosen: str = st.segmented_control(
        label,
        list(words),
        default=next(iter(words)),
        required=True,
        wrap=True,
        format_func=lambda name: f"{t(words[name])}: {len(groups[name])}",
        key=key,
        bind="query-params",
        **settings,
    )
    return chosen


def as_pixels(images: Any) -> np.ndarray:
    """Return images (N, C, h, w) in [0, 1] as (N, h, w, 3) uint8."""
    pixels = np.moveaxis(images.detach().cpu().double().numpy(), 1, -1)
    return np.stack([xai.to_rgb(np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)) for image in pixels])


def magnified(clean: np.ndarray, changed: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the difference of two uint8 images around grey, and the largest factor up to ten at which it fits."""
    added = (changed.astype(np.float64) - clean) / 2
    times = next((t for t in _LADDER if np.mean(np.abs(t * added) > 127.5) <= _CLIPPED), 1)
    return np.clip(np.round(127.5 + times * added), 0, 255).astype(np.uint8), times


def show_image(shot: GalleryImage) -> None:
    """Show an image as wide as its place."""
    caption = shot.caption.replace(" %", "\N{NO-BREAK SPACE}%")
    st.image(_address(enlarged(shot.pixels)), caption, width="stretch", alt=shot.alt)


def show_beside(shots: Sequence[GalleryImage]) -> list[Any]:
    """Show a few images beside each other; return their columns."""
    columns: list[Any] = st.columns(len(shots))
    for column, shot in zip(columns, shots, strict=True):
        with column:
            show_image(shot)
    return columns


def show_row(shots: Sequence[GalleryImage], key: str) -> None:
    """Show small images in a row that wraps, and offer them as files; no two rows of a page have the same key."""
    with st.container(horizontal=True):
        for shot in shots:
            with st.container(width=_SMALL):
                show_image(shot)
    _offer(dict(enumerate(shots, 1)), key)


def choose_image(shots: Mapping[int, GalleryImage], key: str, about: Hashable = None) -> int | None:
    """Show small images with a button each; return the number of the one that was opened, if it is among them.

    Args:
        shots: by number.
        key: of the gallery; the opened number is in the address under "opened_KEY".
        about: what the numbers belong to; of anything else no image is open.
    """
    with st.container(horizontal=True):
        for number, shot in shots.items():
            with st.container(width=_SMALL):
                show_image(shot)
                st.button(
                    t("Open {number}", number=number),
                    key=f"{key} {number}",
                    on_click=_open,
                    args=(key, about, number),
                    width="stretch",
                )
    _offer(shots, key)
    chosen = opened_image(key, about)
    return chosen if chosen in shots else None


def opened_image(key: str, about: Hashable = None) -> int | None:
    """Return the number of the image that was opened, by a click or a link, whether it is still shown or not."""
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


def _offer(shots: Mapping[int, GalleryImage], key: str) -> None:
    """Offer the images as files, made when they are asked for."""
    if shots:
        images = {f"{number:02d}": (shot.pixels, shot.alt) for number, shot in shots.items()}
        tip = t("Each image as PNG, with its description")
        offer_download(t("Images"), partial(images_zip, images), f"{file_stem(key)}.zip", f"{key} zip", tip)


def _address(pixels: np.ndarray) -> str:
    """Return an image as a data address: files of a run that is cut short are gone before a busy browser asks."""
    return "data:image/png;base64," + b64encode(png(pixels)).decode()


_SIDES = ((2, 1024), (6, 640))  # up to so many maps: pixels; many are shown small, so they need not be sent large
_SIDE_OF_MANY = 400
_PART = 480  # pixels
_LOSSLESS = 65_536  # pixels up to which an image is sent as PNG


def _text(name: str) -> str:
    return (Path(__file__).parents[1] / "viewer" / name).read_text(encoding="utf-8")


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
class MapPanel:
    """One map over the image.

    Attributes:
        title: shown above it.
        values: (H, W) raw signed values in the image's pixels.
        unit: what they are measured in.
        alt: a sentence for those who cannot see it; shown below it, too.
    """

    title: str
    values: np.ndarray
    unit: str
    alt: str


def pack(image: np.ndarray, panels: Sequence[MapPanel], seen: tuple[float, float, float, float]) -> dict[str, Any]:
    """Return what the viewer needs, JSON-ready.

    Images larger than 1024 pixels a side (640 for more than two maps, 400 for more than six) are shown smaller. A
    shown pixel then stands for one pixel of the original, near its middle, and carries that pixel's value unchanged.

    Args:
        image: (H, W, C) uint8.
        panels: maps of the same H and W.
        seen: top, left, bottom, right of what the model sees, in pixels of the image.
    """
    rows, columns = (shown_pixels(side, image.shape[:2], len(panels)) for side in image.shape[:2])
    return {
        "image": {
            "src": _data_uri(image, len(rows), len(columns)),
            "width": len(columns),
            "height": len(rows),
            "columns": image.shape[1],
            "rows": image.shape[0],
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


def show_small_maps(packed: dict[str, Any], *, key: str) -> None:
    """Show a packed image in a part of the page: small ones need no more."""
    with st.container(width=_PART):
        show_maps(packed, key=key)


def show_maps(packed: dict[str, Any], *, key: str) -> None:
    """Show a packed image with its maps: hover, opacity, threshold, colours, zoom and pan, all in the browser."""
    _viewers[language()](data=packed, key=key)


def shown_pixels(side: int, size: tuple[int, ...], panels: int = 1) -> np.ndarray:
    """Return which pixels along one side of an image of `size` are shown."""
    most = next((pixels for count, pixels in _SIDES if panels <= count), _SIDE_OF_MANY)
    count = max(1, round(side * min(1.0, most / max(size))))
    return ((np.arange(count) + 0.5) * side / count).astype(np.int64)


def shown_values(heatmap: np.ndarray) -> np.ndarray:
    """Return the values of a map (H, W) at the pixels that are shown."""
    rows, columns = (shown_pixels(side, heatmap.shape) for side in heatmap.shape)
    shown: np.ndarray = heatmap[np.ix_(rows, columns)]
    return shown


def _data_uri(pixels: np.ndarray, height: int, width: int) -> str:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else xai.to_rgb(pixels))
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


_UNIT = m("spread of the maps, each divided by its largest value")


def panels_of(agreement: xai.results.Agreement, k: int, label: str) -> list[MapPanel]:
    """Return the compared maps of the class with number `k`, and where they disagree."""
    named = zip(agreement.names, agreement.explanations, strict=True)
    panels = [panel_of(name, label, explanation.heatmaps[k], explanation.unit) for name, explanation in named]
    return [*panels, panel_of(t("Disagreement"), label, agreement.disagreements[k], t(_UNIT))]


def panel_of(title: str, label: str, heatmap: np.ndarray, unit: str) -> MapPanel:
    """Return a map with its title and the sentence about it; `title` and `unit` are words of the library."""
    title = told(title)
    text = describe_map(title, label, shown_values(heatmap))
    return MapPanel(t("{title} for {label}", title=title, label=label), heatmap, told(unit), text)
