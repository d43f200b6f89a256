"""Temperature scaling: one number that divides all logits."""

from dataclasses import dataclass
from math import exp, log

import scipy
import torch
from torch import Tensor

from xai.metrics.scores import check_logits, chunks

LIMITS = (0.01, 100.0)
_TOLERANCE = 1e-9  # of log temperature


@dataclass(frozen=True)
class Temperature:
    """The temperature that fits some pictures best.

    Attributes:
        value: divides the logits; above 1 makes a model less sure.
        low: lower end of its interval.
        high: upper end.
        at_limit: the best value lies outside 0.01 to 100: all answers right, or no better than guessing.
        count: pictures it was fitted on.
    """

    value: float
    low: float
    high: float
    at_limit: bool
    count: int


def fit_temperature(logits: Tensor, labels: Tensor, *, level: float = 0.95) -> Temperature:
    """Return the temperature with the largest likelihood; argmax stays as it is and the fit never gets worse.

    The likelihood is concave in 1 / temperature: there is one best value. The interval is the sandwich one of
    1 / temperature.

    Args:
        logits: (N, K), of pictures that the model was not trained on.
        labels: (N,) int64.
        level: of the interval.

    Raises:
        ShapeError: not (N, K) and (N,), or empty.
        RangeError: a label outside 0 to K - 1.
        NonFiniteError: a logit is NaN or infinite.

    Cost: about fifteen softmaxes in float64, a million entries at a time.
    Source: Guo et al. 2017.
    """
    check_logits(logits, labels)
    ends = [log(1 / limit) for limit in reversed(LIMITS)]
    slopes = [_derivatives(logits, labels, exp(end))[0] for end in ends]
    if slopes[0] >= 0 or slopes[1] <= 0:
        return Temperature(LIMITS[1] if slopes[0] >= 0 else LIMITS[0], *LIMITS, at_limit=True, count=len(logits))
    beta = exp(scipy.optimize.brentq(lambda step: _derivatives(logits, labels, exp(step))[0], *ends, xtol=_TOLERANCE))
    _, bend, noise = _derivatives(logits, labels, beta)
    error = float(scipy.stats.norm.ppf((1 + level) / 2)) * (noise / len(logits)) ** 0.5 / bend
    low, high = 1 / min(beta + error, 1 / LIMITS[0]), 1 / max(beta - error, 1 / LIMITS[1])
    return Temperature(1 / beta, low, high, at_limit=False, count=len(logits))


def _derivatives(logits: Tensor, labels: Tensor, beta: float) -> tuple[float, float, float]:
    """Return slope and bend of the mean negative log-likelihood in beta, and the mean square of the slope."""
    sums = torch.zeros(3, dtype=torch.float64)
    for some, truth in chunks(logits, labels):
        centred = some.double() - some.max(1, keepdim=True).values
        weights = (beta * centred).softmax(1)
        mean = (weights * centred).sum(1)
        spread = (weights * centred.square()).sum(1) - mean.square()
        slope = mean - centred.gather(1, truth[:, None])[:, 0]
        sums += torch.stack([slope.sum(), spread.sum(), slope.square().sum()])
    slope, bend, noise = (sums / len(logits)).tolist()
    return slope, bend, noise
