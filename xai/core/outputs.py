"""One pass over a data set: logits and penultimate features, in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xai.core.hooks import borrowed, first_tensor
from xai.core.rows import Progress, ShouldStop, is_out_of_memory, reporting
from xai.errors import DataError, Stopped

if TYPE_CHECKING:
    from xai.core.classifier import Classifier

_READ = 64  # images read at a time: bounds the memory for pictures


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a classifier answers on a data set.

    Attributes:
        logits: (N, K), on the CPU.
        features: (N, D) inputs of the last linear layer, or None when there is no such layer.
        labels: (N,) int64, or None when the data has none.
        layer: name of the last linear layer, or None.
        notes: where the features come from, or why there are none.
    """

    logits: Tensor = field(repr=False)
    features: Tensor | None = field(repr=False)
    labels: Tensor | None = field(repr=False)
    layer: str | None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.logits)


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
    images = dataset.images if hasattr(dataset, "images") else dataset
    total = len(images)
    if total == 0:
        raise DataError("Expected at least one image, but the data set is empty.")
    logits: list[Tensor] = []
    features: list[Tensor] = []
    tap = FeatureTap(classifier)
    with borrowed(classifier.module), torch.inference_mode(), reporting(progress, "outputs") as report:
        for start in range(0, total, _READ):
            if should_stop is not None and should_stop():
                raise Stopped(f"Stopped after {start} of {total} images, as asked.")
            inputs = classifier.prepare(_some(images, start, min(total, start + _READ))).inputs
            for rows, taken in _run_halving(classifier, tap, inputs):
                logits.append(rows)
                features += [taken] if taken is not None else []
            if report is not None:
                report(min(total, start + _READ), total)
    labels = getattr(dataset, "labels", None)
    together = torch.cat(features).clone() if sum(map(len, features)) == total else None
    return Outputs(
        torch.cat(logits).clone(), together, labels, tap.layer if together is not None else None, (tap.note,)
    )


def _some(images: Any, start: int, stop: int) -> Any:
    """Return images start..stop; as pictures where the data set has them, so that grey ones fit a colour model."""
    if hasattr(images, "pictures"):
        return images.pictures(range(start, stop))
    return images[start:stop]


def _run_halving(classifier: Classifier, tap: FeatureTap, inputs: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield logits and features of `inputs`, in halves when memory runs out."""
    try:
        found = [tap.run(inputs)]
    except (MemoryError, RuntimeError) as error:
        if len(inputs) == 1 or not is_out_of_memory(error):
            raise
        found = []
    if found:
        yield found[0]
        return
    middle = len(inputs) // 2
    yield from _run_halving(classifier, tap, inputs[:middle])
    yield from _run_halving(classifier, tap, inputs[middle:])


class FeatureTap:
    """Finds the last linear layer, whose output the logits are, and takes what goes into it."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.layer: str | None = None
        self.note = "no features: the logits are not the output of a linear layer"
        self._linear = {n: m for n, m in classifier.module.named_modules() if isinstance(m, nn.Linear)}
        self._found = False

    def run(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return logits (n, K) and features (n, D) or None, on the CPU."""
        names = [self.layer] if self.layer is not None else ([] if self._found else list(self._linear))
        seen: dict[str, tuple[Tensor, Tensor]] = {}
        with ExitStack() as stack:
            for name in names:

                def keep(_m: nn.Module, given: Any, output: Any, name: str = name) -> None:
                    source, result = first_tensor(given), first_tensor(output)
                    if source is not None and result is not None and source.ndim == 2:
                        seen[name] = (source, result)

                handle = self._linear[name].register_forward_hook(keep)
                stack.callback(handle.remove)
            logits = self.classifier.raw_logits(inputs)
        if not self._found:
            self._choose(seen, logits)
        taken = seen[self.layer][0] if self.layer in seen else None
        return logits.cpu(), None if taken is None else taken.float().cpu()

    def _choose(self, seen: dict[str, tuple[Tensor, Tensor]], logits: Tensor) -> None:
        """Take the linear layer whose output the logits are."""
        self._found = True
        for name, (source, result) in seen.items():
            same = logits[:, -result.shape[1] :]
            found = result.to(same.dtype)
            if same.shape == result.shape and (torch.equal(same, found) or torch.equal(2 * same, found)):
                self.layer = name
                self.note = f"features: the {source.shape[1]} inputs of the last linear layer {name!r}"
