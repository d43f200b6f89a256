"""Images of six formats that are read and ten that are not, and damage: the same number gives the same bytes."""

import io
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image, features

PIXELS = np.random.default_rng(0).integers(0, 255, (24, 31, 3), dtype=np.uint8)


def picture(kind: str, mode: str = "RGB", **more: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(buffer, kind, **more)
    return buffer.getvalue()


def wide() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257).save(buffer, "PNG")
    return buffer.getvalue()


def several() -> bytes:
    buffer = io.BytesIO()
    frames = [Image.fromarray(PIXELS), Image.fromarray(PIXELS[::-1])]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return picture("JPEG", exif=exif)


def phone() -> bytes:
    """Two images in one JPEG, as phones write them; Pillow calls it a format of its own."""
    return picture("MPO", save_all=True, append_images=[Image.fromarray(PIXELS[::-1])])


IMAGES = {
    "jpeg": picture("JPEG"),
    "progressive jpeg": picture("JPEG", progressive=True),
    "mpo": phone(),
    "cmyk jpeg": picture("JPEG", "CMYK"),
    "turned jpeg": turned(),
    "png": picture("PNG"),
    "palette png": picture("PNG", "P"),
    "alpha png": picture("PNG", "RGBA"),
    "16-bit png": wide(),
    "webp": picture("WEBP"),
    "lossless webp": picture("WEBP", lossless=True),
    "bmp": picture("BMP"),
    "gif": picture("GIF"),
    "animated gif": several(),
    "tiff": picture("TIFF"),
    "lzw tiff": picture("TIFF", compression="tiff_lzw"),
    "jpeg tiff": picture("TIFF", compression="jpeg"),
}
LIBRARIES = {"AVIF": "avif", "JPEG2000": "jpg_2000"}  # that a Pillow may lack
UNREAD = {  # formats that Pillow writes and reads, and that are refused
    kind.lower(): picture(kind)
    for kind in ("AVIF", "JPEG2000", "ICO", "PPM", "TGA", "PCX", "SGI", "DDS", "QOI", "DIB")
    if kind not in LIBRARIES or features.check(LIBRARIES[kind])
}


def damaged(content: bytes, draws: np.random.Generator) -> bytes:
    """Return bytes with a few of five kinds of damage, mostly near the head, where the sizes stand."""
    found = bytearray(content)
    for _ in range(int(draws.integers(1, 5))):
        most = len(found) if draws.random() < 0.5 else min(len(found), 64)
        at, kind = int(draws.integers(max(1, most))), int(draws.integers(6))
        if kind <= 1:
            found[at : at + 1] = bytes([int(draws.integers(256))])
        elif kind == 2:
            found[at : at + 4] = bytes(draws.integers(0, 2, 4, dtype=np.uint8) * 255)
        elif kind == 3:
            del found[at : at + int(draws.integers(1, 40))]
        elif kind == 4:
            found[at:at] = found[at : at + 32] * int(draws.integers(1, 4))
        elif draws.random() < 0.3:
            del found[int(draws.integers(len(found) + 1)) :]
    return bytes(found)


def mutants(count: int, seed: int = 0, given: Mapping[str, bytes] = IMAGES | UNREAD) -> Iterator[tuple[str, bytes]]:
    """Yield `count` damaged images with their format, each format in turn."""
    draws, kinds = np.random.default_rng(seed), sorted(given)
    for k in range(count):
        kind = kinds[k % len(kinds)]
        yield kind, damaged(given[kind], draws)
