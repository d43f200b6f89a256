"""What predictions and labels together say about how a model is used: class order, pixel scale, channels, copies."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import scipy
import torch
from torch import Tensor

from xai.core.classifier import Classifier
from xai.core.intervals import wilson
from xai.core.reading import Reader
from xai.core.seeds import image_key, repeated

_FEWEST, _SAMPLE = 16, 48  # labelled images that a doubt needs; images that are read in other ways
_GOOD = 0.7  # accuracy from which on nothing is tried
_LEAST, _SURE = 0.15, 0.001  # gain in accuracy, and p-value, of a doubt
_NEAR_CHANCE = 0.15
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Noted = TypeVar("Noted", bound=Any)
Way = tuple[str, Classifier, Callable[[Tensor], Tensor]]


def reading_doubts(
    classifier: Classifier, inputs: Tensor | None, predictions: Tensor, labels: Tensor
) -> tuple[str, ...]:
    """Return notes on what looks mistaken in class order or preprocessing, none where predictions are mostly right.

    Args:
        classifier: as used.
        inputs: (n, C, h, w) in [0, 1], the first n images; up to 48 of them are used. None reads none in other ways.
        predictions: (N,) of all images.
        labels: (N,) of all images.

    Cost: nothing where accuracy is 70 % or more; else up to 7 forwards of 48 images.
    """
    predictions, labels = predictions.cpu(), labels.cpu()
    if len(labels) < _FEWEST or bool((labels < 0).any()):
        return ()
    if int(labels.min()) == int(labels.max()):
        return (f"all {len(labels)} labels are of one class, {classifier.labels[int(labels[0])]!r}",)
    hits = int((predictions == labels).sum())
    if hits >= _GOOD * len(labels):
        return ()
    found = _order(predictions, labels, classifier.labels)
    found += _other_ways(classifier, inputs, predictions, labels) if inputs is not None else []
    best = max((share for share, _ in found), default=0.0)
    return tuple(words for share, words in found if share == best) or _chance(predictions, labels, hits)


def with_doubts(classifier: Classifier, inputs: Tensor, found: Noted) -> Noted:
    """Return a result that has `predictions` or `clean_predictions`, `labels` and `notes` with what is to be doubted.

    Args:
        classifier: as used.
        inputs: (N, C, h, w) in [0, 1], of all images.
        found: a frozen record.
    """
    said = getattr(found, "clean_predictions", None)
    said = found.predictions if said is None else said
    doubts = repeated([image_key(image) for image in inputs]) + reading_doubts(classifier, inputs, said, found.labels)
    return replace(found, notes=tuple(dict.fromkeys([*found.notes, *doubts])))


def data_doubts(classifier: Classifier, data: Any, predictions: Tensor, labels: Tensor) -> tuple[str, ...]:
    """Return `reading_doubts` of a data set, or of images in any form, of which some are read again."""
    if len(labels) < _FEWEST or int((predictions.cpu() == labels.cpu()).sum()) >= _GOOD * len(labels):
        return reading_doubts(classifier, None, predictions, labels)
    order = _shuffled(len(labels))
    few = Reader(classifier, data).inputs(order[:_SAMPLE].tolist())
    return reading_doubts(classifier, few, predictions.cpu()[order], labels.cpu()[order])


def _shuffled(count: int) -> Tensor:
    """Return numbers in a fixed random order: the first images of data that is sorted by class are of one class."""
    return torch.from_numpy(np.random.default_rng(0).permutation(count))


def _order(predictions: Tensor, labels: Tensor, names: Sequence[str]) -> list[tuple[float, str]]:
    """Return share and note when labels fit the predictions in another order of classes.

    The order is found on one half of the images, and the share is that of the other half.
    """
    said, truth, count = predictions.numpy(), labels.numpy(), len(names)
    half = np.random.default_rng(0).permutation(len(truth)) % 2 == 0  # at random: data may be sorted or alternate
    table = np.zeros((count, count))
    np.add.at(table, (truth[half], said[half]), 1)
    order = scipy.optimize.linear_sum_assignment(table, maximize=True)[1]
    straight, mapped = said[~half] == truth[~half], said[~half] == order[truth[~half]]
    if not _better(mapped, straight):
        return []
    share = f"{mapped.mean():.0%} of the labels fit the predictions, as given {straight.mean():.0%}"
    seen = [k for k in np.unique(truth) if table[k].any()]
    shifts = {int(order[k] - k) for k in seen}
    if shifts in ({-1}, {1}):
        way = "minus 1" if shifts == {-1} else "plus 1"
        words = f"labels look off by one: {way}, {share}; class 0 is the model's first output"
        return [(float(mapped.mean()), words)]
    pairs = [f"{names[k]!r} is predicted as {names[order[k]]!r}" for k in seen if order[k] != k]
    words = f"labels look numbered in another order than the model's classes: {'; '.join(pairs[:2])}; so, {share}"
    return [(float(mapped.mean()), words)]


def _better(other: np.ndarray, plain: np.ndarray) -> bool:
    """Say whether another reading is right more often, by far and beyond chance (exact test of pairs that differ)."""
    won, lost = int((other & ~plain).sum()), int((plain & ~other).sum())
    if won - lost < _LEAST * len(plain) or won < 1:
        return False
    return bool(scipy.stats.binomtest(won, won + lost, alternative="greater").pvalue < _SURE)


def _other_ways(classifier: Classifier, inputs: Tensor, predictions: Tensor, labels: Tensor) -> list[tuple[float, str]]:
    """Return share and note when one of the usual other ways to read images is right more often, the best one."""
    some = _shuffled(len(inputs))[:_SAMPLE]
    few, truth = inputs[some.to(inputs.device)], labels[some]
    plain = (predictions[some] == truth).numpy()
    best: tuple[float, str] | None = None
    for words, reader, change in _ways(classifier, few):
        with torch.no_grad():
            other = (reader.logits_of(change(few)).argmax(1) == truth).numpy()
        if _better(other, plain) and (best is None or other.mean() > best[0]):
            best = float(other.mean()), words
    if best is None:
        return []
    gain = f"{best[0]:.0%} of {len(few)} images are predicted right, as given {plain.mean():.0%}"
    return [(best[0], f"preprocessing looks mistaken: with {best[1]}, {gain}")]


def _ways(classifier: Classifier, images: Tensor) -> list[Way]:
    """Return names, models and changes of the ways that differ from the classifier's own."""
    channels, scales = classifier.channels, {"pixels as they are (no mean, no std)": (0.0, 1.0)}
    scales |= {
        "pixels from -1 to 1 (mean 0.5, std 0.5)": (0.5, 0.5),
        "pixels from 0 to 255 (std 1/255)": (0.0, 1 / 255),
    }
    numbers = {words: ((mean,) * channels, (std,) * channels) for words, (mean, std) in scales.items()}
    if channels == 3:
        numbers["the mean and std of ImageNet"] = _IMAGENET
    own = classifier.mean, classifier.std
    ways: list[Way] = [(words, _scaled(classifier, *given), _same) for words, given in numbers.items() if given != own]
    if channels == 3:
        ways.append(("red and blue exchanged (BGR)", classifier, lambda given: given.flip(1)))
    if images.shape[-1] == images.shape[-2]:
        ways.append(("rows and columns exchanged", classifier, lambda given: given.transpose(2, 3).contiguous()))
    return [*ways, ("dark and bright exchanged", classifier, lambda given: 1 - given)]


def _same(images: Tensor) -> Tensor:
    return images


def _scaled(classifier: Classifier, mean: tuple[float, ...], std: tuple[float, ...]) -> Classifier:
    twin = copy.copy(classifier)
    twin.mean, twin.std = mean, std
    return twin


def _chance(predictions: Tensor, labels: Tensor, hits: int) -> tuple[str, ...]:
    """Return a note when predictions agree with labels about as often as if they had nothing to do with each other."""
    classes = int(max(predictions.max(), labels.max())) + 1
    shares = (torch.bincount(each, minlength=classes).double() / len(labels) for each in (predictions, labels))
    first, second = shares
    expected = float((first * second).sum())
    if float(second.max()) == 1 or wilson(hits, len(labels))[1] > expected + _NEAR_CHANCE:
        return ()
    share = f"{hits} of {len(labels)} predictions are right, about as many as by chance ({expected:.0%})"
    return (f"{share}: labels of other images, other preprocessing, or a model without its weights?",)
