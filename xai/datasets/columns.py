"""The columns of a table: what separates its cells, and which hold paths and labels."""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
from pyarrow import csv, parquet

from xai.core.images.inputs import IMAGE_SUFFIXES
from xai.core.results.message import Message, constant
from xai.datasets.dataset import LABEL
from xai.datasets.folders import NAMES as PARTS
from xai.errors import DataError, near_names

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_MOST_HEADER = 1 << 16
LABEL_NAMES = ("label", "labels", "class", "class_name", "classname", "target", "category", "diagnosis", "y")
TABLES = frozenset({".csv", ".tsv", ".parquet"})


def csv_format(path: Path) -> csv.ParseOptions:
    """Return how to read a CSV file: cells are separated by what is most frequent in its first line."""
    return csv.ParseOptions(delimiter=_separator(path))


def column_names(path: Path) -> list[str]:
    """Return the names of the columns of a CSV or Parquet file, without spaces around them."""
    if path.suffix.lower() == ".parquet":
        with parquet.ParquetFile(path) as file:
            return [name.strip() for name in file.schema_arrow.names]
    return [name.strip().lstrip("\ufeff") for name in csv_names(path)]


def csv_names(path: Path) -> list[str]:
    """Return the names of the columns of a CSV file as they are written."""
    with csv.open_csv(path, parse_options=csv_format(path)) as reader:
        return list(reader.schema.names)


def find_named(path: Path, names: Sequence[str], path_column: str, label_column: str) -> tuple[str, str]:
    """Return the columns of paths and labels as the table writes them, found in any case of letters.

    Args:
        path: the table.
        names: of its columns.
        path_column: asked for.
        label_column: asked for; may be missing where it is the usual "label", and then there are no labels.

    Raises:
        DataError: there is no such column; the message names near ones and the setting.
    """
    path_name = in_any_case(path_column, names)
    if path_name is None:
        raise DataError(f"{path}: there is no column {path_column!r}. {_cure(path_column, names, 'path_column')}")
    label = in_any_case(label_column, names)
    if label is None and label_column != LABEL:
        raise DataError(f"{path}: there is no column {label_column!r}. {_cure(label_column, names, 'label_column')}")
    return path_name, label or label_column


def header_notes(path: Path, names: Sequence[str], label_column: str) -> tuple[str, ...]:
    """Return what was found out about a table: its separator, and columns that may be the labels it seems to lack."""
    notes = []
    if path.suffix.lower() != ".parquet" and (separator := _separator(path)) != ",":
        separated = constant(_SEPARATORS[separator])
        notes.append(Message("the cells of the table are separated by {separator}", separator=separated))
    usual = [name for name in names if name.lower() in LABEL_NAMES]
    if in_any_case(label_column, names) is None and usual:
        template = "no column {column!r}, so no labels: pass label_column={usual!r} if it has the classes"
        notes.append(Message(template, column=label_column, usual=usual[0]))
    return tuple(notes)


def in_any_case(name: str, names: Sequence[str]) -> str | None:
    """Return the name itself, else the only one that differs in the case of letters; None where there is none."""
    if name in names:
        return name
    alike = [known for known in names if known.casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 else None


def _cure(name: str, names: Sequence[str], option: str) -> str:
    return f"{near_names(name, list(names))} Name it: load_data(..., {option}=NAME), or --{option.replace('_', '-')}."


def _separator(path: Path) -> str:
    """Return the separator of a file; a comma where the first line has none.

    Raises:
        DataError: a text of another encoding, whose letters take two or four bytes.
    """
    with path.open("rb") as file:
        start = file.readline(_MOST_HEADER)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in start:
        raise DataError(f"{path}: expected a text in UTF-8, but it is in UTF-16 or UTF-32. Save it again as CSV UTF-8.")
    line = start.decode("utf-8", "replace")
    return max(_SEPARATORS, key=line.count)


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
    tables = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in TABLES]
    return tables[0] if len(tables) == 1 else None


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
        usual_names = [name for name in rest if name.strip().lower() == usual]
        if usual_names:
            return Columns(own.strip(), usual_names[0].strip())
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
    columns = usual or [name for name in names if are_images(path.parent, head[name].to_pylist())]
    if not columns:
        raise DataError(
            f"{path}: expected a column 'path' with the files of the images, but none of {', '.join(map(repr, names))} "
            "names files that are there. Name it: --path-column NAME."
        )
    return str(columns[0])


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
