"""Means and scatter of features, added up block by block in float64."""

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(eq=False)
class Moments:
    """Sums over rows of features less `origin`, which keeps large means from eating the digits of small variances.

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
        held = self.present
        return self.origin + self.sums[held] / self.counts[held, None]

    def covariance(self) -> Tensor:
        """Return the covariance (d, d) about the mean of all rows, divided by their number."""
        return self._symmetric(self.squares / self.total - torch.outer(self._shift, self._shift))

    def within(self) -> Tensor:
        """Return the covariance (d, d) about the mean of each row's class, one for all classes."""
        held = self.present
        means = self.sums[held] / self.counts[held, None]
        between = (means * (self.counts[held, None].double() / self.total)).T @ means
        return self._symmetric(self.squares / self.total - between)

    def about(self, point: Tensor) -> Tensor:
        """Return the mean outer product (d, d) of rows less a point (d,)."""
        away = self.mean - point.to(self.origin)
        return self.covariance() + torch.outer(away, away)

    @property
    def _shift(self) -> Tensor:
        return self.sums.sum(0) / self.total

    @staticmethod
    def _symmetric(matrix: Tensor) -> Tensor:
        return (matrix + matrix.T) / 2
