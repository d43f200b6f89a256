"""What all explanation methods share: the checks before, the chunks, the checks after, the record."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor, nn

from xai.core.batch import Batch
from xai.core.classifier import Classifier, as_classifier
from xai.core.explanation import Explanation
from xai.core.heads import to_probabilities
from xai.core.hooks import borrowed, gradients_on, parts_of
from xai.core.images import ImageLike, Picture
from xai.core.objective import Objective
from xai.core.records import plain, versions
from xai.core.registry import Registry
from xai.core.rows import Progress, ShouldStop, in_chunks, reporting
from xai.core.seeds import check_seed
from xai.core.targets import Target, target_indices
from xai.core.untrained import untrained_noted
from xai.errors import ContractError
from xai.explainers._work import Cost as Cost
from xai.explainers._work import Part as Part
from xai.explainers._work import Work as Work

_UNIT = 100  # progress of methods that go picture by picture is told in hundredths


class Explainer(ABC):
    """A method: a frozen dataclass of its settings with one private function that holds the idea."""

    name: ClassVar[str]
    title: ClassVar[str]
    family: ClassVar[str]
    unit: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]
    stochastic: ClassVar[bool] = False
    caution: ClassVar[str] = ""  # why another method answers better, for methods kept for comparison
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType({})  # of settings that take a name, all names
    one_by_one: ClassVar[bool] = False  # pictures go singly, because each makes many rows; reports hundredths of them

    @property
    @abstractmethod
    def cost(self) -> Cost:
        """Rows per image at these settings."""

    @abstractmethod
    def _attribute(self, work: Work) -> Part:
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

        `keys`, one per image, stand for the pictures in everything random: copies of a picture then share their draws.
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

    def _run(self, task: "_Task", progress: bool | Progress | None, should_stop: ShouldStop | None) -> list[Part]:
        done: dict[int, Part] = {}
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

    def _checked(self, part: Part, task: "_Task") -> Part:
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

    def _record(self, task: "_Task", parts: Sequence[Part], notes: Sequence[str]) -> Explanation:
        classifier, batch, count = task.classifier, task.batch, task.rows if task.shared else 1
        attribution, logits = torch.cat([p.attribution for p in parts]), torch.cat([p.logits for p in parts])
        targets = torch.cat([p.targets for p in parts])
        coarse = None if parts[0].coarse is None else torch.cat([p.coarse for p in parts if p.coarse is not None])
        probabilities = to_probabilities(logits, classifier.head).gather(1, targets[:, None])[:, 0]
        pictures = batch.pictures * count
        every = [*notes, *(note for part in parts for note in part.notes), *_flat(attribution, pictures)]
        return Explanation(
            attribution=attribution,
            coarse=coarse,
            targets=targets,
            logits=logits,
            method=self.name,
            settings=self._settings(task),
            unit=self.unit,
            layer=parts[0].layer,
            notes=tuple(dict.fromkeys(every)),
            seed=task.seed,
            model=describe(classifier),
            labels=tuple(classifier.labels[int(k)] for k in targets),
            probabilities=probabilities,
            predicted=tuple(classifier.labels[int(k)] for k in logits.argmax(1)),
            names=tuple(picture.name for picture in pictures),
            pictures=tuple(_original(picture) for picture in batch.pictures) * count,
            geometries=batch.geometries * count,
            single=batch.single and not task.shared,
            versions=versions(),
            details=tuple(detail for part in parts for detail in part.details),
        )

    def _settings(self, task: "_Task") -> dict[str, Any]:
        """Return the settings as used, JSON-ready; what was asked beyond the usual logit is part of them."""
        found = {f.name: plain(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]
        if task.objective.score != "logit":
            found["score"] = task.objective.score
        if task.versus is not None:
            found["versus"] = [task.classifier.labels[int(k)] for k in task.versus]
        return found


@dataclass(frozen=True, eq=False)
class _Task:
    """Everything asked for, checked: rows are the pictures, or one picture with several classes."""

    classifier: Classifier
    batch: Batch
    wanted: Tensor | None
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
    ) -> Work:
        """Return the rows start..stop; for methods that go picture by picture all rows of these pictures."""
        if self.shared and method.one_by_one:
            start, stop = 0, self.rows
        inputs, classifier = self.batch.inputs, self.classifier
        chosen = inputs.expand(stop - start, -1, -1, -1) if self.shared else inputs[start:stop]
        rows = chosen.to(device=classifier.device, dtype=classifier.dtype)
        rows = rows.clone() if rows.is_inference() else rows  # autograd refuses tensors made in inference mode
        wanted, versus = (None if v is None else v[start:stop] for v in (self.wanted, self.versus))
        keys = None if self.keys is None else list(self.keys) * len(rows) if self.shared else self.keys[start:stop]
        return Work(
            classifier, rows, wanted, self.seed, self.objective, versus, self.shared, advance, should_stop, keys
        )


def _plan(
    classifier: Classifier,
    batch: Batch,
    target: Target,
    versus: Target,
    objective: Objective,
    seed: int,
    keys: Sequence[bytes] | None,
) -> _Task:
    objective.check_versus(versus)
    count = len(batch.inputs)
    several = max(_length(target), _length(versus))
    shared = count == 1 and several > 1
    rows = several if shared else count
    wanted, against = (target_indices(classifier, which, rows) for which in (target, versus))
    return _Task(classifier, batch, wanted, against, objective, seed, shared, rows, keys)


def _length(target: Target) -> int:
    """Return how many classes are asked for as a list; 0 for a single one."""
    if isinstance(target, Tensor):
        return len(target) if target.ndim else 0
    return len(target) if isinstance(target, Sequence | np.ndarray) and not isinstance(target, str) else 0


EXPLAINERS: Registry[type[Explainer]] = Registry("explanation method")


def describe(classifier: Classifier) -> dict[str, Any]:
    """Return what identifies a classifier, JSON-ready."""
    return {"name": classifier.name, "fingerprint": classifier.fingerprint, "preprocessing": classifier.preprocessing}


def _about(classifier: Classifier) -> list[str]:
    said = "the model was in training mode: it is explained in evaluation mode and given back as it was"
    training = any(getattr(part, "training", False) for part in parts_of(classifier.module))
    return [*([said] if training else []), *untrained_noted(classifier.module)]


def _flat(attribution: Tensor, pictures: Sequence[Picture]) -> list[str]:
    """Say which maps are constant: they are no evidence for anything."""
    spans = attribution.flatten(1).amax(1) - attribution.flatten(1).amin(1)
    flat = [pictures[k].name for k in (spans == 0).nonzero()[:, 0].tolist()]
    return [f"the map is the same everywhere, so it shows no evidence: {', '.join(flat[:3])}"] if flat else []


def _original(picture: Picture) -> Any:
    pixels = (picture.pixels.detach().cpu().float().clamp(0, 1) * 255).round().byte()
    return pixels.permute(1, 2, 0).contiguous().numpy()
