"""A data set: images, labels and groups that are read when they are asked for."""

import hashlib
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from xai.core.images.inputs import InputImage, decode_images
from xai.core.validation import check_choice, check_seed, check_whole
from xai.errors import DataError

Rows = np.ndarray
MOST_CLASSES = 100_000
_MOST_DIGITS = 20  # more than an int64 has: a longer text is refused, but int() of a very long one raises or is slow


@dataclass(frozen=True, eq=False)
class DataSource:
    """Where the rows of a data set come from.

    Attributes:
        name: the path or the example's name.
        class_names: in the order of the labels; empty when there are no labels.
        count: number of rows.
        read: gives the image of one row.
        identify: gives the identifiers of some rows.
        labels: (count,) int64, possibly memory-mapped, or None.
        columns: further columns, each a function from rows to values.
        notes: what was skipped or chosen.
        part: the column that says the part of each row, such as "train" or "test"; None where there are no parts.
        no_groups: columns that are groups only where they are named, such as the parts of a user's table.
    """

    name: str
    class_names: tuple[str, ...]
    count: int
    read: Callable[[int], InputImage]
    identify: Callable[[Rows], list[str]]
    labels: np.ndarray | None
    columns: Mapping[str, Callable[[Rows], np.ndarray]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    part: str | None = None
    no_groups: tuple[str, ...] = ()


class ImageSequence:
    """The images of a data set, each read when it is asked for.

    `images[k]` is a tensor (C, H, W) in [0, 1]; a slice or a list of numbers gives (n, C, H, W), or a list of tensors
    when the sizes differ.
    """

    def __init__(self, source: DataSource, rows: Rows) -> None:
        self._source, self._rows = source, rows

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._rows)

    def __iter__(self) -> Iterator[Tensor]:
        """Iterate over the images."""
        return (self[k] for k in range(len(self)))

    def __getitem__(self, k: Any) -> Any:
        """Return one image, or several.

        Raises:
            ImageError: a file cannot be read; the message names it.
        """
        if isinstance(k, int | np.integer):
            return self.decoded([int(k)])[0].pixels
        chosen = range(*k.indices(len(self))) if isinstance(k, slice) else [int(i) for i in k]
        pixels = [image.pixels for image in self.decoded(chosen)]
        same = len({tuple(p.shape) for p in pixels}) == 1
        return torch.stack(pixels) if same else pixels

    def decoded(self, numbers: Sequence[int]) -> list[InputImage]:
        """Return images with their names and notes, as `xai.explain` takes them."""
        count = len(self)
        if any(not -count <= k < count for k in numbers):
            raise IndexError(f"Expected image numbers below {count}, but got {list(numbers)[:3]}.")
        return [self._source.read(int(self._rows[k])) for k in numbers]


class Identifiers(Sequence[str]):
    """One unique name per row, read when asked for."""

    def __init__(self, source: DataSource, rows: Rows) -> None:
        self._source, self._rows = source, rows

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._rows)

    def __getitem__(self, k: Any) -> Any:
        """Return one name, or a list for a slice."""
        if isinstance(k, slice):
            return self._source.identify(self._rows[k])
        return self._source.identify(self._rows[[k]])[0]


class Groups(Mapping[str, np.ndarray]):
    """Further columns of a data set by name; each is read when it is asked for.

    The column of the parts is there when it is asked for by name, but not among the groups.
    """

    def __init__(self, source: DataSource, rows: Rows) -> None:
        self._source, self._rows = source, rows

    def __getitem__(self, name: str) -> np.ndarray:
        """Return one column (N,).

        Raises:
            NameLookupError: no such column.
        """
        return self._source.columns[check_choice("group column", name, self._source.columns)](self._rows)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return (name for name in self._source.columns if name not in self._source.no_groups)

    def __len__(self) -> int:
        """Return the number of columns."""
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        """Whether there is such a column."""
        return name in self._source.columns


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images with labels and groups; nothing is read before it is asked for.

    Attributes:
        source: where the rows come from.
        rows: numbers of the rows of this data set, ascending.

    Example:
        >>> import xai
        >>> data = xai.load_data("example:fashion-test").subset(5)
        >>> len(data), data.images[0].shape, data.class_names[:2]
        (5, torch.Size([1, 28, 28]), ('T-shirt/top', 'Trouser'))
    """

    source: DataSource
    rows: Rows

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.rows)

    def __repr__(self) -> str:
        """Name, size and classes."""
        return f"Dataset({self.name!r}, {len(self)} images, {len(self.class_names)} classes)"

    @property
    def name(self) -> str:
        """The path or the example's name."""
        return self.source.name

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of the labels."""
        return self.source.class_names

    @property
    def notes(self) -> tuple[str, ...]:
        """What was skipped or chosen while reading."""
        return self.source.notes

    @property
    def images(self) -> ImageSequence:
        """The images."""
        return ImageSequence(self.source, self.rows)

    @property
    def labels(self) -> Tensor | None:
        """(N,) int64, the truth; None when the data has none."""
        if self.source.labels is None:
            return None
        return torch.from_numpy(np.asarray(self.source.labels[self.rows], dtype=np.int64))

    @property
    def groups(self) -> Groups:
        """Further columns by name."""
        return Groups(self.source, self.rows)

    @property
    def ids(self) -> Identifiers:
        """One unique name per image."""
        return Identifiers(self.source, self.rows)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of names, classes, labels and all pixels; costs one pass over the images."""
        digest = hashlib.sha256(repr((self.class_names, len(self))).encode())
        for number, row in enumerate(self.rows):
            image = self.source.read(int(row))
            label = None if self.source.labels is None else int(self.source.labels[row])
            digest.update(f"{self.ids[number]}:{label}:{tuple(image.pixels.shape)}".encode())
            digest.update(image.pixels.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def take(self, numbers: Sequence[int] | np.ndarray | Tensor) -> "Dataset":
        """Return the data set of these images, by their numbers in this one."""
        return Dataset(self.source, self.rows[np.asarray(numbers, dtype=np.int64)])

    def subset(self, n: int, seed: int = 0) -> "Dataset":
        """Return `n` different random images in their old order. Everything is returned when there are no more.

        Raises:
            DataError: `n` below 1.
            RangeError: a seed that is no whole number of 64 bits.
        """
        if check_whole("n", n) >= len(self):
            return self
        return self.take(np.sort(np.random.default_rng(abs(check_seed(seed))).choice(len(self), n, replace=False)))

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the fixed parts, such as "train" and "test"; empty where there are none."""
        return () if self.source.part is None else tuple(sorted(set(self._own_parts().tolist())))

    def part(self, name: str) -> "Dataset":
        """Return a fixed part, such as "calibration" or "test" of `example:fashion-test`.

        Raises:
            NameLookupError: no such part.
        """
        check_choice(f"part of {self.name}", str(name), self.parts)
        return self.take(np.flatnonzero(self._own_parts() == str(name)))

    def _own_parts(self) -> np.ndarray:
        return np.asarray(self.groups[str(self.source.part)]).astype(str)

    def to_dict(self) -> dict[str, Any]:
        """Return name, size, classes, counts and notes, JSON-ready."""
        labels = self.labels
        counts = [] if labels is None else torch.bincount(labels, minlength=len(self.class_names)).tolist()
        record = {"name": self.name, "n": len(self), "class_names": list(self.class_names), "counts": counts}
        return record | {"groups": list(self.groups), "notes": list(self.notes)}


def class_number(text: str) -> int | None:
    """Return the class number that a text writes, also as 3.0 or 03; None where it writes none."""
    whole_part, _, decimals = text.partition(".")
    return int(whole_part[:_MOST_DIGITS]) if whole_part.isdecimal() and set(decimals) <= {"0"} else None


def numbered_classes(name: str, largest: int) -> tuple[str, ...]:
    """Return "0", "1", ... up to the largest label, as the names of classes that have none.

    Raises:
        DataError: more classes than any data set has; a file of a few bytes must not take all memory.
    """
    if largest >= MOST_CLASSES:
        raise DataError(
            f"{name}: the label {str(largest)[:30]} would make more than {MOST_CLASSES:,} classes. Labels count from 0."
        )
    return tuple(str(k) for k in range(largest + 1))


def whole(source: DataSource, part: str | None = None) -> Dataset:
    """Return the data set of all rows of a source, or of one part.

    Raises:
        DataError: there is no row, or a label without a class.
    """
    if source.count == 0:
        raise DataError(f"{source.name}: there are no images in it. Check the path.")
    labels = source.labels
    if labels is not None and (int(labels.min()) < 0 or int(labels.max()) >= len(source.class_names)):
        raise DataError(
            f"{source.name}: labels from {int(labels.min())} to {int(labels.max())} for {len(source.class_names)} "
            "classes. "
            "Labels count from 0; give all class names as `class_names`."
        )
    if source.part is None and "part" in source.columns:
        source = replace(source, part="part")
    dataset = Dataset(source, np.arange(source.count))
    return dataset if part is None else dataset.part(part)


PATH, LABEL = "path", "label"


class Table:
    """Columns of strings and numbers on disk, deleted with the object.

    Args:
        batches: record batches of one schema, taken one at a time.
    """

    def __init__(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        with tempfile.NamedTemporaryFile(prefix="xai-", suffix=".arrow", delete=False) as file:
            self._path = Path(file.name)
            weakref.finalize(self, self._path.unlink, missing_ok=True)
            with pa.ipc.new_file(file, schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)
        self._table = pa.ipc.open_file(pa.memory_map(str(self._path))).read_all()

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self._table.num_rows)

    def names(self) -> list[str]:
        """Return the names of the columns."""
        return [str(name) for name in self._table.column_names]

    def value(self, name: str, row: int) -> object:
        """Return one cell."""
        return self._table.column(name)[row].as_py()

    def column(self, name: str) -> Callable[[Rows], np.ndarray]:
        """Return a function from rows to the values of a column."""

        def take(rows: Rows) -> np.ndarray:
            values = self._table.column(name).take(pa.array(rows)).to_numpy()
            return np.asarray(values)

        return take

    def whole(self, name: str) -> np.ndarray:
        """Return a whole number column, (rows,)."""
        return np.asarray(self._table.column(name).to_numpy())

    def texts(self, name: str) -> Iterator[str]:
        """Iterate over a column of strings, a batch at a time."""
        for chunk in self._table.column(name).chunks:
            yield from (str(value) for value in chunk.to_pylist())


def read_row(folder: Path, table: Table, source: str, bits: int | None = None) -> Callable[[int], InputImage]:
    """Return the reader of image files listed in a table."""

    def read(row: int) -> InputImage:
        path = folder / str(table.value(PATH, row))
        images, _ = decode_images(path, bits)
        return images[0]

    read.__doc__ = f"Read an image of {source}."
    return read
