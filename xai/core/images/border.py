"""The one entry for images and data: what any verb is given becomes a data set, or images of a data set."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from xai.core.images.inputs import IMAGE_SUFFIXES, InputImage
from xai.errors import ShapeError

_TABLES = frozenset({".csv", ".tsv", ".parquet", ".npz"})
_EXAMPLE = "example:"


@dataclass(frozen=True, eq=False)
class Given:
    """Images that are no data set, in the form of one.

    Attributes:
        images: has a length and can be cut; read when asked for where it has `images`.
        single: one image was given, and not several.
        labels: the ground truth (N,), or None.
        class_names: in the order of the labels; empty where they are not known.
    """

    images: Any
    single: bool = False
    labels: Any = None
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)


def open_data(data: Any) -> Any:
    """Return what a verb was given as something with `.images`, and `.labels`, `.ids`, ... where it has them.

    Args:
        data: a data set of `xai.load_data`, its path or an example's name; anything else with `.images`; the images of
            a data set; an array (N, H, W, C), a tensor (N, C, H, W), or a sequence of images in any form; or a single
            image: a path, PIL image, open file, array (H, W) or (H, W, C), or tensor (C, H, W).

    Raises:
        DataError: no such data set.
        ShapeError: nothing of this.
    """
    if isinstance(data, Given):
        return data
    if names_data(data):
        return _loaded(data)
    if hasattr(data, "images"):
        return data if hasattr(data.images, "decoded") else _wrapped(data)
    if _is_single(data):
        return Given([data], single=True)
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")) or isinstance(data, dict | bytes):
        raise ShapeError(
            f"Expected images as a path, PIL.Image, numpy array, tensor or a list of these, or a data set of "
            f"xai.load_data, but got {type(data).__name__}. Pass one of them."
        )
    return Given(data)


def names_data(data: Any) -> bool:
    """Whether this is the path of a data set, or the name of an example, and not that of an image."""
    if not isinstance(data, str | os.PathLike):
        return False
    text = os.fspath(data)
    suffix = Path(text).suffix.lower()
    return text.startswith(_EXAMPLE) or suffix in _TABLES or (suffix not in IMAGE_SUFFIXES and Path(text).is_dir())


def all_images(images: Any) -> Any:
    """Return all images of a data set as images, so that their names and notes are kept; others as they are."""
    if isinstance(images, Tensor | np.ndarray | Image.Image | InputImage | list | tuple):
        return images
    if names_data(images) or hasattr(images, "images") or hasattr(images, "decoded"):
        source = open_data(images).images
        if hasattr(source, "decoded"):
            return source.decoded(range(len(source)))
        return source
    return images


def _loaded(source: Any) -> Any:
    from xai.datasets.loading import load_data

    return load_data(source)


def classes_of(data: Any) -> tuple[str, ...]:
    """Return the names of the classes that labels of data count; of a data set or of stored outputs, () for none."""
    own = (getattr(data, name, None) for name in ("class_names", "classes"))
    return next((tuple(map(str, names)) for names in own if names is not None and len(names)), ())


def _wrapped(data: Any) -> Any:
    """Return images with labels of anybody's making, such as a named tuple; a single image becomes several."""
    own = open_data(data.images)
    if own.images is data.images:
        return data
    return Given(own.images, single=own.single, labels=getattr(data, "labels", None), class_names=classes_of(data))


def _is_single(data: Any) -> bool:
    if isinstance(data, Tensor):
        return data.ndim != 4
    if isinstance(data, np.ndarray):
        return data.ndim != 4
    return isinstance(data, str | os.PathLike | Image.Image | InputImage) or hasattr(data, "read")
