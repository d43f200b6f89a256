"""The table of images, its division into groups, and counts by group, label and prediction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

from xai.core.results.message import Message
from xai.errors import DataError, InputError, NameLookupError, RangeError, ShapeError

if TYPE_CHECKING:
    import pandas as pd

MISSING = "(missing)"
_MOST = 1000  # groups; more are identifiers
_FEW = 20  # distinct numbers that are taken as names
_PARTS = 4
Class = int | tuple[int, int] | None


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
        ground_truth, predicted = _flat("labels", labels), _flat("predictions", predictions)
        names = _class_names(ground_truth, predicted, classes)
        count = len(ground_truth)
        if count == 0:
            raise DataError("Expected at least one image, but got none. Give labels and predictions.")
        _same_length("predictions", predicted, count)
        scores = None if confidence is None else _flat("confidence", confidence).astype(np.float64)
        if scores is not None:
            _same_length("confidence", scores, count)
            if not bool(((scores >= 0) & (scores <= 1 + 1e-6)).all()):
                raise RangeError(
                    "Expected `confidence` in [0, 1], the probability of the prediction. Pass probabilities."
                )
            scores = np.minimum(scores, 1)
        more = {name: _extra(name, values, count, taken) for name, values in (extra or {}).items()}
        return cls(
            _numbers("labels", ground_truth, names), _numbers("predictions", predicted, names), scores, more, names
        )


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


@dataclass(frozen=True, eq=False)
class Cube:
    """Counts by group, label and prediction, only those that occur.

    Attributes:
        groups: number of groups.
        classes: number of classes.
        group: (M,) group of each cell.
        label: (M,) true class.
        prediction: (M,) predicted class.
        count: (M,) images in it, above 0.
    """

    groups: int
    classes: int
    group: np.ndarray = field(repr=False)
    label: np.ndarray = field(repr=False)
    prediction: np.ndarray = field(repr=False)
    count: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, codes: np.ndarray, labels: np.ndarray, predictions: np.ndarray, groups: int, classes: int) -> "Cube":
        """Count images by group code, label and prediction, (N,) each."""
        cell = (codes.astype(np.int64) * classes + labels) * classes + predictions
        cells, count = np.unique(cell, return_counts=True)
        rest, prediction = np.divmod(cells, classes)
        group, label = np.divmod(rest, classes)
        return cls(groups, classes, group, label, prediction, count)

    def by_group(self, where: np.ndarray | None = None) -> np.ndarray:
        """Return images per group (G,), of some cells or of all."""
        return self._sums(self.group, self.groups, where)

    def by_class(self, of: np.ndarray, where: np.ndarray | None = None) -> np.ndarray:
        """Return images (K, G) by `of`, which is `label` or `said`, and group."""
        flat = self._sums(of * self.groups + self.group, self.classes * self.groups, where)
        return flat.reshape(self.classes, self.groups)

    def dense(self) -> np.ndarray:
        """Return all counts (G, K, K)."""
        counts = np.zeros((self.groups, self.classes, self.classes), dtype=np.int64)
        counts[self.group, self.label, self.prediction] = self.count
        return counts

    def _sums(self, places: np.ndarray, size: int, where: np.ndarray | None) -> np.ndarray:
        selected = slice(None) if where is None else where
        return np.bincount(places[selected], self.count[selected], size).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Rates:
    """One rate for each of I classes: hits of totals, (I, G) each."""

    classes: list[Class]
    hits: np.ndarray
    totals: np.ndarray


def accuracy(cube: Cube) -> Rates:
    """Return the share of images answered right."""
    return Rates([None], cube.by_group(cube.label == cube.prediction)[None], cube.by_group()[None])


def recall(cube: Cube) -> Rates:
    """Return the share of each class that is recognised."""
    return Rates([*range(cube.classes)], _right(cube), cube.by_class(cube.label))


def false_negative_rate(cube: Cube) -> Rates:
    """Return the share of each class that is missed."""
    totals = cube.by_class(cube.label)
    return Rates([*range(cube.classes)], totals - _right(cube), totals)


def precision(cube: Cube) -> Rates:
    """Return the share of answers of each class that are right."""
    return Rates([*range(cube.classes)], _right(cube), cube.by_class(cube.prediction))


def false_positive_rate(cube: Cube) -> Rates:
    """Return the share of the images of other classes that is taken for each class."""
    hits = cube.by_class(cube.prediction) - _right(cube)
    return Rates([*range(cube.classes)], hits, cube.by_group() - cube.by_class(cube.label))


def selection_rate(cube: Cube) -> Rates:
    """Return the share of images answered as each class."""
    hits = cube.by_class(cube.prediction)
    return Rates([*range(cube.classes)], hits, np.broadcast_to(cube.by_group(), hits.shape))


def confusion(cube: Cube) -> Rates:
    """Return how often each class is taken for each other one, where that occurs at all."""
    wrong = cube.label != cube.prediction
    pairs, place = np.unique(cube.label[wrong] * cube.classes + cube.prediction[wrong], return_inverse=True)
    hits = np.zeros((len(pairs), cube.groups), dtype=np.int64)
    np.add.at(hits, (place, cube.group[wrong]), cube.count[wrong])
    labels, predictions = np.divmod(pairs, cube.classes)
    classes: list[Class] = list(zip(labels.tolist(), predictions.tolist(), strict=True))
    return Rates(classes, hits, cube.by_class(cube.label)[labels])


def _right(cube: Cube) -> np.ndarray:
    return cube.by_class(cube.label, cube.label == cube.prediction)


RATES: dict[str, Callable[[Cube], Rates]] = {
    rate.__name__: rate
    for rate in (
        accuracy,
        recall,
        false_negative_rate,
        precision,
        false_positive_rate,
        selection_rate,
        confusion,
    )
}


@dataclass(frozen=True)
class Amplification:
    """Bias amplification from groups to answers.

    Attributes:
        column: what divides the images.
        value: mean over groups and classes of the change of P(class | group) from labels to answers, counted positive
            where it deepens what the labels already show. 0 for answers equal to the labels; above 0: amplified.
        interval: 95 %, with the directions that the labels show taken as given.
        where: group and class with the largest change in that sense, "" when nothing changes.
        change: that change.
    """

    column: str
    value: float
    interval: tuple[float, float]
    where: str
    change: float


def amplification(cube: Cube, column: str, groups: Sequence[str], classes: Sequence[str]) -> Amplification:
    """Return the bias amplification of the answers against the labels.

    Only the direction from groups to answers: there is no prediction of the group.

    Source: Wang & Russakovsky 2021, equation 4 (A -> T); classes that do not occur at all are left out.
    """
    ground_truth, predicted = cube.by_class(cube.label), cube.by_class(cube.prediction)
    known = (ground_truth + predicted).sum(1) > 0
    size = cube.by_group()
    direction = np.where(ground_truth * size.sum() > ground_truth.sum(1, keepdims=True) * size, 1.0, -1.0)
    weight = direction / (size * known.sum() * len(size)) * known[:, None]
    change = direction * (predicted - ground_truth) / size
    moved = weight[cube.prediction, cube.group] - weight[cube.label, cube.group]
    mean = np.bincount(cube.group, cube.count * moved, len(size)) / size
    square = np.bincount(cube.group, cube.count * (moved - mean[cube.group]) ** 2, len(size))
    half = float(scipy.stats.norm.ppf(0.975) * np.sqrt((square * size / np.maximum(size - 1, 1)).sum()))
    value = float((cube.count * moved).sum())
    largest, (label, group) = float(change.max()), np.unravel_index(int(change.argmax()), change.shape)
    where = f"{groups[int(group)]} / {classes[int(label)]}" if largest > 0 else ""
    return Amplification(column, value, (value - half, value + half), where, max(largest, 0.0))
