"""Signs of an untrained or wrongly used model. They look at class order, pixel scale, channels and weights."""

import copy
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import scipy
import torch
from torch import Tensor, nn

from xai.core.labels import labels_of
from xai.core.model.classifier import Classifier
from xai.core.model.fingerprint import fingerprint_module, parts_of
from xai.core.model.resizing import InputReader, ResizeComparison, compare_resizing
from xai.core.results.codec import plain
from xai.core.results.message import Message, constant, joined
from xai.core.runtime.batching import ShouldStop
from xai.core.runtime.randomness import image_key, repeated
from xai.stats.intervals import discordant, mcnemar, wilson

_FEWEST, _SAMPLE = 16, 48  # labelled images that a doubt needs; images that are read in other ways
_GOOD = 0.7  # accuracy from which on nothing is tried
_LEAST, _SIGNIFICANT = 0.15, 0.001  # gain in accuracy, and p-value, of a doubt
_NEAR_CHANCE = 0.15
_OFF_BY_ONE = (
    "labels look off by one: minus 1, {share:.0%} of the labels fit the predictions, as given {given:.0%}; class 0 is "
    "the model's first output",
    "labels look off by one: plus 1, {share:.0%} of the labels fit the predictions, as given {given:.0%}; class 0 is "
    "the model's first output",
)
_OTHER_ORDER = (
    "labels look numbered in another order than the model's classes: {pairs}; so, {share:.0%} of the labels fit the "
    "predictions, as given {given:.0%}"
)
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
        name = classifier.class_names[int(labels[0])]
        return (Message("all {count} labels are of one class, {name!r}", count=len(labels), name=name),)
    hits = int((predictions == labels).sum())
    if hits >= _GOOD * len(labels):
        return ()
    doubts = _order(predictions, labels, classifier.class_names)
    doubts += _other_ways(classifier, inputs, predictions, labels) if inputs is not None else []
    best = max((share for share, _ in doubts), default=0.0)
    return tuple(words for share, words in doubts if share == best) or _chance(predictions, labels, hits)


def with_doubts(classifier: Classifier, inputs: Tensor, result: Noted) -> Noted:
    """Return a result that has `predictions` or `clean_predictions`, `labels` and `notes` with what is to be doubted.

    Args:
        classifier: as used.
        inputs: (N, C, h, w) in [0, 1], of all images.
        result: a frozen record.
    """
    predictions = getattr(result, "clean_predictions", None)
    predictions = result.predictions if predictions is None else predictions
    doubts = repeated([image_key(image) for image in inputs]) + reading_doubts(
        classifier, inputs, predictions, result.labels
    )
    return replace(result, notes=tuple(dict.fromkeys([*result.notes, *doubts])))


def data_doubts(classifier: Classifier, data: Any, predictions: Tensor, labels: Tensor) -> tuple[str, ...]:
    """Return `reading_doubts` of a data set, or of images in any form, of which some are read again."""
    if len(labels) < _FEWEST or int((predictions.cpu() == labels.cpu()).sum()) >= _GOOD * len(labels):
        return reading_doubts(classifier, None, predictions, labels)
    order = _shuffled(len(labels))
    few = InputReader(classifier, data).inputs(order[:_SAMPLE].tolist())
    return reading_doubts(classifier, few, predictions.cpu()[order], labels.cpu()[order])


def _shuffled(count: int) -> Tensor:
    """Return numbers in a fixed random order: the first images of data that is sorted by class are of one class."""
    return torch.from_numpy(np.random.default_rng(0).permutation(count))


def _order(predictions: Tensor, labels: Tensor, names: Sequence[str]) -> list[tuple[float, str]]:
    """Return share and note when labels fit the predictions in another order of classes.

    The order is found on one half of the images, and the share is that of the other half.
    """
    predicted, ground_truth, count = predictions.numpy(), labels.numpy(), len(names)
    half = (
        np.random.default_rng(0).permutation(len(ground_truth)) % 2 == 0
    )  # at random: data may be sorted or alternate
    table = np.zeros((count, count))
    np.add.at(table, (ground_truth[half], predicted[half]), 1)
    order = scipy.optimize.linear_sum_assignment(table, maximize=True)[1]
    straight, mapped = predicted[~half] == ground_truth[~half], predicted[~half] == order[ground_truth[~half]]
    if not _better(mapped, straight):
        return []
    shares = {"share": float(mapped.mean()), "given": float(straight.mean())}
    seen = [k for k in np.unique(ground_truth) if table[k].any()]
    shifts = {int(order[k] - k) for k in seen}
    if shifts in ({-1}, {1}):
        return [(shares["share"], Message(_OFF_BY_ONE[shifts == {1}], **shares))]
    moved = [k for k in seen if order[k] != k][:2]
    pairs = [Message("{own!r} is predicted as {other!r}", own=names[k], other=names[order[k]]) for k in moved]
    return [(shares["share"], Message(_OTHER_ORDER, pairs=joined(pairs), **shares))]


def _better(other: np.ndarray, plain: np.ndarray) -> bool:
    """Say whether another reading is right more often, by far and beyond chance (exact test of pairs that differ)."""
    won, lost = discordant(other, plain)
    if won - lost < _LEAST * len(plain) or won < 1:
        return False
    return mcnemar(won, lost) < _SIGNIFICANT


def _other_ways(classifier: Classifier, inputs: Tensor, predictions: Tensor, labels: Tensor) -> list[tuple[float, str]]:
    """Return share and note when one of the usual other ways to read images is right more often, the best one."""
    some = _shuffled(len(inputs))[:_SAMPLE]
    few, ground_truth = inputs[some.to(inputs.device)], labels[some]
    plain = (predictions[some] == ground_truth).numpy()
    best: tuple[float, str] | None = None
    for words, reader, change in _ways(classifier, few):
        with torch.no_grad():
            other = (reader.logits_of(change(few)).argmax(1) == ground_truth).numpy()
        if _better(other, plain) and (best is None or other.mean() > best[0]):
            best = float(other.mean()), words
    if best is None:
        return []
    template = (
        "preprocessing looks mistaken: with {way}, {share:.0%} of {count} images are predicted right, as given "
        "{given:.0%}"
    )
    way, given = constant(best[1]), float(plain.mean())
    return [(best[0], Message(template, way=way, share=float(best[0]), count=len(few), given=given))]


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
    template = (
        "{hits} of {count} predictions are right, about as many as by chance ({expected:.0%}): labels of other images, "
        "other preprocessing, or a model without its weights?"
    )
    return (Message(template, hits=hits, count=len(labels), expected=expected),)


UNTRAINED = (
    "the model looks untrained: in all of its layers the weights are as independent as random numbers; are its weights "
    "loaded?"
)
_LAYERS = 12  # looked at, from the last one
_MOST = 96, 768  # rows and columns of a matrix that are looked at
_FEWEST_WEIGHTS = 200  # weights of a layer that tell anything
_SHUFFLES = 24
_FAR = 4.0  # deviations of shuffled weights
_KEPT = 64
_known: "OrderedDict[str, bool]" = OrderedDict()


def looks_untrained(module: nn.Module) -> bool:
    """Return True when no layer of a model has structure; False where it has, or where that is unknown.

    Initial weights are independent of each other, so that shuffling the entries of a layer's matrix changes none of
    its statistics but by chance: its largest singular values, the spread of the sizes and means of rows and columns,
    and, of a convolution, how alike neighbouring weights are. Training leaves several of them many deviations away in
    the layers that it reached. A layer whose weights are equal or whose rows are orthogonal is not judged.

    Cost: remembered by fingerprint; some milliseconds a layer, fewer for trained models, which the first layers tell.
    """
    key = fingerprint_module(module)
    if key not in _known:
        _known[key] = _judge(module)
        while len(_known) > _KEPT:
            _known.popitem(last=False)
    return _known[key]


def untrained_noted(module: nn.Module) -> list[str]:
    """Return a note when a model looks untrained."""
    return [UNTRAINED] if looks_untrained(module) else []


def _judge(module: nn.Module) -> bool:
    if _has_counted(module):
        return False
    layers = [part.weight.detach() for part in parts_of(module) if isinstance(part, nn.Linear | nn.Conv2d)]
    usable = [weight for weight in layers if weight.is_floating_point() and weight.numel() >= _FEWEST_WEIGHTS]
    usable = [weight for weight in usable if weight.device.type != "meta" and float(weight.float().std()) > 0]
    return bool(usable) and all(not has_structure(weight) for weight in usable[:_LAYERS])


def _has_counted(module: nn.Module) -> bool:
    """Whether a batch norm has seen images: its running statistics are no longer those of the start."""
    norms = [part for part in parts_of(module) if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    return any(part.running_mean is not None and bool(part.running_mean.any()) for part in norms)


def has_structure(weight: Tensor) -> bool:
    """Return True when a layer's weights (out, in, ...) depend on each other."""
    kernel = weight.ndim == 4 and weight.shape[2] * weight.shape[3] > 1
    table = weight.float().cpu().flatten(1)[: _MOST[0], : _MOST[1]].double()
    side = weight.shape[2:] if kernel else None
    draw = torch.Generator().manual_seed(0)
    measured = _statistics(table, side)
    chance = torch.stack([_statistics(_shuffled_weights(table, draw), side) for _ in range(_SHUFFLES)])
    deviation = chance.std(0).clamp_min(1e-12)
    apart = (measured - chance.mean(0)) / deviation
    return bool((apart > _FAR).any())


def _shuffled_weights(table: Tensor, draw: torch.Generator) -> Tensor:
    return table.flatten()[torch.randperm(table.numel(), generator=draw)].view_as(table)


def _statistics(table: Tensor, side: torch.Size | None) -> Tensor:
    """Return statistics that structure raises: singular values, spreads of rows and columns, likeness of neighbours."""
    values = torch.linalg.svdvals(table)
    spreads = [table.square().mean(k).log().nan_to_num(neginf=-30).var() for k in (0, 1) if table.shape[1 - k] > 1]
    spreads += [table.mean(k).square().mean() for k in (0, 1)]
    statistics = [values[0], values[:3].square().sum(), *spreads]
    if side is not None and table.shape[1] % side.numel() == 0:
        maps = table.reshape(-1, *side)
        statistics += [_alike(maps), maps.square().mean(0).log().nan_to_num(neginf=-30).var()]
    return torch.stack([value if math.isfinite(float(value)) else torch.zeros_like(value) for value in statistics])


def _alike(maps: Tensor) -> Tensor:
    """Return the mean product of neighbouring weights of all kernels, as a share of their mean square."""
    products = [(maps[:, 1:] * maps[:, :-1]).flatten(), (maps[:, :, 1:] * maps[:, :, :-1]).flatten()]
    return torch.cat(products).mean() / maps.square().mean().clamp_min(1e-30)


_MOST_IMAGES, _LEAST_LABELS, _TIMED, _AT_ONCE = 400, 50, 8, 64
_SECONDS = 10.0
_SHOWN = 12


@dataclass(frozen=True)
class DataFit:
    """How a model and labelled data go together.

    Attributes:
        count: number of images predicted, drawn by seed 0.
        accuracy: share of them predicted right.
        interval: Wilson's, 95 %.
        resizing: crop, squash and pad compared; None where the model takes images in any size.
        seconds: of one image through the model, about.
        notes: what was done to labels, and what looks mistaken.
    """

    count: int
    accuracy: float
    interval: tuple[float, float]
    resizing: ResizeComparison | None
    seconds: float
    notes: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """Everything in lines of text."""
        low, high = self.interval
        lines = [f"accuracy: {self.accuracy:.1%} of {self.count} images (95 % interval {low:.1%} to {high:.1%})"]
        if self.resizing is not None:
            same = self.resizing.verdict == "no difference"
            lines.append("resize: images have the model's size" if same else f"resize: {self.resizing.reason}")
        return (*lines, *self.notes)

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        table = {name: plain(value) for name, value in vars(self).items()}
        return table | {"resizing": None if self.resizing is None else plain(vars(self.resizing))}


def data_fit(
    classifier: Classifier, data: Any, *, seconds: float = _SECONDS, should_stop: ShouldStop | None = None
) -> DataFit:
    """Return how a model and labelled data go together.

    Args:
        classifier: to predict with.
        data: a labelled data set.
        seconds: that the forwards may take, about; decides on how many images, 50 to 400.
        should_stop: asked between chunks.

    Raises:
        InputError: no labels.
        TargetError: a label that is no class of the model.
        Stopped: `should_stop()` was true.

    Cost: at most four forwards of 400 images.
    """
    ground_truth, notes = labels_of(classifier, data, None, len(data))
    pace = _pace(classifier, data)
    most = int(np.clip(seconds / (4 * max(pace, 1e-6)), _LEAST_LABELS, _MOST_IMAGES))
    rows = np.sort(np.random.default_rng(0).permutation(len(data))[:most])
    few = data.take(rows)
    reader = InputReader(classifier, few)
    chunks = [range(start, min(start + _AT_ONCE, len(few))) for start in range(0, len(few), _AT_ONCE)]
    predictions = torch.cat([classifier.logits_of(reader.inputs(chunk)).argmax(1) for chunk in chunks])
    labels = torch.as_tensor(ground_truth)[torch.from_numpy(rows)]
    hits = int((predictions == labels).sum())
    low, high = wilson(hits, len(few))
    resizing = None
    if classifier.input_size is not None:
        resizing = compare_resizing(classifier, few, labels.tolist(), most=most, should_stop=should_stop)
    doubts = data_doubts(classifier, few, predictions, labels)
    return DataFit(len(few), hits / len(few), (float(low), float(high)), resizing, pace, (*notes, *doubts))


def model_lines(classifier: Classifier) -> tuple[str, ...]:
    """Return what a model takes and predicts, in lines of text."""
    size = classifier.input_size
    names = ", ".join(classifier.class_names[:_SHOWN])
    more = f" and {classifier.num_classes - _SHOWN} more" if classifier.num_classes > _SHOWN else ""
    kind = {1: "grey (1 channel)", 3: "colour (3 channels)"}.get(classifier.channels, f"{classifier.channels} channels")
    takes = "any size" if size is None else f"{size[0]} x {size[1]}, resized by {classifier.resize!r}"
    first = f"{classifier.name}: takes {kind} images of {takes}"
    return first, f"{classifier.num_classes} classes: {names}{more}", *classifier.notes


def _pace(classifier: Classifier, data: Any) -> float:
    """Return the seconds of one image through the model."""
    inputs = InputReader(classifier, data).inputs(range(min(_TIMED, len(data))))
    classifier.logits_of(inputs)  # the first time costs more
    began = time.perf_counter()
    classifier.logits_of(inputs)
    return (time.perf_counter() - began) / len(inputs)
