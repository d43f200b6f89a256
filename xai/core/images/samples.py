"""Samples of 8 to 16 bits as numbers in [0, 1]. Images of any number of bands become colours."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from xai.core.validation import check_whole
from xai.errors import ImageError, RangeError, ShapeError

BYTE, WORD = 8, 16
_PNG = b"\x89PNG\r\n\x1a\n"
_BITS_PER_SAMPLE, _SAMPLES, _MAX_SAMPLE = 258, 277, 281  # TIFF tags


def check_bits(bits: int | None) -> int | None:
    """Return the number of bits of a sample as given.

    Raises:
        RangeError: not None and not 8 to 16.
    """
    return check_whole("bits", bits, BYTE, WORD, optional=True, cure="12 is usual.")


def scaled_array(array: np.ndarray, name: str, bits: int | None) -> np.ndarray:
    """Return an array as floats; uint8 is divided by 255, uint16 by what `bits` say, floats stay as they are.

    Raises:
        RangeError: another type, uint16 without `bits`, or values that need more bits.
    """
    if not array.dtype.isnative:  # torch takes the machine's byte order only
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype == np.uint8:
        return array.astype(np.float32) / 255
    if array.dtype.kind == "f":
        return array
    if array.dtype != np.uint16:
        raise RangeError(
            f"Expected a uint8 array, or a float array in [0, 1], but got {array.dtype} in {name}. {type_cure(array)}"
        )
    if bits is None:
        raise RangeError(
            f"Expected a uint8 array, or a float array in [0, 1], but got uint16 in {name}: pass bits=12 or 16."
        )
    return scaled(array, bits, name)


def type_cure(array: np.ndarray) -> str:
    """Return how to convert an array of a type that no image has."""
    if array.dtype.kind == "b":
        return "Convert it: array.astype(np.float32), or array.astype(np.uint8) * 255."
    if array.dtype.kind in "iu":
        return "Convert it: array.astype(np.uint8) for values from 0 to 255, array.astype(np.uint16) and `bits` beyond."
    return "Convert it to numbers: np.asarray(array, dtype=np.float32), from 0 to 1."


def scaled(values: np.ndarray, bits: int, name: str) -> np.ndarray:
    """Return whole numbers as float32 shares of the largest that fits into `bits`.

    Raises:
        RangeError: a value does not fit.
    """
    most = (1 << bits) - 1
    if int(values.max(initial=0)) > most:
        raise RangeError(
            f"{name}: a value of {int(values.max())} needs more than {bits} bits. Set `bits` to its true depth."
        )
    return (values / np.float64(most)).astype(np.float32)


@dataclass(frozen=True)
class Depth:
    """What a file says of its samples.

    Attributes:
        bits: used of its 16-bit samples, None for all.
        where: who said so.
        stored: bits that the file has for each sample.
        samples: of a pixel, 0 where the file does not say.
    """

    bits: int | None
    where: str
    stored: int
    samples: int

    @classmethod
    def of(cls, image: Image.Image, content: bytes, bits: int | None) -> "Depth":
        """Read what a TIFF or PNG file says; `bits` of the caller come first.

        Raises:
            RangeError: `bits` that no sample has.
        """
        tags = getattr(image, "tag_v2", {})
        chunks = dict(_chunks(content))
        stored = _largest(tags.get(_BITS_PER_SAMPLE, 0)) or int(chunks.get(b"IHDR", bytes(9))[8]) or BYTE
        if check_bits(bits) is not None:
            return cls(bits, "`bits`", stored, _largest(tags.get(_SAMPLES, 0)))
        declared = {
            "its MaxSampleValue": _largest(tags.get(_MAX_SAMPLE, 0)).bit_length(),
            "its BitsPerSample": stored if tags else 0,
            "its sBIT": max(chunks.get(b"sBIT", b"") or b"\0"),
        }
        where = next((name for name, used in declared.items() if BYTE <= used < WORD), "")
        return cls(declared.get(where), where, stored, _largest(tags.get(_SAMPLES, 0)))

    def check_whole(self, image: Image.Image, name: str) -> None:
        """Raise where Pillow gives less than the file has: bands beyond its colours, or the upper 8 of fewer bits.

        Raises:
            ImageError: with the cure.
        """
        have = len(image.getbands())
        if self.samples > max(have, 1) and image.mode != "P":
            raise ImageError(
                f"{name}: {self.samples} bands a pixel, of which {have} are read. Save it as .npy, or many in an .npz."
            )
        if self.stored > BYTE and self.bits is not None and self.bits < WORD:
            raise ImageError(
                f"{name}: colours of {self.bits} bits, of which the upper 8 of 16 are read. Save it as a uint16 .npy "
                f"with another reader (cv2.imread(file, -1)[..., ::-1]), and give bits={self.bits}."
            )


def _largest(value: object) -> int:
    values = value if isinstance(value, tuple | list) else (value,)
    return max((int(v) for v in values if isinstance(v, int | float)), default=0)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the chunks of a PNG file up to its pixels."""
    place = len(_PNG)
    while content.startswith(_PNG) and place + 8 <= len(content):
        size, kind = struct.unpack(">I4s", content[place : place + 8])
        if kind == b"IDAT":
            return
        yield kind, content[place + 8 : place + 8 + min(size, 64)]
        place += 12 + size


_MOST = 1024  # bands of an image


def to_rgb(pixels: np.ndarray) -> np.ndarray:
    """Return an image (H, W, C) as red, green and blue (H, W, 3), for display. Any type and range is taken.

    One band is grey, two are shown by their mean, three are colours, and of more the first three are shown.

    Args:
        pixels: (H, W, C), C from 1.

    Returns:
        (H, W, 3) of the same type.

    Raises:
        ShapeError: not (H, W, C).

    Example:
        >>> import numpy as np, xai
        >>> xai.to_rgb(np.zeros((4, 6, 5), dtype=np.uint8)).shape
        (4, 6, 3)
    """
    if pixels.ndim != 3 or not pixels.shape[2]:
        raise ShapeError(f"Expected an image (H, W, C) to show, but got shape {pixels.shape}. Move its axes.")
    bands = pixels.shape[2]
    if bands >= 3:
        return np.ascontiguousarray(pixels[..., :3])
    grey = pixels.astype(np.float64).mean(2, keepdims=True).astype(pixels.dtype) if bands == 2 else pixels
    return np.repeat(grey, 3, 2)


def holds_bands(shape: tuple[int, ...]) -> bool:
    """Whether an array (..., H, W, C) has its bands last: grey, colours, or fewer bands than pixels a side."""
    *_, height, width, bands = shape
    return bands in (1, 3, 4) or 1 < bands < min(height, width, _MOST)
