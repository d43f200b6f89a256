"""Penultimate features and the last linear layer. One pass over a data set gives logits and features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xai.core.images.border import classes_of, open_data
from xai.core.model.hooks import borrowed, hooked
from xai.core.results.message import Message
from xai.core.runtime.batching import (
    Progress,
    ShouldStop,
    batch_size,
    first_tensor,
    is_out_of_memory,
    note_shrink,
    reporting,
)
from xai.core.runtime.randomness import image_key, repeated
from xai.errors import DataError, Stopped


@dataclass(frozen=True, eq=False)
class LinearHead:
    """The last linear layer, as it makes logits of features: logits = features @ weight.T + bias.

    Attributes:
        layer: its name.
        weight: (K, D); a layer with one output is written out for two classes.
        bias: (K,).
        places: how many places of a map each channel has among the features, which are then D / places channels, one
            after the other; 1 when they are no flattened map.
    """

    layer: str
    weight: Tensor = field(repr=False)
    bias: Tensor = field(repr=False)
    places: int = 1

    @property
    def width(self) -> int:
        """Number of features."""
        return int(self.weight.shape[1])

    def logits(self, features: Tensor) -> Tensor:
        """Return logits (n, K) of features (n, D), in their type."""
        return torch.addmm(self.bias.to(features), features, self.weight.to(features).T)


class FeatureTap:
    """Finds the last linear layer, whose output the logits are, and takes what goes into it."""

    def __init__(self, classifier: Any) -> None:
        self.classifier = classifier
        self.head: LinearHead | None = None
        self.image_notes: tuple[str, ...] = ()  # what was done to the images that went through
        self.note = "no features: the logits are not the output of a linear layer"
        self._linear = {n: m for n, m in classifier.module.named_modules() if isinstance(m, nn.Linear)}
        self._found = False

    def run(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return logits (n, K) and features (n, D) or None, on the module's device."""
        if (batch_size(self.classifier.module) or 1) > 1:
            self._found, self.note = True, "no features: the model takes a fixed number of images at a time"
        names = [self.head.layer] if self.head is not None else ([] if self._found else list(self._linear))
        seen: dict[str, tuple[Tensor, Tensor]] = {}
        with ExitStack() as stack:
            for name in names:
                stack.enter_context(hooked(self._linear[name], _keeper(seen, name)))
            logits = self.classifier.raw_logits(inputs)
        if not self._found:
            self._choose(seen, logits, inputs)
        taken = seen[self.head.layer][0] if self.head is not None and self.head.layer in seen else None
        return logits, None if taken is None else full_precision(taken)

    def _choose(self, seen: dict[str, tuple[Tensor, Tensor]], logits: Tensor, inputs: Tensor) -> None:
        """Take the linear layer whose output the logits are."""
        self._found = True
        for name, (source, result) in seen.items():
            same = logits[:, -result.shape[1] :]
            output = result.to(same.dtype)
            if same.shape != result.shape:
                continue
            if torch.equal(same, output) or torch.equal(2 * same, output):
                share = 1.0 if torch.equal(same, output) else 0.5
                places = self._places(name, inputs[:1])
                self.head = _head(name, self._linear[name], share, logits.shape[1], places)
                width = source.shape[1]
                self.note = Message(
                    "features: the {width} inputs of the last linear layer {name!r}", width=width, name=name
                )

    def _places(self, name: str, inputs: Tensor) -> int:
        """Return how many places each channel has when the features are a map laid flat, else 1."""
        seen: dict[str, tuple[Tensor, Tensor]] = {}
        with _Flattenings() as flat, hooked(self._linear[name], _keeper(seen, name)):
            self.classifier.raw_logits(inputs)
        counts = [shape[2:].numel() for shape, row in flat.found if torch.equal(row, seen[name][0])]
        return counts[-1] if counts else 1


def full_precision(features: Tensor) -> Tensor:
    """Return features in float32, or in float64 where they are so."""
    return features if features.dtype == torch.float64 else features.float()


class _Flattenings(TorchFunctionMode):
    """Notes every call that lays a map (n, C, h, w) flat."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[torch.Size, Tensor]] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        given = args[0] if args else None
        if isinstance(made, Tensor) and isinstance(given, Tensor) and _flattens(given.shape, made.shape):
            self.found.append((given.shape, made))
        return made


def _flattens(given: torch.Size, made: torch.Size) -> bool:
    return (len(given), len(made)) == (4, 2) and made[0] == given[0] and made[1] == given[1:].numel()


def _keeper(seen: dict[str, tuple[Tensor, Tensor]], name: str) -> Any:
    """Return a hook that keeps what goes into a linear layer, rows of features, and what comes out."""

    def keep(_module: nn.Module, given: Any, output: Any) -> None:
        source, result = first_tensor(given), first_tensor(output)
        if source is not None and result is not None and source.ndim == 2:
            seen[name] = (source, result)

    return keep


def _head(name: str, layer: nn.Linear, share: float, classes: int, places: int) -> LinearHead:
    """Return the layer as it makes logits; of one output s they are (-share * s, share * s)."""
    with torch.inference_mode(False), torch.no_grad():  # a head lives on outside
        weight = layer.weight.detach().float().clone()
        bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach().float().clone()
        if len(weight) != classes:
            weight, bias = share * torch.cat([-weight, weight]), share * torch.cat([-bias, bias])
    return LinearHead(name, weight, bias, places)


_READ = 64  # images read at a time at first
_MOST_NOTES = 20  # on single images, of which there may be a million
_MOST, _BYTES = 256, 32 << 20  # then as many as this: bounds the memory for images


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
        class_names: of the data in the order of its labels; empty where it has none.
    """

    logits: Tensor = field(repr=False)
    features: Tensor | None = field(repr=False)
    labels: Tensor | None = field(repr=False)
    layer: str | None
    notes: tuple[str, ...] = ()
    image_notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()

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
    head: LinearHead | None


def collect_outputs(
    classifier: Any,
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
    return Outputs(torch.cat(logits).clone(), together, labels, layer, notes, image_notes, classes_of(dataset))


def run_outputs(
    classifier: Any,
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
    """Return images start..stop; as images where the data set has them, so that grey ones fit a colour model."""
    if hasattr(images, "decoded"):
        return images.decoded(range(start, stop))
    return images[start:stop]


def _in_pieces(tap: FeatureTap, inputs: Tensor, start: int, limit: int) -> Iterator[Chunk]:
    """Yield the answers for `inputs`, at most `limit` rows at once, in halves when memory runs out."""
    for first in range(0, len(inputs), limit):
        yield from _run_halving(tap, inputs[first : first + limit], start + first)


def _run_halving(tap: FeatureTap, inputs: Tensor, start: int) -> Iterator[Chunk]:
    """Yield the answers for `inputs`, in halves when memory runs out."""
    try:
        chunks = [tap.run(inputs)]
    except (MemoryError, RuntimeError) as error:
        if len(inputs) == 1 or not is_out_of_memory(error):
            raise
        chunks = []
    if chunks:
        yield Chunk(start, inputs, *chunks[0], tap.head)
        return
    middle = len(inputs) // 2
    note_shrink(middle)
    yield from _run_halving(tap, inputs[:middle], start)
    yield from _run_halving(tap, inputs[middle:], start + middle)
