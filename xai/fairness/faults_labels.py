"""Labels that are probably wrong: confident learning on probabilities that were never fitted on the picture itself."""

import hashlib
import warnings
from dataclasses import dataclass

import numpy as np

from xai.fairness.records import Plain

FOLDS = 5
_COMPONENTS = 64


@dataclass(frozen=True)
class Suspect(Plain):
    """A label to check.

    Attributes:
        row: number of the picture in the data.
        name: identifier.
        given: the label.
        suggested: the class that it looks like.
        confidence: probability of the given label, by a classifier that never saw it.
        other: probability of the suggested one.
    """

    row: int
    name: str
    given: str
    suggested: str
    confidence: float
    other: float


def out_of_fold(
    features: np.ndarray, labels: np.ndarray, pictures: np.ndarray, classes: int, seed: int = 0
) -> np.ndarray:
    """Return probabilities (N, K) of each picture's classes, by logistic regression on the other four fifths.

    Rows whose class has fewer than five pictures are nan: nobody can say.

    Args:
        features: (N, D), brought to 64 principal components, which know no labels.
        labels: (N,) as given.
        pictures: (N, ...) whose content decides the fold, so that their order changes nothing.
        classes: K.
        seed: of the folds.
    """
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    found = np.full((len(labels), classes), np.nan)
    known = np.flatnonzero(np.bincount(labels, minlength=classes)[labels] >= FOLDS)
    if len(set(labels[known].tolist())) < 2 or not np.ptp(features[known], axis=0).any():
        return found
    keys = [hashlib.sha256(f"{seed}/".encode() + pictures[row].tobytes()).digest() for row in known]
    order = known[sorted(range(len(known)), key=lambda k: keys[k])]  # also the order of sums, and so their rounding
    size = min(_COMPONENTS, features.shape[1], len(order))
    parts = PCA(size, svd_solver="randomized", random_state=0).fit_transform(features[order].astype(np.float32))
    parts = parts.astype(np.float64)
    parts /= max(float(parts[:, 0].std()), 1e-12)
    fold, truth = _folds(labels[order]), labels[order]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # two hundred steps are enough to rank
        for held in range(FOLDS):
            model = LogisticRegression(max_iter=200).fit(parts[fold != held], truth[fold != held])
            inside = np.zeros((int((fold == held).sum()), classes))
            inside[:, model.classes_] = model.predict_proba(parts[fold == held])
            found[order[fold == held]] = inside
    return found


def _folds(labels: np.ndarray) -> np.ndarray:
    """Return the fold (N,) of rows in random order: each class is dealt out evenly."""
    found = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        found[own] = np.arange(len(own)) % FOLDS
    return found


def suspects_of(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (M,) whose label is probably wrong, most suspicious first, and what they look like (M,).

    How many: a picture counts as another class when it is at least as probable there as that class's own pictures are
    on average, and most so of all such classes. Which: those whose given label is least probable, which ranks
    better than the pictures that were counted.

    Source: Northcutt, Jiang & Chuang 2021: the off-diagonal of the confident joint (without calibration), ranked by
    self-confidence; both agree with cleanlab.
    """
    known = np.flatnonzero(~np.isnan(probabilities).any(1))
    rows, truth = probabilities[known], labels[known]
    place = np.arange(len(known))
    own = rows[place, truth]
    order = np.argsort(own, kind="stable")[: _counted_elsewhere(rows, truth)]
    others = rows.copy()
    others[place, truth] = -1
    return known[order], others.argmax(1)[order]


def _counted_elsewhere(rows: np.ndarray, labels: np.ndarray) -> int:
    """Return how many pictures the confident joint counts as another class than their label."""
    classes = rows.shape[1]
    own, sizes = rows[np.arange(len(rows)), labels], np.bincount(labels, minlength=classes)
    average = np.bincount(labels, own, classes) / np.maximum(sizes, 1)
    average[sizes == 0] = np.inf
    confident = np.where(rows >= average - 1e-6, rows, -1.0)
    return int(((confident.max(1) >= 0) & (confident.argmax(1) != labels)).sum())
