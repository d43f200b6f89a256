"""One pass over images: every detector reads the same rows, a block at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from xai.core.images.border import open_data
from xai.core.model.classifier import Classifier
from xai.core.model.features import Chunk, read_some, run_outputs
from xai.core.model.hooks import borrowed
from xai.core.runtime.batching import Progress, ShouldStop
from xai.core.runtime.randomness import image_keys
from xai.engine.prepare import prepare
from xai.errors import ContractError, DataError
from xai.ood.detectors.base import Fitted, Parts
from xai.ood.detectors.reference import Collector, FeatureRows, ModelView, Reference, place_of, pool_of

Take = Callable[[int, FeatureRows, Tensor], None]
_FEW = 512
_ROWS = 1024
_BYTES = 32 << 20  # of features in a block


@dataclass(frozen=True, eq=False)
class Scored:
    """What detectors say of images.

    Attributes:
        parts: of the scores of each detector, each (N,) float64.
        predicted: (N,) classes.
        keys: (N,) int64 fingerprints of the images as the model sees them.
    """

    parts: tuple[Parts, ...] = field(repr=False)
    predicted: Tensor = field(repr=False)
    keys: Tensor = field(repr=False)

    @property
    def scores(self) -> tuple[Tensor, ...]:
        """Scores of each detector, each (N,) float64."""
        return tuple(torch.stack(list(parts.values())).sum(0) for parts in self.parts)


def gather(
    classifier: Classifier,
    data: Any,
    reads: frozenset[str],
    *,
    pool: bool | None = None,
    seed: int = 0,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> tuple[Reference, Tensor]:
    """Run the fit images once and keep what detectors need.

    Classes are the labels of the data, or what the model predicts where there are none.

    Returns:
        The reference, and the fingerprints (N,) of the images.

    Raises:
        DataError: no image, or labels that are no classes.
        Stopped: `should_stop()` was true.
    """
    ground_truth = _classes(data)
    classes = classifier.num_classes if ground_truth is None else int(ground_truth.max()) + 1
    key_blocks: list[Tensor] = []
    collectors: list[Collector] = []
    mixed = (seed * 0x9E3779B97F4A7C15) % (1 << 63)

    def take(start: int, rows: FeatureRows, keys: Tensor) -> None:
        if not collectors:
            collectors.append(Collector(rows.view, classes, reads if rows.features is not None else frozenset()))
        labels = (
            rows.logits.argmax(1)
            if ground_truth is None
            else ground_truth[start : start + len(rows)].to(rows.logits.device)
        )
        collectors[0].add(rows, labels, (keys ^ mixed).to(labels.device))
        key_blocks.append(keys)

    notes = _blocks(classifier, data, take, pool=pool, progress=progress, should_stop=should_stop)
    reference = collectors[0].reference()
    return replace(reference, notes=(*reference.notes, *notes)), torch.cat(key_blocks)


def score_images(
    classifier: Classifier,
    fitted: Sequence[Fitted],
    data: Any,
    *,
    keyed: bool = True,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Scored:
    """Run images once and score them with every detector.

    Args:
        classifier: that the detectors were fitted on.
        fitted: any number of detectors.
        data: a data set or images.
        keyed: False leaves fingerprints out (they are 0 then).
        progress: None, True for a bar, or a callable `(done, total)` in images.
        should_stop: asked between chunks.

    Raises:
        DataError: no image.
        ContractError: a detector returned NaN or infinity.
        Stopped: `should_stop()` was true.
    """
    place = place_of(classifier.device)
    ready = [item.to(place) for item in fitted]
    parts_by_detector: list[list[Parts]] = [[] for _ in ready]
    predicted: list[Tensor] = []
    key_blocks: list[Tensor] = []

    def take(_start: int, rows: FeatureRows, keys: Tensor) -> None:
        for detector_parts, item in zip(parts_by_detector, ready, strict=True):
            detector_parts.append(item.parts(rows))
        predicted.append(rows.logits.argmax(1))
        key_blocks.append(keys)

    pool = ready[0].view.pool > 1 if ready else None
    inputs = any("gradients" in item.detector.needs for item in ready)
    _blocks(classifier, data, take, pool=pool, inputs=inputs, keyed=keyed, progress=progress, should_stop=should_stop)
    parts = tuple(
        _together(detector_parts, item.detector.name)
        for detector_parts, item in zip(parts_by_detector, ready, strict=True)
    )
    return Scored(parts, torch.cat(predicted).cpu(), torch.cat(key_blocks))


def _together(blocks: list[Parts], name: str) -> Parts:
    parts = {part: torch.cat([block[part] for block in blocks]).cpu() for part in blocks[0]}
    wrong = [part for part, values in parts.items() if not bool(torch.isfinite(values).all())]
    if wrong:
        raise ContractError(f"{name} returned NaN or infinity: {', '.join(wrong)}.")
    return parts


def _classes(data: Any) -> Tensor | None:
    """Return the labels of a data set as classes to group by, or None."""
    labels = getattr(data, "labels", None)
    if labels is None:
        return None
    classes = torch.as_tensor(labels)
    if len(classes) != len(data.images):
        raise DataError(f"Got {len(classes)} labels for {len(data.images)} images of the fit data. Give one for each.")
    if classes.ndim != 1 or classes.is_floating_point() or len(classes) == 0 or int(classes.min()) < 0:
        raise DataError("Expected labels of the fit data as one class number per image, 0 or more. Give (N,) int64.")
    return classes.long()


class _Buffer:
    """Puts chunks together to blocks of a size at which arithmetic is fast."""

    def __init__(self, classifier: Classifier, take: Take, *, pool: bool | None, inputs: bool, keyed: bool) -> None:
        self.classifier, self.take, self.pool, self.inputs, self.keyed = classifier, take, pool, inputs, keyed
        self.place = place_of(classifier.device)
        self.view: ModelView | None = None
        self.start, self.count = 0, 0
        self.chunks: list[tuple[Tensor, ...]] = []

    def add(self, chunk: Chunk) -> None:
        """Take in a chunk; hand on a block when there is enough."""
        if self.view is None:
            owner, pool = self.classifier, pool_of(chunk.head, pool=self.pool)
            self.view = ModelView(chunk.head, pool, owner.head, owner.std).to(self.place)
        count, features = len(chunk.logits), chunk.features
        keys = fingerprints(chunk.inputs) if self.keyed else torch.zeros(count, dtype=torch.int64)
        columns = (
            chunk.logits.new_empty(count, 0) if features is None else features,
            self.classifier.normalise(chunk.inputs) if self.inputs else torch.empty(count, 0),
        )
        self.chunks.append((keys, chunk.logits, *columns))
        self.count += count
        most = 64 if self.inputs else min(_ROWS, max(64, _BYTES // (4 * max(1, columns[0].shape[1]))))
        if self.count >= most:
            self.flush()

    def flush(self) -> None:
        """Hand on what is held."""
        if not self.chunks:
            return
        keys, logits, features, inputs = (torch.cat(column) for column in zip(*self.chunks, strict=True))
        assert self.view is not None
        rows = FeatureRows(
            self.view,
            logits.to(self.place).double(),
            features.to(self.place) if features.shape[1] else None,
            inputs if self.inputs else None,
            self.classifier.logits_of_normalised,
        )
        self.take(self.start, rows, keys)
        self.start += self.count
        self.chunks, self.count = [], 0


def _blocks(
    classifier: Classifier,
    data: Any,
    take: Take,
    *,
    pool: bool | None = None,
    inputs: bool = False,
    keyed: bool = True,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> tuple[str, ...]:
    """Call `take(start, rows, keys)` with one block after the other; return what was done to the images."""
    buffer = _Buffer(classifier, take, pool=pool, inputs=inputs, keyed=keyed)
    fast = _fast(classifier, data)
    with borrowed(classifier.module), torch.inference_mode():
        tap = run_outputs(fast, data, buffer.add, progress=progress, should_stop=should_stop)
        buffer.flush()
    return tap.image_notes


def _fast(classifier: Classifier, data: Any) -> Classifier:
    """Return a folded copy that answers the same, or the model itself; few images are not worth the copy."""
    images = open_data(data).images
    if len(images) < _FEW:
        return classifier
    with torch.inference_mode(False):  # the copy is remembered, and others want gradients of it
        return prepare(classifier, classifier.prepare(read_some(images, 0, 8)).inputs).classifier


def fingerprints(images: Tensor) -> Tensor:
    """Return the first 64 bits of each image's digest (n,) int64; see `xai.core.runtime.randomness.image_keys`."""
    return torch.tensor([int.from_bytes(key[:8], "big", signed=True) for key in image_keys(images)])
