"""Images of a data set as model inputs. Also here: a comparison of ways to resize on labelled data."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai.core.images.border import open_data
from xai.core.images.geometry import RESIZES, Batch
from xai.core.labels import labels_of
from xai.core.model.classifier import Classifier, as_classifier
from xai.core.results.codec import record_of
from xai.core.results.message import Message, constant
from xai.core.runtime.batching import Progress, ShouldStop, reporting
from xai.core.validation import check_seed
from xai.errors import InputError, Stopped
from xai.stats.intervals import discordant, holm, mcnemar, wilson_interval


class InputReader:
    """Reads model inputs by number.

    Args:
        classifier: whose inputs are meant.
        data: what `open_data` takes.
    """

    def __init__(self, classifier: Classifier, data: Any) -> None:
        given = open_data(data)
        self._source: Any = given.images
        self._classifier, self._ids = classifier, getattr(given, "ids", None)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._source)

    def inputs(self, rows: Sequence[int]) -> Tensor:
        """Return model inputs (n, C, h, w) of some images."""
        some = self._source.decoded(rows) if hasattr(self._source, "decoded") else [self._source[k] for k in rows]
        return self._classifier.prepare(some).inputs

    def name(self, row: int) -> str:
        """Return the name of an image."""
        return str(row) if self._ids is None else str(self._ids[row])


_SAMPLE, _AT_ONCE_RESIZED = 400, 64
_LEVEL = 0.01  # of the note that other verbs give unasked


@dataclass(frozen=True)
class ResizeComparison:
    """Accuracy of one model on the same images, resized in three ways.

    Attributes:
        current: the way that the classifier uses.
        best: the way with the highest accuracy; the current one where none is more accurate.
        accuracy: share of images whose class is predicted, by way.
        intervals: Wilson's, 95 %, by way.
        p_values: of the difference from the current way, by the exact paired McNemar test, Holm-adjusted; by way.
        count: number of images.
        verdict: "another way fits better" where `best` is another one with p below 0.05, else "no evidence of a better
            way", or "no difference" where all images have the model's size already.
        notes: what is to be known of the model.

    Example:
        >>> import xai
        >>> data = xai.load_data("example:fashion-test").subset(50)
        >>> xai.compare_resizing(xai.load("example:fashion"), data).best
        'squash'
    """

    current: str
    best: str
    accuracy: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    p_values: dict[str, float]
    count: int
    verdict: str
    notes: tuple[str, ...] = ()

    @property
    def reason(self) -> Message:
        """The verdict with its figures, in one sentence."""
        now, best, p = self.accuracy[self.current], self.accuracy[self.best], self.p_values.get(self.best, 1.0)
        if self.best == self.current:
            template = "resize={current!r} is the most accurate: {share:.1%} of {count} images"
            return Message(template, current=self.current, share=now, count=self.count)
        return Message(
            "resize={best!r} predicts {share:.1%} of {count} images, the current {current!r} {now:.1%} (p = {p:.2g}): "
            "{verdict}",
            best=self.best,
            share=best,
            count=self.count,
            current=self.current,
            now=now,
            p=p,
            verdict=constant(self.verdict),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and the reason, JSON-ready."""
        return record_of(self) | {"reason": self.reason}


def compare_resizing(
    model: Classifier | nn.Module,
    data: Any,
    labels: Any = None,
    *,
    most: int = 2000,
    seed: int = 0,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> ResizeComparison:
    """Compare crop, squash and pad by the accuracy of a model on labelled images.

    The right way is the one of the training. Where it is not known, this shows it: a model trained on squashed images
    loses accuracy on cropped ones.

    Args:
        model: a classifier with an `input_size`.
        data: a data set of `xai.load_data`, or images that can be indexed, in their own sizes.
        labels: ground truth (N,), indices or names; None takes the data's.
        most: images to look at; of more a random sample is taken.
        seed: of the sample.
        progress: None, True for a bar, or a callable `(done, total)`.
        should_stop: asked between chunks.

    Returns:
        ResizeComparison: `.best`, `.verdict`, `.accuracy`, `.p_values`.

    Raises:
        InputError: no labels, or a model that takes images in any size.
        Stopped: `should_stop()` was true.

    Cost: three forwards of each image.
    Source: McNemar 1947 in its exact form; Holm 1979.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> xai.compare_resizing(clf, xai.load_data("example:fashion-test").subset(50)).verdict
        'no difference'
    """
    classifier = as_classifier(model)
    if classifier.input_size is None:
        raise InputError("Expected a classifier with an `input_size`; this one takes images as they are.")
    source = data.images if hasattr(data, "images") else data
    ground_truth, _ = labels_of(classifier, data, labels, len(source))
    rng = np.random.default_rng(check_seed(seed))
    rows = np.sort(rng.permutation(len(source))[:most]).tolist()
    right, same = _correct(classifier, source, rows, torch.as_tensor(ground_truth)[rows], progress, should_stop)
    return replace(_compared(classifier.resize, right, same=same), notes=classifier.notes)


def resizing_note(classifier: Classifier, data: Any, ground_truth: Tensor) -> list[str]:
    """Return a note where another way of resizing is significantly more accurate on a sample of labelled images.

    Cost: two more forwards of at most 400 images, and only where images have another size than the model's input.
    """
    source = data.images if hasattr(data, "images") else data
    if classifier.input_size is None or len(source) < 2:
        return []
    some = np.unique(np.linspace(0, len(source) - 1, 5).astype(int)).tolist()
    if all(geometry.identity for geometry in _prepared(classifier, source, some).geometries):
        return []
    comparison = compare_resizing(classifier, source, ground_truth, most=_SAMPLE)
    if comparison.best == comparison.current or comparison.p_values[comparison.best] >= _LEVEL:
        return []
    template = "{reason}: pass resize={way!r} if the model was trained so"
    return [Message(template, reason=comparison.reason, way=comparison.best)]


def _correct(
    classifier: Classifier,
    source: Any,
    rows: list[int],
    ground_truth: Tensor,
    progress: bool | Progress | None,
    should_stop: ShouldStop | None,
) -> tuple[dict[str, np.ndarray[Any, Any]], bool]:
    """Return which images are predicted right in each way, and whether all have the model's size."""
    hits: dict[str, list[np.ndarray[Any, Any]]] = {way: [] for way in RESIZES}
    same = True
    with reporting(progress, "resizing") as report:
        for start in range(0, len(rows), _AT_ONCE_RESIZED):
            if should_stop is not None and should_stop():
                raise Stopped(f"Stopped after {start} of {len(rows)} images, as asked.")
            some, labels = rows[start : start + _AT_ONCE_RESIZED], ground_truth[start : start + _AT_ONCE_RESIZED]
            for way in RESIZES:
                other = copy.copy(classifier)
                other.resize = way
                batch = _prepared(other, source, some)
                same = same and all(geometry.identity for geometry in batch.geometries)
                hits[way].append((other.logits_of(batch.inputs).argmax(1) == labels).numpy())
            if report is not None:
                report(min(len(rows), start + _AT_ONCE_RESIZED), len(rows))
    return {way: np.concatenate(parts) for way, parts in hits.items()}, same


def _prepared(classifier: Classifier, source: Any, rows: list[int]) -> Batch:
    """Return some images as model inputs; as images where the data set has them, so that grey ones fit."""
    some = source.decoded(rows) if hasattr(source, "decoded") else [source[k] for k in rows]
    return classifier.prepare(some)


def _compared(current: str, right: dict[str, np.ndarray[Any, Any]], *, same: bool) -> ResizeComparison:
    count = len(right[current])
    accuracy = {way: float(hits.mean()) for way, hits in right.items()}
    best = max(right, key=lambda way: (accuracy[way], way == current))
    others = {way: hits for way, hits in right.items() if way != current}
    raw = [mcnemar(*discordant(right[current], hits), two_sided=True) for hits in others.values()]
    p_values = dict(zip(others, holm(raw).tolist(), strict=True))
    verdict = "no difference" if same else "no evidence of a better way"
    if best != current and p_values[best] < 0.05:
        verdict = "another way fits better"
    intervals = {way: wilson_interval(int(hits.sum()), count) for way, hits in right.items()}
    return ResizeComparison(current, best, accuracy, intervals, p_values, count, verdict)
