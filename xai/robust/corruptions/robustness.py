"""How a classifier answers under corruptions, and at which severity the prediction becomes wrong."""

from collections.abc import Sequence
from itertools import pairwise
from math import ceil, log2
from typing import Any

import torch
from torch import Tensor, nn

from xai.core.images.border import open_data
from xai.core.images.inputs import ImageLike
from xai.core.labels import labels_of
from xai.core.model.classifier import Classifier, as_classifier
from xai.core.model.hooks import borrowed
from xai.core.model.objective import Target
from xai.core.results.message import Message
from xai.core.results.result import Provenance
from xai.core.runtime.batching import Progress, ShouldStop, in_chunks, reporting
from xai.core.validation import check_number, check_seed
from xai.errors import InputError, RangeError, ShapeError, Stopped
from xai.robust.corruptions.base import CORRUPTIONS, MOST, check_severity, corrupt_rows, image_keys
from xai.robust.corruptions.result import IMAGENET_C, CorruptionResult

_READ = 256  # images read at a time: bounds the memory
_CLEAN = ("", 0.0)
_SIZE_NOTE = Message("images are corrupted at the model's input size")
Condition = tuple[str, float]


def corruption_robustness(
    model: Classifier | nn.Module,
    images: ImageLike,
    labels: Target = None,
    names: Sequence[str] | None = None,
    severities: Sequence[float] = (1, 2, 3, 4, 5),
    seed: int = 0,
    *,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> CorruptionResult:
    """Measure the accuracy of a classifier under corruptions.

    Images are brought to the model's input size first and corrupted there, as in ImageNet-C.

    Args:
        model: a classifier or a bare module.
        images: N images in any form, or a data set of `xai.load_data`.
        labels: the ground truth (N,), indices or names; None takes the data set's.
        names: of corruptions; None takes the fifteen of ImageNet-C that count for mCE.
        severities: increasing, above 0 to 5; need not be whole.
        seed: fixes everything random, per image.
        progress: None, True for a bar, or a callable `(done, total)` in images times conditions.
        should_stop: asked before each condition; True ends the work with `xai.errors.Stopped`.

    Returns:
        CorruptionResult.

    Raises:
        InputError: no labels.
        TargetError: a label that is no class, or another number of labels than of images.
        NameLookupError: no such corruption.
        RangeError: a severity outside 0 to 5.
        ShapeError: no severity, or in another order.
        Stopped: `should_stop()` was true.

    Cost: N (1 + corruptions x severities) rows forward, and as many corrupted images.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(20)
        >>> found = xai.corruption_robustness(clf, data, names=["gaussian_noise"], severities=[3])
        >>> found.names
        ('gaussian_noise',)
    """
    classifier, seed = as_classifier(model), check_seed(seed)
    chosen = tuple(IMAGENET_C if names is None else names)
    levels = checked_severities(severities)
    conditions = [_CLEAN, *((name, level) for name in chosen for level in levels)]
    for name in chosen:
        CORRUPTIONS[name]  # unknown names are refused before any work
    reader = CorruptionReader(classifier, images)
    ground_truth = reader.targets(labels)
    predictions = _predictions(reader, conditions, seed, progress, should_stop)
    return CorruptionResult(
        names=chosen,
        severities=levels,
        labels=ground_truth,
        clean_predictions=predictions[0],
        predictions=predictions[1:].view(len(chosen), len(levels), -1),
        num_classes=classifier.num_classes,
        provenance=Provenance.of(classifier, {}, seed),
        notes=tuple(dict.fromkeys(reader.notes)),
    )


class CorruptionReader:
    """The images of a data set as model inputs, some at a time."""

    def __init__(self, classifier: Classifier, images: ImageLike) -> None:
        self._data = open_data(images)
        source = self._data.images
        self.classifier, self.notes = classifier, list[str]([_SIZE_NOTE])
        self._lazy: Any = source if hasattr(source, "decoded") else None
        self._inputs = None if self._lazy is not None else self._prepared(source)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._lazy) if self._inputs is None else len(self._inputs)

    def inputs(self, start: int, stop: int) -> Tensor:
        """Return model inputs (n, C, H, W) of some images."""
        if self._inputs is not None:
            return self._inputs[start:stop]
        return self._prepared(self._lazy.decoded(range(start, stop)))

    def targets(self, labels: Target) -> Tensor:
        """Return the true classes (N,) int64; those of the data set where none are given.

        Raises:
            InputError: no image.
            TargetError: no such class, or another number of labels than of images.
        """
        if len(self) == 0:
            raise InputError("Expected at least one image, but the data set is empty.")
        self.classifier.count_classes(self.inputs(0, 1))
        ground_truth, notes = labels_of(self.classifier, self._data, labels, len(self))
        self.notes += notes
        return ground_truth

    def _prepared(self, images: ImageLike) -> Tensor:
        batch = self.classifier.prepare(images)
        self.classifier.check_images(batch.inputs)
        self.notes += batch.notes
        return batch.inputs


def _predictions(
    reader: CorruptionReader,
    conditions: Sequence[Condition],
    seed: int,
    progress: bool | Progress | None,
    should_stop: ShouldStop | None,
) -> Tensor:
    """Return the predicted classes (conditions, N) int64 on the CPU."""
    total, classifier = len(reader), reader.classifier
    predictions = torch.zeros(len(conditions), total, dtype=torch.int64)
    with borrowed(classifier.module), torch.inference_mode(), reporting(progress, "corruptions") as report:
        for first in range(0, total, _READ):
            inputs = reader.inputs(first, min(total, first + _READ))

            def work(start: int, stop: int, inputs: Tensor = inputs, first: int = first) -> None:
                rows = inputs[start:stop].to(classifier.device)
                keys = image_keys(inputs[start:stop])
                for number, condition in enumerate(conditions):
                    done = (first + start) * len(conditions) + number * len(rows)
                    if should_stop is not None and should_stop():
                        raise Stopped(f"Stopped after {done} of {total * len(conditions)} images, as asked.")
                    predictions[number, first + start : first + stop] = predictions_of(
                        classifier, rows, condition, seed, keys
                    ).cpu()
                    if report is not None:
                        report(done + len(rows), total * len(conditions))

            in_chunks(work, len(inputs), limit=classifier.row_limit(inputs))
    return predictions.clone()


def predictions_of(
    classifier: Classifier, rows: Tensor, condition: Condition, seed: int, keys: Sequence[bytes]
) -> Tensor:
    """Return the predicted classes (n,) of rows (n, C, H, W) under a condition; the module must be borrowed."""
    name, severity = condition
    worse = rows if severity == 0 else corrupt_rows(CORRUPTIONS[name], rows, severity, seed, keys)
    return classifier.raw_logits(worse).argmax(1)


def checked_severities(severities: Sequence[float]) -> tuple[float, ...]:
    """Return increasing severities above 0.

    Raises:
        RangeError: one outside 0 to 5, or 0, which is measured anyway.
        ShapeError: none, or not increasing.
    """
    levels = tuple(check_severity(severity) for severity in severities)
    if not levels or any(low >= high for low, high in pairwise(levels)):
        raise ShapeError(f"Expected increasing severities such as (1, 3, 5), but got {list(severities)}.")
    if levels[0] == 0:
        raise RangeError("Expected severities above 0, but got 0: clean images are always measured too. Leave it out.")
    return levels


def critical_severities(
    model: Classifier | nn.Module,
    images: ImageLike,
    labels: Target,
    name: str,
    *,
    tolerance: float = 0.125,
    seed: int = 0,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Tensor:
    """Return for each image a severity (N,) at which the answer is wrong while just below it is right.

    Whole severities are tried from 1 upwards until the answer is wrong, then the step below it is halved. 0: wrong on
    the clean image; nan: right up to 5. Answers need not be monotone in severity; what is returned is the end of one
    interval of length `tolerance` over which the answer turns wrong, the first such as far as whole severities tell.

    Args:
        model: a classifier or a bare module.
        images: N images in any form.
        labels: the ground truth (N,), indices or names.
        name: of the corruption.
        tolerance: length of the last interval, above 0 to 1.
        seed: fixes everything random, per image.
        progress: None, True for a bar, or a callable `(done, total)` in rounds.
        should_stop: asked before each round; True ends the work with `xai.errors.Stopped`.

    Raises:
        NameLookupError: no such corruption.
        RangeError: `tolerance` outside (0, 1].
        TargetError: a label that is no class.
        Stopped: `should_stop()` was true.

    Cost: at most 6 + log2(1 / tolerance) rows forward per image.
    """
    classifier, seed = as_classifier(model), check_seed(seed)
    CORRUPTIONS[name]
    check_number("tolerance", tolerance, "(0, 1]", cure="0.125 is usual.")
    reader = CorruptionReader(classifier, images)
    ground_truth, inputs = reader.targets(labels), reader.inputs(0, len(reader))
    keys, halvings = image_keys(inputs), ceil(log2(1 / tolerance))
    right, wrong = torch.full((len(ground_truth),), -1.0), torch.full((len(ground_truth),), torch.inf)
    with borrowed(classifier.module), torch.inference_mode(), reporting(progress, name) as report:
        limit = classifier.row_limit(inputs)
        for number in range(MOST + 1 + halvings):
            if should_stop is not None and should_stop():
                raise Stopped(f"Stopped after {number} of {MOST + 1 + halvings} rounds, as asked.")
            whole = number <= MOST
            tried = torch.full_like(right, float(number)) if whole else (right + wrong) / 2
            active = wrong.isinf() if whole else wrong.isfinite() & (wrong > 0)
            failed = _wrong(classifier, inputs, ground_truth, (name, tried), active, seed, keys, limit)
            wrong = torch.where(failed, tried, wrong)
            right = torch.where(active & ~failed, tried, right)
            if report is not None:
                report(number + 1, MOST + 1 + halvings)
    return torch.where(wrong.isinf(), torch.nan, wrong).clone()


def _wrong(
    classifier: Classifier,
    inputs: Tensor,
    ground_truth: Tensor,
    corruption: tuple[str, Tensor],
    active: Tensor,
    seed: int,
    keys: Sequence[bytes],
    limit: int,
) -> Tensor:
    """Return which active images are classified wrongly, each at its own severity (N,) bool."""
    is_wrong = torch.zeros_like(active)
    name, severities = corruption
    for severity in sorted(set(severities[active].tolist())):
        for places in (active & (severities == severity)).nonzero()[:, 0].split(limit):
            rows = inputs[places].to(classifier.device)
            predictions = predictions_of(classifier, rows, (name, severity), seed, [keys[k] for k in places.tolist()])
            is_wrong[places] = predictions.cpu() != ground_truth[places]
    return is_wrong
