"""Sets of classes that contain the truth as often as was asked: scores, thresholds, and what they guarantee."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import scipy
import torch
from torch import Tensor

from xai.core.results.message import Message
from xai.core.validation import check_alpha
from xai.errors import NameLookupError, ShapeError


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
