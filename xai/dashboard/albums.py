"""Pictures of a page as files: each as PNG, and what it shows."""

import json
from collections.abc import Mapping
from io import BytesIO

import numpy as np
from PIL import Image

from xai.dashboard.files import add_file, zipped
from xai.dashboard.words import file_stem

SIDE = 224  # pixels that small pictures are enlarged to


def png(pixels: np.ndarray) -> bytes:
    """Return a picture (h, w, 3) uint8 as a PNG."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def enlarged(pixels: np.ndarray) -> np.ndarray:
    """Return a small picture larger, its pixels as squares."""
    times = max(1, SIDE // max(pixels.shape[:2]))
    return pixels.repeat(times, 0).repeat(times, 1)


def album_zip(pictures: Mapping[str, tuple[np.ndarray, str]]) -> bytes:
    """Return pictures with what they show as a zip: a PNG each, pixel by pixel, and `captions.json`.

    Args:
        pictures: pixels (h, w, 3) uint8 and words, by number or place.
    """
    captions: dict[str, str] = {}
    with zipped() as (stream, archive, _):
        for place, (pixels, words) in pictures.items():
            name = f"{file_stem(place, words)}.png"
            captions[name] = words
            add_file(archive, name, png(pixels))
        text = json.dumps(captions, ensure_ascii=False, indent=1)
        add_file(archive, "captions.json", text.encode())
    return stream.getvalue()
