"""Pictures given back in the form in which they came."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from xai.core.images import ImageLike, Picture

_ALPHA = 4  # channels of a picture whose last one says how opaque it is


def without_alpha(picture: Picture) -> Tensor:
    """Return the channels (C, H, W) that are light: all of a tensor, all but the alpha of an array."""
    return picture.pixels[:3] if _has_alpha(picture) else picture.pixels


def _has_alpha(picture: Picture) -> bool:
    return not picture.exact and len(picture.pixels) == _ALPHA


def as_given(images: ImageLike, pictures: Sequence[Picture], found: Sequence[Tensor], *, single: bool) -> Any:
    """Return new pixels (C, H, W): as arrays for arrays, as PIL images for images and paths, else as tensors."""
    whole = [_with_alpha(picture, pixels) for picture, pixels in zip(pictures, found, strict=True)]
    if isinstance(images, np.ndarray):
        rows = [_array(pixels, flat=images.ndim == 2) for pixels in whole]
        return rows[0] if single else np.stack(rows)
    if single:
        return _one(images, pictures[0], whole[0])
    items = images if isinstance(images, Sequence) else [None] * len(whole)
    return [_one(item, picture, pixels) for item, picture, pixels in zip(items, pictures, whole, strict=True)]


def _with_alpha(picture: Picture, pixels: Tensor) -> Tensor:
    return torch.cat([pixels, picture.pixels[3:]]) if _has_alpha(picture) else pixels


def _one(item: Any, picture: Picture, pixels: Tensor) -> Any:
    if isinstance(item, np.ndarray):
        return _array(pixels, flat=item.ndim == 2)
    if picture.exact or item is None or isinstance(item, Picture):
        return pixels
    values = (_array(pixels, flat=len(pixels) == 1) * 255).round().astype(np.uint8)
    return Image.fromarray(values)


def _array(pixels: Tensor, *, flat: bool) -> np.ndarray:
    found: np.ndarray = pixels.cpu().numpy()
    return found[0] if flat else np.ascontiguousarray(found.transpose(1, 2, 0))
