"""Pictures in any form as a sequence that a pass can cut."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from xai.core.images import Picture


def as_many(images: Any) -> tuple[Any, bool]:
    """Return a data set or sequence of pictures, and whether a single one was given."""
    if isinstance(images, str | Path | Image.Image | Picture) or hasattr(images, "read"):
        return [images], True
    if isinstance(images, Tensor) and images.ndim == 3:
        return images[None], True
    if isinstance(images, np.ndarray) and images.ndim in (2, 3):
        return [images], True
    return images, False


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
