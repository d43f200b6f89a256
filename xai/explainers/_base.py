"""What all explanation methods share: the checks before, the chunks, the checks after, the record."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from xai.core.batch import Batch
from xai.core.classifier import Classifier, as_classifier
from xai.core.explanation import Explanation
from xai.core.heads import to_probabilities
from xai.core.hooks import borrowed, gradients_on, parts_of
from xai.core.images import ImageLike, Picture
from xai.core.records import versions
from xai.core.registry import Registry
from xai.core.rows import Progress, ShouldStop, in_chunks, reporting
from xai.core.seeds import check_seed, image_key
from xai.core.targets import Target, target_indices
from xai.errors import ContractError


@dataclass(frozen=True, eq=False)
class Work:
    """A chunk of images to explain.

    Attributes:
        classifier: borrowed and in evaluation mode.
        inputs: (n, C, h, w) in [0, 1], on the classifier's device; not to be written to.
        wanted: (n,) class indices, or None for the predicted ones.
        seed: of the whole run.
    """

    classifier: Classifier
    inputs: Tensor
    wanted: Tensor | None
    seed: int

    @cached_property
    def keys(self) -> list[bytes]:
        """One key per image for `xai.core.seeds`."""
        return [image_key(image) for image in self.inputs]

    def targets(self, logits: Tensor) -> Tensor:
        """Return the classes to explain (n,), on the device of the logits."""
        return logits.detach().argmax(1) if self.wanted is None else self.wanted.to(logits.device)


@dataclass(frozen=True, eq=False)
class Part:
    """What a method found for a chunk: see `Explanation` for the fields."""

    attribution: Tensor
    targets: Tensor
    logits: Tensor
    coarse: Tensor | None = None
    layer: str | None = None
    notes: Sequence[str] = field(default=())


@dataclass(frozen=True)
class Cost:
    """Rows per image that a method sends through the network; `share` of it for methods that cut the graph."""

    forward: int
    backward: int
    share: str = "whole network"


class Explainer(ABC):
    """A method: a frozen dataclass of its settings with one private function that holds the idea."""

    name: ClassVar[str]
    title: ClassVar[str]
    family: ClassVar[str]
    unit: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]
    stochastic: ClassVar[bool] = False

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
        seed: int = 0,
        progress: bool | Progress | None = None,
        should_stop: ShouldStop | None = None,
    ) -> Explanation:
        """Explain one image or many; see `xai.explain` for the arguments."""
        seed, classifier = check_seed(seed), as_classifier(model)
        batch = classifier.prepare(images)
        classifier.check_images(batch.inputs)
        if target is not None:
            classifier.count_classes(batch.inputs)
        wanted = target_indices(classifier, target, len(batch.inputs))
        notes = [*batch.notes, *_about(model, classifier)]
        parts = self._run(classifier, batch.inputs, wanted, seed, progress, should_stop)
        with torch.inference_mode(False):  # a result can be used anywhere
            return self._record(classifier, batch, parts, seed, notes)

    def _run(
        self,
        classifier: Classifier,
        inputs: Tensor,
        wanted: Tensor | None,
        seed: int,
        progress: bool | Progress | None,
        should_stop: ShouldStop | None,
    ) -> list[Part]:
        done: dict[int, Part] = {}

        def work(start: int, stop: int) -> None:
            rows = inputs[start:stop].to(device=classifier.device, dtype=classifier.dtype)
            rows = rows.clone() if rows.is_inference() else rows  # autograd refuses tensors made in inference mode
            chosen = None if wanted is None else wanted[start:stop]
            done[start] = self._checked(self._attribute(Work(classifier, rows, chosen, seed)), rows)

        with borrowed(classifier.module), gradients_on(), reporting(progress, self.name) as report:
            limit = classifier.row_limit(inputs)
            in_chunks(work, len(inputs), limit=limit, progress=report, should_stop=should_stop)
        return [done[start] for start in sorted(done)]

    def _checked(self, part: Part, rows: Tensor) -> Part:
        """Hold the method to its contract and bring its results to the CPU."""
        values = part.attribution.detach()
        shapes = [(len(rows), channels, *rows.shape[2:]) for channels in (1, rows.shape[1])]
        if tuple(values.shape) not in shapes:
            raise ContractError(f"{self.name} returned {tuple(values.shape)}, expected one of {shapes}.")
        if not bool(torch.isfinite(values).all()):
            raise ContractError(f"{self.name} returned NaN or infinity for a finite prediction.")
        coarse = None if part.coarse is None else part.coarse.detach().cpu()
        return Part(values.cpu(), part.targets.cpu(), part.logits.detach().cpu(), coarse, part.layer, tuple(part.notes))

    def _record(
        self, classifier: Classifier, batch: Batch, parts: Sequence[Part], seed: int, notes: Sequence[str]
    ) -> Explanation:
        attribution, logits = torch.cat([p.attribution for p in parts]), torch.cat([p.logits for p in parts])
        targets = torch.cat([p.targets for p in parts])
        coarse = None if parts[0].coarse is None else torch.cat([p.coarse for p in parts if p.coarse is not None])
        probabilities = to_probabilities(logits, classifier.head).gather(1, targets[:, None])[:, 0]
        every = [*notes, *(note for part in parts for note in part.notes), *_flat(attribution, batch)]
        return Explanation(
            attribution=attribution,
            coarse=coarse,
            targets=targets,
            logits=logits,
            method=self.name,
            settings=asdict(self),  # type: ignore[call-overload]  # every method is a dataclass
            unit=self.unit,
            layer=parts[0].layer,
            notes=tuple(dict.fromkeys(every)),
            seed=seed,
            model=describe(classifier),
            labels=tuple(classifier.labels[int(k)] for k in targets),
            probabilities=probabilities,
            predicted=tuple(classifier.labels[int(k)] for k in logits.argmax(1)),
            names=tuple(picture.name for picture in batch.pictures),
            pictures=tuple(_original(picture) for picture in batch.pictures),
            geometries=batch.geometries,
            single=batch.single,
            versions=versions(),
        )


EXPLAINERS: Registry[type[Explainer]] = Registry("explanation method")


def describe(classifier: Classifier) -> dict[str, Any]:
    """Return what identifies a classifier, JSON-ready."""
    return {"name": classifier.name, "fingerprint": classifier.fingerprint, "preprocessing": classifier.preprocessing}


def _about(model: Classifier | nn.Module, classifier: Classifier) -> list[str]:
    notes = []
    if model is not classifier:
        notes.append(
            "no preprocessing given: pixels in [0, 1] go into the network as they are; wrap it in xai.Classifier"
        )
    if any(part.training for part in parts_of(classifier.module)):
        notes.append("the model was in training mode: it is explained in evaluation mode and given back as it was")
    return notes


def _flat(attribution: Tensor, batch: Batch) -> list[str]:
    """Say which maps are constant: they are no evidence for anything."""
    spans = attribution.flatten(1).amax(1) - attribution.flatten(1).amin(1)
    flat = [batch.pictures[k].name for k in (spans == 0).nonzero()[:, 0].tolist()]
    return [f"the map is the same everywhere, so it shows no evidence: {', '.join(flat[:3])}"] if flat else []


def _original(picture: Picture) -> Any:
    pixels = (picture.pixels.detach().cpu().float().clamp(0, 1) * 255).round().byte()
    return pixels.permute(1, 2, 0).contiguous().numpy()
