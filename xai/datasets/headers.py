"""The header of a table: what separates its cells, and which columns hold paths and labels."""

import codecs
from collections.abc import Sequence
from pathlib import Path

from pyarrow import csv, parquet

from xai.datasets.table import LABEL
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
    found = in_any_case(path_column, names)
    if found is None:
        raise DataError(f"{path}: there is no column {path_column!r}. {_cure(path_column, names, 'path_column')}")
    label = in_any_case(label_column, names)
    if label is None and label_column != LABEL:
        raise DataError(f"{path}: there is no column {label_column!r}. {_cure(label_column, names, 'label_column')}")
    return found, label or label_column


def header_notes(path: Path, names: Sequence[str], label_column: str) -> tuple[str, ...]:
    """Return what was found out about a table: its separator, and columns that may be the labels it seems to lack."""
    notes = []
    if path.suffix.lower() != ".parquet" and (separator := _separator(path)) != ",":
        notes.append(f"the cells of the table are separated by {_SEPARATORS[separator]}")
    usual = [name for name in names if name.lower() in LABEL_NAMES]
    if in_any_case(label_column, names) is None and usual:
        notes.append(f"no column {label_column!r}, so no labels: pass label_column={usual[0]!r} if it has the classes")
    return tuple(notes)


def in_any_case(wanted: str, names: Sequence[str]) -> str | None:
    """Return the name itself, else the only one that differs in the case of letters; None where there is none."""
    if wanted in names:
        return wanted
    alike = [name for name in names if name.casefold() == wanted.casefold()]
    return alike[0] if len(alike) == 1 else None


def _cure(wanted: str, names: Sequence[str], option: str) -> str:
    return f"{near_names(wanted, list(names))} Name it: load_data(..., {option}=NAME), or --{option.replace('_', '-')}."


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
