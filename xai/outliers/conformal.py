"""From a score to a decision: p-values against held-out pictures, and what they promise."""

import math
from dataclasses import dataclass

import scipy
import torch
from torch import Tensor

from xai.errors import RangeError


def p_values(scores: Tensor, calibration: Tensor) -> Tensor:
    """Return conformal p-values (n,): (1 + calibration pictures that score as high or higher) / (1 + all of them).

    For a picture drawn as the calibration pictures were, a p-value is at most alpha with a chance of at most alpha.

    Args:
        scores: (n,), higher is more foreign.
        calibration: (m,) scores of ordinary pictures that the detector has not seen.

    Source: Vovk, Gammerman and Shafer 2005; Bates et al. 2023 (arXiv 2104.08279).
    """
    held = calibration.sort().values
    below = torch.searchsorted(held, scores.to(held).contiguous())
    return (1 + len(held) - below).double() / (1 + len(held))


@dataclass(frozen=True)
class Guarantee:
    """How often ordinary pictures will be rejected.

    Attributes:
        alpha: asked for; on average over calibration sets no more than this share is rejected.
        count: number of calibration pictures.
        low: lower end of the interval of the share that this one set will reject.
        high: upper end.
        level: of the interval.
    """

    alpha: float
    count: int
    low: float
    high: float
    level: float = 0.95

    @property
    def sentence(self) -> str:
        """The promise in words."""
        if self.high == 0:
            need = math.ceil(1 / self.alpha) - 1
            return (
                f"Nothing can be rejected at alpha {self.alpha:g} with {self.count} calibration pictures: at least "
                f"{need} are needed."
            )
        return (
            f"Of 100 ordinary pictures between {100 * self.low:.1f} and {100 * self.high:.1f} will be rejected "
            f"({self.level:.0%} interval for {self.count} calibration pictures, nominal {100 * self.alpha:g})."
        )


def guarantee(alpha: float, count: int, level: float = 0.95) -> Guarantee:
    """Return what `count` calibration pictures promise at `alpha`.

    The share of ordinary pictures with a p-value of at most alpha, given the calibration set, is Beta(k, count + 1 - k)
    with k = floor(alpha (count + 1)), for scores without ties; with ties it is smaller.

    Raises:
        RangeError: `alpha` not between 0 and 1, both left out.
    """
    rejected = math.floor(check_alpha(alpha) * (count + 1) + 1e-9)
    if rejected == 0:
        return Guarantee(alpha, count, 0.0, 0.0, level)
    share = scipy.stats.beta(rejected, count + 1 - rejected)
    return Guarantee(alpha, count, float(share.ppf((1 - level) / 2)), float(share.ppf((1 + level) / 2)), level)


def threshold(calibration: Tensor, alpha: float) -> float:
    """Return the score above which a picture is rejected at `alpha`; infinite where nothing can be.

    Raises:
        RangeError: `alpha` not between 0 and 1, both left out.
    """
    rejected = math.floor(check_alpha(alpha) * (len(calibration) + 1) + 1e-9)
    if rejected == 0:
        return math.inf
    return float(calibration.sort(descending=True).values[rejected - 1])


def check_alpha(alpha: object) -> float:
    """Return alpha as a number.

    Raises:
        RangeError: not between 0 and 1, both left out.
    """
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < 1:
        raise RangeError(f"Expected `alpha` above 0 and below 1, such as 0.05, but got {alpha!r}.")
    return float(alpha)
