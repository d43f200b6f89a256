"""Data sets from files of arrays: NumPy archives, IDX folders and CIFAR batches."""

import gzip
import math
import pickletools
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np
import torch
from numpy.lib import format as npy

from xai.core.images.inputs import InputImage, check_unit_range
from xai.core.images.samples import holds_bands, scaled_array, type_cure
from xai.datasets.dataset import Dataset, DataSource, Rows, numbered_classes, whole
from xai.errors import DataError

Stream = IO[bytes] | gzip.GzipFile
Order = Literal["C", "F"]
_CHUNK = 1 << 20
_RATIO = 200  # how far an archive may be compressed
_FREE = 64 << 20  # bytes that it may hold however far
_MOST_DIRECTORY = 1 << 20  # bytes of the table of contents: some ten thousand arrays
IMAGES, LABELS, CLASSES = "images", "labels", "classes"
_PREFIXES = {"train": "train", "t10k": "test"}
_UINT8 = 8
_CIFAR_BYTES = 3 * 32 * 32
_CIFAR_TRAIN = (*(f"data_batch_{k}" for k in range(1, 6)), "train")
_CIFAR_TEST = ("test_batch", "test")
_CIFAR_META = ("batches.meta", "meta")
_CIFAR_LABELS = ("labels", "fine_labels")
_CIFAR_NAMES = ("label_names", "fine_label_names")
_MOST_CIFAR = 512 << 20


def load_arrays(
    path: Path, class_names: Sequence[str] | None = None, *, name: str | None = None, bits: int | None = None
) -> Dataset:
    """Return the images of an .npz file with `images`, and optionally `labels`, `classes` and group columns.

    `images` is (N, H, W) or (N, H, W, C) with any number of bands: uint8, uint16 with `bits`, or float in [0, 1].
    Uncompressed arrays are mapped into memory where they lie; compressed ones are unpacked in a stream into a temporary
    file and mapped from there.

    Raises:
        DataError: damaged, no `images`, arrays of objects, or arrays of different lengths.
    """
    arrays = _read_npz(path)
    if IMAGES not in arrays:
        raise DataError(
            f"{path}: there is no array 'images' in it, only {sorted(arrays)}. Save it with np.savez(images=...)."
        )
    own_names = tuple(str(label) for label in arrays.pop(CLASSES).tolist()) if CLASSES in arrays else None
    images, labels = arrays.pop(IMAGES), arrays.pop(LABELS, None)
    return from_arrays(name or str(path), images, labels, class_names or own_names, arrays, bits=bits)


def from_arrays(
    name: str,
    images: np.ndarray,
    labels: np.ndarray | None,
    class_names: Sequence[str] | None,
    columns: Mapping[str, np.ndarray] | None = None,
    part: str | None = None,
    *,
    channels_first: bool = False,
    bits: int | None = None,
) -> Dataset:
    """Return a data set of images (N, H, W), (N, H, W, C) or, `channels_first`, (N, C, H, W).

    Raises:
        DataError: wrong shape or type, or columns of other lengths.
    """
    _check_images(name, images, channels_first=channels_first, bits=bits)
    columns = dict(columns or {})
    for key, column in [*columns.items(), *([] if labels is None else [(LABELS, labels)])]:
        if column.ndim != 1 or len(column) != len(images):
            raise DataError(
                f"{name}: {len(images)} images, but {key!r} has shape {column.shape}. Give one value per image."
            )
    if labels is not None and labels.dtype.kind not in "iu":
        raise DataError(f"{name}: expected whole numbers as labels, but got {labels.dtype}. Count classes from 0.")
    names = tuple(class_names or ())
    if labels is not None and len(labels) and not names:
        names = numbered_classes(name, int(labels.max()))
    short = Path(name).stem if ":" not in name else name.partition(":")[2]

    def read(row: int) -> InputImage:
        return _image(images[row], f"{short}/{row:06d}", channels_first=channels_first, bits=bits)

    def identify(rows: Rows) -> list[str]:
        return [f"{short}/{row:06d}" for row in rows]

    getters = {key: (lambda rows, column=column: np.asarray(column[rows])) for key, column in columns.items()}
    return whole(DataSource(name, names, len(images), read, identify, labels, getters), part)


def _check_images(name: str, images: np.ndarray, *, channels_first: bool, bits: int | None) -> None:
    shape = images.shape
    last = (*shape[2:], shape[1]) if channels_first and len(shape) == 4 else shape
    if len(shape) != 3 and not (len(shape) == 4 and holds_bands(last)):
        raise DataError(f"{name}: expected images (N, H, W) or (N, H, W, C), but got shape {shape}. Move the axes.")
    wide = images.dtype.kind == "u" and images.dtype.itemsize == 2
    if wide and bits is None:
        raise DataError(f"{name}: images of uint16 need `bits`, the number of bits used: pass bits=12 or 16.")
    if images.dtype != np.uint8 and not wide and images.dtype.kind != "f":
        raise DataError(
            f"{name}: expected uint8 images, or floats in [0, 1], but got {images.dtype}. {type_cure(images)}"
        )


def _image(pixels: np.ndarray, name: str, *, channels_first: bool, bits: int | None) -> InputImage:
    values = scaled_array(pixels, name, bits).astype(np.float32)  # a copy: the file is mapped, and cannot be written
    if values.ndim == 2:
        values = values[None]
    elif not channels_first:
        values = values.transpose(2, 0, 1)
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    check_unit_range(tensor, name)
    return InputImage(tensor, name)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        _check_directory(path)
        with zipfile.ZipFile(path) as archive:
            members = {
                item.filename.removesuffix(".npy"): item
                for item in archive.infolist()
                if item.filename.endswith(".npy")
            }
            return {name: _member(path, archive, item) for name, item in members.items()}
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise anything on damaged files
        raise DataError(
            f"{path}: a damaged .npz file ({type(error).__name__}). Save it again with np.savez."
        ) from error


def _check_directory(path: Path) -> None:
    """Raise when reading the table of contents alone would take long; np.savez ends a file with where it is."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 22))
        end = file.read(22)
    if end.startswith(b"PK\x05\x06") and int.from_bytes(end[12:16], "little") > _MOST_DIRECTORY:
        raise DataError(f"{path}: an .npz file with far too many arrays. Save images as one array `images`.")


def check_ratio(path: Path, unpacked_size: int, size: int) -> None:
    """Raise when a file would fill the disk with far more than its own bytes.

    Raises:
        DataError: a compression that images do not have.
    """
    if unpacked_size > _FREE + _RATIO * size:
        raise DataError(
            f"{path}: {size:,} bytes that claim to hold {unpacked_size:,} (a decompression bomb?). Save it without "
            "compression."
        )


def _member(path: Path, archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> np.ndarray:
    """Map one array of the archive into memory, unpacked first when it is compressed."""
    with archive.open(item) as stream:
        shape, fortran, dtype = _header(stream)
        if dtype.hasobject:
            raise DataError(
                f"{path}: {item.filename} holds Python objects, which could carry code. Save numbers or strings."
            )
        size = math.prod(shape) * dtype.itemsize
        if size != item.file_size - stream.tell():
            raise DataError(f"{path}: {item.filename} is damaged: its size is not what its header says. Save it again.")
        order: Order = "F" if fortran else "C"
        if size == 0:
            return np.empty(shape, dtype)
        if item.compress_type == zipfile.ZIP_STORED:
            offset = _data_offset(path, item) + stream.tell()
            return np.memmap(path, dtype, "r", offset, shape, order)
        check_ratio(path, size, item.compress_size)
        return unpacked(stream, dtype, shape, order)


def _header(stream: Stream) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    return tuple(shape), bool(fortran), np.dtype(dtype)


def _data_offset(path: Path, item: zipfile.ZipInfo) -> int:
    """Return where a stored member's bytes begin: behind its local header, which can differ from the central one."""
    with path.open("rb") as file:
        file.seek(item.header_offset)
        header = file.read(30)
    return item.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")


def unpacked(stream: Stream, dtype: np.dtype, shape: tuple[int, ...], order: Order = "C") -> np.ndarray:
    """Return an array that is read from a stream into a temporary file and mapped from there.

    Raises:
        DataError: the stream is shorter than the array.
    """
    size = math.prod(shape) * dtype.itemsize
    with tempfile.NamedTemporaryFile(prefix="xai-", suffix=".bin", delete=False) as file:
        place = Path(file.name)
        left = size
        while left and (chunk := stream.read(min(left, _CHUNK))):
            file.write(chunk)
            left -= len(chunk)
    if left:
        place.unlink()
        raise DataError(f"the data ends {left} bytes too early. Copy or download the file again.")
    mapped = np.memmap(place, dtype, "r", 0, shape, order)
    weakref.finalize(mapped, place.unlink, missing_ok=True)
    return mapped


def is_idx_folder(folder: Path) -> bool:
    """Whether a folder holds images as IDX files."""
    return any(_find(folder, prefix, "images") for prefix in _PREFIXES)


def load_idx(folder: Path, class_names: Sequence[str] | None = None, part: str | None = None) -> Dataset:
    """Return the images of train-* and t10k-* files; the column "part" says "train" or "test".

    Raises:
        DataError: a damaged file, or labels of another number than the images.
    """
    images, labels, parts = [], [], []
    for prefix, name in _PREFIXES.items():
        file = _find(folder, prefix, "images")
        if file is None or (part is not None and name != part):
            continue
        ground_truth = _find(folder, prefix, "labels")
        if ground_truth is None:
            raise DataError(f"{folder}: there is {file.name}, but not its labels file. Copy it there too.")
        images.append(_read(file, 3))
        labels.append(_read(ground_truth, 1))
        if len(images[-1]) != len(labels[-1]):
            raise DataError(
                f"{ground_truth}: {len(labels[-1])} labels for {len(images[-1])} images. Copy both files again."
            )
        parts.append(np.full(len(images[-1]), name))
    if not images:
        raise DataError(f"{folder}: there is no part {part!r} here. Parts are 'train' and 'test'.")
    together = images[0] if len(images) == 1 else np.concatenate(images)
    ground_truths = np.concatenate(labels).astype(np.int64)
    return from_arrays(str(folder), together, ground_truths, class_names, {"part": np.concatenate(parts)})


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


def is_cifar_folder(folder: Path) -> bool:
    """Whether a folder holds CIFAR python batches."""
    return (folder / "test_batch").is_file() or (folder / "data_batch_1").is_file() or (folder / "meta").is_file()


def load_cifar(folder: Path, class_names: Sequence[str] | None = None, part: str | None = None) -> Dataset:
    """Return the images of all batches; the column "part" says "train" or "test".

    The pixels are taken out of the pickle's opcodes, of which none is executed.

    Raises:
        DataError: a damaged batch, or no batch of the part asked for.
    """
    images, labels, parts = [], [], []
    for name, files in (("train", _CIFAR_TRAIN), ("test", _CIFAR_TEST)):
        for path in [folder / file for file in files if (folder / file).is_file() and part in (None, name)]:
            pixels, ground_truth = _read_batch(path)
            images.append(pixels)
            labels.append(ground_truth)
            parts.append(np.full(len(pixels), name))
    if not images:
        raise DataError(f"{folder}: there is no part {part!r} here. Parts are 'train' and 'test'.")
    names = class_names or _read_names(folder)
    columns = {"part": np.concatenate(parts)}
    return from_arrays(str(folder), np.concatenate(images), np.concatenate(labels), names, columns, channels_first=True)


def _read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    values = _values(path)
    labels = next((values[key] for key in _CIFAR_LABELS if key in values), [])
    data = next((item for item in values.get("data", []) if isinstance(item, bytes) and len(item) >= _CIFAR_BYTES), b"")
    numbers = [item for item in labels if isinstance(item, int)]
    if not data or len(data) != len(numbers) * _CIFAR_BYTES:
        raise DataError(f"{path}: not a CIFAR batch ({len(data)} bytes for {len(numbers)} labels). Download it again.")
    return np.frombuffer(data, np.uint8).reshape(-1, 3, 32, 32), np.array(numbers, dtype=np.int64)


def _read_names(folder: Path) -> list[str] | None:
    path = next((folder / name for name in _CIFAR_META if (folder / name).is_file()), None)
    if path is None:
        return None
    values = _values(path)
    names = next((values[key] for key in _CIFAR_NAMES if key in values), [])
    return [
        item.decode("utf-8", "replace") if isinstance(item, bytes) else item
        for item in names
        if not isinstance(item, int)
    ]


def _values(path: Path) -> dict[str, list[Any]]:
    """Return the strings and numbers that follow each known key of the pickled dictionary."""
    if path.stat().st_size > _MOST_CIFAR:
        raise DataError(f"{path}: larger than any CIFAR batch. Check the file.")
    values: dict[str, list[Any]] = {}
    key = None
    known = {
        "data",
        "batch_label",
        "filenames",
        "coarse_labels",
        "num_cases_per_batch",
        "num_vis",
        *_CIFAR_LABELS,
        *_CIFAR_NAMES,
    }
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
            yield argument.encode("latin-1") if len(argument) >= _CIFAR_BYTES else argument
        elif "INT" in name or name.startswith("LONG"):
            yield int(argument)
