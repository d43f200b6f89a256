"""`data_faults`: images that occur twice, labels that are probably wrong, broken images, unequal classes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy
from torch import nn

from xai.core.images.border import classes_of, open_data
from xai.core.labels import labels_of
from xai.core.model.classifier import Classifier, as_classifier
from xai.core.model.features import Outputs
from xai.core.results.message import Message
from xai.core.results.result import Provenance
from xai.core.runtime.batching import Progress, ShouldStop, reporting
from xai.core.validation import check_seed
from xai.errors import NameLookupError
from xai.fairness.data_fault_result import DataFaults, DuplicatePair, Fault
from xai.fairness.duplicate_verification import Matches, verify
from xai.fairness.duplicates import TURNS, candidates
from xai.fairness.groups.questions import draws_of
from xai.fairness.label_errors import (
    CONSTANT,
    Effect,
    SmallImages,
    SuspectLabel,
    counted,
    effect_of_balance,
    effect_of_leaving_out,
    images_of,
    out_of_fold,
    read_small,
    side_of,
    suspects_of,
)

CHECKS = ("broken", "duplicates", "labels", "imbalance")
_UNEQUAL = 3.0  # times as many images in the largest class as in the smallest
_SIGNIFICANT = 1e-3  # p-value below which classes are not of one size
_SHOWN = 12  # images kept for the figure


@dataclass(frozen=True, eq=False)
class Findings:
    """What is known of a data set of N images.

    Attributes:
        own: its images.
        other: those of train, or None.
        size: N.
        labels: (N,) int64, or None.
        train_labels: of train, or None.
        classes: names.
        right: (N,) bool, whether each answer is right; None without model or labels.
        predicted: (N,) bool, whether there is an answer.
        features: (answered, D) of the model, or None.
        seed: of folds and resamples.
        model: name and fingerprint.
        notes: what was done.
    """

    own: SmallImages
    other: SmallImages | None
    size: int
    labels: np.ndarray | None
    train_labels: np.ndarray | None
    classes: tuple[str, ...]
    right: np.ndarray | None
    predicted: np.ndarray
    features: np.ndarray | None = field(repr=False)
    seed: int
    classifier: Classifier | None
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        classifier: Classifier | None,
        data: Any,
        labels: Any,
        train: Any,
        images: tuple[SmallImages, SmallImages | None],
        outputs: Outputs | None,
        seed: int,
    ) -> "Findings":
        """Put together what was read; labels may be missing."""
        own, other = images
        size = len(images_of(data))
        ground_truth, notes = _labels(classifier, data, labels, size)
        predicted = np.zeros(size, dtype=bool)
        predicted[own.readable] = outputs is not None
        right = None
        if outputs is not None and ground_truth is not None:
            right = np.zeros(size, dtype=bool)
            right[own.readable] = outputs.logits.argmax(1).numpy() == ground_truth[own.readable]
        features = None
        if outputs is not None:
            features = (outputs.logits if outputs.features is None else outputs.features).numpy()
            notes = [*notes, *outputs.notes]
        trained = None if getattr(train, "labels", None) is None else _labels(classifier, train, None, len(train))[0]
        names = classes_of(data)
        return cls(
            own=own,
            other=other,
            size=size,
            labels=ground_truth,
            train_labels=trained,
            classes=names if classifier is None else classifier.class_names,
            right=right,
            predicted=predicted,
            features=features,
            seed=seed,
            classifier=classifier,
            notes=tuple(notes),
        )

    def result(self, names: tuple[str, ...], checks: Sequence[str], should_stop: ShouldStop | None) -> DataFaults:
        """Return the findings of the checks asked for."""
        matches = self._compare(should_stop) if "duplicates" in checks else None
        pairs = [] if matches is None else self._pairs(matches)
        suspects = self._suspects() if "labels" in checks else []
        faults_by_check = {
            "broken": [self._broken()],
            "duplicates": [self._leak(pairs), self._duplicates(pairs)],
            "labels": [self._wrong_labels(suspects)],
            "imbalance": [self._imbalance()],
        }
        counts = [] if self.labels is None else np.bincount(self.labels, minlength=len(self.classes)).tolist()
        return DataFaults(
            findings=tuple(fault for check in checks for fault in faults_by_check[check] if fault is not None),
            pairs=tuple(pairs),
            suspects=tuple(suspects),
            broken=(*self.own.broken, *(self.other.broken if self.other is not None else ())),
            counts=tuple(counts),
            class_names=self.classes,
            size=self.size,
            train_size=0 if self.other is None else len(self.other.rows) + len(self.other.broken),
            pair_images=_shown_pairs(self._small, matches),
            suspect_images=self._shown_suspects(suspects),
            provenance=Provenance.of(self.classifier, {"checks": checks}, self.seed, {"names": names}),
            notes=self.notes,
        )

    @property
    def _small(self) -> np.ndarray:
        return self.own.small if self.other is None else np.concatenate([self.own.small, self.other.small])

    def _compare(self, should_stop: ShouldStop | None) -> Matches:
        colour = self.own.colour if self.other is None else np.concatenate([self.own.colour, self.other.colour])
        features = self._features_of(self.own.rows) if self.other is None else None
        matches = verify(self._small, colour, candidates(self._small, features, should_stop), should_stop)
        return matches.ordered()

    def _features_of(self, rows: np.ndarray) -> np.ndarray | None:
        if self.features is None:
            return None
        place = np.cumsum(self.predicted) - 1
        features: np.ndarray = self.features[place[rows]]
        return features

    def _pairs(self, matches: Matches) -> list[DuplicatePair]:
        columns = (matches.first, matches.second, matches.turn, matches.distance, matches.relative)
        return [
            DuplicatePair(
                *self._of(int(a)), *self._of(int(b)), TURNS[int(turn)].name, float(far), float(ratio), self._both(a, b)
            )
            for a, b, turn, far, ratio in zip(*columns, strict=True)
        ]

    def _of(self, number: int) -> tuple[str, int, str]:
        """Return split, row and name of an image by its number among all."""
        count = len(self.own.rows)
        if number < count or self.other is None:
            return "data", int(self.own.rows[number]), self.own.names[number]
        return "train", int(self.other.rows[number - count]), self.other.names[number - count]

    def _both(self, first: int, second: int) -> tuple[str, str]:
        return self._label_of(int(first)), self._label_of(int(second))

    def _label_of(self, number: int) -> str:
        split, row, _ = self._of(number)
        labels = self.labels if split == "data" else self.train_labels
        return "" if labels is None else self.classes[int(labels[row])]

    def _leak(self, pairs: list[DuplicatePair]) -> Fault | None:
        rows = sorted({row for pair in pairs if pair.across for split, row in _ends(pair) if split == "data"})
        headline = Message("{count} of {total} images are also in train", count=len(rows), total=self.size)
        return Fault("leak", len(rows), headline, self._without(rows, "leak")) if rows else None

    def _duplicates(self, pairs: list[DuplicatePair]) -> Fault | None:
        """Report images that occur again within the data: all but the first of each cluster."""
        inside = [pair for pair in pairs if not pair.across and pair.first_split == "data"]
        rows = _later_ones([(pair.first_row, pair.second_row) for pair in inside])
        differ = sum(pair.labels[0] != pair.labels[1] for pair in inside)
        template = "{count} of {total} images occur again within the data"
        if differ:
            template += ", {differ} of them with different labels"
        headline = Message(template, count=len(rows), total=self.size, differ=differ)
        return Fault("duplicates", len(rows), headline, self._without(rows, "duplicates")) if rows else None

    def _suspects(self) -> list[SuspectLabel]:
        rows, features = self.own.rows, self._features_of(self.own.rows)
        if features is None or self.labels is None or len(rows) == 0:
            return []
        ground_truth = self.labels[rows]
        known = out_of_fold(features, ground_truth, self.own.small, len(self.classes), self.seed)
        places, guess = suspects_of(known, ground_truth)
        return [
            SuspectLabel(
                int(rows[k]),
                self.own.names[k],
                self.classes[int(ground_truth[k])],
                self.classes[int(other)],
                float(known[k, ground_truth[k]]),
                float(known[k, other]),
            )
            for k, other in zip(places.tolist(), guess.tolist(), strict=True)
        ]

    def _wrong_labels(self, suspects: list[SuspectLabel]) -> Fault | None:
        rows = [suspect.row for suspect in suspects]
        headline = Message("{count} of {total} labels look wrong, to be checked", count=len(rows), total=self.size)
        return Fault("labels", len(rows), headline, self._without(rows, "labels")) if rows else None

    def _broken(self) -> Fault | None:
        everything = [*self.own.broken, *(self.other.broken if self.other is not None else ())]
        rows = [broken.row for broken in self.own.broken]
        constant = sum(broken.reason == CONSTANT for broken in everything)
        template = "{constant} constant images, {unreadable} that cannot be read"
        headline = Message(template, constant=constant, unreadable=len(everything) - constant)
        return Fault("broken", len(everything), headline, self._without(rows, "broken")) if everything else None

    def _imbalance(self) -> Fault | None:
        if self.labels is None:
            return None
        counts = np.bincount(self.labels, minlength=len(self.classes))
        p = float(scipy.stats.chisquare(counts).pvalue) if counts.sum() else 1.0
        if len(counts) < 2 or p > _SIGNIFICANT or counts.max() < _UNEQUAL * counts.min():
            return None
        headline = Message(
            "unequal classes: '{largest}' has {most} images, '{smallest}' has {fewest}; all classes counted alike",
            **{"largest": self.classes[int(counts.argmax())], "most": int(counts.max())},
            **{"smallest": self.classes[int(counts.argmin())], "fewest": int(counts.min())},
        )
        return Fault("imbalance", int(counts.sum()), headline, self._balanced())

    def _balanced(self) -> Effect | None:
        if self.right is None or self.labels is None or not self.predicted.any():
            return None
        rng = draws_of(self.seed, "imbalance")
        return effect_of_balance(self.right[self.predicted], self.labels[self.predicted], rng)

    def _without(self, rows: Sequence[int], name: str) -> Effect | None:
        if self.right is None:
            return None
        affected = np.isin(np.arange(self.size), rows)
        return effect_of_leaving_out(self.right[self.predicted], affected[self.predicted], draws_of(self.seed, name))

    def _shown_suspects(self, suspects: list[SuspectLabel]) -> np.ndarray:
        place = {int(row): k for k, row in enumerate(self.own.rows)}
        return _bytes(self.own.small[[place[suspect.row] for suspect in suspects[:_SHOWN]]])


def _labels(
    classifier: Classifier | None, data: Any, labels: Any, size: int
) -> tuple[np.ndarray | None, Sequence[str]]:
    """Return the truth (N,), or None where there is none, and what was done about it."""
    own = getattr(data, "labels", None)
    if labels is None and own is None:
        return None, [Message("no labels: labels, imbalance and effects on accuracy are left out")]
    if classifier is None:
        return np.asarray(own if labels is None else labels, dtype=np.int64), []
    labels_given, notes = labels_of(classifier, data, labels, size)
    return labels_given.numpy(), notes


def _ends(pair: DuplicatePair) -> tuple[tuple[str, int], tuple[str, int]]:
    return (pair.first_split, pair.first_row), (pair.second_split, pair.second_row)


def _later_ones(pairs: list[tuple[int, int]]) -> list[int]:
    """Return all rows of each cluster of connected rows but its first."""
    first: dict[int, int] = {}

    def root(row: int) -> int:
        while first.setdefault(row, row) != row:
            row = first[row]
        return row

    for earlier, later in pairs:
        low, high = sorted((root(earlier), root(later)))
        first[high] = low
    return sorted(row for row in first if root(row) != row)


def _shown_pairs(small: np.ndarray, matches: Matches | None) -> np.ndarray:
    if matches is None or len(matches.first) == 0:
        return np.zeros((0, 2, *small.shape[1:]), dtype=np.uint8)
    chosen = range(min(_SHOWN, len(matches.first)))
    shown = [np.stack([small[matches.first[k]], TURNS[matches.turn[k]](small[matches.second[k]])]) for k in chosen]
    return _bytes(np.stack(shown))


def _bytes(images: np.ndarray) -> np.ndarray:
    levels: np.ndarray = (255 * images).round().clip(0, 255).astype(np.uint8)
    return levels


def data_faults(
    model: Classifier | nn.Module | None,
    data: Any,
    train: Any = None,
    *,
    labels: Any = None,
    checks: Sequence[str] | None = None,
    seed: int = 0,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> DataFaults:
    """Find faults of a data set and what each does to a classifier's accuracy.

    Args:
        model: gives features and answers; None looks for duplicates, broken images and imbalance alone.
        data: the images that the accuracy is measured on: a data set, or images in any form.
        train: those that the model learnt from; what is in both is a leak. None leaves that out.
        labels: the truth of `data` (N,), indices or names; None takes the data's own.
        checks: some of "broken", "duplicates", "labels", "imbalance"; None takes all.
        seed: of the folds that labels are checked in, and of the resamples.
        progress: None, True for a bar, or a callable `(done, total)` in images.
        should_stop: asked between images and blocks; True ends the work with `xai.errors.Stopped`.

    Returns:
        DataFaults. Its label suspects are to be looked at: a model that is wrong and a label that is wrong look alike,
        and the effect of leaving suspects out is the most that wrong labels can explain.

    Copies are found after JPEG, resizing, blur, mirroring, turns by 90 degrees, another contrast, brightness, tint or
    in grey (but for some with clipped or bent brightness); after shifts of up to 15 % of the side, crops of 95 %, turns
    by 3 to 5 degrees: 14 to 16 of 16 photographs, 29 to 38 of 40 clothes of 28 pixels among 700 that look alike. Not
    found: crops to less than 85 %, larger turns, some turned ones with filled corners, parts that were painted over,
    and copies that differ no less than other images of the set do.

    Raises:
        InputError: no image, or labels that do not fit.
        NameLookupError: no such check.
        Stopped: `should_stop()` was true.

    Cost: one pass over all images, one of the model over `data`; comparing N images takes about 6,000 N^2
        operations, and laying pairs over each other about a millisecond per image (20,000 images: a minute on a core).

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(150)
        >>> faults = xai.data_faults(clf, data)
        >>> all("image" in str(fault) or "label" in str(fault) for fault in faults.findings)
        True
    """
    chosen, seed = _checks(checks), check_seed(seed)
    data, train = open_data(data), None if train is None else open_data(train)
    classifier = None if model is None else as_classifier(model)
    images = _count(data) + _count(train)
    total = images + (0 if classifier is None else _count(data))
    side = side_of(data)
    with reporting(progress, "faults") as report:
        own = read_small(data, "data", side, counted(report, 0, total), should_stop)
        rest = counted(report, _count(data), total)
        other = None if train is None else read_small(train, "train", side, rest, should_stop)
        outputs = _outputs(classifier, data, own, counted(report, images, total), should_stop)
    findings = Findings.of(classifier, data, labels, train, (own, other), outputs, seed)
    names = tuple(str(getattr(source, "name", "images")) for source in (data, train) if source is not None)
    return findings.result(names, chosen, should_stop)


def _checks(checks: Sequence[str] | None) -> tuple[str, ...]:
    chosen = CHECKS if checks is None else (checks,) if isinstance(checks, str) else tuple(checks)
    for check in chosen:
        if check not in CHECKS:
            raise NameLookupError("check of the data", check, CHECKS)
    return chosen


def _count(data: Any) -> int:
    return 0 if data is None else len(images_of(data))


def _outputs(
    classifier: Classifier | None, data: Any, own: SmallImages, report: Progress | None, should_stop: ShouldStop | None
) -> Outputs | None:
    """Return what the model answers on the images that can be read."""
    if classifier is None or len(own.readable) == 0:
        return None
    whole = hasattr(data, "images") and hasattr(data, "take")
    usable = data.take(own.readable) if whole else [images_of(data)[int(row)] for row in own.readable]
    return classifier.outputs(usable, progress=report, should_stop=should_stop)
