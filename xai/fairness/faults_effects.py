"""What faults of the data do to the headline accuracy."""

from dataclasses import dataclass

import numpy as np

from xai.fairness.records import Plain

_DRAWS = 4000


@dataclass(frozen=True)
class Effect(Plain):
    """Accuracy as it is reported, and without a fault.

    Attributes:
        accuracy: on all pictures that can be read.
        without: what it would be.
        change: `without` less `accuracy`.
        interval: 95 % interval of the change, by resampling pictures.
    """

    accuracy: float
    without: float
    change: float
    interval: tuple[float, float]


def effect_of_leaving_out(right: np.ndarray, affected: np.ndarray, rng: np.random.Generator) -> Effect | None:
    """Return the effect of leaving the affected (N,) bool pictures out; None when there is nothing left or to leave.

    Args:
        right: (N,) bool, whether each answer is right.
        affected: (N,) bool.
        rng: draws the resamples: four counts from a multinomial.
    """
    if not affected.any() or affected.all():
        return None
    cells = np.bincount(2 * affected.astype(int) + right.astype(int), minlength=4)

    def change(counts: np.ndarray) -> np.ndarray:
        kept = counts[..., 0] + counts[..., 1]
        found: np.ndarray = counts[..., 1] / np.maximum(kept, 1) - (counts[..., 1] + counts[..., 3]) / counts.sum(-1)
        return found

    return _effect(
        float(right.mean()), float(change(cells)), change(rng.multinomial(len(right), cells / len(right), _DRAWS))
    )


def effect_of_balance(right: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Effect:
    """Return the effect of counting all classes that occur alike, whatever their number of pictures."""
    _, place = np.unique(labels, return_inverse=True)
    size = int(place.max()) + 1
    cells = np.bincount(2 * place + right, minlength=2 * size)

    def change(counts: np.ndarray) -> np.ndarray:
        pairs = counts.reshape(*counts.shape[:-1], size, 2)
        total = pairs.sum(-1)
        shares = np.divide(pairs[..., 1], total, out=np.full(total.shape, np.nan), where=total > 0)
        found: np.ndarray = np.nanmean(shares, -1) - pairs[..., 1].sum(-1) / total.sum(-1)
        return found

    return _effect(
        float(right.mean()), float(change(cells)), change(rng.multinomial(len(right), cells / len(right), _DRAWS))
    )


def _effect(accuracy: float, change: float, draws: np.ndarray) -> Effect:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Effect(accuracy, accuracy + change, change, (float(low), float(high)))
