"""Folders that are parts of a data set (train, test_set, ...) and hold those of classes, and what lies beside."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xai.core.door import IMAGE_SUFFIXES
from xai.datasets.parts import WORDS
from xai.errors import DataError

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


def find_parts(folder: Path, classes: Sequence[str] | None) -> Parts:
    """Return the sub-folders that are parts; none where these are the classes themselves.

    Args:
        folder: the data set.
        classes: names of all classes where they are given; sub-folders that are all among them are classes.

    Raises:
        DataError: some sub-folders are called as parts are, but it is not clear what the others are.
    """
    found = folders_of(folder)
    words = {} if classes is not None and set(found) <= set(classes) else _part_words(found)
    places = {name: _unpacked(folder, name) for name in words}
    parts = {name: place for name, place in places.items() if set(folders_of(folder / place)) - _NO_CLASSES}
    bare = [name for name in words if name not in parts]
    if not parts:
        return Parts({}, _taken_for_classes(folder, bare) if 1 < len(bare) == len(found) else ())
    others = [name for name in found if name not in words]
    bare += [name for name in others if _part_word(name) and not folders_of(folder / name)]
    others = [name for name in others if name not in bare]
    full = [name for name in others if _holds_images(folder / name)]
    if full:
        raise DataError(_unclear(folder, list(parts), f"hold folders, but {_listed(full)} hold images too", found))
    names = {place: name if name.lower() in WORDS else words[name] for name, place in parts.items()}
    notes = [f"the folders {', '.join(parts)} were taken for the parts of the data, and theirs for classes"]
    notes += [f"the folder {name!r} has images without folders of classes: left out" for name in bare]
    notes += [f"the folder {name!r} holds no images: left out" for name in others]
    return Parts(names, tuple(notes))


def _taken_for_classes(folder: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Return the note on classes that are called as parts are, as images of trains and tests may be.

    Raises:
        DataError: they hold folders of images and labels, so that they are parts.
    """
    if any(folders_of(folder / name) for name in names):
        raise DataError(_unclear(folder, names, "hold no folders of classes", names))
    return (f"the folders {', '.join(names)} are called as parts of a data set are, and were taken for classes",)


def _part_words(found: Sequence[str]) -> dict[str, str]:
    """Return the part that each folder is called after, if any; "seg_train" only beside "seg_test" or the like."""
    read = {name: both for name in found if (both := _part_word(name)) is not None}
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


def _unclear(folder: Path, parts: Sequence[str], what: str, found: Sequence[str]) -> str:
    return (
        f"{folder}: the folders {_listed(parts)} are called as parts of a data set are, and {what}. Expected "
        f"{parts[0]}/CLASS/1.png; give the folder that has one folder per class, or, if these are the classes, "
        f"classes=[{', '.join(map(repr, found[:3]))}{', ...' if len(found) > 3 else ''}]."
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
