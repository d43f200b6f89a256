"""Images in any form become pixels (C, H, W) in [0, 1]; anything a verb is given becomes images or a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from xai.core.images.decoding import decode_bytes, decode_file, decode_pil
from xai.core.images.samples import check_bits, holds_bands, scaled_array
from xai.errors import RangeError, ShapeError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".npy"})
_TOLERANCE = 1e-6
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as PIL's "L"
GREY_TO_COLOUR = "grey images were repeated in three channels, as the model takes colour"
COLOUR_TO_GREY = "colour images were converted to grey, as the model takes one channel"
ImageLike = Any  # path, PIL.Image, array, tensor, open file, or a sequence of these


@dataclass(frozen=True, eq=False)
class InputImage:
    """One image as the user gave it.

    Attributes:
        pixels: (C, H, W) float, in [0, 1].
        name: file name, or "image 3".
        notes: what was done to it while reading.
        exact: a tensor, whose fourth channel is no transparency.
        sha256: digest of the file's bytes, None when it did not come from a file.
    """

    pixels: Tensor
    name: str
    notes: tuple[str, ...] = ()
    exact: bool = False
    sha256: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return int(self.pixels.shape[-2]), int(self.pixels.shape[-1])


def decode_images(images: ImageLike, bits: int | None = None) -> tuple[list[InputImage], bool]:
    """Return the images in `images`, and whether a single one was given.

    Args:
        images: in any form.
        bits: how many bits of a 16-bit sample are used, 8 to 16; None takes what the file says, or all.

    Raises:
        ImageError: a file cannot be read.
        ShapeError: an array or tensor has the wrong rank or channels.
        RangeError: pixels outside [0, 1] or NaN.
    """
    if isinstance(images, Tensor):
        return _from_tensor(images)
    if isinstance(images, np.ndarray):
        return _from_array(images, check_bits(bits))
    if isinstance(images, Sequence) and not isinstance(images, str | bytes):
        if not images:
            raise ShapeError("Expected at least one image, but got an empty list.")
        return [_one(item, f"image {k}", bits) for k, item in enumerate(images)], False
    if (
        hasattr(images, "__len__")
        and hasattr(images, "__getitem__")
        and not isinstance(images, str | bytes | Image.Image | Mapping)
    ):
        return [_one(images[k], f"image {k}", bits) for k in range(len(images))], False
    return [_one(images, "image", bits)], True


def read_images(images: ImageLike, bits: int) -> InputImage | list[InputImage]:
    """Return images whose 16-bit samples use so many bits, in a form that every function takes."""
    decoded, single = decode_images(images, check_bits(bits))
    return decoded[0] if single else decoded


def _one(image: ImageLike, name: str, bits: int | None) -> InputImage:
    if isinstance(image, InputImage):
        return image
    if isinstance(image, str | Path):
        decoded = decode_file(Path(image), bits)
        return _from_decoded(decoded.pixels, Path(image).name, decoded.notes, decoded.sha256)
    if isinstance(image, Image.Image):
        decoded = decode_pil(image, name, bits)
        return _from_decoded(decoded.pixels, name, decoded.notes)
    if hasattr(image, "read"):
        name = str(getattr(image, "name", name))
        decoded = decode_bytes(image.read(), name, bits)
        return _from_decoded(decoded.pixels, name, decoded.notes, decoded.sha256)
    if isinstance(image, np.ndarray | Tensor):
        rows, single = decode_images(image, bits)
        if single:
            return replace(rows[0], name=name)
        raise ShapeError(f"Expected single images in the list, but {name} has shape {tuple(image.shape)}.")
    raise ShapeError(
        f"Expected an image as a path, PIL.Image, numpy array or tensor, but got {type(image).__name__} for {name}."
    )


def _from_decoded(pixels: np.ndarray, name: str, notes: tuple[str, ...], sha256: str | None = None) -> InputImage:
    tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    return InputImage(tensor, name, notes, sha256=sha256)


def _from_tensor(images: Tensor) -> tuple[list[InputImage], bool]:
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise ShapeError(
            f"Expected a tensor (C, H, W) or (N, C, H, W), but got shape {tuple(images.shape)}. {_cure(images.shape)}"
        )
    images = images.detach()
    if images.dtype == torch.uint8:
        images = images.float() / 255
    elif not images.is_floating_point():
        raise RangeError(
            f"Expected a float tensor in [0, 1] or uint8, but got {images.dtype}. Convert it with "
            f"`.float(){'' if images.dtype == torch.bool else ' / 255'}`."
        )
    check_unit_range(images, "images")
    if images.ndim == 3:
        return [InputImage(images, "image", exact=True)], True
    return [InputImage(row, f"image {k}", exact=True) for k, row in enumerate(images)], False


def _from_array(array: np.ndarray, bits: int | None) -> tuple[list[InputImage], bool]:
    channels_last = array.ndim in (3, 4) and 0 not in array.shape and holds_bands(array.shape)
    if not (array.ndim == 2 or channels_last) or 0 in array.shape:
        first = array.ndim in (3, 4) and 0 < array.shape[-3] < min(array.shape[-2:])
        hint = "This looks like (C, H, W): pass `torch.from_numpy(array)`." if first else _cure(array.shape)
        raise ShapeError(f"Expected an array (H, W), (H, W, C) or (N, H, W, C), but got shape {array.shape}. {hint}")
    array = scaled_array(array, "the array", bits)
    tensor = torch.from_numpy(np.array(array if array.dtype == np.float64 else array.astype(np.float32)))
    check_unit_range(tensor, "images")
    if array.ndim == 2:
        return [InputImage(tensor[None], "image")], True
    moved = tensor.movedim(-1, -3)
    if array.ndim == 3:
        return [InputImage(moved, "image")], True
    return [InputImage(row, f"image {k}") for k, row in enumerate(moved)], False


def _way(pixels: Tensor, channels: int) -> str:
    """Say what to do about a tensor (C, H, W) of other channels."""
    if pixels.shape[-1] == channels:
        return "It looks like channels last: pass `images.movedim(-1, -3)`."
    return "Give the bands that the model was trained on, or set `channels` of the classifier."


def _cure(shape: Sequence[int]) -> str:
    """Say what to do about a shape that holds no image."""
    if 0 in shape:
        return "There is no pixel in it: give at least one image."
    return "Give one image, or a batch of them; C is 1 for grey, 3 for colour, or the number of bands."


def check_unit_range(pixels: Tensor, name: str) -> None:
    """Raise unless every pixel is a number in [0, 1].

    Raises:
        RangeError: NaN, infinity, 0..255 pixels or already normalised ones; the message says which.
    """
    if pixels.numel() == 0:
        return
    low, high = (float(v) for v in torch.aminmax(pixels.detach()))
    if low >= -_TOLERANCE and high <= 1 + _TOLERANCE:
        return
    if not (np.isfinite(low) and np.isfinite(high)):
        raise RangeError(f"Expected `{name}` in [0, 1], but some pixels are NaN or infinite. Clean the image first.")
    cure = "Pass pixels as they are: the classifier normalises them itself (its `mean` and `std`)."
    if low >= 0 and high > 2:
        cure = "Divide by 255, or pass a uint8 array."
    raise RangeError(f"Expected `{name}` in [0, 1], but got values in [{low:.3g}, {high:.3g}]. {cure}")


def in_channels(images: Sequence[InputImage], channels: int) -> tuple[InputImage, ...]:
    """Return images with as many channels as the classifier takes.

    Raises:
        ShapeError: the channels of one do not fit and cannot be converted.
    """
    return tuple(to_channels(image, channels) for image in images)


def to_channels(image: InputImage, channels: int) -> InputImage:
    """Return the image with as many channels as the classifier wants: grey becomes colour, and colour grey.

    Raises:
        ShapeError: the channels do not fit and cannot be converted.
    """
    pixels, have = image.pixels, int(image.pixels.shape[0])
    if have == channels:
        return image
    if have == 4 and not image.exact:
        colour, alpha = pixels[:3], pixels[3:]
        flat = replace(
            image, pixels=colour * alpha + 1 - alpha, notes=(*image.notes, "transparent parts are shown on white")
        )
        return to_channels(flat, channels)
    if have == 1 and channels == 3:
        return replace(image, pixels=pixels.expand(3, -1, -1), notes=(*image.notes, GREY_TO_COLOUR))
    if have == 3 and channels == 1:
        weights = pixels.new_tensor(_LUMA).view(3, 1, 1)
        grey = (pixels * weights).sum(0, keepdim=True).clamp(0, 1)
        return replace(image, pixels=grey, notes=(*image.notes, COLOUR_TO_GREY))
    raise ShapeError(
        f"Expected {channels} channels, but {image.name} has {have}, which cannot be converted. "
        f"{_way(pixels, channels)}"
    )
