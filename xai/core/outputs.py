"""One pass over a data set: logits and penultimate features, in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xai.core.door import open_data
from xai.core.hooks import borrowed
from xai.core.penultimate import FeatureTap, Head
from xai.core.rows import Progress, ShouldStop, is_out_of_memory, note_shrink, reporting
from xai.core.seeds import image_key, repeated
from xai.errors import DataError, Stopped

if TYPE_CHECKING:
    from xai.core.classifier import Classifier

_READ = 64  # images read at a time at first
_MOST_NOTES = 20  # on single images, of which there may be a million
_MOST, _BYTES = 256, 32 << 20  # then as many as this: bounds the memory for pictures


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a classifier answers on a data set.

    Attributes:
        logits: (N, K), on the CPU.
        features: (N, D) inputs of the last linear layer, or None when there is no such layer.
        labels: (N,) int64 as the data numbers its classes, or None when it has none.
        layer: name of the last linear layer, or None.
        notes: of the model, and where the features come from, or why there are none; and what was done to the images.
        image_notes: the latter alone, and which images repeat.
        classes: class names of the data in the order of its labels; empty where it has none.
    """

    logits: Tensor = field(repr=False)
    features: Tensor | None = field(repr=False)
    labels: Tensor | None = field(repr=False)
    layer: str | None
    notes: tuple[str, ...] = ()
    image_notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.logits)


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some images of a data set and what the classifier answers.

    Attributes:
        start: number of the first one.
        inputs: (n, C, h, w) in [0, 1], as the model sees them, where they were given.
        logits: (n, K), on the model's device.
        features: (n, D), there too, or None.
        head: the layer they go into, or None.
    """

    start: int
    inputs: Tensor
    logits: Tensor
    features: Tensor | None
    head: Head | None


def collect_outputs(
    classifier: Classifier,
    dataset: Any,
    *,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Outputs:
    """Run a data set through a classifier once.

    Raises:
        DataError: the data set is empty.
        Stopped: `should_stop()` was true.
    """
    logits: list[Tensor] = []
    features: list[Tensor] = []
    keys: list[bytes] = []

    def take(chunk: Chunk) -> None:
        logits.append(chunk.logits.cpu())
        keys.extend(image_key(image) for image in chunk.inputs)
        features.extend([chunk.features.cpu()] if chunk.features is not None else [])

    dataset = open_data(dataset)
    tap = run_outputs(classifier, dataset, take, progress=progress, should_stop=should_stop)
    labels = getattr(dataset, "labels", None)
    together = torch.cat(features).clone() if sum(map(len, features)) == sum(map(len, logits)) else None
    layer = tap.head.layer if together is not None and tap.head is not None else None
    image_notes = (*tap.image_notes, *repeated(keys))
    notes = (*classifier.notes, tap.note, *image_notes)
    classes = tuple(getattr(dataset, "classes", None) or ())
    return Outputs(torch.cat(logits).clone(), together, labels, layer, notes, image_notes, classes)


def run_outputs(
    classifier: Classifier,
    dataset: Any,
    take: Callable[[Chunk], None],
    *,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> FeatureTap:
    """Run a data set through a classifier once and hand over each chunk, so that nothing need be kept.

    Args:
        classifier: the model; borrowed meanwhile.
        dataset: a data set of `xai.load_data`, or anything with `.images`, or images.
        take: called with each chunk, in order, inside `torch.inference_mode()`.
        progress: None, True for a bar, or a callable `(done, total)` in images.
        should_stop: asked between chunks.

    Returns:
        FeatureTap: `.head` is the last linear layer, or None; `.note` says so.

    Raises:
        DataError: the data set is empty.
        Stopped: `should_stop()` was true.
    """
    images = open_data(dataset).images
    total = len(images)
    if total == 0:
        raise DataError("Expected at least one image, but the data set is empty.")
    tap, start, step, limit = FeatureTap(classifier), 0, _READ, _READ
    with borrowed(classifier.module), torch.inference_mode(), reporting(progress, "outputs") as report:
        while start < total:
            if should_stop is not None and should_stop():
                raise Stopped(f"Stopped after {start} of {total} images, as asked.")
            stop = min(total, start + step)
            batch = classifier.prepare(read_some(images, start, stop))
            inputs = batch.inputs
            tap.image_notes = tuple(dict.fromkeys([*tap.image_notes, *batch.notes]))[:_MOST_NOTES]
            if start == 0:
                limit = classifier.row_limit(inputs)
                step = max(1, min(_MOST, _BYTES // (4 * inputs[0].numel())))
            for chunk in _in_pieces(tap, inputs, start, limit):
                take(chunk)
            start = stop
            if report is not None:
                report(start, total)
    return tap


def read_some(images: Any, start: int, stop: int) -> Any:
    """Return images start..stop; as pictures where the data set has them, so that grey ones fit a colour model."""
    if hasattr(images, "pictures"):
        return images.pictures(range(start, stop))
    return images[start:stop]


def _in_pieces(tap: FeatureTap, inputs: Tensor, start: int, limit: int) -> Iterator[Chunk]:
    """Yield the answers for `inputs`, at most `limit` rows at once, in halves when memory runs out."""
    for first in range(0, len(inputs), limit):
        yield from _run_halving(tap, inputs[first : first + limit], start + first)


def _run_halving(tap: FeatureTap, inputs: Tensor, start: int) -> Iterator[Chunk]:
    """Yield the answers for `inputs`, in halves when memory runs out."""
    try:
        found = [tap.run(inputs)]
    except (MemoryError, RuntimeError) as error:
        if len(inputs) == 1 or not is_out_of_memory(error):
            raise
        found = []
    if found:
        yield Chunk(start, inputs, *found[0], tap.head)
        return
    middle = len(inputs) // 2
    note_shrink(middle)
    yield from _run_halving(tap, inputs[:middle], start)
    yield from _run_halving(tap, inputs[middle:], start + middle)
