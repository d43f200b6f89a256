"""A folder per class, below folders of parts (train, test) or not."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from xai.core.images.inputs import IMAGE_SUFFIXES
from xai.core.results.message import Message, constant
from xai.core.validation import check_choice
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

NAMES = ("part", "split", "partition", "fold", "subset", "set")
_CERTAIN = frozenset(NAMES[:4])  # "subset" and "set" may be anything, unless a value is a part's usual name
WORDS = frozenset(
    {"train", "training", "trn", "val", "valid", "validation", "dev", "test", "testing", "tst"}
    | {"eval", "evaluation", "calibration", "calib", "holdout"}
)
_MOST, _READ = 20, 50_000  # parts, and rows read at a time


def with_parts(data: Dataset, column: str | None) -> Dataset:
    """Return a data set that knows its parts.

    Args:
        data: of any source.
        column: that says the part of each image; None takes the first of the usual names, and says so; "" for none.

    Raises:
        NameLookupError: no such column; near ones are suggested.
    """
    source = data.source
    if column == "":
        return replace(data, source=replace(source, part=None, no_groups=()))
    if column is not None:
        check_choice(f"column of {data.name}", column, source.columns)
        return replace(data, source=replace(source, part=column, no_groups=(column,)))
    for name in NAMES:
        column_name = next((own for own in source.columns if own.strip().lower() == name), None)
        values = None if column_name is None else _values(source, column_name)
        if column_name is not None and values and (name in _CERTAIN or {value.lower() for value in values} & WORDS):
            notes = (*source.notes, _note(column_name, values))
            return replace(data, source=replace(source, part=column_name, no_groups=(column_name,), notes=notes))
    return data


def _values(source: DataSource, column: str) -> list[str]:
    """Return the values of a column; none where they are too many for parts."""
    values: set[str] = set()
    for start in range(0, source.count, _READ):
        values |= set(source.columns[column](np.arange(start, min(source.count, start + _READ))).astype(str).tolist())
        if len(values) > _MOST:
            return []
    return sorted(values)


def _note(column: str, values: list[str]) -> str:
    template = "the column {column!r} was taken for the parts of the data ({parts}), and is no group"
    return Message(template, column=column, parts=", ".join(values))


_FILLERS = frozenset({"set", "data", "dataset", "image", "images", "img", "imgs", "split", "part", "folder"})
_NO_CLASSES = frozenset({"images", "image", "imgs", "img", "labels", "masks", "annotations"})
_ENDS = ("set", "data", "images")


@dataclass(frozen=True)
class Parts:
    """The folders of a data set that are its parts.

    Attributes:
        names: of each part by its folder, relative to the data set.
        notes: what was taken for parts, and which folders were left out.
    """

    names: dict[str, str]
    notes: tuple[str, ...] = ()


def folders_of(folder: Path) -> list[str]:
    """Return the names of the sub-folders that are not hidden."""
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not hidden(entry.name))


def hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or was made by an archiver."""
    return name.startswith(".") or name == "__MACOSX"


def find_parts(folder: Path, class_names: Sequence[str] | None) -> Parts:
    """Return the sub-folders that are parts; none where these are the classes themselves.

    Args:
        folder: the data set.
        class_names: names of all classes where they are given; sub-folders that are all among them are classes.

    Raises:
        DataError: some sub-folders are called as parts are, but it is not clear what the others are.
    """
    folders = folders_of(folder)
    words = {} if class_names is not None and set(folders) <= set(class_names) else _part_words(folders)
    places = {name: _unpacked(folder, name) for name in words}
    parts = {name: place for name, place in places.items() if set(folders_of(folder / place)) - _NO_CLASSES}
    bare = [name for name in words if name not in parts]
    if not parts:
        return Parts({}, _taken_for_classes(folder, bare) if 1 < len(bare) == len(folders) else ())
    others = [name for name in folders if name not in words]
    bare += [name for name in others if _part_word(name) and not folders_of(folder / name)]
    others = [name for name in others if name not in bare]
    full = [name for name in others if _holds_images(folder / name)]
    if full:
        raise DataError(_unclear(folder, list(parts), f"hold folders, but {_listed(full)} hold images too", folders))
    names = {place: name if name.lower() in WORDS else words[name] for name, place in parts.items()}
    template = "the folders {folders} were taken for the parts of the data, and theirs for classes"
    notes = [Message(template, folders=", ".join(parts))]
    unlabelled = "the folder {folder!r} has images without folders of classes: left out"
    notes += [Message(unlabelled, folder=name) for name in bare]
    notes += [Message("the folder {folder!r} holds no images: left out", folder=name) for name in others]
    return Parts(names, tuple(notes))


def _taken_for_classes(folder: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Return the note on classes that are called as parts are, as images of trains and tests may be.

    Raises:
        DataError: they hold folders of images and labels, so that they are parts.
    """
    if any(folders_of(folder / name) for name in names):
        raise DataError(_unclear(folder, names, "hold no folders of classes", names))
    template = "the folders {folders} are called as parts of a data set are, and were taken for classes"
    return (Message(template, folders=", ".join(names)),)


def _part_words(folders: Sequence[str]) -> dict[str, str]:
    """Return the part that each folder is called after, if any; "seg_train" only beside "seg_test" or the like."""
    read = {name: both for name in folders if (both := _part_word(name)) is not None}
    rests: dict[str, set[str]] = {}
    for word, rest in read.values():
        rests.setdefault(rest, set()).add(word)
    return {name: word for name, (word, rest) in read.items() if not rest or len(rests[rest]) > 1}


def _part_word(name: str) -> tuple[str, str] | None:
    """Return the one word of a name that means a part, and the other words that mean something."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = [_without_end(word) for word in re.findall(r"[^\W\d_]+", spaced.lower())]
    meant = [word for word in words if word in WORDS]
    rest = [word for word in words if word not in WORDS | _FILLERS]
    return (meant[0], " ".join(rest)) if len(meant) == 1 else None


def _without_end(word: str) -> str:
    shorter = [word.removesuffix(end) for end in _ENDS if word.endswith(end) and word.removesuffix(end) in WORDS]
    return shorter[0] if shorter else word


def _unpacked(folder: Path, name: str) -> str:
    """Return the folder, or the one of the same name that is all there is in it, as archives are often unpacked."""
    return f"{name}/{name}" if folders_of(folder / name) == [name] else name


def _holds_images(folder: Path) -> bool:
    return any(Path(file).suffix.lower() in IMAGE_SUFFIXES for _, _, files in os.walk(folder) for file in files)


def _unclear(folder: Path, parts: Sequence[str], what: str, folders: Sequence[str]) -> str:
    return (
        f"{folder}: the folders {_listed(parts)} are called as parts of a data set are, and {what}. Expected "
        f"{parts[0]}/CLASS/1.png; give the folder that has one folder per class, or, if these are the classes, "
        f"class_names=[{', '.join(map(repr, folders[:3]))}{', ...' if len(folders) > 3 else ''}]."
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


_BATCH = 10_000
PART = NAMES[0]
_LAYOUT = "Expected one folder per class, each with images"


def load_folder(folder: Path, class_names: Sequence[str] | None = None, *, bits: int | None = None) -> Dataset:
    """Return the images of a folder with one sub-folder per class; deeper folders belong to their class.

    Where sub-folders are called as parts are (train, val, test_set, ...) and have folders themselves, these are the
    classes, and what lies beside is left out with a note where it has no labels or no images. Folders that are all
    called by whole numbers are class numbers, as in a table. Hidden files and folders, and files that are no images,
    are skipped and counted in the notes.

    Args:
        folder: the data set.
        class_names: names in the order of the labels; None takes all sub-folders by name.
        bits: used of 16-bit samples, None for what each file says.

    Raises:
        DataError: empty, without class folders, with a single one (unless `class_names` is given), or a class folder
            that is not among `class_names`.
    """
    own_parts = find_parts(folder, class_names)
    parts = own_parts.names
    folders = sorted({name for part in parts or {"": ""} for name in folders_of(folder / part)})
    numbers = _numbers(folders, class_names)
    names = tuple(class_names or (numbered_classes(str(folder), max(numbers.values())) if numbers else folders))
    _check_layout(folder, folders, folders if numbers else names, given=class_names is not None)
    place = numbers or {name: k for k, name in enumerate(names)}
    skipped: dict[str, int] = {}
    own = [(PART, pa.string())] if parts else []
    schema = pa.schema([(PATH, pa.string()), (LABEL, pa.int64()), *own])
    table = Table(schema, _batches(folder, parts, place, skipped, schema))
    notes: list[str] = [_skipped_note(suffix, count) for suffix, count in sorted(skipped.items())]
    counts = set(table.whole(LABEL).tolist()) if len(table) else set()
    empty = [name for name, k in place.items() if k not in counts]
    notes += [Message("the class {class_name!r} has no image", class_name=name) for name in empty]
    if numbers and tuple(folders) != names:
        low, *_, high = sorted(numbers, key=lambda name: numbers[name])
        template = "folders called {low} to {high} were taken for class numbers, as in a table"
        notes.append(Message(template, low=low, high=high))
    notes += own_parts.notes
    if not len(table):
        raise DataError(f"{folder}: no image in any class folder. {_LAYOUT} ({', '.join(sorted(IMAGE_SUFFIXES))}).")
    take = table.column(PATH)
    source = DataSource(
        name=str(folder),
        class_names=names,
        count=len(table),
        read=read_row(folder, table, str(folder), bits),
        identify=lambda rows: [str(path) for path in take(rows)],
        labels=table.whole(LABEL),
        columns={PART: table.column(PART)} if parts else {},
        no_groups=(PART,) if parts else (),
        notes=tuple(notes),
    )
    return whole(source)


def _skipped_note(suffix: str, count: int) -> Message:
    ending = suffix or constant("nothing")
    return Message("{count} file(s) ending in {ending} skipped", count=count, ending=ending)


def _numbers(folders: Sequence[str], class_names: Sequence[str] | None) -> dict[str, int]:
    """Return the class number of each folder where all names are whole numbers, as in a table; else nothing."""
    if (
        not folders
        or not all(map(str.isdecimal, folders))
        or (class_names is not None and set(folders) <= set(class_names))
    ):
        return {}
    numbers = {name: number for name in folders if (number := class_number(name)) is not None}
    return numbers if max(numbers.values()) < MOST_CLASSES else {}


def _check_layout(folder: Path, folders: Sequence[str], names: Sequence[str], *, given: bool) -> None:
    if not folders:
        empty = not any(folder.iterdir())
        what = "the folder is empty" if empty else "there are no class folders in it"
        raise DataError(f"{folder}: {what}. {_LAYOUT}: {folder.name}/cats/1.jpg, {folder.name}/dogs/2.jpg.")
    if len(folders) == 1 and not given:
        raise DataError(
            f"{folder}: only one class folder ({folders[0]!r}). A classifier needs two; give that folder where the "
            "classes are in it, or name all classes as `class_names` when this data has images of one class only."
        )
    strange = sorted(set(folders) - set(names))
    if strange:
        raise DataError(f"{folder}: {strange[:3]} are not among the {len(names)} `class_names` given. Check them.")


def _batches(
    folder: Path, parts: Mapping[str, str], place: Mapping[str, int], skipped: dict[str, int], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    rows = _rows(folder, parts, place, skipped)
    while some := list(islice(rows, _BATCH)):
        yield pa.record_batch([list(column) for column in zip(*some, strict=True)], schema=schema)


def _rows(
    folder: Path, parts: Mapping[str, str], place: Mapping[str, int], skipped: dict[str, int]
) -> Iterator[tuple[str | int, ...]]:
    """Yield path, label and, where there are parts, the part of each image."""
    for below, part in (parts or {"": ""}).items():
        for name in folders_of(folder / below):
            for path in _images(folder / below / name, skipped):
                row = (path.relative_to(folder).as_posix(), place[name])
                yield (*row, part) if parts else row


def _images(folder: Path, skipped: dict[str, int]) -> Iterator[Path]:
    """Walk a class folder in the order of names."""
    for entry in sorted(os.scandir(folder), key=lambda item: item.name):
        if hidden(entry.name):
            continue
        if entry.is_dir():
            yield from _images(Path(entry.path), skipped)
        elif Path(entry.name).suffix.lower() in IMAGE_SUFFIXES:
            yield Path(entry.path)
        else:
            suffix = Path(entry.name).suffix.lower()
            skipped[suffix] = skipped.get(suffix, 0) + 1
