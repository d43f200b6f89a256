"""IDX files, the format of MNIST and Fashion-MNIST, raw or gzipped."""

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xai.datasets.arrays import Stream, check_ratio, from_arrays, unpacked
from xai.datasets.base import Dataset
from xai.errors import DataError

_PREFIXES = {"train": "train", "t10k": "test"}
_UINT8 = 8


def is_idx_folder(folder: Path) -> bool:
    """Whether a folder holds pictures as IDX files."""
    return any(_find(folder, prefix, "images") for prefix in _PREFIXES)


def load_idx(folder: Path, classes: Sequence[str] | None = None, part: str | None = None) -> Dataset:
    """Return the pictures of train-* and t10k-* files; the column "part" says "train" or "test".

    Raises:
        DataError: a damaged file, or labels of another number than the pictures.
    """
    images, labels, parts = [], [], []
    for prefix, name in _PREFIXES.items():
        pictures = _find(folder, prefix, "images")
        if pictures is None or (part is not None and name != part):
            continue
        truth = _find(folder, prefix, "labels")
        if truth is None:
            raise DataError(f"{folder}: there is {pictures.name}, but not its labels file. Copy it there too.")
        images.append(_read(pictures, 3))
        labels.append(_read(truth, 1))
        if len(images[-1]) != len(labels[-1]):
            raise DataError(f"{truth}: {len(labels[-1])} labels for {len(images[-1])} pictures. Copy both files again.")
        parts.append(np.full(len(images[-1]), name))
    if not images:
        raise DataError(f"{folder}: there is no part {part!r} here. Parts are 'train' and 'test'.")
    together = images[0] if len(images) == 1 else np.concatenate(images)
    truths = np.concatenate(labels).astype(np.int64)
    return from_arrays(str(folder), together, truths, classes, {"part": np.concatenate(parts)})


def _find(folder: Path, prefix: str, what: str) -> Path | None:
    """Return a file such as train-images-idx3-ubyte(.gz), or None."""
    return next((path for path in sorted(folder.glob(f"{prefix}-{what}?idx?-ubyte*"))), None)


def _read(path: Path, rank: int) -> np.ndarray:
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as stream:
                shape = _shape(path, stream, rank)
                check_ratio(path, math.prod(shape), path.stat().st_size)
                return unpacked(stream, np.dtype(np.uint8), shape)
        return _mapped(path, rank)
    except (OSError, EOFError, zlib.error, DataError) as error:
        text = str(error) if isinstance(error, DataError) else "a damaged IDX file. Copy or download it again."
        raise DataError(text if str(path) in text else f"{path}: {text}") from error


def _mapped(path: Path, rank: int) -> np.ndarray:
    with path.open("rb") as file:
        shape = _shape(path, file, rank)
        if path.stat().st_size != file.tell() + math.prod(shape):
            raise DataError(f"{path}: its size is not what its header says. Copy or download it again.")
        return np.memmap(path, np.uint8, "r", file.tell(), shape)


def _shape(path: Path, stream: Stream, rank: int) -> tuple[int, ...]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] != _UINT8 or magic[3] != rank:
        raise DataError(f"{path}: not an IDX file of {rank} axes with bytes. Copy or download it again.")
    return tuple(int.from_bytes(stream.read(4), "big") for _ in range(rank))
