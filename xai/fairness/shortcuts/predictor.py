"""Images with labels, masks and the predictions of the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xai.core.images.border import open_data
from xai.core.labels import labels_of
from xai.core.model.classifier import Classifier
from xai.core.model.predictions import to_probabilities
from xai.core.results.message import Message
from xai.core.runtime.batching import Progress, ShouldStop
from xai.core.runtime.randomness import image_key
from xai.errors import InputError, ShapeError, Stopped
from xai.fairness.shortcuts.probes.base import Form, ProbeImages, inserted

_TOGETHER = 256  # rows of several forms that are put together


class Predictor:
    """Asks a classifier, counts rows, reports and stops.

    Args:
        classifier: the model.
        report: told (rows done, rows in all), or None.
        should_stop: asked before each question, or None.
    """

    def __init__(self, classifier: Classifier, report: Progress | None, should_stop: ShouldStop | None) -> None:
        self.classifier, self._report, self._should_stop = classifier, report, should_stop
        self._done, self.total = 0, 1

    def probabilities(self, images: Tensor) -> Tensor:
        """Return (n, K) of images (n, C, h, w), on the CPU."""
        if self._should_stop is not None and self._should_stop():
            raise Stopped(f"Stopped after {self._done} of about {self.total} rows, as asked.")
        logits = self.classifier.logits_of(images, should_stop=self._should_stop)
        self.advance(len(images))
        return to_probabilities(logits.float(), self.classifier.head)

    def advance(self, rows: int) -> None:
        """Tell that so many rows are done; the total grows rather than be passed."""
        self._done += rows
        self.total = max(self.total, self._done)
        if self._report is not None:
            self._report(self._done, self.total)

    def expect(self, rows: int) -> None:
        """Take about so many rows as still to be done."""
        self.total = self._done + rows

    def finish(self) -> None:
        """Tell that all is done."""
        if self._report is not None:
            self._report(self.total, self.total)

    def rises(self, forms: Sequence[Form], images: ProbeImages) -> Tensor:
        """Return by how much each form, at full strength, raises each class's mean probability (F, K)."""
        before, rises = self.probabilities(images.images), []
        many = max(1, _TOGETHER // len(images))
        for start in range(0, len(forms), many):
            some = forms[start : start + many]
            made = [inserted(images, form.change(images), 1.0) for form in some]
            after = self.probabilities(torch.cat(made)).view(len(some), len(images), -1)
            rises.append((after - before).mean(1))
        return torch.cat(rises)

    def doses(self, images: ProbeImages, change: Tensor, strengths: Sequence[float]) -> Tensor:
        """Return probabilities (S, n, K) with a change at several strengths."""
        return torch.stack([self.probabilities(inserted(images, change, s)) for s in strengths])


def predicted_classes(probabilities: Tensor) -> Any:
    """Return the answers (...) of probabilities (..., K) as an array."""
    return probabilities.argmax(-1).numpy()


_FEWEST = 40


@dataclass(frozen=True, eq=False)
class StudySample:
    """Images drawn from a data set.

    Attributes:
        images: in random order.
        names: of the images.
        data: name of the data set.
        notes: what was done.
        train: images that the model learnt from, in random order; None when not given.
    """

    images: ProbeImages
    names: tuple[str, ...]
    data: str
    notes: tuple[str, ...]
    train: ProbeImages | None = None

    def halves(self) -> tuple[ProbeImages, ProbeImages]:
        """Return those that choose and those that judge."""
        return _halves(self.images)

    def searched(self) -> tuple[ProbeImages, ProbeImages]:
        """Return the images in which probes are looked for, and those on which what was found is tried on the data."""
        return self.halves() if self.train is None else _halves(self.train)


def _halves(images: ProbeImages) -> tuple[ProbeImages, ProbeImages]:
    rows, half = torch.arange(len(images)), len(images) // 2
    return images.take(rows[:half]), images.take(rows[half:])


def read(
    predictor: Predictor, data: Any, labels: Any, masks: Any, samples: int, seed: int, train: Any = None
) -> StudySample:
    """Draw images, bring them to the model's input and ask the model about them.

    Args:
        predictor: asks the model.
        data: a data set or images.
        labels: the truth; None takes the data's.
        masks: of the objects, or None.
        samples: images drawn; twice as many of `train`.
        seed: of the draw.
        train: what the model learnt from, a data set or a pair (images, labels); None when not given.

    Raises:
        InputError: no labels, or too few images.
        ShapeError: masks of another number or size.
    """
    sample = _draw(predictor, data, labels, masks, samples, seed)
    if train is None:
        return sample
    images, ground_truth = train if isinstance(train, tuple) and len(train) == 2 else (train, None)
    learnt = _draw(predictor, images, ground_truth, None, 2 * samples, seed)
    notes = (
        *sample.notes,
        Message("shortcuts were searched in {count} images of the training set", count=len(learnt.images)),
    )
    return StudySample(sample.images, sample.names, sample.data, notes, learnt.images)


def _draw(predictor: Predictor, data: Any, labels: Any, masks: Any, samples: int, seed: int) -> StudySample:
    data = open_data(data)
    source = data.images
    lazy = hasattr(source, "decoded")
    batch = None if lazy else predictor.classifier.prepare(source)
    total = len(source) if batch is None else len(batch.inputs)
    if total < _FEWEST:
        raise InputError(f"Expected at least {_FEWEST} images, but got {total}: half choose probes, half judge them.")
    rows = np.random.default_rng(abs(seed)).permutation(total)[:samples]
    if batch is None:
        batch = predictor.classifier.prepare(source.decoded(rows.tolist()))
        inputs = batch.inputs
    else:
        inputs = batch.inputs[torch.from_numpy(rows)]
    predictor.classifier.check_images(inputs)
    probabilities = predictor.probabilities(inputs)
    ground_truth, notes = labels_of(predictor.classifier, data, labels, total)
    drawn = torch.from_numpy(rows)
    keys = [image_key(image) for image in inputs]
    shown = _masks(masks, total, inputs, drawn)
    images = ProbeImages(
        inputs,
        ground_truth[drawn],
        probabilities.argmax(1),
        probabilities.gather(1, ground_truth[drawn, None])[:, 0],
        keys,
        shown,
        seed,
    )
    ids = getattr(data, "ids", None)
    names = tuple(str(row) if ids is None else str(ids[int(row)]) for row in rows)
    return StudySample(images, names, str(getattr(data, "name", "images")), (*batch.notes, *notes))


def _masks(masks: Any, total: int, inputs: Tensor, rows: Tensor) -> Tensor | None:
    if masks is None:
        return None
    all_masks, size = torch.as_tensor(masks), tuple(inputs.shape[2:])
    if tuple(all_masks.shape) != (total, *size):
        raise ShapeError(
            f"Expected masks ({total}, {size[0]}, {size[1]}) in the model's input geometry, but got "
            f"{tuple(all_masks.shape)}."
        )
    return all_masks[rows].bool()
