"""Ways to divide pictures into groups: columns as they come, and their intersections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from xai.errors import DataError, InputError, ShapeError

if TYPE_CHECKING:
    import pandas as pd

MISSING = "(missing)"
_MOST = 1000  # groups; more are identifiers
_FEW = 20  # distinct numbers that are taken as names
_PARTS = 4


@dataclass(frozen=True, eq=False)
class Division:
    """One way to divide N pictures.

    Attributes:
        name: of the column, or of columns with " & " between them.
        groups: names of the groups that occur, sorted.
        codes: (N,) int64, the group of each picture.
        note: what was done to the column, or "".
    """

    name: str
    groups: tuple[str, ...]
    codes: np.ndarray = field(repr=False)
    note: str = ""


def divide(columns: Mapping[str, Any], count: int, depth: int) -> list[Division]:
    """Return each column as a division, then all intersections of two to `depth` columns.

    Args:
        columns: (N,) values each: names, whole numbers, booleans; many different numbers become quarters.
        count: N.
        depth: of intersections; 1 makes none.

    Raises:
        InputError: no column.
        ShapeError: another number of values than of pictures.
        DataError: more groups than anyone compares.
    """
    if not columns:
        raise InputError("Expected at least one group column, but got none. Name columns of the data in `groups`.")
    alone = [_division(str(name), values, count) for name, values in columns.items()]
    sizes = range(2, min(depth, len(alone)) + 1)
    return alone + [_cross(parts) for size in sizes for parts in combinations(alone, size)]


def _division(name: str, values: Any, count: int) -> Division:
    import pandas as pd

    listed = pd.Series(values.tolist() if hasattr(values, "tolist") else list(values))
    if len(listed) != count:
        raise ShapeError(f"Expected one value per picture in {name!r}, {count}, but got {len(listed)}. Give (N,).")
    names, note = _names(listed)
    found, codes = np.unique(names, return_inverse=True)
    if len(found) > _MOST:
        raise DataError(
            f"The column {name!r} has {len(found)} different values, more than {_MOST}. Put similar ones together."
        )
    return Division(name, tuple(found.tolist()), codes.astype(np.int64), f"{name}: {note}" if note else "")


def _names(values: "pd.Series") -> tuple[np.ndarray, str]:
    """Return group names (N,), and what was done."""
    import pandas as pd

    missing = values.isna().to_numpy()
    if pd.api.types.is_float_dtype(values) and values.nunique() > _FEW:
        return _quarters(values.to_numpy(), missing)
    if pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")  # whole numbers beside missing ones
    names = values.astype(str).to_numpy(dtype=str).astype(object)
    names[missing] = MISSING
    return names.astype(str), ""


def _quarters(values: np.ndarray, missing: np.ndarray) -> tuple[np.ndarray, str]:
    edges = np.unique(np.quantile(values[~missing], np.linspace(0, 1, _PARTS + 1)[1:-1]))
    place = np.searchsorted(edges, values, side="left")
    shown = [f"{edge:.4g}" for edge in edges]
    names = [f"1: up to {shown[0]}", *(f"{k + 2}: to {edge}" for k, edge in enumerate(shown[1:]))]
    names.append(f"{len(names) + 1}: above {shown[-1]}")
    found = np.array(names, dtype=object)[place]
    found[missing] = MISSING
    return found.astype(str), f"many different numbers, divided at {', '.join(shown)}"


def _cross(parts: Sequence[Division]) -> Division:
    """Return the groups that are alike in all parts; those that occur."""
    codes = np.zeros(len(parts[0].codes), dtype=np.int64)
    for part in parts:
        codes = codes * len(part.groups) + part.codes
    found, place = np.unique(codes, return_inverse=True)
    names = []
    for code in found.tolist():
        picked: list[str] = []
        for part in reversed(parts):
            code, own = divmod(code, len(part.groups))
            picked.append(part.groups[own])
        names.append(" & ".join(reversed(picked)))
    return Division(" & ".join(part.name for part in parts), tuple(names), place.astype(np.int64))
