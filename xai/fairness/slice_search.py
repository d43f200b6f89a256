"""The search for weak slices on one half of the images.

It finds tails, trees and clusters where errors are frequent.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import scipy

from xai.core.results.message import Message, constant, joined
from xai.core.runtime.batching import ShouldStop
from xai.errors import Stopped
from xai.fairness.per_image_outcomes import PROPERTIES

CLASS, NEAREST = "class", "nearest class"


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of N images.

    Attributes:
        wrong: (N,) bool, whether the answer is.
        properties: by name, (N,) numbers.
        codes: by name, (N,) int64: the class, the nearest other class, clusters.
        classes: names.
    """

    wrong: np.ndarray
    properties: Mapping[str, np.ndarray]
    codes: Mapping[str, np.ndarray]
    classes: Sequence[str] = field(repr=False)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.wrong)

    @property
    def labels(self) -> np.ndarray:
        """The truth (N,)."""
        return self.codes[CLASS]

    @property
    def clusters(self) -> list[str]:
        """Names of the clusterings."""
        return [name for name in self.codes if name not in {CLASS, NEAREST}]

    def take(self, rows: np.ndarray) -> "Facts":
        """Return the facts of some images."""
        properties, codes = ({n: v[rows] for n, v in part.items()} for part in (self.properties, self.codes))
        return Facts(self.wrong[rows], properties, codes, self.classes)


_CLUSTER = "cluster of "  # begins the name of a column of clusters, before their number


@dataclass(frozen=True)
class SliceCondition:
    """One condition on an image.

    Attributes:
        column: a property or a code.
        low: that a property must be above; or
        high: that it must not be above; or
        value: that a code must have.
    """

    column: str
    low: float | None = None
    high: float | None = None
    value: int | None = None

    def holds(self, facts: Facts) -> np.ndarray:
        """Return (N,) bool."""
        if self.value is not None:
            return np.asarray(facts.codes[self.column] == self.value)
        values = facts.properties[self.column]
        return np.asarray(values > self.low if self.low is not None else values <= self.high)

    def rule(self, classes: Sequence[str]) -> Message:
        """Return the condition as it is computed."""
        if self.value is not None and self.column.startswith(_CLUSTER):
            total = int(self.column.removeprefix(_CLUSTER))
            return Message("cluster of {total} is {number}", total=total, number=self.value)
        column = constant(self.column)
        if self.value is not None:
            return Message("{column} is {class_name!r}", column=column, class_name=classes[self.value])
        if self.low is not None:
            return Message("{column} > {limit:.4g}", column=column, limit=self.low)
        return Message("{column} <= {limit:.4g}", column=column, limit=self.high)


def describe(conditions: Sequence[SliceCondition], classes: Sequence[str]) -> Message:
    """Return conditions in words: "dark and low-contrast images of class 'Shirt'"."""
    qualities: list[Message] = []
    details: list[Message] = []
    for condition in conditions:
        words = _words(condition, classes)
        (details if str(words).startswith(("with ", "of class", "that look")) else qualities).append(words)
    details.sort(key=lambda words: not words.startswith("of class"))
    parts = {"qualities": joined(qualities, " and ")} if qualities else {}
    parts |= {"details": joined(details, " ")} if details else {}
    places = ["{qualities}"] * bool(qualities) + ["images"] + ["{details}"] * bool(details)
    return Message(" ".join(places), **parts)


def _words(condition: SliceCondition, classes: Sequence[str]) -> Message:
    name = condition.column
    if condition.value is not None:
        template = "that look like '{class_name}'" if name == NEAREST else "of class '{class_name}'"
        return Message(template, class_name=classes[condition.value])
    if name in PROPERTIES:
        return Message(PROPERTIES[name].low if condition.low is None else PROPERTIES[name].high)
    return Message("with low {property}" if condition.low is None else "with high {property}", property=name)


_DIMENSIONS = 32
_IMAGES_PER_CLUSTER, _CLUSTERS = 100, (4, 48)


class Space:
    """What is learned from the embeddings of one half.

    Args:
        features: (n, D).
        labels: (n,) the truth.
        seed: of the clustering.
    """

    def __init__(self, features: np.ndarray, labels: np.ndarray, seed: int) -> None:
        from sklearn.cluster import KMeans
        from sklearn.decomposition import PCA

        self._empty = not np.ptp(features, axis=0).any()  # all images look alike to the model: there are no places
        if self._empty:
            return
        count = min(_DIMENSIONS, features.shape[1], len(features) - 1)
        self._axes = PCA(count, random_state=seed % (1 << 32)).fit(features)
        placed = self._axes.transform(features)
        self._labels = np.unique(labels)
        self._means = np.stack([placed[labels == label].mean(0) for label in self._labels])
        fine = int(np.clip(len(features) // _IMAGES_PER_CLUSTER, *_CLUSTERS))
        self._clusters = {
            f"{_CLUSTER}{number}": KMeans(number, n_init=1, random_state=seed % (1 << 32)).fit(placed)
            for number in sorted({fine, max(2, fine // 4)})
        }

    def codes(self, features: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
        """Return the nearest other class and the clusters of images, by name, (n,) int64 each."""
        if self._empty:
            return {}
        placed = self._axes.transform(features)
        square = (self._means**2).sum(1) - 2 * placed @ self._means.T
        square[self._labels == labels[:, None]] = np.inf
        nearest = {NEAREST: self._labels[square.argmin(1)]} if len(self._labels) > 1 else {}
        return nearest | {name: model.predict(placed).astype(np.int64) for name, model in self._clusters.items()}


MOST = 40  # slices that are tested on the other half
_SMALLEST, _SMALLEST_SHARE = 20, 0.005  # images of a slice
_TAILS = (0.1, 0.25)
_DEPTH = 3
_SAME = 0.9  # overlap (Jaccard) from which two candidates are the same
_TYPICAL = 0.6  # share of one class from which a cluster is named after it
_APART = 0.5  # standard deviations from which a property describes a cluster
_CLASSES = 100  # the most frequent ones are looked at
Limits = dict[tuple[str, int | None], tuple[float, float]]


@dataclass(frozen=True)
class Candidate:
    """A slice that may be weak.

    Attributes:
        kind: "rule" or "cluster".
        words: what it is.
        conditions: all of which an image must fulfil.
    """

    kind: str
    words: str
    conditions: tuple[SliceCondition, ...]

    def members(self, facts: Facts) -> np.ndarray:
        """Return who belongs to it (N,) bool."""
        return np.asarray(np.logical_and.reduce([each.holds(facts) for each in self.conditions]))

    def p_value(self, facts: Facts) -> float:
        """Return the exact p-value that answers are wrong no more often inside than outside.

        With several conditions each must matter: outside is, in turn, what fulfils all the others, and the largest
        p-value counts. One-sided, hypergeometric (Fisher).
        """
        fulfilled = [each.holds(facts) for each in self.conditions]
        inside, everything = np.logical_and.reduce(fulfilled), np.ones(len(facts), dtype=bool)
        others = [
            np.logical_and.reduce([everything, *fulfilled[:k], *fulfilled[k + 1 :]]) for k in range(len(fulfilled))
        ]
        return max(fisher(facts.wrong, inside, around) for around in others)


def fisher(wrong: np.ndarray, inside: np.ndarray, around: np.ndarray) -> float:
    """Return P(at least so many wrong inside) when the wrong ones of `around` (N,) fall on its images at random."""
    hits = int((wrong & inside).sum())
    return float(scipy.stats.hypergeom.sf(hits - 1, int(around.sum()), int((wrong & around).sum()), int(inside.sum())))


def search(facts: Facts, seed: int, should_stop: ShouldStop | None = None) -> list[Candidate]:
    """Return the most suspicious slices, at most `MOST`, none of them nearly the same as another.

    Raises:
        Stopped: `should_stop()` was true; it is asked for each candidate.
    """
    rules = dict.fromkeys(asking(_rules(facts, seed), should_stop))
    made = [_of_conditions(conditions, facts) for conditions in rules]
    made += _clusters(facts)
    members = [candidate.members(facts) for candidate in asking(made, should_stop)]
    large = [k for k, own in enumerate(members) if least_size(len(facts)) <= own.sum() < len(facts)]
    p = {k: made[k].p_value(facts) for k in asking(large, should_stop)}
    chosen: list[int] = []
    for k in sorted((k for k in large if p[k] < 0.5), key=lambda k: (p[k], k)):
        if len(chosen) < MOST and all(overlap(members[k], members[j]) < _SAME for j in chosen):
            chosen.append(k)
    return [made[k] for k in chosen]


def asking(items: Iterable[Any], should_stop: ShouldStop | None) -> Iterator[Any]:
    """Yield each item after asking whether to go on.

    Raises:
        Stopped: `should_stop()` was true.
    """
    for item in items:
        if should_stop is not None and should_stop():
            raise Stopped("Stopped while searching, as asked.")
        yield item


def least_size(count: int) -> int:
    """Return how many of `count` images a slice must have."""
    return max(_SMALLEST, int(_SMALLEST_SHARE * count))


def overlap(first: np.ndarray, other: np.ndarray) -> float:
    """Return shared members over all members (Jaccard) of two slices (N,) bool."""
    return float((first & other).sum() / max(1, (first | other).sum()))


def _of_conditions(conditions: tuple[SliceCondition, ...], facts: Facts) -> Candidate:
    return Candidate("rule", describe(conditions, facts.classes), conditions)


def _rules(facts: Facts, seed: int) -> Iterator[tuple[SliceCondition, ...]]:
    """Yield conjunctions: classes, tails of properties, and the nodes of shallow trees."""
    labels = _frequent(facts.labels, least_size(len(facts)))
    yield from ((SliceCondition(CLASS, value=label),) for label in labels)
    for name, values in facts.properties.items():
        for tail in _TAILS:
            yield (SliceCondition(name, high=float(np.quantile(values, tail))),)
            yield (SliceCondition(name, low=float(np.quantile(values, 1 - tail))),)
    everything = np.ones(len(facts), dtype=bool)
    yield from _nodes(facts, [*facts.properties, CLASS, NEAREST], everything, (), seed)
    for pair in combinations(facts.properties, 2):
        yield from _nodes(facts, pair, everything, (), seed)
    for label in labels:
        given = (SliceCondition(CLASS, value=label),)
        yield from _nodes(facts, [*facts.properties, NEAREST], facts.labels == label, given, seed)


def _frequent(values: np.ndarray, least: int) -> list[int]:
    classes, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_CLASSES]
    return [int(classes[k]) for k in order if counts[k] >= least]


def _nodes(
    facts: Facts, columns: Sequence[str], rows: np.ndarray, given: tuple[SliceCondition, ...], seed: int
) -> Iterator[tuple[SliceCondition, ...]]:
    """Yield the conditions of every node of a shallow tree that tells wrong answers from right ones."""
    from sklearn.tree import DecisionTreeClassifier

    smallest, wrong = least_size(len(facts)), facts.wrong[rows]
    inputs = [part for name in columns for part in _inputs(facts, name, smallest)]
    if not inputs or len(wrong) < 2 * smallest or wrong.all() or not wrong.any():
        return
    table = np.stack([values[rows] for _, _, values in inputs], 1)
    settings = {"min_samples_leaf": smallest, "random_state": seed % (1 << 32)}
    grown = DecisionTreeClassifier(max_depth=_DEPTH - len(given), **settings).fit(table, wrong).tree_
    stack: list[tuple[int, Limits]] = [(0, {})]
    while stack:
        node, limits = stack.pop()
        yield from _conditions(limits, given)
        if grown.children_left[node] >= 0:
            column, cut = inputs[grown.feature[node]][:2], float(grown.threshold[node])
            low, high = limits.get(column, (-np.inf, np.inf))
            stack.append((int(grown.children_left[node]), limits | {column: (low, min(high, cut))}))
            stack.append((int(grown.children_right[node]), limits | {column: (max(low, cut), high)}))


def _inputs(facts: Facts, name: str, least: int) -> list[tuple[str, int | None, np.ndarray]]:
    """Return the columns of a tree: a property as it is, one column for each frequent code."""
    if name in facts.properties:
        return [(name, None, facts.properties[name])]
    codes = facts.codes.get(name, np.empty(0, dtype=np.int64))
    return [(name, value, (codes == value).astype(np.float64)) for value in _frequent(codes, least)]


def _conditions(limits: Limits, given: tuple[SliceCondition, ...]) -> Iterator[tuple[SliceCondition, ...]]:
    """Yield the conditions of a node, if it is no narrow band of a property; classes that it rules out are left out."""
    conditions = []
    for (name, value), (low, high) in limits.items():
        if value is not None:
            conditions += [SliceCondition(name, value=value)] if low > 0 else []
        elif np.isfinite(low) and np.isfinite(high):
            return
        else:
            conditions.append(SliceCondition(name, low=low) if np.isfinite(low) else SliceCondition(name, high=high))
    if conditions:
        yield (*given, *conditions)


def _clusters(facts: Facts) -> Iterator[Candidate]:
    """Yield the clusters, described by what sets them apart."""
    for name in facts.clusters:
        for number in np.unique(facts.codes[name]).tolist():
            condition = SliceCondition(name, value=int(number))
            yield Candidate("cluster", _cluster_words(facts, condition.holds(facts)), (condition,))


def _cluster_words(facts: Facts, own: np.ndarray) -> Message:
    """Return what sets a cluster apart: the two properties furthest off, and its most frequent classes."""
    gaps = {name: _gap(values, own) for name, values in facts.properties.items()}
    apart = [name for name in sorted(gaps, key=lambda name: -abs(gaps[name]))[:2] if abs(gaps[name]) >= _APART]
    conditions = [SliceCondition(name, low=0.0) if gaps[name] > 0 else SliceCondition(name, high=0.0) for name in apart]
    labels, counts = np.unique(facts.labels[own], return_counts=True)
    top = labels[np.argsort(-counts, kind="stable")][: 1 if counts.max() >= _TYPICAL * own.sum() else 2]
    names = [repr(facts.classes[label]) for label in top.tolist()]
    slice_words = describe(conditions, facts.classes)
    if len(names) == 1:
        return Message("similar {slice} (mostly {first})", slice=slice_words, first=names[0])
    return Message("similar {slice} (mostly {first} and {second})", slice=slice_words, first=names[0], second=names[1])


def _gap(values: np.ndarray, own: np.ndarray) -> float:
    """Return by how many standard deviations the mean of some images is off."""
    spread = float(values.std())
    return float(values[own].mean() - values.mean()) / spread if spread > 0 else 0.0
