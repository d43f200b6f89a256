"""What is kept of ordinary pictures: sums, a bounded sample, no more; from one pass, in any number of pictures."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from xai.detectors._moments import Moments
from xai.detectors._rows import Rows, View

BANK_BYTES = 512 << 20  # of features of single pictures
ACTIVATIONS = 4 << 20  # values, for percentiles


@dataclass(frozen=True, eq=False)
class Bank:
    """Single pictures of the reference, all of them or a random sample.

    Attributes:
        features: (n, d) that statistics are made of, float32.
        peaks: (n,) the largest logit of each, float64.
        labels: (n,) classes.
        numbers: (n,) numbers of the pictures in the data, ascending.
    """

    features: Tensor = field(repr=False)
    peaks: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    numbers: Tensor = field(repr=False)

    def __len__(self) -> int:
        """Return the number of pictures held."""
        return len(self.numbers)


@dataclass(frozen=True, eq=False)
class Reference:
    """Ordinary pictures as detectors learn from them; what nobody asked for is None.

    Attributes:
        view: what is known of the classifier.
        total: number of pictures.
        moments: of the features that statistics are made of.
        unit: the same of features with norm 1.
        mean: (D,) float64, of the features as the head takes them.
        bank: single pictures.
        activations: values of the features as the head takes them, of some pictures.
        notes: what to beware of.
    """

    view: View
    total: int
    moments: Moments | None = None
    unit: Moments | None = None
    mean: Tensor | None = field(default=None, repr=False)
    bank: Bank | None = None
    activations: Tensor | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()


class Sample:
    """Keeps the rows with the smallest keys, at most `limit`: a random choice that no order or batch size changes."""

    def __init__(self, limit: int) -> None:
        self.limit, self.seen = limit, 0
        self._held: list[tuple[Tensor, ...]] = []
        self._count = 0
        self._bar: Tensor | None = None  # keys beyond it have no chance any more

    def add(self, keys: Tensor, *columns: Tensor) -> None:
        """Take in rows with their keys (n,) int64."""
        numbers = torch.arange(self.seen, self.seen + len(keys), device=keys.device)
        self.seen += len(keys)
        rows = (keys, numbers, *columns)
        if self._bar is not None:
            rows = tuple(column[keys < self._bar] for column in rows)
        self._held.append(rows)
        self._count += len(rows[0])
        if self._count > 2 * self.limit:
            self._shrink()

    def columns(self) -> tuple[Tensor, ...]:
        """Return the numbers of the rows kept (n,), ascending, and their columns."""
        self._shrink()
        return self._held[0][1:]

    def _shrink(self) -> None:
        with torch.inference_mode(False):
            together = tuple(torch.cat(column) for column in zip(*self._held, strict=True))
            if len(together[0]) > self.limit:
                kept = together[0].sort(stable=True).indices[: self.limit].sort().values
                together = tuple(column[kept] for column in together)
                self._bar = together[0].max()
        self._held, self._count = [together], len(together[0])


class Collector:
    """Adds up a reference block by block.

    Args:
        view: what is known of the classifier.
        classes: number of classes.
        reads: what the detectors need, see `Detector.reads`.
    """

    def __init__(self, view: View, classes: int, reads: frozenset[str]) -> None:
        self.view, self.reads, self.total = view, reads, 0
        self.moments, self.unit = Moments(classes), Moments(classes)
        self._mean: Tensor | None = None
        self._bank: Sample | None = None
        self._activations: Sample | None = None

    def add(self, rows: Rows, labels: Tensor, keys: Tensor) -> None:
        """Take in pictures with their classes (n,) and random keys (n,) int64."""
        self.total += len(rows)
        if "moments" in self.reads:
            self.moments.add(rows.pooled, labels)
        if "unit" in self.reads:
            self.unit.add(rows.unit, labels)
        if "bank" in self.reads:
            self._add_bank(rows, labels, keys)
        if rows.features is not None and "activations" in self.reads:
            if self._activations is None:
                self._activations = Sample(max(1, ACTIVATIONS // rows.features.shape[1]))
            self._activations.add(keys, rows.features)
        if rows.features is not None and "mean" in self.reads:
            part = rows.features.sum(0).double()
            self._mean = part if self._mean is None else self._mean + part

    def _add_bank(self, rows: Rows, labels: Tensor, keys: Tensor) -> None:
        if self._bank is None:
            self._bank = Sample(max(1, BANK_BYTES // (4 * rows.pooled.shape[1])))
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
            notes.append(f"a random sample of {len(bank)} of {self.total} pictures is kept singly, to bound the memory")
        held = self.moments if self.moments.started else self.unit
        if held.started and len(held.present) < held.classes:
            notes.append(f"{held.classes - len(held.present)} of {held.classes} classes have no fit picture")
        single = int((held.counts == 1).sum()) if held.started else 0
        if single:
            notes.append(f"{single} of {held.classes} classes have a single fit image, which shows no scatter")
        return tuple(notes)
