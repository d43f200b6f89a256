"""Label errors by confident learning, broken images, and the effect of faults on accuracy."""

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from xai.core.images.border import open_data
from xai.core.images.inputs import InputImage, decode_images
from xai.core.results.message import Message
from xai.core.runtime.batching import Progress, ShouldStop
from xai.errors import ImageError, InputError, ShapeError, Stopped

_DRAWS = 4000


@dataclass(frozen=True)
class Effect:
    """Accuracy as it is reported, and without a fault.

    Attributes:
        accuracy: on all images that can be read.
        without: what it would be.
        change: `without` minus `accuracy`.
        interval: 95 % interval of the change, by resampling images.
    """

    accuracy: float
    without: float
    change: float
    interval: tuple[float, float]


def effect_of_leaving_out(right: np.ndarray, affected: np.ndarray, rng: np.random.Generator) -> Effect | None:
    """Return the effect of leaving the affected (N,) bool images out; None when there is nothing left or to leave.

    Args:
        right: (N,) bool, whether each answer is right.
        affected: (N,) bool.
        rng: draws the resamples: four counts from a multinomial.
    """
    if not affected.any() or affected.all():
        return None
    cells = np.bincount(2 * affected.astype(int) + right.astype(int), minlength=4)

    def change(counts: np.ndarray) -> np.ndarray:
        remaining = counts[..., 0] + counts[..., 1]
        change_of_accuracy: np.ndarray = counts[..., 1] / np.maximum(remaining, 1) - (
            counts[..., 1] + counts[..., 3]
        ) / counts.sum(-1)
        return change_of_accuracy

    return _effect(
        float(right.mean()), float(change(cells)), change(rng.multinomial(len(right), cells / len(right), _DRAWS))
    )


def effect_of_balance(right: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Effect:
    """Return the effect of counting all classes that occur alike, whatever their number of images."""
    _, place = np.unique(labels, return_inverse=True)
    size = int(place.max()) + 1
    cells = np.bincount(2 * place + right, minlength=2 * size)

    def change(counts: np.ndarray) -> np.ndarray:
        pairs = counts.reshape(*counts.shape[:-1], size, 2)
        total = pairs.sum(-1)
        shares = np.divide(pairs[..., 1], total, out=np.full(total.shape, np.nan), where=total > 0)
        change_of_accuracy: np.ndarray = np.nanmean(shares, -1) - pairs[..., 1].sum(-1) / total.sum(-1)
        return change_of_accuracy

    return _effect(
        float(right.mean()), float(change(cells)), change(rng.multinomial(len(right), cells / len(right), _DRAWS))
    )


def _effect(accuracy: float, change: float, draws: np.ndarray) -> Effect:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Effect(accuracy, accuracy + change, change, (float(low), float(high)))


FOLDS = 5
_COMPONENTS = 64


@dataclass(frozen=True)
class SuspectLabel:
    """A label to check.

    Attributes:
        row: number of the image in the data.
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
    features: np.ndarray, labels: np.ndarray, images: np.ndarray, classes: int, seed: int = 0
) -> np.ndarray:
    """Return probabilities (N, K) of each image's classes, by logistic regression on the other four fifths.

    Rows whose class has fewer than five images are nan: nobody can say.

    Args:
        features: (N, D), brought to 64 principal components, which know no labels.
        labels: (N,) as given.
        images: (N, ...) whose content decides the fold, so that their order changes nothing.
        classes: K.
        seed: of the folds.
    """
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    probabilities = np.full((len(labels), classes), np.nan)
    known = np.flatnonzero(np.bincount(labels, minlength=classes)[labels] >= FOLDS)
    if len(set(labels[known].tolist())) < 2 or not np.ptp(features[known], axis=0).any():
        return probabilities
    keys = [hashlib.sha256(f"{seed}/".encode() + images[row].tobytes()).digest() for row in known]
    order = known[sorted(range(len(known)), key=lambda k: keys[k])]  # also the order of sums, and so their rounding
    size = min(_COMPONENTS, features.shape[1], len(order))
    parts = PCA(size, svd_solver="randomized", random_state=0).fit_transform(features[order].astype(np.float32))
    parts = parts.astype(np.float64)
    parts /= max(float(parts[:, 0].std()), 1e-12)
    fold, ground_truth = _folds(labels[order]), labels[order]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # two hundred steps are enough to rank
        for left_out in range(FOLDS):
            model = LogisticRegression(max_iter=200).fit(parts[fold != left_out], ground_truth[fold != left_out])
            inside = np.zeros((int((fold == left_out).sum()), classes))
            inside[:, model.classes_] = model.predict_proba(parts[fold == left_out])
            probabilities[order[fold == left_out]] = inside
    return probabilities


def _folds(labels: np.ndarray) -> np.ndarray:
    """Return the fold (N,) of rows in random order: each class is dealt out evenly."""
    folds = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        folds[own] = np.arange(len(own)) % FOLDS
    return folds


def suspects_of(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (M,) whose label is probably wrong, most suspicious first, and what they look like (M,).

    How many: an image counts as another class when it is at least as probable there as that class's own images are
    on average, and most so of all such classes. Which: those whose given label is least probable, which ranks
    better than the images that were counted.

    Source: Northcutt, Jiang & Chuang 2021: the off-diagonal of the confident joint (without calibration), ranked by
    self-confidence; both agree with cleanlab.
    """
    known = np.flatnonzero(~np.isnan(probabilities).any(1))
    rows, ground_truth = probabilities[known], labels[known]
    place = np.arange(len(known))
    own = rows[place, ground_truth]
    order = np.argsort(own, kind="stable")[: _counted_elsewhere(rows, ground_truth)]
    others = rows.copy()
    others[place, ground_truth] = -1
    return known[order], others.argmax(1)[order]


def _counted_elsewhere(rows: np.ndarray, labels: np.ndarray) -> int:
    """Return how many images the confident joint counts as another class than their label."""
    classes = rows.shape[1]
    own, sizes = rows[np.arange(len(rows)), labels], np.bincount(labels, minlength=classes)
    average = np.bincount(labels, own, classes) / np.maximum(sizes, 1)
    average[sizes == 0] = np.inf
    confident = np.where(rows >= average - 1e-6, rows, -1.0)
    return int(((confident.max(1) >= 0) & (confident.argmax(1) != labels)).sum())


CONSTANT = "constant"
LARGEST = 32  # side of the small images
_SMALLEST = 8
_FLAT = 2 / 255  # range of an image in which there is nothing to see
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Broken:
    """An image that shows nothing.

    Attributes:
        split: "data" or "train".
        row: number in it.
        name: identifier.
        reason: "constant", or why it cannot be read.
    """

    split: str
    row: int
    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class SmallImages:
    """N images that can be compared.

    Attributes:
        rows: (N,) numbers in their data set.
        names: (N,) identifiers.
        small: (N, s, s) float32 grey in [0, 1].
        colour: (N, 3) mean colour.
        broken: those that are not among them.
        readable: (M,) numbers of all that can be read, constant ones included.
    """

    rows: np.ndarray
    names: tuple[str, ...] = field(repr=False)
    small: np.ndarray = field(repr=False)
    colour: np.ndarray = field(repr=False)
    broken: tuple[Broken, ...]
    readable: np.ndarray = field(repr=False)


def side_of(data: Any) -> int:
    """Return the side of the small images of a data set: that of the first images, between 8 and 32."""
    sides = [min(image.size) for image, _ in _first(_images(data), 16) if image is not None]
    return int(np.clip(np.median(sides), _SMALLEST, LARGEST)) if sides else LARGEST


def read_small(
    data: Any, split: str, side: int, report: Progress | None = None, should_stop: ShouldStop | None = None
) -> SmallImages:
    """Return the images of a data set made small, with those that are constant or cannot be read apart.

    Raises:
        Stopped: `should_stop()` was true.
    """
    names, total = getattr(data, "ids", None), len(images_of(data))
    rows: dict[int, tuple[Tensor, Tensor]] = {}
    broken, readable = [], []
    for row, (image, reason) in enumerate(_images(data)):
        if should_stop is not None and row % 64 == 0 and should_stop():
            raise Stopped(f"Stopped after {row} of {total} images, as asked.")
        if image is not None:
            readable.append(row)
        if image is None or _is_flat(image.pixels):
            broken.append(Broken(split, row, _name(names, row), reason or CONSTANT))
        else:
            rows[row] = _shrink(image.pixels, side)
        if report is not None:
            report(row + 1, total)
    return SmallImages(
        np.array(list(rows), dtype=np.int64),
        tuple(_name(names, row) for row in rows),
        np.stack([grey.numpy() for grey, _ in rows.values()]) if rows else np.zeros((0, side, side), np.float32),
        np.stack([colour.numpy() for _, colour in rows.values()]) if rows else np.zeros((0, 3), np.float32),
        tuple(broken),
        np.array(readable, dtype=np.int64),
    )


def images_of(data: Any) -> Any:
    """Return what has one image at each number.

    Raises:
        InputError: there are not several images.
    """
    given = open_data(data)
    if getattr(given, "single", False):
        raise InputError(f"Expected a data set or several images, but got {type(data).__name__}. Pass a list.")
    return given.images


def _images(data: Any) -> Iterator[tuple[InputImage | None, str]]:
    """Yield each image, or None and why it cannot be read."""
    images = images_of(data)
    for row in range(len(images)):
        try:
            yield (images.decoded([row])[0] if hasattr(images, "decoded") else decode_images([images[row]])[0][0]), ""
        except (ImageError, ShapeError, OSError) as error:
            yield None, Message("cannot be read: {error}", error=str(error))


def _first(pairs: Iterator[tuple[InputImage | None, str]], count: int) -> Iterator[tuple[InputImage | None, str]]:
    for _, pair in zip(range(count), pairs, strict=False):
        yield pair


def _name(names: Sequence[str] | None, row: int) -> str:
    return f"image {row}" if names is None else str(names[row])


def _is_flat(pixels: Tensor) -> bool:
    low, high = torch.aminmax(pixels[:3].flatten(1), dim=1)
    return bool((high - low).max() < _FLAT)


def _shrink(pixels: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return an image (s, s) grey and its mean colour (3,); the shape of the sides is not kept."""
    colour = pixels[:3].float().cpu()
    colour = colour if len(colour) == 3 else colour.mean(0, keepdim=True).expand(3, -1, -1)
    grey = (colour * colour.new_tensor(_LUMA).view(3, 1, 1)).sum(0, keepdim=True)
    small = F.interpolate(grey[None], size=(side, side), mode="bilinear", antialias=True, align_corners=False)
    return small[0, 0], colour.mean((1, 2))


def counted(progress: Progress | None, before: int, total: int) -> Progress | None:
    """Return what reports `before` + done of `total`, whatever the total of its own, or None."""
    if progress is None:
        return None
    report = progress
    return lambda done, _own: report(before + done, total)
