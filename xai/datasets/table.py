"""Paths, labels and groups of any number of rows in a memory-mapped file, so that they are never all in memory."""

import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from xai.core.images import Picture, read_pictures
from xai.datasets.base import Rows

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
            found = self._table.column(name).take(pa.array(rows)).to_numpy()
            return np.asarray(found)

        return take

    def whole(self, name: str) -> np.ndarray:
        """Return a whole number column, (rows,)."""
        return np.asarray(self._table.column(name).to_numpy())

    def texts(self, name: str) -> Iterator[str]:
        """Iterate over a column of strings, a batch at a time."""
        for chunk in self._table.column(name).chunks:
            yield from (str(value) for value in chunk.to_pylist())


def read_row(folder: Path, table: Table, source: str, bits: int | None = None) -> Callable[[int], Picture]:
    """Return the reader of picture files listed in a table."""

    def read(row: int) -> Picture:
        path = folder / str(table.value(PATH, row))
        pictures, _ = read_pictures(path, bits)
        return pictures[0]

    read.__doc__ = f"Read a picture of {source}."
    return read
