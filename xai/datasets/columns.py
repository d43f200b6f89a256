"""Which columns of a table hold paths and labels, where they have other names than usual."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
from pyarrow import csv, parquet

from xai.core.door import IMAGE_SUFFIXES
from xai.datasets.headers import LABEL_NAMES, TABLES, csv_format
from xai.datasets.parts import NAMES as PARTS
from xai.errors import DataError

_ROWS = 200  # looked at


@dataclass(frozen=True)
class Columns:
    """The columns of a table.

    Attributes:
        path: of the images' files.
        label: of the classes.
    """

    path: str
    label: str


def find_table(folder: Path) -> Path | None:
    """Return the one table in a folder; None where there is none, or several."""
    found = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in TABLES]
    return found[0] if len(found) == 1 else None


def find_columns(
    table: Path,
    classes: Sequence[str] = (),
    count: int | None = None,
    *,
    path: str | None = None,
    label: str | None = None,
) -> Columns:
    """Return which columns of a table hold the paths of images, and their labels.

    Paths are a column "path", else the first whose cells are files of images. Labels are a column of a usual name, else
    the only one whose values are names of classes, or as many as there are classes.

    Args:
        table: its file.
        classes: names of the model's classes, where they are known.
        count: number of the model's classes, where it is known.
        path: the column of paths, where it is known.
        label: the column of labels, where it is known.

    Raises:
        DataError: no such column, or several that may be it; the message names them and the option to choose.
    """
    head = _head(table)
    names = head.column_names
    own = path or _path_column(table, head)
    if label is not None:
        return Columns(own.strip(), label)
    rest = [name for name in names if name != own and name.strip().lower() not in PARTS]
    for usual in LABEL_NAMES:
        found = [name for name in rest if name.strip().lower() == usual]
        if found:
            return Columns(own.strip(), found[0].strip())
    values = {name: {str(value) for value in head[name].to_pylist() if value is not None} for name in rest}
    named = [name for name in rest if classes and values[name] and values[name] <= set(classes)]
    fitting = named or [name for name in rest if count is not None and len(values[name]) == count]
    if len(fitting) == 1:
        return Columns(own.strip(), fitting[0].strip())
    raise DataError(
        f"{table}: expected one column of labels, called {LABEL_NAMES[0]!r}, but there are "
        f"{', '.join(map(repr, names))}. Name it: --label-column NAME."
    )


def _path_column(path: Path, head: pa.Table) -> str:
    names = head.column_names
    usual = [name for name in names if name.strip().lower() == "path"]
    found = usual or [name for name in names if are_images(path.parent, head[name].to_pylist())]
    if not found:
        raise DataError(
            f"{path}: expected a column 'path' with the files of the images, but none of {', '.join(map(repr, names))} "
            "names files that are there. Name it: --path-column NAME."
        )
    return str(found[0])


def are_images(folder: Path, cells: Sequence[object]) -> bool:
    """Return whether cells name images in a folder, of which one of the first twenty is there."""
    texts = [cell for cell in cells if isinstance(cell, str) and cell]
    if not texts or any(Path(text).suffix.lower() not in IMAGE_SUFFIXES for text in texts):
        return False
    return any((folder / text).is_file() for text in texts[:20])


def _head(path: Path) -> pa.Table:
    """Return the first rows of a table."""
    try:
        if path.suffix.lower() == ".parquet":
            with parquet.ParquetFile(path) as file:
                return pa.Table.from_batches(list(islice(file.iter_batches(_ROWS), 1)), schema=file.schema_arrow)
        with csv.open_csv(path, parse_options=csv_format(path)) as reader:
            return pa.Table.from_batches(list(islice(reader, 1)), schema=reader.schema)
    except (pa.ArrowException, OSError) as error:
        first = str(error).strip().partition("\n")[0][:160]
        raise DataError(f"{path}: cannot be read as a table ({first}). Save it again as CSV or Parquet.") from error
