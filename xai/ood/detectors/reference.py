"""The reference of a detector.

It holds what is read from a classifier and from the images that the detector is fitted on.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from xai.core.model.features import LinearHead
from xai.core.results.message import Message

WIDE = 2048  # features; a flattened map with more is averaged over its places where statistics are made of it
_CHANNELS = 16  # fewer channel means than these say too little
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class ModelView:
    """What detectors know of a classifier.

    Attributes:
        head: the last linear layer, or None when the logits are not the output of one.
        pool: number of places that statistics average each channel over; 1 takes features as they are.
        kind: "softmax" or "sigmoid".
        std: per channel, what the classifier divides pixels by.
    """

    head: LinearHead | None = field(repr=False)
    pool: int = 1
    kind: str = "softmax"
    std: tuple[float, ...] = (1.0,)

    @property
    def note(self) -> Message:
        """Which features the statistics use."""
        if self.head is None:
            return Message("no features: the logits are not the output of a linear layer")
        template = "features: the {width} inputs of the last linear layer {layer!r}"
        if self.pool > 1:
            template += "; statistics use the means of their {channels} channels over {places} places"
        values = {"width": self.head.width, "layer": self.head.layer}
        return Message(template, **values, channels=self.head.width // self.pool, places=self.pool)

    def to(self, device: torch.device) -> "ModelView":
        """Return the same on a device."""
        if self.head is None:
            return self
        return replace(
            self, head=replace(self.head, weight=self.head.weight.to(device), bias=self.head.bias.to(device))
        )


def pool_of(head: LinearHead | None, *, pool: bool | None = None) -> int:
    """Return the number of places to average over: those of a wide flattened map, unless `pool` says otherwise."""
    if head is None or head.places == 1 or pool is False:
        return 1
    wide = head.width > WIDE and head.width // head.places >= _CHANNELS
    return head.places if pool or wide else 1


def place_of(device: torch.device) -> torch.device:
    """Return where statistics are computed: on the model's device where that has float64, else on the CPU."""
    return device if device.type == "cuda" else torch.device("cpu")


@dataclass(frozen=True, eq=False)
class FeatureRows:
    """Some images as a classifier answers them; what several detectors use is computed once.

    Attributes:
        view: what is known of the classifier.
        logits: (n, K) float64.
        features: (n, D) as the head takes them, or None.
        inputs: (n, C, h, w) normalised, or None where no detector needs them.
        run: logits (n, K) of normalised inputs, or None.
    """

    view: ModelView
    logits: Tensor
    features: Tensor | None = None
    inputs: Tensor | None = None
    run: Callable[[Tensor], Tensor] | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.logits)

    @cached_property
    def pooled(self) -> Tensor:
        """(n, d) features that statistics are made of."""
        assert self.features is not None
        if self.view.pool == 1:
            return self.features
        return self.features.view(len(self.features), -1, self.view.pool).mean(2)

    @cached_property
    def unit(self) -> Tensor:
        """(n, d) the same with norm 1; zero stays zero."""
        return to_unit(self.pooled)

    @cached_property
    def probabilities(self) -> Tensor:
        """(n, K) float64."""
        return self.logits.sigmoid() if self.view.kind == "sigmoid" else self.logits.softmax(1)

    @cached_property
    def doubt(self) -> Tensor:
        """(n, K) 1 - probability, exact also where the probability is 1 to the last bit."""
        if self.view.kind == "sigmoid":
            return (-self.logits).sigmoid()
        best = self.logits.argmax(1, keepdim=True)
        odds = (self.logits - self.logits.amax(1, keepdim=True)).exp().scatter(1, best, 0.0).sum(1, keepdim=True)
        return (1 - self.probabilities).scatter(1, best, odds / (1 + odds))

    def part(self, start: int, stop: int) -> "FeatureRows":
        """Return rows start..stop."""
        cut: dict[str, Any] = {
            name: None if getattr(self, name) is None else getattr(self, name)[start:stop]
            for name in ("logits", "features", "inputs")
        }
        return FeatureRows(self.view, run=self.run, **cut)


def to_unit(features: Tensor) -> Tensor:
    """Return rows (n, d) with norm 1; the norm is kept from 0 before it divides, so that zero stays zero."""
    size: Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    return features / size.clamp_min(_TINY)


@dataclass(eq=False)
class Moments:
    """Sums over rows of features minus `origin`, which keeps large means from eating the digits of small variances.

    Attributes:
        classes: number of classes.
        origin: (d,) the mean of the first block.
        counts: (K,) rows of each class.
        sums: (K, d) by class.
        squares: (d, d) sum of outer products.
    """

    classes: int
    origin: Tensor = field(init=False, repr=False)
    counts: Tensor = field(init=False, repr=False)
    sums: Tensor = field(init=False, repr=False)
    squares: Tensor = field(init=False, repr=False)
    started: bool = False

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Take in rows (n, d) of classes (n,)."""
        rows = features.double()
        if not self.started:
            self._start(rows)
        moved = rows - self.origin
        self.counts += torch.bincount(labels, minlength=self.classes)
        self.sums.index_add_(0, labels, moved)
        self.squares.addmm_(moved.T, moved)

    def _start(self, rows: Tensor) -> None:
        width = rows.shape[1]
        with torch.inference_mode(False):  # a detector lives on outside
            self.origin = rows.mean(0).clone()
            self.counts = torch.zeros(self.classes, dtype=torch.int64, device=rows.device)
            self.sums = rows.new_zeros(self.classes, width).clone()
            self.squares = rows.new_zeros(width, width).clone()
        self.started = True

    @property
    def total(self) -> int:
        """Number of rows."""
        return int(self.counts.sum())

    @property
    def mean(self) -> Tensor:
        """(d,) mean of all rows."""
        return self.origin + self._shift

    @property
    def present(self) -> Tensor:
        """(k,) classes that have rows."""
        return self.counts.nonzero()[:, 0]

    def class_means(self) -> Tensor:
        """Return the means (k, d) of the classes that have rows."""
        present = self.present
        return self.origin + self.sums[present] / self.counts[present, None]

    def covariance(self) -> Tensor:
        """Return the covariance (d, d) about the mean of all rows, divided by their number."""
        return self._symmetric(self.squares / self.total - torch.outer(self._shift, self._shift))

    def within(self) -> Tensor:
        """Return the covariance (d, d) about the mean of each row's class, one for all classes."""
        present = self.present
        means = self.sums[present] / self.counts[present, None]
        between = (means * (self.counts[present, None].double() / self.total)).T @ means
        return self._symmetric(self.squares / self.total - between)

    def about(self, point: Tensor) -> Tensor:
        """Return the mean outer product (d, d) of rows minus a point (d,)."""
        away = self.mean - point.to(self.origin)
        return self.covariance() + torch.outer(away, away)

    @property
    def _shift(self) -> Tensor:
        return self.sums.sum(0) / self.total

    @staticmethod
    def _symmetric(matrix: Tensor) -> Tensor:
        return (matrix + matrix.T) / 2


BANK_BYTES = 512 << 20  # of features of single images
ACTIVATIONS = 4 << 20  # values, for percentiles


@dataclass(frozen=True, eq=False)
class Bank:
    """Single images of the reference, all of them or a random sample.

    Attributes:
        features: (n, d) that statistics are made of, float32.
        peaks: (n,) the largest logit of each, float64.
        labels: (n,) classes.
        numbers: (n,) numbers of the images in the data, ascending.
    """

    features: Tensor = field(repr=False)
    peaks: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    numbers: Tensor = field(repr=False)

    def __len__(self) -> int:
        """Return the number of images held."""
        return len(self.numbers)


@dataclass(frozen=True, eq=False)
class Reference:
    """In-distribution images as detectors learn from them; what nobody asked for is None.

    Attributes:
        view: what is known of the classifier.
        total: number of images.
        moments: of the features that statistics are made of.
        unit: the same of features with norm 1.
        mean: (D,) float64, of the features as the head takes them.
        bank: single images.
        activations: values of the features as the head takes them, of some images.
        notes: what to beware of.
    """

    view: ModelView
    total: int
    moments: Moments | None = None
    unit: Moments | None = None
    mean: Tensor | None = field(default=None, repr=False)
    bank: Bank | None = None
    activations: Tensor | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()


class RowSample:
    """Keeps the rows with the smallest keys, at most `limit`: a random choice that no order or batch size changes."""

    def __init__(self, limit: int) -> None:
        self.limit, self.seen = limit, 0
        self._chunks: list[tuple[Tensor, ...]] = []
        self._count = 0
        self._bar: Tensor | None = None  # keys beyond it have no chance any more

    def add(self, keys: Tensor, *columns: Tensor) -> None:
        """Take in rows with their keys (n,) int64."""
        numbers = torch.arange(self.seen, self.seen + len(keys), device=keys.device)
        self.seen += len(keys)
        rows = (keys, numbers, *columns)
        if self._bar is not None:
            rows = tuple(column[keys < self._bar] for column in rows)
        self._chunks.append(rows)
        self._count += len(rows[0])
        if self._count > 2 * self.limit:
            self._shrink()

    def columns(self) -> tuple[Tensor, ...]:
        """Return the numbers of the rows kept (n,), ascending, and their columns."""
        self._shrink()
        return self._chunks[0][1:]

    def _shrink(self) -> None:
        with torch.inference_mode(False):
            together = tuple(torch.cat(column) for column in zip(*self._chunks, strict=True))
            if len(together[0]) > self.limit:
                smallest = together[0].sort(stable=True).indices[: self.limit].sort().values
                together = tuple(column[smallest] for column in together)
                self._bar = together[0].max()
        self._chunks, self._count = [together], len(together[0])


class Collector:
    """Adds up a reference block by block.

    Args:
        view: what is known of the classifier.
        classes: number of classes.
        reads: what the detectors need, see `Detector.reads`.
    """

    def __init__(self, view: ModelView, classes: int, reads: frozenset[str]) -> None:
        self.view, self.reads, self.total = view, reads, 0
        self.moments, self.unit = Moments(classes), Moments(classes)
        self._mean: Tensor | None = None
        self._bank: RowSample | None = None
        self._activations: RowSample | None = None

    def add(self, rows: FeatureRows, labels: Tensor, keys: Tensor) -> None:
        """Take in images with their classes (n,) and random keys (n,) int64."""
        self.total += len(rows)
        if "moments" in self.reads:
            self.moments.add(rows.pooled, labels)
        if "unit" in self.reads:
            self.unit.add(rows.unit, labels)
        if "bank" in self.reads:
            self._add_bank(rows, labels, keys)
        if rows.features is not None and "activations" in self.reads:
            if self._activations is None:
                self._activations = RowSample(max(1, ACTIVATIONS // rows.features.shape[1]))
            self._activations.add(keys, rows.features)
        if rows.features is not None and "mean" in self.reads:
            part = rows.features.sum(0).double()
            self._mean = part if self._mean is None else self._mean + part

    def _add_bank(self, rows: FeatureRows, labels: Tensor, keys: Tensor) -> None:
        if self._bank is None:
            self._bank = RowSample(max(1, BANK_BYTES // (4 * rows.pooled.shape[1])))
        self._bank.add(keys, rows.pooled.float(), rows.logits.amax(1), labels)

    def reference(self) -> Reference:
        """Return what was added up."""
        bank = None
        if self._bank is not None:
            numbers, features, peaks, labels = self._bank.columns()
            bank = Bank(features, peaks, labels, numbers)
        return Reference(
            self.view,
            self.total,
            self.moments if self.moments.started else None,
            self.unit if self.unit.started else None,
            None if self._mean is None else self._mean / self.total,
            bank,
            None if self._activations is None else self._activations.columns()[1],
            self._notes(bank),
        )

    def _notes(self, bank: Bank | None) -> tuple[str, ...]:
        notes = [self.view.note]
        if bank is not None and len(bank) < self.total:
            template = "a random sample of {count} of {total} images is kept individually, to bound the memory"
            notes.append(Message(template, count=len(bank), total=self.total))
        moments = self.moments if self.moments.started else self.unit
        if moments.started and len(moments.present) < moments.classes:
            missing = moments.classes - len(moments.present)
            notes.append(Message("{count} of {total} classes have no fit image", count=missing, total=moments.classes))
        single = int((moments.counts == 1).sum()) if moments.started else 0
        if single:
            template = "{count} of {total} classes have a single fit image, which shows no scatter"
            notes.append(Message(template, count=single, total=moments.classes))
        return tuple(notes)
