"""A folder per class."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from xai.datasets.base import Dataset, Source, whole
from xai.datasets.table import LABEL, PATH, Table, read_row
from xai.errors import DataError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".npy"})
_BATCH = 10_000
_LAYOUT = "Expected one folder per class, each with pictures"


def load_folder(folder: Path, classes: Sequence[str] | None = None, *, bits: int | None = None) -> Dataset:
    """Return the pictures of a folder with one sub-folder per class; deeper folders belong to their class.

    Hidden files and folders, and files that are no pictures, are skipped and counted in the notes.

    Args:
        folder: the data set.
        classes: names in the order of the labels; None takes all sub-folders by name.
        bits: used of 16-bit samples, None for what each file says.

    Raises:
        DataError: empty, without class folders, with a single one (unless `classes` is given), or a class folder that
            is not among `classes`.
    """
    found = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not _hidden(entry.name))
    names = tuple(classes) if classes is not None else tuple(found)
    _check_layout(folder, found, names, given=classes is not None)
    skipped: dict[str, int] = {}
    schema = pa.schema([(PATH, pa.string()), (LABEL, pa.int64())])
    table = Table(schema, _batches(folder, found, names, skipped, schema))
    notes = [f"{count} file(s) ending in {suffix or 'nothing'} skipped" for suffix, count in sorted(skipped.items())]
    counts = set(table.whole(LABEL).tolist()) if len(table) else set()
    notes += [f"the class {name!r} has no picture" for k, name in enumerate(names) if k not in counts]
    if not len(table):
        raise DataError(f"{folder}: no picture in any class folder. {_LAYOUT} ({', '.join(sorted(SUFFIXES))}).")
    take = table.column(PATH)
    source = Source(
        name=str(folder),
        classes=names,
        count=len(table),
        read=read_row(folder, table, str(folder), bits),
        identify=lambda rows: [str(path) for path in take(rows)],
        labels=table.whole(LABEL),
        notes=tuple(notes),
    )
    return whole(source)


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
    folder: Path, found: Sequence[str], names: Sequence[str], skipped: dict[str, int], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    paths: list[str] = []
    labels: list[int] = []
    for name in found:
        for path in _pictures(folder / name, skipped):
            paths.append(path.relative_to(folder).as_posix())
            labels.append(names.index(name))
            if len(paths) == _BATCH:
                yield pa.record_batch([paths, labels], schema=schema)
                paths, labels = [], []
    if paths:
        yield pa.record_batch([paths, labels], schema=schema)


def _pictures(folder: Path, skipped: dict[str, int]) -> Iterator[Path]:
    """Walk a class folder in the order of names."""
    for entry in sorted(os.scandir(folder), key=lambda item: item.name):
        if _hidden(entry.name):
            continue
        if entry.is_dir():
            yield from _pictures(Path(entry.path), skipped)
        elif Path(entry.name).suffix.lower() in SUFFIXES:
            yield Path(entry.path)
        else:
            suffix = Path(entry.name).suffix.lower()
            skipped[suffix] = skipped.get(suffix, 0) + 1


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
