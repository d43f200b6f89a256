"""The table of images, and the ways to divide them into groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from xai.core.results.message import Message
from xai.errors import DataError, InputError, NameLookupError, RangeError, ShapeError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class ImageTable:
    """N images.

    Attributes:
        labels: (N,) int64, the truth.
        predictions: (N,) int64.
        confidence: (N,) in [0, 1], or None.
        extra: further numbers by name, (N,) float64 each; nan where they do not apply.
        classes: names.
    """

    labels: np.ndarray = field(repr=False)
    predictions: np.ndarray = field(repr=False)
    confidence: np.ndarray | None = field(repr=False)
    extra: Mapping[str, np.ndarray] = field(repr=False)
    classes: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    @classmethod
    def of(
        cls,
        labels: Any,
        predictions: Any,
        confidence: Any = None,
        extra: Mapping[str, Any] | None = None,
        classes: Sequence[str] | None = None,
        taken: Sequence[str] = (),
    ) -> "ImageTable":
        """Return checked rows; labels and predictions are class numbers or names.

        Raises:
            ShapeError: arrays of different lengths.
            DataError: no image, or a class outside `classes`.
            RangeError: a confidence outside [0, 1].
            NameLookupError: a further number with the name of a metric.
        """
        truth, answers = _flat("labels", labels), _flat("predictions", predictions)
        names = _class_names(truth, answers, classes)
        count = len(truth)
        if count == 0:
            raise DataError("Expected at least one image, but got none. Give labels and predictions.")
        _same_length("predictions", answers, count)
        sure = None if confidence is None else _flat("confidence", confidence).astype(np.float64)
        if sure is not None:
            _same_length("confidence", sure, count)
            if not bool(((sure >= 0) & (sure <= 1 + 1e-6)).all()):
                raise RangeError("Expected `confidence` in [0, 1], the probability of the answer. Pass probabilities.")
            sure = np.minimum(sure, 1)
        more = {name: _extra(name, values, count, taken) for name, values in (extra or {}).items()}
        return cls(_numbers("labels", truth, names), _numbers("predictions", answers, names), sure, more, names)


def _flat(name: str, values: Any) -> np.ndarray:
    flat = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    if flat.ndim != 1 or flat.dtype.kind not in "biufUO":
        raise ShapeError(f"Expected `{name}` as (N,) numbers or names, but got {flat.dtype} {flat.shape}.")
    return flat


def _same_length(name: str, values: np.ndarray, count: int) -> None:
    if len(values) != count:
        raise ShapeError(f"Expected `{name}` for {count} images, one each, but got {len(values)}. Give (N,) values.")


def _class_names(labels: np.ndarray, predictions: np.ndarray, classes: Sequence[str] | None) -> tuple[str, ...]:
    if classes is not None:
        return tuple(map(str, classes))
    both = np.concatenate([labels, predictions])
    if both.dtype.kind in "UO":
        return tuple(sorted({str(name) for name in both.tolist()}))
    return tuple(str(k) for k in range(int(both.max(initial=0)) + 1))


def _numbers(name: str, values: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    if values.dtype.kind in "UO":
        place = {label: k for k, label in enumerate(classes)}
        strange = sorted({str(value) for value in values.tolist()} - set(place))
        if strange:
            raise DataError(f"Expected `{name}` among {len(classes)} classes, but got {strange[:3]}. Check `classes`.")
        return np.array([place[str(value)] for value in values.tolist()], dtype=np.int64)
    whole = values.astype(np.int64)
    if not np.array_equal(whole, values) or whole.min() < 0 or whole.max() >= len(classes):
        raise DataError(
            f"Expected `{name}` as whole numbers from 0 to {len(classes) - 1}, but got {values.min()} to "
            f"{values.max()}. Count classes from 0, and name all of them in `classes`."
        )
    return whole


def _extra(name: str, values: Any, count: int, taken: Sequence[str]) -> np.ndarray:
    if name in taken:
        raise NameLookupError("free name for a further metric", name, [f"{name} of mine"])
    numbers = _flat(f"extra[{name!r}]", values).astype(np.float64)
    _same_length(f"extra[{name!r}]", numbers, count)
    if bool(np.isinf(numbers).any()):
        raise RangeError(f"Expected finite numbers in extra[{name!r}], or nan where it does not apply.")
    return numbers


MISSING = "(missing)"
_MOST = 1000  # groups; more are identifiers
_FEW = 20  # distinct numbers that are taken as names
_PARTS = 4


@dataclass(frozen=True, eq=False)
class Division:
    """One way to divide N images.

    Attributes:
        name: of the column, or of columns with " & " between them.
        groups: names of the groups that occur, sorted.
        codes: (N,) int64, the group of each image.
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
        ShapeError: another number of values than of images.
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
        raise ShapeError(f"Expected one value per image in {name!r}, {count}, but got {len(listed)}. Give (N,).")
    names, note = _names(listed)
    groups, codes = np.unique(names, return_inverse=True)
    if len(groups) > _MOST:
        raise DataError(
            f"The column {name!r} has {len(groups)} different values, more than {_MOST}. Put similar ones together."
        )
    return Division(
        name,
        tuple(groups.tolist()),
        codes.astype(np.int64),
        Message("{name}: {note}", name=name, note=note) if note else "",
    )


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
    quarters = np.array(names, dtype=object)[place]
    quarters[missing] = MISSING
    return quarters.astype(str), Message("many different numbers, divided at {edges}", edges=", ".join(shown))


def _cross(parts: Sequence[Division]) -> Division:
    """Return the groups that are alike in all parts; those that occur."""
    codes = np.zeros(len(parts[0].codes), dtype=np.int64)
    for part in parts:
        codes = codes * len(part.groups) + part.codes
    present, place = np.unique(codes, return_inverse=True)
    names = []
    for code in present.tolist():
        picked: list[str] = []
        for part in reversed(parts):
            code, own = divmod(code, len(part.groups))
            picked.append(part.groups[own])
        names.append(" & ".join(reversed(picked)))
    return Division(" & ".join(part.name for part in parts), tuple(names), place.astype(np.int64))
