"""A folder per class."""

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa

from xai.core.door import IMAGE_SUFFIXES
from xai.datasets.base import MOST_CLASSES, Dataset, Source, class_number, numbered_classes, whole
from xai.datasets.part_folders import find_parts, folders_of, hidden
from xai.datasets.parts import NAMES
from xai.datasets.table import LABEL, PATH, Table, read_row
from xai.errors import DataError

_BATCH = 10_000
PART = NAMES[0]
_LAYOUT = "Expected one folder per class, each with pictures"


def load_folder(folder: Path, classes: Sequence[str] | None = None, *, bits: int | None = None) -> Dataset:
    """Return the pictures of a folder with one sub-folder per class; deeper folders belong to their class.

    Where sub-folders are called as parts are (train, val, test_set, ...) and have folders themselves, these are the
    classes, and what lies beside is left out with a note where it has no labels or no images. Folders that are all
    called by whole numbers are class numbers, as in a table. Hidden files and folders, and files that are no pictures,
    are skipped and counted in the notes.

    Args:
        folder: the data set.
        classes: names in the order of the labels; None takes all sub-folders by name.
        bits: used of 16-bit samples, None for what each file says.

    Raises:
        DataError: empty, without class folders, with a single one (unless `classes` is given), or a class folder that
            is not among `classes`.
    """
    own_parts = find_parts(folder, classes)
    parts = own_parts.names
    found = sorted({name for part in parts or {"": ""} for name in folders_of(folder / part)})
    numbers = _numbers(found, classes)
    names = tuple(classes or (numbered_classes(str(folder), max(numbers.values())) if numbers else found))
    _check_layout(folder, found, found if numbers else names, given=classes is not None)
    place = numbers or {name: k for k, name in enumerate(names)}
    skipped: dict[str, int] = {}
    own = [(PART, pa.string())] if parts else []
    schema = pa.schema([(PATH, pa.string()), (LABEL, pa.int64()), *own])
    table = Table(schema, _batches(folder, parts, place, skipped, schema))
    notes = [f"{count} file(s) ending in {suffix or 'nothing'} skipped" for suffix, count in sorted(skipped.items())]
    counts = set(table.whole(LABEL).tolist()) if len(table) else set()
    notes += [f"the class {name!r} has no picture" for name, k in place.items() if k not in counts]
    if numbers and tuple(found) != names:
        low, *_, high = sorted(numbers, key=lambda name: numbers[name])
        notes.append(f"folders called {low} to {high} were taken for class numbers, as in a table")
    notes += own_parts.notes
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


def _numbers(found: Sequence[str], classes: Sequence[str] | None) -> dict[str, int]:
    """Return the class number of each folder where all names are whole numbers, as in a table; else nothing."""
    if not found or not all(map(str.isdecimal, found)) or (classes is not None and set(found) <= set(classes)):
        return {}
    numbers = {name: number for name in found if (number := class_number(name)) is not None}
    return numbers if max(numbers.values()) < MOST_CLASSES else {}


def _check_layout(folder: Path, found: Sequence[str], names: Sequence[str], *, given: bool) -> None:
    if not found:
        empty = not any(folder.iterdir())
        what = "the folder is empty" if empty else "there are no class folders in it"
        raise DataError(f"{folder}: {what}. {_LAYOUT}: {folder.name}/cats/1.jpg, {folder.name}/dogs/2.jpg.")
    if len(found) == 1 and not given:
        raise DataError(
            f"{folder}: only one class folder ({found[0]!r}). A classifier needs two; give that folder where the "
            "classes are in it, or name all classes as `classes` when this data has pictures of one class only."
        )
    strange = sorted(set(found) - set(names))
    if strange:
        raise DataError(f"{folder}: {strange[:3]} are not among the {len(names)} `classes` given. Check them.")


def _batches(
    folder: Path, parts: Mapping[str, str], place: Mapping[str, int], skipped: dict[str, int], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    rows = _rows(folder, parts, place, skipped)
    while some := list(islice(rows, _BATCH)):
        yield pa.record_batch([list(column) for column in zip(*some, strict=True)], schema=schema)


def _rows(
    folder: Path, parts: Mapping[str, str], place: Mapping[str, int], skipped: dict[str, int]
) -> Iterator[tuple[str | int, ...]]:
    """Yield path, label and, where there are parts, the part of each picture."""
    for below, part in (parts or {"": ""}).items():
        for name in folders_of(folder / below):
            for path in _pictures(folder / below / name, skipped):
                row = (path.relative_to(folder).as_posix(), place[name])
                yield (*row, part) if parts else row


def _pictures(folder: Path, skipped: dict[str, int]) -> Iterator[Path]:
    """Walk a class folder in the order of names."""
    for entry in sorted(os.scandir(folder), key=lambda item: item.name):
        if hidden(entry.name):
            continue
        if entry.is_dir():
            yield from _pictures(Path(entry.path), skipped)
        elif Path(entry.name).suffix.lower() in IMAGE_SUFFIXES:
            yield Path(entry.path)
        else:
            suffix = Path(entry.name).suffix.lower()
            skipped[suffix] = skipped.get(suffix, 0) + 1
