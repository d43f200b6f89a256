"""Sets of classes for images, and whether they keep what was promised."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from xai.core.results.result import Result
from xai.errors import InputError
from xai.stats.intervals import wilson_interval
from xai.stats.multiple_testing import holm
from xai.uncertainty.conformal.scores import CoverageGuarantee, coverage_p

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class PredictionSets(Result):
    """Sets of classes for N images.

    Attributes:
        members: (N, K) bool, which classes are in the set.
        probabilities: (N, K) float32 of the model.
        labels: (N,) int64, or None.
        promises: one, or one per class.
        class_names: of the model.
        provenance: model, settings (method, alpha, by_class), seed, data and those of the calibration.
        notes: what was done and what to beware of.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(200)
        >>> sets = xai.fit_conformal(clf, data, alpha=0.1).sets(data.images[:3])
        >>> sets.members.shape
        (3, 10)
    """

    _kind: ClassVar[str] = "prediction sets"

    members: np.ndarray = field(repr=False)
    probabilities: np.ndarray = field(repr=False)
    labels: np.ndarray | None = field(repr=False)
    promises: tuple[CoverageGuarantee, ...]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.members)

    def __repr__(self) -> str:
        """Size of the sets and coverage."""
        shown = "" if self.labels is None else f", coverage {self.coverage:.1%}"
        return f"PredictionSets({len(self)} image(s), {self.average_size:.2f} classes on average{shown})"

    def __getitem__(self, k: int) -> tuple[str, ...]:
        """Return the names in the set of image `k`, most likely first."""
        chosen = np.flatnonzero(self.members[k])
        order = chosen[np.argsort(-self.probabilities[k, chosen], kind="stable")]
        return tuple(self.class_names[i] for i in order)

    @property
    def names(self) -> list[tuple[str, ...]]:
        """The sets as names, most likely first; an empty one says that no class fits."""
        return [self[k] for k in range(len(self))]

    @property
    def sizes(self) -> np.ndarray:
        """Classes in each set (N,)."""
        sizes: np.ndarray = self.members.sum(1)
        return sizes

    @property
    def average_size(self) -> float:
        """Mean of `sizes`."""
        return float(self.sizes.mean())

    @property
    def covered(self) -> np.ndarray:
        """Whether each set holds the truth (N,) bool.

        Raises:
            InputError: the images have no labels.
        """
        if self.labels is None:
            raise InputError("Expected labels to tell whether the sets hold the truth. Pass them to `.sets`.")
        is_covered: np.ndarray = self.members[np.arange(len(self)), self.labels]
        return is_covered

    @property
    def coverage(self) -> float:
        """Share of sets that hold the truth."""
        return float(self.covered.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of `coverage`."""
        return wilson_interval(self.covered.sum(), len(self))

    @property
    def p_value(self) -> float:
        """How likely so few or fewer covered images were, were they of the calibration images' kind (one-sided).

        By class: the smallest of the classes' values, adjusted for asking all of them (Holm).
        """
        if not self.settings["by_class"]:
            return coverage_p(int(self.covered.sum()), len(self), self.promises[0])
        return float(self.table["adjusted"].min())

    @property
    def table(self) -> "pd.DataFrame":
        """One row per class with images: coverage with interval, mean size and, by class, p of its promise."""
        import pandas as pd

        covered, sizes, labels = self.covered, self.sizes, np.asarray(self.labels)
        rows = []
        for k in np.unique(labels).tolist():
            own = labels == k
            hits, total = int(covered[own].sum()), int(own.sum())
            low, high = wilson_interval(hits, total)
            row = {"class": self.class_names[k], "images": total, "coverage": hits / total, "low": low, "high": high}
            promise = self.promises[k] if self.settings["by_class"] else None
            p = float("nan") if promise is None else coverage_p(hits, total, promise)
            rows.append(row | {"size": float(sizes[own].mean()), "p_value": p})
        table = pd.DataFrame(rows)
        return table.assign(adjusted=holm(table["p_value"]))

    @property
    def by_size(self) -> "pd.DataFrame":
        """One row per size of set: images, and with labels how many hold the truth."""
        import pandas as pd

        sizes, counts = np.unique(self.sizes, return_counts=True)
        table = pd.DataFrame({"size": sizes, "images": counts})
        if self.labels is None:
            return table
        hits = [int(self.covered[self.sizes == size].sum()) for size in sizes]
        spans = [wilson_interval(hit, int(count)) for hit, count in zip(hits, counts, strict=True)]
        return table.assign(coverage=np.array(hits) / counts, low=[s[0] for s in spans], high=[s[1] for s in spans])

    def plot(self) -> Any:
        """Draw how large the sets are and, with labels, how often those of each class hold the truth."""
        from xai.plots.uncertainty import prediction_sets_figure

        return prediction_sets_figure(self)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the arrays, JSON-ready; the sets as class numbers."""
        sets = [np.flatnonzero(row).tolist() for row in self.members]
        record = super().to_dict() | {"average_size": self.average_size, "sets": sets}
        if self.labels is None:
            return record
        return record | {"coverage": self.coverage, "interval": list(self.interval), "p_value": self.p_value}
