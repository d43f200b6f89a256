"""How a model and labelled data go together: accuracy, the way of resizing, and what looks mistaken."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from xai.core.classifier import Classifier
from xai.core.doubts import data_doubts
from xai.core.intervals import wilson
from xai.core.labels import labels_of
from xai.core.reading import Reader
from xai.core.records import plain
from xai.core.resizing import ResizeComparison, compare_resizing
from xai.core.rows import ShouldStop

_MOST, _LEAST, _TIMED, _AT_ONCE = 400, 50, 8, 64
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
        found = [f"accuracy: {self.accuracy:.1%} of {self.count} images (95 % interval {low:.1%} to {high:.1%})"]
        if self.resizing is not None:
            same = self.resizing.verdict == "no difference"
            found.append("resize: images have the model's size" if same else f"resize: {self.resizing.reason}")
        return (*found, *self.notes)

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        found = {name: plain(value) for name, value in vars(self).items()}
        return found | {"resizing": None if self.resizing is None else plain(vars(self.resizing))}


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
    truth, notes = labels_of(classifier, data, None, len(data))
    pace = _pace(classifier, data)
    most = int(np.clip(seconds / (4 * max(pace, 1e-6)), _LEAST, _MOST))
    rows = np.sort(np.random.default_rng(0).permutation(len(data))[:most])
    few = data.take(rows)
    reader = Reader(classifier, few)
    chunks = [range(start, min(start + _AT_ONCE, len(few))) for start in range(0, len(few), _AT_ONCE)]
    predictions = torch.cat([classifier.logits_of(reader.inputs(chunk)).argmax(1) for chunk in chunks])
    labels = torch.as_tensor(truth)[torch.from_numpy(rows)]
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
    names = ", ".join(classifier.labels[:_SHOWN])
    more = f" and {classifier.num_classes - _SHOWN} more" if classifier.num_classes > _SHOWN else ""
    kind = {1: "grey (1 channel)", 3: "colour (3 channels)"}.get(classifier.channels, f"{classifier.channels} channels")
    takes = "any size" if size is None else f"{size[0]} x {size[1]}, resized by {classifier.resize!r}"
    first = f"{classifier.name}: takes {kind} images of {takes}"
    return first, f"{classifier.num_classes} classes: {names}{more}", *classifier.notes


def _pace(classifier: Classifier, data: Any) -> float:
    """Return the seconds of one image through the model."""
    inputs = Reader(classifier, data).inputs(range(min(_TIMED, len(data))))
    classifier.logits_of(inputs)  # the first time costs more
    began = time.perf_counter()
    classifier.logits_of(inputs)
    return (time.perf_counter() - began) / len(inputs)
