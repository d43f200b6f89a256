"""How often is each class in pictures without labels? From the mistakes a classifier makes on labelled ones."""

from dataclasses import dataclass

import numpy as np

from xai.errors import ShapeError

WORST_CONDITION = 100.0
_MORE = 2.0  # images by which each class has more, spread over all answers: what never happened is not impossible


@dataclass(frozen=True, eq=False)
class LabelShift:
    """Estimated shares of classes.

    Attributes:
        first: (K,) shares in the labelled sample.
        second: (K,) estimated shares in the other; they sum to 1.
        low: (K,) lower ends of their intervals.
        high: (K,) upper ends.
        condition: of the confusion matrix that was inverted; large means vague.
    """

    first: np.ndarray
    second: np.ndarray
    low: np.ndarray
    high: np.ndarray
    condition: float


def label_shift(
    predicted: np.ndarray,
    labels: np.ndarray,
    others: np.ndarray,
    classes: int,
    *,
    level: float = 0.95,
    draws: int = 500,
    seed: int = 0,
) -> LabelShift | None:
    """Return the shares of classes in pictures of which only predictions are known; None when they cannot be told.

    Right when pictures of each class look alike in both samples and only the shares differ; otherwise wrong.

    Args:
        predicted: (m,) classes predicted for the labelled pictures.
        labels: (m,) their truth.
        others: (n,) classes predicted for the other pictures.
        classes: how many there are.
        level: of the intervals.
        draws: of shares from their Dirichlet distributions, for the intervals.
        seed: of the draws.

    Returns:
        LabelShift, or None where a class has no labelled picture or the confusion matrix is close to singular.

    Raises:
        ShapeError: `predicted` and `labels` of different lengths, or nothing.

    Cost: draws solutions of K equations.
    Source: Lipton, Wang and Smola 2018 (BBSE, hard labels); negative shares become 0. Intervals: the answers of each
    class and those on the others are drawn from Dirichlet distributions after two more images each, spread over all
    answers. A bootstrap never draws a mistake that did not happen, and held the truth in 90 to 94 % of small samples.
    """
    if predicted.shape != labels.shape or len(labels) == 0 or len(others) == 0:
        raise ShapeError(
            f"Expected a prediction for each label, but got {predicted.shape}, {labels.shape} and {others.shape}."
        )
    joint = np.bincount(predicted * classes + labels, minlength=classes**2).astype(np.float64)
    counts = np.bincount(others, minlength=classes).astype(np.float64)
    if (joint.reshape(classes, classes).sum(0) == 0).any():
        return None
    condition = float(np.linalg.cond(_given_truth(joint, classes)))
    if not condition < WORST_CONDITION:
        return None
    rng = np.random.default_rng(abs(seed))
    joints = rng.standard_gamma(joint + _MORE / classes, (draws, classes**2))
    drawn = rng.standard_gamma(counts + _MORE / classes, (draws, classes))
    every = np.stack([_solve(a, b, classes) for a, b in zip(joints, drawn, strict=True)])
    low, high = np.quantile(every, [(1 - level) / 2, (1 + level) / 2], axis=0)
    first = joint.reshape(classes, classes).sum(0) / len(labels)
    return LabelShift(first, _solve(joint, counts, classes), low, high, condition)


def _given_truth(joint: np.ndarray, classes: int) -> np.ndarray:
    """Return how often each class is predicted (down) for pictures of each (across)."""
    table = joint.reshape(classes, classes)
    found: np.ndarray = table / table.sum(0)
    return found


def _solve(joint: np.ndarray, counts: np.ndarray, classes: int) -> np.ndarray:
    """Return non-negative shares that sum to 1."""
    rates = _given_truth(joint, classes)
    shares = np.clip(np.linalg.lstsq(rates, counts / counts.sum(), rcond=None)[0], 0, None)
    found: np.ndarray = shares / shares.sum()
    return found
