"""Conformity scores and the prediction sets that follow from them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import scipy
import torch
from torch import Tensor

from xai.core.results.message import Message
from xai.core.results.result import Result
from xai.core.validation import check_alpha
from xai.errors import InputError, NameLookupError, ShapeError
from xai.stats.intervals import holm, wilson_interval

if TYPE_CHECKING:
    import pandas as pd


def lac(probabilities: Tensor, _draws: Tensor) -> Tensor:
    """Return 1 - probability (N, K): the smallest sets on average; may be empty where no class is likely.

    Source: Sadinle, Lei and Wasserman 2019 ("least ambiguous"; also THR).
    """
    return 1 - probabilities


def aps(probabilities: Tensor, draws: Tensor) -> Tensor:
    """Return the probability of all likelier classes and a random share of the class's own (N, K): adaptive sets.

    Source: Romano, Sesia and Candes 2020, with their randomisation, which makes the coverage exact.
    """
    return _mass_before(probabilities)[0] + draws[:, None] * probabilities


def raps(probabilities: Tensor, draws: Tensor, *, penalty: float = 0.01, free: int = 5) -> Tensor:
    """Return `aps` and `penalty` for each place of a class beyond the `free` first: without long tails.

    Source: Angelopoulos et al. 2021.
    """
    before, places = _mass_before(probabilities)
    return before + draws[:, None] * probabilities + penalty * (places + 1 - free).clamp_min(0)


SCORES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"lac": lac, "aps": aps, "raps": raps}


def _mass_before(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Return the probability of the classes before each class in the order of likelihood, and its place from 0."""
    order = probabilities.argsort(dim=1, descending=True, stable=True)
    ranked = probabilities.gather(1, order)
    before = torch.empty_like(ranked).scatter_(1, order, ranked.cumsum(1) - ranked)
    places = torch.empty_like(order).scatter_(1, order, torch.arange(order.shape[1]).expand_as(order).contiguous())
    return before, places


def conformity(method: str, probabilities: Tensor, draws: Tensor) -> Tensor:
    """Return how badly each class fits each image (N, K), float64; a set holds those up to a threshold.

    Args:
        method: "lac", "aps" or "raps".
        probabilities: (N, K), rows sum to 1.
        draws: (N,) uniform in [0, 1), one for each image.

    Raises:
        NameLookupError: no such method.
        ShapeError: not (N, K) and (N,).
    """
    if method not in SCORES:
        raise NameLookupError("conformal method", method, SCORES)
    if probabilities.ndim != 2 or draws.shape != probabilities.shape[:1]:
        raise ShapeError(
            f"Expected probabilities (N, K) and draws (N,), but got {tuple(probabilities.shape)} and "
            f"{tuple(draws.shape)}."
        )
    return SCORES[method](probabilities.double(), draws.double())


@dataclass(frozen=True)
class CoverageGuarantee:
    """What a threshold from some calibration images promises about new ones of the same kind.

    Over the draw of calibration images the share of new images whose set holds the truth follows Beta(rank,
    count + 1 - rank); with tied scores it is larger.

    Attributes:
        threshold: scores up to it are in the set; infinite when the sample is too small, so that all classes are.
        count: calibration images.
        rank: which of their scores, in increasing order, is the threshold; count + 1 when there is none.
        alpha: share of sets that may miss the truth.
        low: lower end of the interval of the coverage.
        high: upper end.
        level: of that interval.
    """

    threshold: float
    count: int
    rank: int
    alpha: float
    low: float
    high: float
    level: float

    @property
    def too_small(self) -> bool:
        """Whether there are fewer than 1 / alpha - 1 images: nothing less than all classes can be promised."""
        return self.rank > self.count

    @property
    def sentence(self) -> Message:
        """The guarantee in words."""
        if self.too_small:
            return Message(
                "Too small: {count} calibration images cannot guarantee {coverage:.4g} coverage with fewer than all "
                "classes; at least {needed} are needed.",
                **{"count": self.count, "coverage": 1 - self.alpha, "needed": needed(self.alpha)},
            )
        return Message(
            "Of 100 new images like the {count} calibration images, {low:.1f} to {high:.1f} will have the ground truth "
            "in their set (nominal {nominal:.4g}; {level:.4g} % interval over the draw of calibration images).",
            **{"count": self.count, "low": 100 * self.low, "high": 100 * self.high},
            **{"nominal": 100 * (1 - self.alpha), "level": 100 * self.level},
        )


def needed(alpha: float) -> int:
    """Return the smallest number of calibration images for which a threshold exists."""
    return ceil(1 / check_alpha(alpha) - 1e-9) - 1


def guarantee(scores: Any, alpha: float, *, level: float = 0.9) -> CoverageGuarantee:
    """Return the threshold of split conformal prediction and what it promises.

    Args:
        scores: (n,) of the true class of each calibration image.
        alpha: share of sets that may miss the truth.
        level: of the interval of the coverage.

    Raises:
        RangeError: alpha not between 0 and 1.

    Source: Vovk 2012 for the Beta distribution; Angelopoulos and Bates 2023, section 3.2.
    """
    values = np.sort(np.asarray(scores, dtype=np.float64))
    count = len(values)
    rank = ceil((count + 1) * (1 - check_alpha(alpha)) - 1e-9)
    if rank > count:
        return CoverageGuarantee(float("inf"), count, count + 1, alpha, 1.0, 1.0, level)
    low, high = scipy.stats.beta.ppf([(1 - level) / 2, (1 + level) / 2], rank, count + 1 - rank)
    return CoverageGuarantee(float(values[rank - 1]), count, rank, alpha, float(low), float(high), level)


def coverage_p(covered: int, total: int, promise: CoverageGuarantee) -> float:
    """Return the p-value, one-sided, of `covered` sets or fewer among `total` new images holding the truth.

    Over both draws the number is beta-binomial; a small value says that the new images are of another kind.
    """
    if promise.too_small:
        return 1.0
    law = scipy.stats.betabinom(total, promise.rank, promise.count + 1 - promise.rank)
    return float(min(1.0, law.cdf(covered)))


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
            raise InputError("Expected labels to tell whether the sets hold the true class. Pass them to `.sets`.")
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
        """Probability of so few or fewer covered images under the calibration distribution (one-sided).

        By class: the smallest of the classes' values, adjusted for asking all of them (Holm).
        """
        if not self.settings["by_class"]:
            return coverage_p(int(self.covered.sum()), len(self), self.promises[0])
        return float(self.table["adjusted"].min())

    @property
    def table(self) -> "pd.DataFrame":
        """One row per class with images.

        Columns are coverage with interval, mean size and, by class, p of its guarantee.
        """
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
        """Draw the sizes of the sets and, with labels, coverage by class."""
        from xai.plots.uncertainty import prediction_sets_figure

        return prediction_sets_figure(self)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the arrays, JSON-ready; the sets as class numbers."""
        sets = [np.flatnonzero(row).tolist() for row in self.members]
        record = super().to_dict() | {"average_size": self.average_size, "sets": sets}
        if self.labels is None:
            return record
        return record | {"coverage": self.coverage, "interval": list(self.interval), "p_value": self.p_value}
