"""Every file accounted for, once: used, unreadable, not drawn, or no picture."""

import hashlib
import os
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from xai.audits.store import canonical
from xai.core.seeds import image_key
from xai.datasets import Dataset
from xai.errors import DataError, ImageError

USED, UNREADABLE, NOT_DRAWN, SKIPPED = "used", "unreadable", "not drawn", "no picture"
STATUSES = (USED, UNREADABLE, NOT_DRAWN, SKIPPED)
_SHOWN = 50


@dataclass(frozen=True)
class Line:
    """What became of one file or row.

    Attributes:
        name: identifier in the data, or path below its folder.
        status: one of `STATUSES`.
        key: digest of the pixels in hex, "" where they were not read.
        label: number of the class in the data, None where there is none.
        why: of what could not be used.
    """

    name: str
    status: str
    key: str = ""
    label: int | None = None
    why: str = ""


@dataclass(frozen=True)
class Manifest:
    """All lines of one data set, the used ones in the order of the data.

    Attributes:
        lines: each file or row once.
    """

    lines: tuple[Line, ...]

    @cached_property
    def used(self) -> tuple[Line, ...]:
        """The pictures that are measured."""
        return tuple(line for line in self.lines if line.status == USED)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of pixels and labels of what is used; names and order change nothing."""
        return hashlib.sha256(canonical(sorted([line.key, line.label] for line in self.used))).hexdigest()

    @cached_property
    def content(self) -> bytes:
        """One JSON line per file."""
        return b"".join(canonical(vars(line)) + b"\n" for line in self.lines)

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many files of each status; they add up to all."""
        found = Counter(line.status for line in self.lines)
        return {status: found[status] for status in STATUSES}

    def to_dict(self) -> dict[str, Any]:
        """Return counts that add up to all files, and what could not be used."""
        keys = Counter(line.key for line in self.used)
        return {
            "total": len(self.lines),
            "counts": self.counts,
            "unreadable": [[line.name, line.why] for line in self.lines if line.status == UNREADABLE][:_SHOWN],
            "no_picture": [line.name for line in self.lines if line.status == SKIPPED][:_SHOWN],
            "repeated": sum(count - 1 for count in keys.values()),
            "sha256": hashlib.sha256(self.content).hexdigest(),
            "fingerprint": self.fingerprint,
        }


def read_manifest(data: Dataset, drawn: Dataset) -> tuple[Manifest, np.ndarray]:
    """Read every picture that was drawn once.

    Args:
        data: all pictures.
        drawn: those to measure, of the same source.

    Returns:
        The manifest, and the numbers in `drawn` of the pictures that can be read.

    Raises:
        DataError: none can be read.
    """
    lines, usable = [], []
    labels, ids = drawn.labels, drawn.ids
    for k in range(len(drawn)):
        label = None if labels is None else int(labels[k])
        try:
            pixels = drawn.images.pictures([k])[0].pixels
        except ImageError as error:
            lines.append(Line(ids[k], UNREADABLE, "", label, str(error)))
        else:
            lines.append(Line(ids[k], USED, image_key(pixels).hex(), label))
            usable.append(k)
    if not usable:
        raise DataError(f"{data.name}: none of {len(drawn)} pictures can be read ({lines[0].why}).")
    taken, names = set(drawn.rows.tolist()), data.ids[:]  # at once: one by one takes longer than all the rest
    lines += [Line(name, NOT_DRAWN) for name, row in zip(names, data.rows.tolist(), strict=True) if row not in taken]
    lines += [Line(name, SKIPPED) for name in _other_files(data)]
    return Manifest(tuple(lines)), np.array(usable, dtype=np.int64)


def _other_files(data: Dataset) -> list[str]:
    """Return the files below a folder of pictures that are not among its rows."""
    folder = Path(data.name)
    rows = data.source.count
    names = set(data.source.identify(np.arange(rows))) if folder.is_dir() else set()
    if not names or not all((folder / name).is_file() for name in sorted(names)[:3]):
        return []  # no folder, or one of arrays whose rows are no files
    found = []
    for root, _, files in os.walk(folder):
        found += [(Path(root) / name).relative_to(folder).as_posix() for name in files]
    return sorted(set(found) - names)
