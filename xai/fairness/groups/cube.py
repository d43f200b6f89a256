"""Counts of group, class and prediction, from which every rate is read, and bias amplification."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy

Class = int | tuple[int, int] | None


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
    truth, predicted = cube.by_class(cube.label), cube.by_class(cube.prediction)
    known = (truth + predicted).sum(1) > 0
    size = cube.by_group()
    direction = np.where(truth * size.sum() > truth.sum(1, keepdims=True) * size, 1.0, -1.0)
    weight = direction / (size * known.sum() * len(size)) * known[:, None]
    change = direction * (predicted - truth) / size
    moved = weight[cube.prediction, cube.group] - weight[cube.label, cube.group]
    mean = np.bincount(cube.group, cube.count * moved, len(size)) / size
    square = np.bincount(cube.group, cube.count * (moved - mean[cube.group]) ** 2, len(size))
    half = float(scipy.stats.norm.ppf(0.975) * np.sqrt((square * size / np.maximum(size - 1, 1)).sum()))
    value = float((cube.count * moved).sum())
    largest, (label, group) = float(change.max()), np.unravel_index(int(change.argmax()), change.shape)
    where = f"{groups[int(group)]} / {classes[int(label)]}" if largest > 0 else ""
    return Amplification(column, value, (value - half, value + half), where, max(largest, 0.0))
