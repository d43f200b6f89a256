"""`load_data`, and the description of what was loaded."""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from xai.core.extras import data_folder
from xai.core.images.samples import check_bits
from xai.core.results.codec import plain
from xai.core.validation import check_choice
from xai.datasets.arrays import from_arrays, is_cifar_folder, is_idx_folder, load_arrays, load_cifar, load_idx
from xai.datasets.columns import TABLES
from xai.datasets.dataset import Dataset
from xai.datasets.folders import load_folder, with_parts
from xai.datasets.tables import load_manifest
from xai.errors import DataError, ImageError

_SAMPLE, _MOST_GROUPS, _SHOWN = 200, 20, 12
_TINT = 2 / 255  # by which the channels of a grey image that was saved as colour may differ


@dataclass(frozen=True)
class DataDescription:
    """What is in a data set.

    Attributes:
        name: of the data set.
        count: number of images.
        classes: images of each class by name, in the order of the labels; empty where there are no labels.
        parts: images of each part by name; empty where there are none.
        groups: of each column with 2 to 20 values the images of each value.
        sizes: how many of the images looked at have each (height, width), most frequent first.
        channels: how many of them have each number of channels.
        grey: how many of them show grey alone, in one channel or in equal ones.
        looked_at: number of images that were read, drawn at random.
        unreadable: how many of these could not be read.
        notes: of the data set.
    """

    name: str
    count: int
    classes: Mapping[str, int]
    parts: Mapping[str, int]
    groups: Mapping[str, Mapping[str, int]]
    sizes: Mapping[tuple[int, int], int]
    channels: Mapping[int, int]
    grey: int
    looked_at: int
    unreadable: int
    notes: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """Everything in lines of text."""
        text_lines = [
            f"{self.count:,} images" + (f" of {len(self.classes)} classes" if self.classes else ", no labels")
        ]
        text_lines += [f"classes: {_counted(self.classes)}"] if self.classes else []
        text_lines += [f"parts: {_counted(self.parts)}"] if self.parts else []
        text_lines += [f"group {name}: {_counted(values)}" for name, values in self.groups.items()]
        text_lines += [f"sizes (height x width): {self._sizes()}", f"channels: {self._channels()}"]
        text_lines += [f"{self.unreadable} of the {self.looked_at} images looked at cannot be read"] * bool(
            self.unreadable
        )
        return (*text_lines, *self.notes)

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        sizes = [[*size, count] for size, count in self.sizes.items()]
        return {name: plain(value) for name, value in vars(self).items()} | {"sizes": sizes}

    def _sizes(self) -> str:
        read = sum(self.sizes.values())
        named = {f"{height} x {width}": count for (height, width), count in self.sizes.items()}
        if len(named) <= 1:
            return f"{next(iter(named), 'none read')}, all of {read} looked at"
        heights, widths = zip(*self.sizes, strict=True)
        ends = f"{min(heights)} to {max(heights)} x {min(widths)} to {max(widths)}"
        return f"{ends}; most often {next(iter(named))} ({next(iter(named.values()))} of {read} looked at)"

    def _channels(self) -> str:
        read = sum(self.channels.values())
        if len(self.channels) != 1:
            return _counted({str(number): count for number, count in self.channels.items()})
        (number,) = self.channels
        if number == 1:
            return "1 (grey)"
        alike = f"; {self.grey} of {read} looked at show grey alone" if self.grey else ""
        return f"{number}{' (colour)' if number == 3 else ''}{alike}"


def describe(data: Dataset, *, sample: int = _SAMPLE) -> DataDescription:
    """Return what is in a data set.

    Args:
        data: of any source.
        sample: number of images to read, drawn by seed 0.

    Cost: reads `sample` images, and labels and columns as a whole.
    """
    chosen = data.subset(sample)
    sizes: Counter[tuple[int, int]] = Counter()
    channels: Counter[int] = Counter()
    grey = unreadable = 0
    for k in range(len(chosen)):
        try:
            pixels = chosen.images[k]
        except ImageError:
            unreadable += 1
            continue
        sizes[(int(pixels.shape[-2]), int(pixels.shape[-1]))] += 1
        channels[len(pixels)] += 1
        grey += _is_grey(pixels)
    return DataDescription(
        data.name,
        len(data),
        _classes(data),
        {part: len(data.part(part)) for part in data.parts},
        _groups(data),
        dict(sizes.most_common()),
        dict(channels.most_common()),
        grey,
        len(chosen),
        unreadable,
        data.notes,
    )


def _is_grey(pixels: Tensor) -> bool:
    return len(pixels) == 1 or (len(pixels) == 3 and bool((pixels.amax(0) - pixels.amin(0)).max() <= _TINT))


def _classes(data: Dataset) -> dict[str, int]:
    if data.labels is None:
        return {}
    counts = np.bincount(data.labels.numpy(), minlength=len(data.class_names)).tolist()
    return dict(zip(data.class_names, counts, strict=True))


def _groups(data: Dataset) -> dict[str, dict[str, int]]:
    counts = {name: Counter(np.asarray(data.groups[name]).astype(str).tolist()) for name in data.groups}
    return {
        name: dict(sorted(column_counts.items()))
        for name, column_counts in counts.items()
        if 2 <= len(column_counts) <= _MOST_GROUPS
    }


def _counted(counts: Mapping[str, int]) -> str:
    parts = [f"{name} {count:,}" for name, count in list(counts.items())[:_SHOWN]]
    return ", ".join(parts) + (f" and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else "")


EXAMPLES = ("fashion-test", "fashion-train", "digits")


def load_example(name: str, part: str | None = None) -> Dataset:
    """Return an example data set, or a fixed part of it.

    "fashion-test" has the parts "calibration" (even rows) and "test" (odd rows), 5,000 images each.

    Raises:
        NameLookupError: no such example or part.
    """
    check_choice("example data set", name, EXAMPLES)
    dataset = _digits() if name == "digits" else load_arrays(data_folder() / f"{name}.npz", name=f"example:{name}")
    if name == "fashion-test":
        halves = np.where(np.arange(len(dataset)) % 2 == 0, "calibration", "test")
        columns = {**dataset.source.columns, "part": lambda rows: halves[rows]}
        dataset = Dataset(replace(dataset.source, columns=columns, part="part"), dataset.rows)
    return dataset if part is None else dataset.part(part)


def _digits() -> Dataset:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)
    return from_arrays("example:digits", images, digits.target.astype(np.int64), [str(k) for k in range(10)])


@dataclass(frozen=True)
class Photo:
    """A sample photograph with its licence.

    Attributes:
        name: short.
        path: of the JPEG file.
        title: what it shows.
        author: who took it.
        licence: it may be used under.
        source: where it was taken from.

    Example:
        >>> import xai
        >>> xai.sample_photos()[0].name
        'coffee'
    """

    name: str
    path: Path
    title: str
    author: str
    licence: str
    source: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready."""
        return asdict(self) | {"path": str(self.path)}


def sample_photos() -> list[Photo]:
    """Return the photographs that ship with xai, all free to use.

    Raises:
        DataError: the example data is not installed.

    Example:
        >>> import xai
        >>> [photo.name for photo in xai.sample_photos()]
        ['coffee', 'chelsea', 'astronaut', 'rocket']
    """
    folder = data_folder() / "photos"
    listed = json.loads((folder / "photos.json").read_text(encoding="utf-8"))
    return [Photo(path=folder / entry.pop("file"), **entry) for entry in listed]


_KNOWN = (
    "Give a folder with one sub-folder per class, a .csv, .tsv or .parquet table, an .npz file, a folder of CIFAR "
    "python batches or of IDX files, or example:fashion-test, example:fashion-train, example:digits."
)


def load_data(
    source: str | os.PathLike[str] | Dataset,
    class_names: Sequence[str] | None = None,
    part: str | None = None,
    *,
    path_column: str = "path",
    label_column: str = "label",
    part_column: str | None = None,
    bits: int | None = None,
) -> Dataset:
    """Return a data set; images are read when they are asked for.

    Args:
        source: a folder with one sub-folder per class, also below train/, val/ and test/; a .csv, .tsv or .parquet
            table with a path, a label and any group columns; an .npz file with `images` and `labels`; a folder with
            CIFAR python batches or IDX files; or "example:fashion-test", "example:fashion-train", "example:digits".
        class_names: in the order of the labels; None takes them from the data.
        part: a fixed part, such as "test" or "calibration"; None takes everything.
        path_column: of a table.
        bits: how many bits of 16-bit samples are used, such as 12; None takes what each file says, or all 16.
        label_column: of a table; without it there are no labels.
        part_column: of a table or .npz file: says which part each image is of. None takes a column called part, split,
            partition, fold, subset or set, and says so in `notes`; "" takes none.

    Returns:
        Dataset with `.images`, `.labels`, `.groups`, `.ids`, `len()`, `.subset(n, seed)`, `.parts`, `.part("test")`.

    Raises:
        DataError: a missing, empty or damaged source, or labels outside `class_names`; one line names the file.
        NameLookupError: no such example, part or column of parts.

    Cost: names and labels go through the disk, never all through memory; no image is read.

    Example:
        >>> import xai
        >>> data = xai.load_data("example:fashion-test", part="calibration")
        >>> len(data), data.subset(3, seed=1).labels.shape
        (5000, torch.Size([3]))
    """
    if isinstance(source, Dataset):
        return source if part is None else source.part(part)
    text = os.fspath(source)
    if text.startswith("example:"):
        return load_example(text.removeprefix("example:"), part)
    path, bits = Path(text), check_bits(bits)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder. {_KNOWN}")
    if path.is_dir() and is_cifar_folder(path):
        return load_cifar(path, class_names, part)
    if path.is_dir() and is_idx_folder(path):
        return load_idx(path, class_names, part)
    dataset = _load(path, class_names, path_column, label_column, bits)
    if part_column is not None or not path.is_dir():  # the parts of a folder are its own folders
        dataset = with_parts(dataset, part_column)
    return dataset if part is None else dataset.part(part)


def _load(
    path: Path, class_names: Sequence[str] | None, path_column: str, label_column: str, bits: int | None
) -> Dataset:
    if path.is_dir():
        return load_folder(path, class_names, bits=bits)
    suffix = path.suffix.lower()
    if suffix in TABLES:
        return load_manifest(path, class_names, path_column=path_column, label_column=label_column, bits=bits)
    if suffix == ".npz":
        return load_arrays(path, class_names, bits=bits)
    raise DataError(f"{path}: not a data set of a known kind. {_KNOWN}")
