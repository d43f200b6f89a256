"""CIFAR-10 and CIFAR-100 python batches, which are pickles: read opcode by opcode, and never unpickled."""

import pickletools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from xai.datasets.arrays import from_arrays
from xai.datasets.dataset import Dataset
from xai.errors import DataError

_BYTES = 3 * 32 * 32
_TRAIN = (*(f"data_batch_{k}" for k in range(1, 6)), "train")
_TEST = ("test_batch", "test")
_META = ("batches.meta", "meta")
_LABELS = ("labels", "fine_labels")
_NAMES = ("label_names", "fine_label_names")
_MOST = 512 << 20


def is_cifar_folder(folder: Path) -> bool:
    """Whether a folder holds CIFAR python batches."""
    return (folder / "test_batch").is_file() or (folder / "data_batch_1").is_file() or (folder / "meta").is_file()


def load_cifar(folder: Path, classes: Sequence[str] | None = None, part: str | None = None) -> Dataset:
    """Return the images of all batches; the column "part" says "train" or "test".

    The pixels are taken out of the pickle's opcodes, of which none is executed.

    Raises:
        DataError: a damaged batch, or no batch of the part asked for.
    """
    images, labels, parts = [], [], []
    for name, files in (("train", _TRAIN), ("test", _TEST)):
        for path in [folder / file for file in files if (folder / file).is_file() and part in (None, name)]:
            pixels, truth = _read_batch(path)
            images.append(pixels)
            labels.append(truth)
            parts.append(np.full(len(pixels), name))
    if not images:
        raise DataError(f"{folder}: there is no part {part!r} here. Parts are 'train' and 'test'.")
    names = classes or _read_names(folder)
    columns = {"part": np.concatenate(parts)}
    return from_arrays(str(folder), np.concatenate(images), np.concatenate(labels), names, columns, channels_first=True)


def _read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    values = _values(path)
    labels = next((values[key] for key in _LABELS if key in values), [])
    data = next((item for item in values.get("data", []) if isinstance(item, bytes) and len(item) >= _BYTES), b"")
    numbers = [item for item in labels if isinstance(item, int)]
    if not data or len(data) != len(numbers) * _BYTES:
        raise DataError(f"{path}: not a CIFAR batch ({len(data)} bytes for {len(numbers)} labels). Download it again.")
    return np.frombuffer(data, np.uint8).reshape(-1, 3, 32, 32), np.array(numbers, dtype=np.int64)


def _read_names(folder: Path) -> list[str] | None:
    path = next((folder / name for name in _META if (folder / name).is_file()), None)
    if path is None:
        return None
    values = _values(path)
    names = next((values[key] for key in _NAMES if key in values), [])
    return [
        item.decode("utf-8", "replace") if isinstance(item, bytes) else item
        for item in names
        if not isinstance(item, int)
    ]


def _values(path: Path) -> dict[str, list[Any]]:
    """Return the strings and numbers that follow each known key of the pickled dictionary."""
    if path.stat().st_size > _MOST:
        raise DataError(f"{path}: larger than any CIFAR batch. Check the file.")
    values: dict[str, list[Any]] = {}
    key = None
    known = {"data", "batch_label", "filenames", "coarse_labels", "num_cases_per_batch", "num_vis", *_LABELS, *_NAMES}
    known |= {"coarse_label_names"}
    try:
        for value in _constants(path.read_bytes()):
            text = value.decode("ascii", "replace") if isinstance(value, bytes) and len(value) < 32 else value
            if isinstance(text, str) and text in known and text not in values:
                key = text
                values[key] = []
            elif key is not None:
                values[key].append(value)
    except (ValueError, IndexError, KeyError, OverflowError, MemoryError) as error:
        raise DataError(f"{path}: a damaged CIFAR batch. Download it again.") from error
    return values


def _constants(content: bytes) -> Iterator[bytes | str | int]:
    """Yield the strings, bytes and whole numbers of a pickle in their order; executes nothing."""
    for opcode, constant, _ in pickletools.genops(content):
        name, argument = opcode.name, cast("Any", constant)
        if "STRING" in name:  # Python 2: bytes, shown by pickletools as latin-1 text
            yield argument.encode("latin-1") if isinstance(argument, str) else argument
        elif "BYTES" in name or "BYTEARRAY" in name:
            yield bytes(argument)
        elif "UNICODE" in name:  # Python 3 writes bytes as latin-1 text in the old protocols
            yield argument.encode("latin-1") if len(argument) >= _BYTES else argument
        elif "INT" in name or name.startswith("LONG"):
            yield int(argument)
