"""Data sets that are fitted on, and names of images."""

from pathlib import Path
from typing import Any

from xai.core.door import open_data
from xai.datasets import load_data
from xai.errors import DataError, ShapeError


def as_data(data: Any, what: str) -> Any:
    """Return a data set or images as one.

    Raises:
        DataError: no such data set, no images, a single one, or none.
    """
    wanted = f"Expected {what} as a data set of xai.load_data, or several images (N, C, H, W), but got"
    try:
        found = load_data(data) if isinstance(data, str | Path) else open_data(data)  # a path is never one image here
    except ShapeError as error:
        raise DataError(f"{wanted} {type(data).__name__}.") from error
    if getattr(found, "single", False):
        raise DataError(f"{wanted} a single one.")
    if len(found.images) == 0:
        raise DataError(f"Expected at least one picture in {what}, but the data set is empty.")
    return found


def count_of(data: Any) -> int:
    """Return the number of pictures."""
    return len(data.images)


def names_of(images: Any) -> tuple[str, ...]:
    """Return a name for each picture: of its file, of the data set's row, or its number."""
    if hasattr(images, "ids"):
        return tuple(images.ids[0 : len(images)])
    images = images.images
    if isinstance(images, list | tuple):
        return tuple(
            Path(image).name if isinstance(image, str | Path) else getattr(image, "name", None) or f"image {k}"
            for k, image in enumerate(images)
        )
    return tuple(f"image {k}" for k in range(len(images)))
