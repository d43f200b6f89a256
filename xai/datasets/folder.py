"""A folder per class."""

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa

from xai.core.door import IMAGE_SUFFIXES
from xai.datasets.base import Dataset, Source, whole
from xai.datasets.parts import NAMES, WORDS
from xai.datasets.table import LABEL, PATH, Table, read_row
from xai.errors import DataError

_BATCH = 10_000
PART = NAMES[0]
_LAYOUT = "Expected one folder per class, each with pictures"


def load_folder(folder: Path, classes: Sequence[str] | None = None, *, bits: int | None = None) -> Dataset:
    """Return the pictures of a folder with one sub-folder per class; deeper folders belong to their class.

    Where all sub-folders are called as parts are (train, val, test, ...) and have folders themselves, these are the
    classes. Hidden files and folders, and files that are no pictures, are skipped and counted in the notes.

    Args:
        folder: the data set.
        classes: names in the order of the labels; None takes all sub-folders by name.
        bits: used of 16-bit samples, None for what each file says.

    Raises:
        DataError: empty, without class folders, with a single one (unless `classes` is given), or a class folder that
            is not among `classes`.
    """
    parts = _parts(folder, classes)
    places = [folder / part for part in parts] or [folder]
    found = sorted({name for place in places for name in _folders(place)})
    names = tuple(classes) if classes is not None else tuple(found)
    _check_layout(folder, found, names, given=classes is not None)
    skipped: dict[str, int] = {}
    own = [(PART, pa.string())] if parts else []
    schema = pa.schema([(PATH, pa.string()), (LABEL, pa.int64()), *own])
    table = Table(schema, _batches(folder, parts, names, skipped, schema))
    notes = [f"{count} file(s) ending in {suffix or 'nothing'} skipped" for suffix, count in sorted(skipped.items())]
    counts = set(table.whole(LABEL).tolist()) if len(table) else set()
    notes += [f"the class {name!r} has no picture" for k, name in enumerate(names) if k not in counts]
    notes += [f"the folders {', '.join(parts)} were taken for the parts of the data, and theirs for classes"] * bool(
        parts
    )
    if not len(table):
        raise DataError(f"{folder}: no picture in any class folder. {_LAYOUT} ({', '.join(sorted(IMAGE_SUFFIXES))}).")
    take = table.column(PATH)
    source = Source(
        name=str(folder),
        classes=names,
        count=len(table),
        read=read_row(folder, table, str(folder), bits),
        identify=lambda rows: [str(path) for path in take(rows)],
        labels=table.whole(LABEL),
        columns={PART: table.column(PART)} if parts else {},
        no_groups=(PART,) if parts else (),
        notes=tuple(notes),
    )
    return whole(source)


def _folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not _hidden(entry.name))


def _parts(folder: Path, classes: Sequence[str] | None) -> list[str]:
    """Return the sub-folders that are parts; none where these are the classes themselves."""
    found = _folders(folder)
    if classes is not None and set(found) <= set(classes):
        return []
    return found if found and all(name.lower() in WORDS and _folders(folder / name) for name in found) else []


def _check_layout(folder: Path, found: Sequence[str], names: Sequence[str], *, given: bool) -> None:
    if not found:
        empty = not any(folder.iterdir())
        what = "the folder is empty" if empty else "there are no class folders in it"
        raise DataError(f"{folder}: {what}. {_LAYOUT}: {folder.name}/cats/1.jpg, {folder.name}/dogs/2.jpg.")
    if len(found) == 1 and not given:
        raise DataError(
            f"{folder}: only one class folder ({found[0]!r}). A classifier needs two; name all classes as `classes` "
            "when this data has pictures of one class only."
        )
    strange = [name for name in found if name not in names]
    if strange:
        raise DataError(f"{folder}: {strange[:3]} are not among the {len(names)} `classes` given. Check them.")


def _batches(
    folder: Path, parts: Sequence[str], names: Sequence[str], skipped: dict[str, int], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    rows = _rows(folder, parts, names, skipped)
    while some := list(islice(rows, _BATCH)):
        yield pa.record_batch([list(column) for column in zip(*some, strict=True)], schema=schema)


def _rows(
    folder: Path, parts: Sequence[str], names: Sequence[str], skipped: dict[str, int]
) -> Iterator[tuple[str | int, ...]]:
    """Yield path, label and, where there are parts, the part of each picture."""
    for part in parts or [""]:
        for name in _folders(folder / part):
            for path in _pictures(folder / part / name, skipped):
                row = (path.relative_to(folder).as_posix(), names.index(name))
                yield (*row, part) if parts else row


def _pictures(folder: Path, skipped: dict[str, int]) -> Iterator[Path]:
    """Walk a class folder in the order of names."""
    for entry in sorted(os.scandir(folder), key=lambda item: item.name):
        if _hidden(entry.name):
            continue
        if entry.is_dir():
            yield from _pictures(Path(entry.path), skipped)
        elif Path(entry.name).suffix.lower() in IMAGE_SUFFIXES:
            yield Path(entry.path)
        else:
            suffix = Path(entry.name).suffix.lower()
            skipped[suffix] = skipped.get(suffix, 0) + 1


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
