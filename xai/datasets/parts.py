"""Parts of a data set: which column says what is for training, validation or test."""

from dataclasses import replace

import numpy as np

from xai.datasets.base import Dataset, Source
from xai.errors import NameLookupError

NAMES = ("part", "split", "partition", "fold", "subset", "set")
_SURE = frozenset(NAMES[:4])  # "subset" and "set" may be anything, unless a value is a part's usual name
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
        if column not in source.columns:
            raise NameLookupError(f"column of {data.name}", column, list(source.columns))
        return replace(data, source=replace(source, part=column, no_groups=(column,)))
    for name in NAMES:
        found = next((own for own in source.columns if own.strip().lower() == name), None)
        values = None if found is None else _values(source, found)
        if found is not None and values and (name in _SURE or {value.lower() for value in values} & WORDS):
            told = (*source.notes, _told(found, values))
            return replace(data, source=replace(source, part=found, no_groups=(found,), notes=told))
    return data


def _values(source: Source, column: str) -> list[str]:
    """Return the values of a column; none where they are too many for parts."""
    found: set[str] = set()
    for start in range(0, source.count, _READ):
        found |= set(source.columns[column](np.arange(start, min(source.count, start + _READ))).astype(str).tolist())
        if len(found) > _MOST:
            return []
    return sorted(found)


def _told(column: str, values: list[str]) -> str:
    return f"the column {column!r} was taken for the parts of the data ({', '.join(values)}), and is no group"
