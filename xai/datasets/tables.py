"""Data sets from a CSV or Parquet file. Each row is an image: path, label and any group columns."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from xai.core.results.message import Message
from xai.datasets.arrays import check_ratio
from xai.datasets.columns import are_images, column_names, csv_format, csv_names, find_named, header_notes, in_any_case
from xai.datasets.dataset import (
    LABEL,
    MOST_CLASSES,
    PATH,
    Dataset,
    DataSource,
    Table,
    class_number,
    numbered_classes,
    read_row,
    whole,
)
from xai.errors import DataError

_BATCH = 50_000
_MOST_LETTERS = 4096  # of a cell of a Parquet file
_TEXTS = (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())
_VIEWS = (pa.string_view(), pa.binary_view())  # which few functions take
_FREE_ROWS = 1_000_000  # that a Parquet file may have however small it is
_MOST_DIGITS = 18  # of an int64
_SHOWN, _MOST_QUOTED = 60, 200  # letters of a name, and of somebody else's error, in ours
Batches = Callable[[], Iterator[pa.RecordBatch]]


@dataclass(frozen=True)
class _Names:
    """Class names, and how a cell of the label column becomes a number."""

    class_names: tuple[str, ...]
    numbers: dict[str, int] | None
    notes: tuple[str, ...] = ()


def load_manifest(
    path: Path,
    class_names: Sequence[str] | None = None,
    *,
    path_column: str = PATH,
    label_column: str = LABEL,
    bits: int | None = None,
) -> Dataset:
    """Return the images that a table lists; all columns beside path and label are groups.

    Paths are relative to the table's folder and stay inside it, or absolute. Labels are class names, or numbers from 0,
    also such as 1.0. Columns are found in any case of letters; without a "path", the one that names images is
    read, and noted. A CSV file may have commas, semicolons or tabs between its cells. The table is read in batches,
    twice, and kept on disk.

    Raises:
        DataError: a damaged or empty table, no such column, a missing label, or a label outside `class_names`.
    """
    try:
        _check_size(path, path_column)
        there = column_names(path)
        path_column, path_notes = _where_paths_are(path, there, path_column)
        notes = (*header_notes(path, there, label_column), *path_notes)
        path_column, label_column = find_named(path, there, path_column, label_column)
        batches = partial(_read, path, path_column, label_column)
        first = next(batches(), None)
        if first is None:
            raise DataError(f"{path}: the table has no rows. Expected a column {path_column!r} and one row per image.")
        names = _class_names(path, first, batches, label_column, class_names)
        schema = _schema(first.schema, path_column, label_column, labelled=names is not None)
        rows = (_clean(path, batch, schema, names, path_column, label_column) for batch in batches())
        table = Table(schema, rows)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        first_line = "".join(c if c.isprintable() else " " for c in str(error).strip().splitlines()[0][:_MOST_QUOTED])
        raise DataError(
            f"{path}: cannot be read as a table ({first_line}). Save it again as CSV in UTF-8, or as Parquet."
        ) from error
    take = table.column(PATH)
    groups = [name for name in table.names() if name not in {PATH, LABEL}]
    source = DataSource(
        name=str(path),
        class_names=names.class_names if names else tuple(class_names or ()),
        count=len(table),
        read=read_row(path.parent, table, str(path), bits),
        identify=lambda rows: [f"{row}:{name}" for row, name in zip(rows, take(rows), strict=True)],
        labels=table.whole(LABEL) if names else None,
        columns={name: table.column(name) for name in groups},
        notes=(*notes, *(names.notes if names else ())),
    )
    return whole(source)


def _where_paths_are(path: Path, there: Sequence[str], path_column: str) -> tuple[str, tuple[str, ...]]:
    """Return the column of paths and a note: without a "path", the one column whose cells are images that are there."""
    if path_column != PATH or in_any_case(PATH, there) is not None:
        return path_column, ()
    rows = next(_read(path, path_column, path_column), None)
    if rows is None:
        return path_column, ()
    named = [name for name in rows.schema.names if are_images(path.parent, rows[name].to_pylist())]
    if len(named) != 1:
        return path_column, ()
    note = "there is no column 'path': {column!r} is read, whose cells are files of images"
    return named[0], (Message(note, column=named[0]),)


def _check_size(path: Path, path_column: str) -> None:
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty. Expected a column {path_column!r} and one row per image.")


def _read(path: Path, path_column: str, label_column: str) -> Iterator[pa.RecordBatch]:
    """Yield batches with trimmed column names; paths and labels are strings."""
    if path.suffix.lower() == ".parquet":
        yield from (_renamed(path, batch) for batch in _read_parquet(path))
        return
    text = {name: pa.string() for name in csv_names(path) if name.strip() in {path_column, label_column}}
    convert = csv.ConvertOptions(column_types=text)  # so "NA" and "null" are names; what is empty is missing
    with csv.open_csv(path, parse_options=csv_format(path), convert_options=convert) as reader:
        yield from (_renamed(path, batch) for batch in reader if batch.num_rows)


def _read_parquet(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield batches; the same text in every row is one text in the file, so how much it makes is looked at first."""
    size = path.stat().st_size
    with parquet.ParquetFile(path) as file:
        texts = [field.name for field in file.schema_arrow if field.type in _TEXTS]
        for field in file.schema_arrow:
            if pa.types.is_nested(field.type) or field.type in _VIEWS:
                kind = str(field.type)[:60]
                raise DataError(f"{path}: the column {field.name[:60]!r} holds {kind}, no texts or numbers.")
        parts = [file.metadata.row_group(k).total_byte_size for k in range(file.metadata.num_row_groups)]
        check_ratio(path, sum(parts), size)
        if file.metadata.num_rows > _FREE_ROWS + size:
            raise DataError(f"{path}: {file.metadata.num_rows:,} rows in {size:,} bytes; each image has its own path.")
    with parquet.ParquetFile(path, read_dictionary=texts) as file:
        for batch in file.iter_batches(_BATCH):
            yield pa.record_batch([_plain(path, column) for column in batch.columns], names=batch.schema.names)


def _plain(path: Path, column: pa.Array) -> pa.Array:
    """Return a column with its texts in each row, when none is too long for that and each is text."""
    column.validate(full=True)  # else bytes that are no UTF-8 come out later, wherever they are first looked at
    if not pa.types.is_dictionary(column.type):
        return column
    longest = pc.max(pc.binary_length(column.dictionary)).as_py() or 0
    if longest > _MOST_LETTERS:
        raise DataError(f"{path}: a cell has {longest:,} letters, more than the {_MOST_LETTERS:,} of a path or a name.")
    return column.cast(column.type.value_type)


def _renamed(path: Path, batch: pa.RecordBatch) -> pa.RecordBatch:
    names = [name.strip().lstrip("\ufeff") for name in batch.schema.names]
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise DataError(f"{path}: two columns have the same name, {twice[0][:_SHOWN]!r}. Rename one.")
    return pa.record_batch([_blank_as_missing(column) for column in batch.columns], names=names)


def _blank_as_missing(column: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(column, ""), None, column) if pa.types.is_string(column.type) else column


def _class_names(
    path: Path, first: pa.RecordBatch, batches: Batches, label_column: str, class_names: Sequence[str] | None
) -> _Names | None:
    """Return the classes: those given, or all distinct labels; None when there is no label at all."""
    if label_column not in first.schema.names:
        return None
    distinct: set[str] = set()
    for batch in batches():
        distinct |= {text for text in pc.unique(_text(batch, label_column)).to_pylist() if text is not None}
        if len(distinct) > MOST_CLASSES:
            raise DataError(f"{path}: more than {MOST_CLASSES:,} different labels. Name the column of the classes.")
    if not distinct:
        return None
    values = {text: class_number(text) for text in distinct}
    if None in values.values() or (class_names and distinct <= set(class_names)):
        names = tuple(class_names) if class_names else tuple(sorted(distinct))
        strange = sorted(distinct - set(names))
        if strange:
            raise DataError(
                f"{path}: the labels {strange[:3]} are not among the {len(names)} classes given. Check `class_names`."
            )
        return _Names(names, None)
    if len(longest := max(distinct, key=len)) > _MOST_DIGITS:
        raise DataError(f"{path}: the label {longest[:20]}... is the number of no class. Labels count from 0.")
    numbers = {text: number for text, number in values.items() if number is not None}
    decimals = sorted(text for text in distinct if "." in text)[:1]
    notes = tuple(Message("labels such as {label!r} were taken for class numbers", label=text) for text in decimals)
    return _Names(
        tuple(class_names) if class_names else numbered_classes(str(path), max(numbers.values())), numbers, notes
    )


def _schema(schema: pa.Schema, path_column: str, label_column: str, *, labelled: bool) -> pa.Schema:
    groups = [field for field in schema if field.name not in {path_column, label_column}]
    label = [pa.field(LABEL, pa.int64())] if labelled else []
    return pa.schema([pa.field(PATH, pa.string()), *label, *groups])


def _clean(
    path: Path, batch: pa.RecordBatch, schema: pa.Schema, names: _Names | None, path_column: str, label_column: str
) -> pa.RecordBatch:
    """Return a batch with checked paths and labels as numbers."""
    paths = [_inside(path, text) for text in _text(batch, path_column).to_pylist()]
    columns = [pa.array(paths, pa.string())]
    if names is not None:
        columns.append(pa.array(_numbers(path, _text(batch, label_column).to_pylist(), names), pa.int64()))
    columns += [batch.column(field.name) for field in schema if field.name not in {PATH, LABEL}]
    return pa.record_batch(columns, schema=schema)


def _numbers(path: Path, texts: Sequence[str | None], names: _Names) -> np.ndarray:
    if None in texts:
        raise DataError(
            f"{path}: an image has no label (near {texts.index(None) + 1} of its batch). Fill the label column."
        )
    place = names.numbers or {name: k for k, name in enumerate(names.class_names)}
    return np.array([place[text] for text in texts if text is not None], dtype=np.int64)


def _text(batch: pa.RecordBatch, name: str) -> pa.Array:
    column = batch.column(name)
    texts = column if pa.types.is_string(column.type) else column.cast(pa.string())
    trimmed = pc.utf8_trim_whitespace(texts)
    return pc.if_else(pc.equal(trimmed, ""), None, trimmed)


def _inside(path: Path, text: str | None) -> str:
    """Return a path that is absolute or stays inside the table's folder."""
    if text is None:
        raise DataError(f"{path}: a row has no path. Fill the path column.")
    if Path(text[:4]).is_absolute():
        return text
    parts = [name for name in text.replace("\\", "/").split("/") if name not in {"", "."}]
    if "\0" in text:
        raise DataError(f"{path}: the path {text[:_SHOWN]!r} holds a null character. Save the table again as text.")
    if ".." in parts:
        raise DataError(
            f"{path}: the path {text[:_SHOWN]!r} leaves the folder of the table. Use paths inside it, or absolute ones."
        )
    return "/".join(parts)
