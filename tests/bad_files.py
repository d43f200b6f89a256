"""Files that cannot be used, and images of unusual kinds that can."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from xai.models.networks import SmallNet

Write = Callable[[Path], object]
NOISE = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)


def photo(path: Path, mode: str = "RGB", size: tuple[int, int] = (60, 40), **settings: Any) -> Path:
    """Write a small image, of the kind that the suffix says, and return its path."""
    Image.fromarray(NOISE).resize(size).convert(mode).save(path, **settings)
    return path


def bomb() -> bytes:
    """Return the bytes of a PNG that says it has 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def truncated_jpeg() -> bytes:
    """Return the first half of a JPEG."""
    stream = io.BytesIO()
    Image.fromarray(NOISE).save(stream, "JPEG")
    return stream.getvalue()[: stream.tell() // 2]


BAD_PICTURES: dict[str, tuple[Write, str]] = {
    "missing.png": (lambda path: None, "no such file. Check the path"),
    "empty.png": (lambda path: path.write_bytes(b""), "the file is empty. Save or download it again"),
    "truncated.jpg": (
        lambda path: path.write_bytes(truncated_jpeg()),
        "truncated or damaged. Save or download it again",
    ),
    "text.png": (
        lambda path: path.write_bytes(b"hello, I am text\n" * 20),
        "not an image of a format that is read, or damaged. Give one of",
    ),
    "bomb.png": (
        lambda path: path.write_bytes(bomb()),
        "more than 40 million pixels (a decompression bomb?). Save it smaller",
    ),
    "folder.png": (lambda path: path.mkdir(), "expected an image file, but this is a folder. Name one file"),
}


def _animated(path: Path) -> None:
    frames = [Image.fromarray(NOISE).rotate(angle).convert("P") for angle in (0, 90)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def _turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn: 60 x 40 becomes 40 x 60
    photo(path, exif=exif)


def _deep(path: Path) -> None:
    Image.fromarray(NOISE[..., 0].astype(np.uint16) * 256).save(path)


GOOD_PICTURES: dict[str, tuple[Write, tuple[int, int], str]] = {
    "one.png": (lambda path: photo(path, size=(1, 1)), (1, 1), "only 1 x 1 pixels"),
    "wide.png": (lambda path: photo(path, size=(20_000, 8)), (8, 20_000), ""),
    "deep.png": (_deep, (40, 60), "16 bits a pixel"),
    "cmyk.jpg": (lambda path: photo(path, "CMYK"), (40, 60), "converted from CMYK"),
    "palette.png": (lambda path: photo(path, "P"), (40, 60), ""),
    "alpha.png": (lambda path: photo(path, "RGBA"), (40, 60), "shown on white"),
    "animated.gif": (_animated, (40, 60), "only the first frame"),
    "turned.jpg": (_turned, (60, 40), "turned upright"),
}


def _state(*, skip: str = "", nan: bool = False, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    found = {name: value for name, value in SmallNet().state_dict().items() if not skip or not name.startswith(skip)}
    if nan:
        found["head.weight"][0, 0] = torch.nan
    return {**found, **more}


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.write_text, (self.marker, "ran")


def _evil(path: Path) -> None:
    torch.save({**_state(), "payload": Evil(marker_of(path))}, path)


def marker_of(path: Path) -> Path:
    """Return the file that appears when the code inside a checkpoint runs."""
    return path.with_suffix(".ran")


BAD_CHECKPOINTS: dict[str, tuple[Write, str]] = {
    "missing.pt": (lambda path: None, "No such file or directory.*Check the path"),
    "empty.pt": (lambda path: path.write_bytes(b""), "the file is empty. Save or download it again"),
    "missing-keys.pt": (lambda path: torch.save(_state(skip="head"), path), "2 missing .* Name the `arch`"),
    "extra-keys.safetensors": (
        lambda path: save_file(_state(surplus=torch.zeros(3)), path),
        "1 unexpected .*surplus.* Name the `arch`",
    ),
    "other-shape.pt": (lambda path: torch.save(_state() | {"head.bias": torch.zeros(3)}, path), "Name an `arch` with"),
    "whole-module.pt": (lambda path: torch.save(SmallNet(), path), "save the weights alone"),
    "code.pt": (_evil, "save the weights alone"),
    "old-code.pt": (
        lambda path: torch.save(Evil(marker_of(path)), path, _use_new_zipfile_serialization=False),
        "a format that can carry code, so it is refused. .* save the weights alone",
    ),
    "text.pt": (
        lambda path: path.write_text("hello, I am text\n" * 20),
        "neither safetensors .* save the weights alone",
    ),
    "nan.pt": (
        lambda path: torch.save(_state(nan=True), path),
        "'head.weight' holds NaN or infinity. Take a checkpoint from before",
    ),
}
