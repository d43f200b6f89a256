"""Pictures in any form as a sequence that a pass can cut."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from xai.core.images import Picture
from xai.datasets import load_data
from xai.errors import DataError


def as_many(images: Any) -> tuple[Any, bool]:
    """Return a data set or sequence of pictures, and whether a single one was given."""
    if isinstance(images, str | Path | Image.Image | Picture) or hasattr(images, "read"):
        return [images], True
    if isinstance(images, Tensor) and images.ndim == 3:
        return images[None], True
    if isinstance(images, np.ndarray) and images.ndim in (2, 3):
        return [images], True
    return images, False


def as_data(data: Any, what: str) -> Any:
    """Return a data set or a sequence of pictures; a path or an example's name is loaded.

    Raises:
        DataError: no such data set, no sequence, or nothing in it.
    """
    found = load_data(data) if isinstance(data, str | Path) else data
    images = found.images if hasattr(found, "images") else found
    if not hasattr(images, "__len__") or not hasattr(images, "__getitem__"):
        raise DataError(
            f"Expected {what} as a data set of xai.load_data, or pictures (N, C, H, W), but got {type(data).__name__}."
        )
    if len(images) == 0:
        raise DataError(f"Expected at least one picture in {what}, but the data set is empty.")
    return found


def count_of(data: Any) -> int:
    """Return the number of pictures."""
    return len(data.images if hasattr(data, "images") else data)


def names_of(images: Any) -> tuple[str, ...]:
    """Return a name for each picture: of its file, of the data set's row, or its number."""
    if hasattr(images, "ids"):
        return tuple(images.ids[0 : len(images)])
    if hasattr(images, "images"):
        images = images.images
    if isinstance(images, list | tuple):
        return tuple(
            Path(image).name if isinstance(image, str | Path) else getattr(image, "name", None) or f"image {k}"
            for k, image in enumerate(images)
        )
    return tuple(f"image {k}" for k in range(len(images)))
