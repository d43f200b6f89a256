"""What a method is given and what it gives back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from xai.core.classifier import Classifier
from xai.core.objective import Objective
from xai.core.rows import ShouldStop, in_chunks
from xai.core.seeds import image_key


@dataclass(frozen=True, eq=False)
class Work:
    """A chunk of rows to explain; a row is a picture and a class.

    Attributes:
        classifier: borrowed and in evaluation mode.
        inputs: (n, C, h, w) in [0, 1], on the classifier's device; not to be written to.
        wanted: (n,) class indices, or None for the predicted ones.
        seed: of the whole run.
        objective: what is read from the logits.
        versus: (n,) classes whose score is taken away, or None.
        shared: all rows are the same picture, asked for several classes.
        advance: told the share of this chunk that is done, 0 to 1.
        should_stop: asked between the chunks of `run_rows`.
        given_keys: one per row, that stand for the pictures in everything random; None takes their own.
    """

    classifier: Classifier
    inputs: Tensor
    wanted: Tensor | None
    seed: int
    objective: Objective = field(default_factory=Objective)
    versus: Tensor | None = None
    shared: bool = False
    advance: Callable[[float], None] | None = None
    should_stop: ShouldStop | None = None
    given_keys: Sequence[bytes] | None = None

    @property
    def images(self) -> Tensor:
        """(u, C, h, w) pictures, each once: one when `shared`, else all the inputs."""
        return self.inputs[:1] if self.shared else self.inputs

    @cached_property
    def keys(self) -> list[bytes]:
        """One key per row for `xai.core.seeds`."""
        if self.given_keys is not None:
            return list(self.given_keys)
        return [image_key(image) for image in self.images] * (len(self.inputs) if self.shared else 1)

    def spread(self, per_image: Tensor) -> Tensor:
        """Return what was computed per picture (u, ...) once per row (n, ...)."""
        return per_image.expand(len(self.inputs), *per_image.shape[1:]) if self.shared else per_image

    def targets(self, logits: Tensor) -> Tensor:
        """Return the classes to explain (n,), on the device of the clean logits, which are one line per picture."""
        predicted = self.spread(logits.detach().argmax(1))
        return predicted if self.wanted is None else self.wanted.to(logits.device)

    def score(self, logits: Tensor, targets: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return the explained score of each line of logits (r, K) as (r,).

        Args:
            logits: one line for each row, or for each entry of `rows`.
            targets: (n,) of `targets`.
            rows: (r,) which row each line belongs to; None when lines are rows.
        """
        versus = None if self.versus is None else self.versus.to(logits.device)
        if rows is not None:
            targets, versus = targets[rows], None if versus is None else versus[rows]
        return self.objective.one(logits, targets, versus)

    def scores(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the score of every line of logits (r, K) for every row's class: (r, n)."""
        versus = None if self.versus is None else self.versus.to(logits.device)
        return self.objective.all(logits, targets, versus)

    def part(self, begin: float, share: float) -> "Work":
        """Return the same work, whose progress runs from `begin` to `begin + share`."""
        tell = self.advance
        if tell is None or (begin, share) == (0.0, 1.0):
            return self
        return replace(self, advance=lambda done: tell(begin + share * done))

    def run_rows(self, run: Callable[[int, int], None], total: int, limit: int) -> int:
        """Call `run(start, stop)` over 0..total in chunks that fit, with progress and stop; see `rows.in_chunks`."""

        def show(done: int, every: int) -> None:
            if self.advance is not None:
                self.advance(done / every)

        return in_chunks(run, total, limit=limit, progress=show, should_stop=self.should_stop)


@dataclass(frozen=True, eq=False)
class Part:
    """What a method found for a chunk, one entry per row: see `Explanation` for the fields."""

    attribution: Tensor
    targets: Tensor
    logits: Tensor
    coarse: Tensor | None = None
    layer: str | None = None
    notes: Sequence[str] = field(default=())
    details: Sequence[Mapping[str, Tensor]] = field(default=())

    def detached(self) -> "Part":
        """Return the same on the CPU, without graphs."""
        return Part(
            _home(self.attribution),
            self.targets.cpu(),
            _home(self.logits),
            None if self.coarse is None else _home(self.coarse),
            self.layer,
            tuple(self.notes),
            tuple({name: _home(value) for name, value in detail.items()} for detail in self.details),
        )


@dataclass(frozen=True)
class Cost:
    """Rows per image that a method sends through the network; `share` of it for methods that cut the graph."""

    forward: int
    backward: int
    share: str = "whole network"


def _home(tensor: Tensor) -> Tensor:
    found = tensor.detach().cpu()
    with torch.inference_mode(False):
        return found.clone() if found.is_inference() else found
