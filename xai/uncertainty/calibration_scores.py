"""Proper scores of probabilities, and temperature scaling."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import exp, log

import numpy as np
import scipy
import torch
from torch import Tensor

from xai.errors import NonFiniteError, RangeError, ShapeError

_ENTRIES = 1 << 20  # logits at a time: bounds the memory


@dataclass(frozen=True)
class Brier:
    """The Brier score and its parts, which add up to it exactly.

    value = reliability - resolution + uncertainty + spread - covariance. The last two stem from probabilities that
    differ within a bin and vanish when they do not.

    Attributes:
        value: mean over images of the sum over classes of (probability - truth) squared, 0 to 2.
        reliability: distance of probabilities from frequencies; 0 is best.
        resolution: how far frequencies differ between bins; more is better.
        uncertainty: of the truth itself; what the classes' shares alone would score.
        spread: variance of probabilities within bins.
        covariance: twice their covariance with the truth within bins.
    """

    value: float
    reliability: float
    resolution: float
    uncertainty: float
    spread: float
    covariance: float


@dataclass(frozen=True, eq=False)
class Scores:
    """What a table of probabilities is worth, by image and by class.

    Attributes:
        predicted: (N,) int64.
        confidence: (N,) float64 probability of the prediction.
        correct: (N,) bool.
        nll: (N,) negative log-likelihood of the truth, in nats.
        brier: (N,) sum over classes of (probability - truth) squared.
        count: (K, B) images by the probability of each class.
        expected: (K, B) sum of those probabilities.
        squares: (K, B) sum of their squares.
        true: (K, B) images of the class.
        hit: (K, B) sum of the probabilities of images of the class.
    """

    predicted: np.ndarray = field(repr=False)
    confidence: np.ndarray = field(repr=False)
    correct: np.ndarray = field(repr=False)
    nll: np.ndarray = field(repr=False)
    brier: np.ndarray = field(repr=False)
    count: np.ndarray = field(repr=False)
    expected: np.ndarray = field(repr=False)
    squares: np.ndarray = field(repr=False)
    true: np.ndarray = field(repr=False)
    hit: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.predicted)

    @property
    def classwise(self) -> np.ndarray:
        """Calibration error of each class (K,): mean distance of its probability and its frequency over bins."""
        errors: np.ndarray = np.abs(self.expected - self.true).sum(1) / len(self)
        return errors

    @property
    def excess(self) -> np.ndarray:
        """Mean probability minus frequency of each class (K,): above 0 where a class is foretold too often."""
        excess: np.ndarray = (self.expected - self.true).sum(1) / len(self)
        return excess

    @property
    def excess_p(self) -> np.ndarray:
        """Two-sided p of `excess` (K,); nan where fewer than five images of variance: too few to tell.

        Were the probabilities right, the number of images of a class would have their sum as its mean and the sum of
        p (1 - p) as its variance (Spiegelhalter 1986).
        """
        variance = (self.expected - self.squares).sum(1)
        z = (self.expected - self.true).sum(1) / np.sqrt(np.maximum(variance, 1e-12))
        return np.where(variance >= 5, 2 * scipy.stats.norm.sf(np.abs(z)), np.nan)

    @property
    def parts(self) -> Brier:
        """The Brier score and its parts, summed over classes."""
        total, count = len(self), np.maximum(self.count, 1)
        mean, share, base = self.expected / count, self.true / count, self.true.sum(1, keepdims=True) / total
        within = self.hit - self.expected * self.true / count
        return Brier(
            float(self.brier.mean()),
            float((self.count * (mean - share) ** 2).sum() / total),
            float((self.count * (share - base) ** 2).sum() / total),
            float((base * (1 - base)).sum()),
            float((self.squares - self.expected**2 / count).sum() / total),
            float(2 * within.sum() / total),
        )


def score(logits: Tensor, labels: Tensor, *, temperature: float = 1.0, bins: int = 15) -> Scores:
    """Return the proper scores of softmax(logits / temperature), by image and by class.

    Args:
        logits: (N, K).
        labels: (N,) int64.
        temperature: divides the logits.
        bins: of equal width for each class, (a, b].

    Raises:
        ShapeError: not (N, K) and (N,), or empty.
        RangeError: a label outside 0 to K - 1.
        NonFiniteError: a logit is NaN or infinite.

    Cost: one softmax in float64, a million entries at a time.
    Source: parts of the Brier score by Stephenson et al. 2008, who add the two within-bin terms to Murphy 1973;
    classwise error by Kull et al. 2019.
    """
    check_logits(logits, labels)
    size = logits.shape[1]
    inner = torch.linspace(0, 1, bins + 1, dtype=torch.float64)[1:-1]
    offsets = torch.arange(size) * bins
    sums = torch.zeros(5, size * bins, dtype=torch.float64)
    rows: list[Tensor] = []
    for some, ground_truth in chunks(logits, labels):
        logs = (some.double() / temperature).log_softmax(1)
        probabilities = logs.exp()
        places = torch.bucketize(probabilities, inner) + offsets
        _add(sums, probabilities, places, ground_truth)
        best, predicted = probabilities.max(1)
        own = probabilities.gather(1, ground_truth[:, None])[:, 0]
        brier = probabilities.square().sum(1) - 2 * own + 1
        rows.append(torch.stack([predicted.double(), best, -logs.gather(1, ground_truth[:, None])[:, 0], brier]))
    predicted, best, nll, brier = torch.cat(rows, 1).numpy()
    predictions = predicted.astype(np.int64)
    return Scores(predictions, best, predictions == labels.cpu().numpy(), nll, brier, *sums.view(5, size, bins).numpy())


def _add(sums: Tensor, probabilities: Tensor, places: Tensor, ground_truth: Tensor) -> None:
    """Add a chunk to the sums by class and bin."""
    flat, size = places.flatten(), sums.shape[1]
    weights = probabilities.flatten()
    sums[0] += torch.bincount(flat, minlength=size)
    sums[1] += torch.bincount(flat, weights, size)
    sums[2] += torch.bincount(flat, weights.square(), size)
    own = places.gather(1, ground_truth[:, None])[:, 0]
    sums[3] += torch.bincount(own, minlength=size)
    sums[4] += torch.bincount(own, probabilities.gather(1, ground_truth[:, None])[:, 0], size)


def chunks(logits: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield logits (n, K) and labels (n,) on the CPU, a million entries at a time."""
    step = max(1, _ENTRIES // logits.shape[1])
    for start in range(0, len(logits), step):
        yield logits[start : start + step].cpu(), labels[start : start + step].cpu()


def check_logits(logits: Tensor, labels: Tensor) -> None:
    """Raise unless these are logits (N, K) and labels (N,).

    Raises:
        ShapeError: not (N, K) and (N,), or empty.
        RangeError: a label outside 0 to K - 1.
        NonFiniteError: a logit is NaN or infinite.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or logits.numel() == 0:
        raise ShapeError(
            f"Expected logits (N, K) and labels (N,), but got {tuple(logits.shape)} and {tuple(labels.shape)}."
        )
    if int(labels.min()) < 0 or int(labels.max()) >= logits.shape[1]:
        raise RangeError(
            f"Expected labels from 0 to {logits.shape[1] - 1}, but got {int(labels.min())} to {int(labels.max())}."
        )
    if not bool(torch.isfinite(logits).all()):
        raise NonFiniteError("Expected finite logits, but some are NaN or infinite. Check the model's weights.")


LIMITS = (0.01, 100.0)
_TOLERANCE = 1e-9  # of log temperature


@dataclass(frozen=True)
class Temperature:
    """The temperature that fits some images best.

    Attributes:
        value: divides the logits; above 1 lowers the confidence.
        low: lower end of its interval.
        high: upper end.
        at_limit: the best value lies outside 0.01 to 100: all answers right, or no better than guessing.
        count: images it was fitted on.
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
        logits: (N, K), of images that the model was not trained on.
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
    for some, ground_truth in chunks(logits, labels):
        centred = some.double() - some.max(1, keepdim=True).values
        weights = (beta * centred).softmax(1)
        mean = (weights * centred).sum(1)
        spread = (weights * centred.square()).sum(1) - mean.square()
        slope = mean - centred.gather(1, ground_truth[:, None])[:, 0]
        sums += torch.stack([slope.sum(), spread.sum(), slope.square().sum()])
    slope, bend, noise = (sums / len(logits)).tolist()
    return slope, bend, noise
