"""Predictions of a classifier on a data set, in one pass. Labels and a key for each image come along."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from xai.core.images.border import open_data
from xai.core.images.geometry import Batch
from xai.core.labels import labels_of
from xai.core.model.classifier import Classifier
from xai.core.model.features import Outputs
from xai.core.model.resizing import resizing_note
from xai.core.model.usage_checks import data_doubts, reading_doubts
from xai.core.runtime.batching import Progress, ShouldStop
from xai.core.runtime.randomness import image_key
from xai.errors import InputError, ShapeError, UnsupportedModelError


@dataclass(frozen=True, eq=False)
class LabelledOutputs:
    """Outputs of a classifier whose classes exclude each other.

    Attributes:
        logits: (N, K) on the CPU; their softmax are the probabilities.
        features: (N, D) penultimate features, or None when there are none.
        labels: (N,) int64, the truth, or None.
        keys: one digest per image: of the model's input, or of its logits where only those were given.
        name: of the data.
        notes: what was done, and what to beware of.
    """

    logits: Tensor = field(repr=False)
    features: Tensor | None = field(repr=False)
    labels: Tensor | None = field(repr=False)
    keys: tuple[bytes, ...] = field(repr=False)
    name: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.logits)

    @property
    def ground_truth(self) -> Tensor:
        """The labels.

        Raises:
            InputError: there are none.
        """
        if self.labels is None:
            why = next((f": {note}" for note in self.notes if "so no labels" in note), ". Pass them")
            raise InputError(f"Expected labels, the ground truth of each image of {self.name}, but got None{why}.")
        return self.labels

    def order(self, seed: int) -> list[int]:
        """Return the numbers of the images in an order that depends on the seed and on their content alone."""
        drawn = [draw_of(seed, key) for key in self.keys]
        return sorted(range(len(drawn)), key=drawn.__getitem__)


def draw_of(seed: int, key: bytes) -> float:
    """Return a number in [0, 1) that depends on the seed and the image's key alone, uniform over images."""
    digest = hashlib.sha256(seed.to_bytes(8, "big", signed=True) + key).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def labelled_outputs(
    classifier: Classifier,
    data: Any,
    labels: Any = None,
    *,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> LabelledOutputs:
    """Run a data set through a classifier once; stored outputs are taken as they are.

    Args:
        classifier: with a softmax head, or one output for two classes.
        data: a data set, images in any form, or the `Outputs` of an earlier pass.
        labels: the truth (N,), indices or names; None takes the data's own, by class name where the order differs.
        progress: None, True for a bar, or a callable `(done, total)`.
        should_stop: asked between chunks.

    Raises:
        DataError: the data set is empty.
        UnsupportedModelError: several classes may be right at once.
        ShapeError: another number of labels than of images, or of logits than of classes.
        TargetError: a label that is no class.
        Stopped: `should_stop()` was true.
    """
    notes: list[str] = []
    if isinstance(data, Outputs):
        outputs, keys = _checked(classifier, data), _digests(data.logits)
    else:
        data = open_data(data)
        inputs = _Inputs(classifier, data.images)
        outputs = classifier.outputs(inputs, progress=progress, should_stop=should_stop)
        keys, notes = inputs.keys, inputs.notes
    ground_truth, remarks = _labels(classifier, data, labels, len(outputs))
    remarks += _doubts(classifier, data, outputs.logits, ground_truth)
    if ground_truth is not None and not isinstance(data, Outputs):
        notes = [*notes, *resizing_note(classifier, inputs.source, ground_truth)]
    return LabelledOutputs(
        _exclusive(classifier, outputs.logits),
        outputs.features,
        ground_truth,
        tuple(keys),
        str(getattr(data, "name", None) or "the images"),
        tuple(dict.fromkeys([*notes, *remarks, *outputs.notes])),
    )


def _doubts(classifier: Classifier, data: Any, logits: Tensor, labels: Tensor | None) -> tuple[str, ...]:
    if labels is None or logits.shape[1] < 2:
        return ()
    if isinstance(data, Outputs):
        return reading_doubts(classifier, None, logits.argmax(1), labels)
    return data_doubts(classifier, data, logits.argmax(1), labels)


def _checked(classifier: Classifier, outputs: Outputs) -> Outputs:
    """Return stored outputs that can be the classifier's.

    Raises:
        ShapeError: another number of classes.
    """
    classifier.check_width(outputs.logits)
    if outputs.logits.shape[1] != classifier.num_classes:
        raise ShapeError(
            f"Expected outputs of {classifier.name!r}, which has {classifier.num_classes} classes, but got "
            f"{outputs.logits.shape[1]} logits for each image. Make them with `clf.outputs(data)`."
        )
    return outputs


class _Inputs:
    """The model's inputs, some at a time; the key of each is noted as it goes by."""

    def __init__(self, classifier: Classifier, images: Any) -> None:
        self._classifier, self.source = classifier, images
        self.keys: list[bytes] = []
        self.notes: list[str] = []

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, span: slice) -> Tensor:
        batch = self._prepared(span)
        self.keys += [image_key(image) for image in batch.inputs]
        self.notes += [note for note in batch.notes if note not in self.notes]
        return batch.inputs

    def _prepared(self, span: slice) -> Batch:
        if hasattr(self.source, "decoded"):  # keeps grey images convertible, as in `Classifier.outputs`
            return self._classifier.prepare(self.source.decoded(range(span.start, span.stop)))
        return self._classifier.prepare(self.source[span])


def _digests(logits: Tensor) -> list[bytes]:
    """Return a digest for each row, with a number where rows are equal: equal logits need not be equal images."""
    seen: Counter[bytes] = Counter()
    digests = []
    for row in logits:
        content = row.contiguous().float().numpy().tobytes()
        digests.append(hashlib.sha256(content + seen[content].to_bytes(8, "big")).digest())
        seen[content] += 1
    return digests


def _labels(classifier: Classifier, data: Any, labels: Any, count: int) -> tuple[Tensor | None, list[str]]:
    """Return the labels in the classifier's order, and what was done about them."""
    if labels is None and getattr(data, "labels", None) is None:
        return None, [note for note in getattr(data, "notes", ()) if "so no labels" in note]
    ground_truth, notes = labels_of(classifier, data, labels, count)
    return ground_truth, list(notes)


def _exclusive(classifier: Classifier, logits: Tensor) -> Tensor:
    """Return logits whose softmax are the probabilities.

    Raises:
        UnsupportedModelError: several classes may be right at once.
    """
    if classifier.head == "softmax":
        return logits
    if logits.shape[1] == 2 and torch.equal(logits[:, 0], -logits[:, 1]):
        return logits / 2  # one output s stands as (-s, s), whose sigmoids are the softmax of (-s/2, s/2)
    raise UnsupportedModelError(
        f"Expected a model with one right class per image, but {classifier.name!r} has task='multilabel' and "
        f"{logits.shape[1]} outputs. Look at each output by itself, as a classifier with two classes."
    )
