"""What all explanation methods share: the checks before, the chunks, the checks after, the record."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor, nn

from xai.core.images.geometry import Batch
from xai.core.images.inputs import ImageLike, InputImage
from xai.core.model.classifier import Classifier, as_classifier
from xai.core.model.fingerprint import parts_of
from xai.core.model.hooks import borrowed, gradients_on
from xai.core.model.objective import Objective, Target, target_indices
from xai.core.model.predictions import to_probabilities
from xai.core.model.usage_checks import untrained_noted
from xai.core.registry import Registry
from xai.core.results.codec import plain
from xai.core.results.message import Message
from xai.core.results.result import Provenance
from xai.core.runtime.batching import Progress, ShouldStop, in_chunks, reporting
from xai.core.runtime.randomness import image_key
from xai.core.validation import check_seed
from xai.errors import ContractError
from xai.explanations.explanation import Explanation
from xai.explanations.methods import MODULES


@dataclass(frozen=True, eq=False)
class MethodInput:
    """A chunk of rows to explain; a row is an image and a class.

    Attributes:
        classifier: borrowed and in evaluation mode.
        inputs: (n, C, h, w) in [0, 1], on the classifier's device; not to be written to.
        requested: (n,) class indices, or None for the predicted ones.
        seed: of the whole run.
        objective: what is read from the logits.
        versus: (n,) classes whose score is taken away, or None.
        shared: all rows are the same image, asked for several classes.
        advance: told the share of this chunk that is done, 0 to 1.
        should_stop: asked between the chunks of `run_rows`.
        given_keys: one per row, that stand for the images in everything random; None takes their own.
    """

    classifier: Classifier
    inputs: Tensor
    requested: Tensor | None
    seed: int
    objective: Objective = field(default_factory=Objective)
    versus: Tensor | None = None
    shared: bool = False
    advance: Callable[[float], None] | None = None
    should_stop: ShouldStop | None = None
    given_keys: Sequence[bytes] | None = None

    @property
    def images(self) -> Tensor:
        """(u, C, h, w) images, each once: one when `shared`, else all the inputs."""
        return self.inputs[:1] if self.shared else self.inputs

    @cached_property
    def keys(self) -> list[bytes]:
        """One key per row for `xai.core.runtime.randomness`."""
        if self.given_keys is not None:
            return list(self.given_keys)
        return [image_key(image) for image in self.images] * (len(self.inputs) if self.shared else 1)

    def spread(self, per_image: Tensor) -> Tensor:
        """Return what was computed per image (u, ...) once per row (n, ...)."""
        return per_image.expand(len(self.inputs), *per_image.shape[1:]) if self.shared else per_image

    def targets(self, logits: Tensor) -> Tensor:
        """Return the classes to explain (n,), on the device of the clean logits, which are one line per image."""
        predicted = self.spread(logits.detach().argmax(1))
        return predicted if self.requested is None else self.requested.to(logits.device)

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
        return self.objective.row_scores(logits, targets, versus)

    def scores(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the score of every line of logits (r, K) for every row's class: (r, n)."""
        versus = None if self.versus is None else self.versus.to(logits.device)
        return self.objective.all(logits, targets, versus)

    def part(self, begin: float, share: float) -> "MethodInput":
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
class MethodOutput:
    """What a method computed for a batch, one entry per row. See `Explanation` for the fields."""

    attribution: Tensor
    targets: Tensor
    logits: Tensor
    coarse: Tensor | None = None
    layer: str | None = None
    notes: Sequence[str] = field(default=())
    details: Sequence[Mapping[str, Tensor]] = field(default=())

    def detached(self) -> "MethodOutput":
        """Return the same on the CPU, without graphs."""
        return MethodOutput(
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
    """Rows per image that a method sends through the network. Methods that cut the graph send `share` of it."""

    forward: int
    backward: int
    share: str = "whole network"


def _home(tensor: Tensor) -> Tensor:
    values = tensor.detach().cpu()
    with torch.inference_mode(False):
        return values.clone() if values.is_inference() else values


_UNIT = 100  # progress of methods that go image by image is told in hundredths


class Explainer(ABC):
    """The base class of explanation methods.

    A method is a frozen dataclass of its settings with one private function that computes the map.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    family: ClassVar[str]
    unit: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]
    stochastic: ClassVar[bool] = False
    caution: ClassVar[str] = ""  # why another method answers better, for methods kept for comparison
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType({})  # of settings that take a name, all names
    one_by_one: ClassVar[bool] = False  # images go singly, because each makes many rows; reports hundredths of them

    @property
    @abstractmethod
    def cost(self) -> Cost:
        """Rows per image at these settings."""

    @abstractmethod
    def _attribute(self, work: MethodInput) -> MethodOutput:
        """Explain one chunk; attribution is (n, C or 1, h, w), signed."""

    @final
    def explain(
        self,
        model: Classifier | nn.Module,
        images: ImageLike,
        target: Target = None,
        *,
        versus: Target = None,
        score: str = "logit",
        seed: int = 0,
        progress: bool | Progress | None = None,
        should_stop: ShouldStop | None = None,
        keys: Sequence[bytes] | None = None,
    ) -> Explanation:
        """Explain one image or many; see `xai.explain` for the arguments.

        `keys`, one per image, stand for the images in everything random: copies of an image then share their draws.
        """
        seed, classifier = check_seed(seed), as_classifier(model)
        batch = classifier.prepare(images)
        classifier.check_images(batch.inputs)
        if target is not None or versus is not None:
            classifier.count_classes(batch.inputs)
        task = _plan(classifier, batch, target, versus, Objective(score, classifier.read_outputs()), seed, keys)
        notes = [*batch.notes, *_about(classifier)]
        parts = self._run(task, progress, should_stop)
        with torch.inference_mode(False):  # a result can be used anywhere
            return self._record(task, parts, notes)

    def _run(
        self, task: "_ExplanationTask", progress: bool | Progress | None, should_stop: ShouldStop | None
    ) -> list[MethodOutput]:
        done: dict[int, MethodOutput] = {}
        classifier, unit = task.classifier, _UNIT if self.one_by_one else 1
        every = len(task.batch.inputs) if self.one_by_one else task.rows

        with borrowed(classifier.module), gradients_on(), reporting(progress, self.name) as report:

            def advance(start: int, stop: int, share: float) -> None:
                if report is not None and self.one_by_one:
                    report(round((start + share * (stop - start)) * unit), every * unit)

            def work(start: int, stop: int) -> None:
                part = self._attribute(task.work(self, start, stop, partial(advance, start, stop), should_stop))
                done[start] = self._checked(part, task)

            limit = 1 if self.one_by_one else classifier.row_limit(task.batch.inputs)
            show = None if report is None else lambda finished, total: report(finished * unit, total * unit)
            in_chunks(work, every, limit=limit, progress=show, should_stop=should_stop)
        return [done[start] for start in sorted(done)]

    def _checked(self, part: MethodOutput, task: "_ExplanationTask") -> MethodOutput:
        """Hold the method to its contract and bring its results to the CPU."""
        rows, inputs = len(part.targets), task.batch.inputs
        shapes = [(rows, channels, *inputs.shape[2:]) for channels in (1, inputs.shape[1])]
        if tuple(part.attribution.shape) not in shapes:
            raise ContractError(f"{self.name} returned {tuple(part.attribution.shape)}, expected one of {shapes}.")
        if len(part.logits) != rows:
            raise ContractError(f"{self.name} returned {len(part.logits)} lines of logits, expected {rows}.")
        task.classifier.check_width(part.logits)  # black-box methods run a copy of it
        if not bool(torch.isfinite(part.attribution).all()):
            raise ContractError(f"{self.name} returned NaN or infinity for a finite prediction.")
        return part.detached()

    def _record(self, task: "_ExplanationTask", parts: Sequence[MethodOutput], notes: Sequence[str]) -> Explanation:
        classifier, batch, count = task.classifier, task.batch, task.rows if task.shared else 1
        class_names = classifier.class_names
        attribution, logits = torch.cat([p.attribution for p in parts]), torch.cat([p.logits for p in parts])
        targets = torch.cat([p.targets for p in parts])
        coarse = None if parts[0].coarse is None else torch.cat([p.coarse for p in parts if p.coarse is not None])
        probabilities = to_probabilities(logits, classifier.head).gather(1, targets[:, None])[:, 0]
        images = batch.images * count
        every = [*notes, *(note for part in parts for note in part.notes), *_flat(attribution, images)]
        return Explanation(
            attribution=attribution,
            coarse=coarse,
            targets=targets,
            logits=logits,
            method=self.name,
            unit=self.unit,
            layer=parts[0].layer,
            notes=tuple(dict.fromkeys(every)),
            target_names=tuple(class_names[int(k)] for k in targets),
            probabilities=probabilities,
            predictions=tuple(class_names[int(k)] for k in logits.argmax(1)),
            image_names=tuple(image.name for image in images),
            images=tuple(_original(image) for image in batch.images) * count,
            geometries=batch.geometries * count,
            single=batch.single and not task.shared,
            provenance=Provenance.of(classifier, self._settings(task), task.seed),
            details=tuple(detail for part in parts for detail in part.details),
        )

    def _settings(self, task: "_ExplanationTask") -> dict[str, Any]:
        """Return the settings as used, JSON-ready; what was asked beyond the usual logit is part of them."""
        settings = {f.name: plain(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]
        if task.objective.score != "logit":
            settings["score"] = task.objective.score
        if task.versus is not None:
            settings["versus"] = [task.classifier.class_names[int(k)] for k in task.versus]
        return settings


@dataclass(frozen=True, eq=False)
class _ExplanationTask:
    """Everything asked for, checked: rows are the images, or one image with several classes."""

    classifier: Classifier
    batch: Batch
    requested: Tensor | None
    versus: Tensor | None
    objective: Objective
    seed: int
    shared: bool
    rows: int
    keys: Sequence[bytes] | None = None

    def work(
        self,
        method: Explainer,
        start: int,
        stop: int,
        advance: Callable[[float], None],
        should_stop: ShouldStop | None,
    ) -> MethodInput:
        """Return the rows start..stop; for methods that go image by image all rows of these images."""
        if self.shared and method.one_by_one:
            start, stop = 0, self.rows
        inputs, classifier = self.batch.inputs, self.classifier
        chosen = inputs.expand(stop - start, -1, -1, -1) if self.shared else inputs[start:stop]
        rows = chosen.to(device=classifier.device, dtype=classifier.dtype)
        rows = rows.clone() if rows.is_inference() else rows  # autograd refuses tensors made in inference mode
        requested, versus = (None if v is None else v[start:stop] for v in (self.requested, self.versus))
        keys = None if self.keys is None else list(self.keys) * len(rows) if self.shared else self.keys[start:stop]
        return MethodInput(
            classifier, rows, requested, self.seed, self.objective, versus, self.shared, advance, should_stop, keys
        )


def _plan(
    classifier: Classifier,
    batch: Batch,
    target: Target,
    versus: Target,
    objective: Objective,
    seed: int,
    keys: Sequence[bytes] | None,
) -> _ExplanationTask:
    objective.check_versus(versus)
    count = len(batch.inputs)
    several = max(_length(target), _length(versus))
    shared = count == 1 and several > 1
    rows = several if shared else count
    requested, against = target_indices(classifier, target, rows), target_indices(classifier, versus, rows)
    return _ExplanationTask(classifier, batch, requested, against, objective, seed, shared, rows, keys)


def _length(target: Target) -> int:
    """Return how many classes are asked for as a list; 0 for a single one."""
    if isinstance(target, Tensor):
        return len(target) if target.ndim else 0
    return len(target) if isinstance(target, Sequence | np.ndarray) and not isinstance(target, str) else 0


EXPLAINERS: Registry[type[Explainer]] = Registry("explanation method", "xai.explanations.methods", MODULES)


def _about(classifier: Classifier) -> list[str]:
    notes = untrained_noted(classifier.module)
    if any(getattr(part, "training", False) for part in parts_of(classifier.module)):
        return [Message("the model was in training mode: it is explained in evaluation mode and restored"), *notes]
    return notes


def _flat(attribution: Tensor, images: Sequence[InputImage]) -> list[str]:
    spans = attribution.flatten(1).amax(1) - attribution.flatten(1).amin(1)
    flat = [images[k].name for k in (spans == 0).nonzero()[:, 0].tolist()]
    if not flat:
        return []
    return [Message("the map is uniform, so it shows no evidence: {names}", names=", ".join(flat[:3]))]


def _original(image: InputImage) -> Any:
    pixels = (image.pixels.detach().cpu().float().clamp(0, 1) * 255).round().byte()
    return pixels.permute(1, 2, 0).contiguous().numpy()
