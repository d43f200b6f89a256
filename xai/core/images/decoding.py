"""Safe reading of untrusted image files.

The size is checked first, six formats are read, and every error is caught in one place.
"""

import hashlib
import io
import math
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.lib import format as npy
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from xai.core.images.samples import BYTE, Depth, check_bits, holds_bands, scaled, scaled_array
from xai.core.results.message import Message, constant, joined
from xai.errors import ImageError, RangeError, one_line

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
MAX_BYTES = 64 << 20
MAX_PIXELS = 40_000_000
MAX_SIDE = 32_768
_SIXTEEN_BIT = 65_535.0
_NEARLY_BLACK = 4096  # 16-bit images that stay below this may hold 12 bits or fewer
_NPY = b"\x93NUMPY"
_TIFF = {b"II*\0", b"MM\0*"}
_ORIENTATION = 0x0112  # EXIF
_silence = Lock()


@dataclass(frozen=True, eq=False)
class Decoded:
    """Pixels (H, W, C) in [0, 1], with what was done to them and the digest of the file's bytes.

    C is 1 or 3, or the number of bands of an array.
    """

    pixels: np.ndarray
    notes: tuple[str, ...]
    sha256: str | None = None


def decode_file(path: Path, bits: int | None = None) -> Decoded:
    """Read one image file; `bits` of its 16-bit samples are used, None takes what the file says.

    Raises:
        ImageError: missing, empty, too large, truncated, or not an image; the message names the file.
    """
    try:
        status = path.stat()
        regular = stat.S_ISREG(status.st_mode)  # a pipe would be waited for
        content = path.read_bytes() if regular and status.st_size <= MAX_BYTES else b""
    except (FileNotFoundError, ValueError) as error:  # a name with a zero byte is a ValueError
        raise ImageError(f"{path}: no such file. Check the path.") from error
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror}). Check the path and its permissions.") from error
    if not regular:
        raise ImageError(f"{path}: expected an image file, but this is a folder. Name one file, or use a data set.")
    _check_bytes(status.st_size, str(path))
    return decode_bytes(content, str(path), bits)


def decode_bytes(content: bytes, name: str, bits: int | None = None) -> Decoded:
    """Read one image from its bytes; `name` appears in errors and notes.

    Raises:
        ImageError: empty, too large, truncated, or not an image.
    """
    if not content:
        raise ImageError(f"{name}: the file is empty. Save or download it again.")
    _check_bytes(len(content), name)
    digest = hashlib.sha256(content).hexdigest()
    if content.startswith(_NPY):
        with _boundary(name):
            return Decoded(_array(content, name, bits), (), digest)
    quiet = _silent_tiff() if content[:2] in {b"II", b"MM"} else nullcontext()
    with quiet, _boundary(name, content), Image.open(io.BytesIO(content), formats=FORMATS) as image:
        decoded = decode_pil(image, name, bits, content)
    return Decoded(decoded.pixels, decoded.notes, digest)


def decode_pil(image: Image.Image, name: str, bits: int | None = None, content: bytes = b"") -> Decoded:
    """Turn an opened image into pixels: first frame, upright, no alpha, true range.

    Raises:
        ImageError: too large, truncated, or of a mode that cannot be shown.
    """
    with _boundary(name):
        _check_size(image, name)
        return _decode(image, name, Depth.of(image, content, bits))


class _Whole:
    """Half a file is an error meanwhile, also where another library told Pillow to make up the rest.

    The switch is the process's: the first one in turns it off, and the last one out puts it back.
    """

    _switch = "LOAD_TRUNCATED_IMAGES"

    def __init__(self) -> None:
        self._lock, self._inside, self._before = Lock(), 0, False

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = getattr(ImageFile, self._switch)
                setattr(ImageFile, self._switch, False)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                setattr(ImageFile, self._switch, self._before)


_WHOLE = _Whole()


@contextmanager
def _boundary(name: str, content: bytes = b"") -> Iterator[None]:
    """Turn whatever decoders raise on damaged files, which is anything, into one line that names the file."""
    try:
        with warnings.catch_warnings(), _WHOLE:
            warnings.simplefilter("ignore")
            yield
    except (ImageError, RangeError):
        raise
    except Exception as error:
        raise ImageError(f"{name}: {_reason(error, content)}") from error


@contextmanager
def _silent_tiff() -> Iterator[None]:
    """Keep away what libtiff writes about damaged files, past Python, to the process's standard error."""
    try:
        stderr_copy, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:  # a process without standard error has nothing to keep clean
        yield
        return
    with _silence:
        os.dup2(nowhere, 2)
        try:
            yield
        finally:
            os.dup2(stderr_copy, 2)
            os.close(stderr_copy)
            os.close(nowhere)


def _decode(image: Image.Image, name: str, depth: Depth) -> Decoded:
    notes: list[str] = []
    if getattr(image, "is_animated", False):
        image = _first_frame(image)
        notes.append(Message("animated or with several pages; only the first frame is used"))
    turned = image.getexif().get(_ORIENTATION, 1) in range(2, 9)  # before loading: TIFFs are turned by Pillow itself
    image.load()
    upright = ImageOps.exif_transpose(image)
    if turned:
        notes.append(Message("turned upright as its EXIF orientation says"))
    pixels, note = _to_pixels(upright, name, depth)
    if note:
        notes.append(note)
    height, width = pixels.shape[:2]
    if min(height, width) == 1:
        small = Message("only {width} x {height} pixels; little can be seen in it", width=width, height=height)
        notes.append(small)
    file_name = one_line(name)
    return Decoded(pixels, tuple(Message("{file}: {note}", file=file_name, note=note) for note in notes))


def _first_frame(image: Image.Image) -> Image.Image:
    """Return a copy of the first frame; the caller's image stays at the frame where it is."""
    place = image.tell()
    image.seek(0)
    first = image.copy()
    image.seek(place)
    return first


def _check_bytes(size: int, name: str) -> None:
    if size > MAX_BYTES:
        raise ImageError(f"{name}: {size >> 20} MB, more than the {MAX_BYTES >> 20} MB allowed. Save it smaller.")


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise ImageError(
            f"{name}: {width} x {height} pixels; at most {MAX_PIXELS // 1_000_000} million and {MAX_SIDE} a side are "
            "read. Save it smaller."
        )


def _reason(error: Exception, content: bytes) -> str:
    """Say in plain words why a file could not be read."""
    text = str(error).lower()
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MAX_PIXELS // 1_000_000} million pixels (a decompression bomb?). Save it smaller."
    if "truncated" in text or "broken data" in text or "unexpected end" in text:
        return "the image is truncated or damaged. Save or download it again."
    if isinstance(error, UnidentifiedImageError) and content[:4] in _TIFF:
        return (
            "a TIFF of a kind that is not read (many bands?), or damaged. Save it as .npy, or many images in an .npz."
        )
    if isinstance(error, UnidentifiedImageError):
        kind = "an SVG drawing" if b"<svg" in content[:1024].lower() else "not an image of a format that is read"
        return f"{kind}, or damaged. Give one of {', '.join(FORMATS)}, or an .npy array."
    return f"cannot be decoded ({type(error).__name__}). Save it again as PNG or JPEG."


def _to_pixels(image: Image.Image, name: str, depth: Depth) -> tuple[np.ndarray, Message | None]:
    """Return float32 pixels (H, W, 1 or 3) in [0, 1] and what was done, or None."""
    mode = image.mode
    if mode.startswith("I") or mode == "F":
        return _wide_to_pixels(image, name, depth)
    depth.check_whole(image, name)
    if mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        shown = _unit(Image.alpha_composite(white, rgba).convert("RGB"))
        cut, on_white = _cut(rgba, depth), Message("transparent parts are shown on white")
        return shown, on_white if cut is None else joined([cut, on_white])
    if mode in {"1", "L"}:
        return _unit(image.convert("L")), None
    if mode == "RGB":
        return _unit(image), _cut(image, depth)
    note = None if mode == "P" else Message("converted from {mode} to RGB", mode=mode)
    return _unit(image.convert("RGB")), note


def _cut(image: Image.Image, depth: Depth) -> Message | None:
    """Return what is lost of 16-bit colours, and that nearly black ones may use fewer bits; None for 8 bits."""
    if depth.stored <= BYTE:
        return None
    note = Message("16 bits a colour, of which the upper 8 are read")
    high = int(np.asarray(image).max())
    if high << BYTE >= _NEARLY_BLACK:
        return note
    template = "no value above {highest}: if fewer bits are used, save uint16 .npy and give `bits`"
    return joined([note, Message(template, highest=(high + 1 << BYTE) - 1)])


def _unit(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image, dtype=np.float32) / 255
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _wide_to_pixels(image: Image.Image, name: str, depth: Depth) -> tuple[np.ndarray, Message | None]:
    """16-bit, 32-bit and float images by their true range; Pillow's own conversion clips them to white."""
    values = np.asarray(image).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if image.mode == "F":
        if not (low >= 0 and high <= 1):
            raise ImageError(f"{name}: a float image with values in [{low:.3g}, {high:.3g}]. Scale it to [0, 1] first.")
        return values.astype(np.float32)[..., None], None
    if not (low >= 0 and high <= _SIXTEEN_BIT):
        raise ImageError(f"{name}: values in [{low:.0f}, {high:.0f}] of unknown range. Save it with 8 or 16 bits.")
    if depth.bits is not None:
        note = Message(
            "{bits} bits a pixel, as {source} says, scaled by {largest}",
            bits=depth.bits,
            source=constant(depth.where),
            largest=(1 << depth.bits) - 1,
        )
        return scaled(values, depth.bits, name)[..., None], note
    note = Message("16 bits a pixel, scaled by 65535")
    if 0 < high < _NEARLY_BLACK:
        few = Message("no value above {highest:.0f}: if fewer bits are used, such as 12, give `bits`", highest=high)
        note = joined([note, few])
    return (values / _SIXTEEN_BIT).astype(np.float32)[..., None], note


def _array(content: bytes, name: str, bits: int | None) -> np.ndarray:
    """Return the image (H, W, C) of an .npy file: uint8, uint16 with `bits`, or floats in [0, 1]."""
    stream = io.BytesIO(content)
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if dtype.hasobject or len(shape) not in (2, 3) or math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
        raise ImageError(f"{name}: expected one image of numbers, (H, W) or (H, W, C), but it holds {dtype} {shape}.")
    whole = np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape, order="F" if fortran else "C")
    array = whole[..., None] if whole.ndim == 2 else whole
    if 0 in shape or not holds_bands(array.shape) or max(shape[:2]) > MAX_SIDE or shape[0] * shape[1] > MAX_PIXELS:
        raise ImageError(f"{name}: expected an image (H, W) or (H, W, C), but got shape {shape}. Move its axes.")
    pixels = scaled_array(array, name, check_bits(bits))
    if not (float(pixels.min()) >= 0 and float(pixels.max()) <= 1):  # NaN fails as well
        raise ImageError(f"{name}: floats outside [0, 1]. Scale them first.")
    return np.ascontiguousarray(pixels, np.float64 if pixels.dtype == np.float64 else np.float32)
