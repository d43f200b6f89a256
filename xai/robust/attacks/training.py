"""Adversarial training: networks that hold out against attacks, to compare others with."""

import copy
import time
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import nn

from xai.core.images.inputs import ImageLike
from xai.core.model.classifier import Classifier, as_classifier
from xai.core.model.hooks import borrowed, copied, gradients_on
from xai.core.results.codec import plain, versions
from xai.core.runtime.batching import Progress, ShouldStop, reporting
from xai.core.validation import check_seed
from xai.robust.attacks._training import Augment, Epoch, OnEpoch, Recipe, TrainingImages, TrainingRun, held_out

__all__ = ["AdversarialTraining", "Epoch", "TrainingResult"]


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """A trained copy and how it came about.

    Attributes:
        classifier: the copy, in evaluation mode, with the weights of the epoch `best`.
        history: one record per epoch.
        best: number of the epoch with the best robust accuracy (then clean accuracy, then the earlier one), for "plain"
            the best clean accuracy; the last epoch without validation images.
        settings: of the training, as used.
        seed: of the run.
        seconds: wall time.
        start: fingerprint of the model that was given.
        model: name, fingerprint and preprocessing of the copy.
        versions: of the packages.
        notes: what to beware of.
    """

    classifier: Classifier
    history: tuple[Epoch, ...]
    best: int
    settings: dict[str, Any]
    seed: int
    seconds: float
    start: str
    model: dict[str, Any]
    versions: dict[str, str]
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the weights, JSON-ready."""
        settings = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in {"classifier", "history"}}
        history = [{f.name: getattr(epoch, f.name) for f in fields(epoch)} for epoch in self.history]
        record: dict[str, Any] = plain(settings | {"history": history})
        return record


@dataclass(frozen=True)
class AdversarialTraining(Recipe):
    """Settings of a training on adversarial images, made anew in every step.

    "pgd" minimises the cross-entropy at the images that PGD finds: CE(f(x'), y). "trades" minimises
    CE(f(x), y) + beta * KL(f(x) || f(x')), where x' maximises the same divergence. "plain" trains on the images
    themselves: what to compare with. The images x' are searched in evaluation mode and take all steps.

    Args:
        method: "pgd", "trades" or "plain".
        eps: radius in the scale of pixels in [0, 1]; None takes 8/255 (linf), 0.5 (l2) or 12 (l1).
        norm: "linf", "l2" or "l1".
        steps: of the search for x'.
        step_size: of the search, in the scale of pixels; None takes 2.5 radii over `steps`.
        beta: weight of the divergence in "trades": more is more robust and less accurate.
        epochs: passes over the training images.
        batch_size: rows per step; what is left over of an epoch sits out.
        optimiser: "adamw", or "sgd" with momentum 0.9.
        learning_rate: the highest of the schedule.
        weight_decay: of the optimiser.
        schedule: "cycle" (up, then down to zero), "cosine", "steps" (a tenth from half and from three quarters on) or
            "constant".
        validation_steps: steps of PGD on the validation images.

    Raises:
        NameLookupError: unknown method, norm, optimiser or schedule.
        RangeError: a number outside its range.

    Cost: `steps` + 1 rows forward and back per image and epoch; "trades" 2 more forward and 1 more back; one copy of
    the model, and one more of its weights with validation images.
    Source: Madry et al. 2018 (arXiv 1706.06083); Zhang et al. 2019 (arXiv 1901.08573), eq. (5) and algorithm 1. Best
    epoch: Rice et al. 2020 (arXiv 2002.11569). Differs: the clean answers that the search of TRADES leads away from are
    computed once per batch, and not once more for the loss.
    """

    def run(
        self,
        model: Classifier | nn.Module,
        images: ImageLike,
        labels: Any,
        *,
        validation: tuple[ImageLike, Any] | None = None,
        augment: Augment | None = None,
        seed: int = 0,
        progress: bool | Progress | None = None,
        on_epoch: OnEpoch | None = None,
        should_stop: ShouldStop | None = None,
    ) -> TrainingResult:
        """Train a copy of a model, where the model is.

        Args:
            model: an `xai.Classifier` or a bare `nn.Module`; stays untouched. Parameters without `requires_grad` are
                not trained; statistics of batch norms follow all the same.
            images: tensors and arrays are held in memory; anything else with a length, `data.images` for instance, is
                read batch by batch.
            labels: the ground truth (N,), as indices or names.
            validation: images and labels for the curve and for the choice of the epoch; held in memory. The
                accuracies of the chosen epoch are a little too good on them: report them on a third set.
            augment: `(images, rows, generator) -> images`, both in [0, 1], on the CPU unless `images` is elsewhere;
                `rows` (B,) are the numbers of the images.
            seed: fixes order, starts, dropout and what `augment` draws from its generator; it does not fix the order
                in which a GPU adds up.
            progress: None, True for a bar, or a callable `(done, total)` in steps.
            on_epoch: called with the record of each epoch and the classifier as it is then.
            should_stop: asked between steps; True ends the work.

        Raises:
            InputError: an image, label or setting that cannot be used.
            UnsupportedModelError: no parameter to train, or no gradient reaches the pixels.
            NonFiniteError: the training diverged.
            Stopped: `should_stop` said so.
        """
        began, seed, given = time.perf_counter(), check_seed(seed), as_classifier(model)
        with gradients_on():
            learner = copy.copy(given)
            learner.module = copied(given.module)
            source = TrainingImages(learner, images, labels)
            validation_images = None if validation is None else held_out(learner, *validation)
            job = TrainingRun(self, learner, source, validation_images, augment, seed, on_epoch, should_stop)
            with borrowed(learner.module), reporting(progress, "training") as report:
                torch.manual_seed(seed)  # dropout; given back on leaving
                job.run(report)
        learner.module.eval()
        learner.module.zero_grad()
        used = {f.name: plain(getattr(self, f.name)) for f in fields(self)} | {"eps": self.radius}
        changer = None if augment is None else getattr(augment, "__qualname__", type(augment).__name__)
        return TrainingResult(
            classifier=learner,
            history=tuple(job.history),
            best=job.best,
            settings=used | {"augment": changer},
            seed=seed,
            seconds=time.perf_counter() - began,
            start=given.fingerprint,
            model={
                "name": learner.name,
                "fingerprint": learner.fingerprint,
                "preprocessing": learner.preprocessing,
            },
            versions=versions(),
            notes=job.notes(),
        )
