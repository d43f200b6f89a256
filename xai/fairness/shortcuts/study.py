"""`shortcuts`: does a class depend on something that is not its object?"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai.core.model.classifier import Classifier, as_classifier
from xai.core.results.message import Message
from xai.core.results.result import Provenance
from xai.core.runtime.batching import Progress, ShouldStop, reporting
from xai.core.validation import check_seed
from xai.errors import RangeError, ShapeError, UnsupportedModelError
from xai.explanations.methods.base import EXPLAINERS
from xai.fairness.shortcuts.findings import ShortcutCase, merged, respond, verdict_of
from xai.fairness.shortcuts.predictor import Predictor, StudySample, read
from xai.fairness.shortcuts.probes.base import PROBES, Form, ProbeContext, ProbeImages, ProbeKind
from xai.fairness.shortcuts.probes.data_forms import DataForm
from xai.fairness.shortcuts.probes.repetition import FEWEST
from xai.fairness.shortcuts.result import Evidence, Response, ShortcutResult
from xai.fairness.shortcuts.significance import (
    FIRST,
    SECOND,
    TRIED,
    Association,
    Confirmation,
    Trial,
    attracts_more,
    choose,
    confirm,
    follows,
    stands_out,
    strongest,
    take_out,
    try_out,
    weigh,
)
from xai.stats.auroc import mann_whitney
from xai.stats.intervals import holm, wilson_interval

_FIRST, _SECOND = "hirescam", "occlusion"


class Explaining:
    """Explains images by a method.

    Attributes:
        method: name; "hirescam" becomes "occlusion" where the model rules it out and none was asked for.
        notes: why, if so.
    """

    def __init__(self, classifier: Classifier, predictor: Predictor, method: str | None, seed: int) -> None:
        EXPLAINERS[method or _FIRST]  # an unknown name is refused before any work
        self._classifier, self._predictor, self._seed, self._free = classifier, predictor, seed, method is None
        self.method, self.notes = method or _FIRST, list[str]()

    def __call__(self, images: Tensor, target: int) -> Tensor:
        """Return maps (n, h, w) of images (n, C, h, w) for a class.

        Raises:
            UnsupportedModelError: the model cannot be explained by the method that was asked for.
        """
        try:
            explanation = EXPLAINERS[self.method]().explain(self._classifier, images, target, seed=self._seed)
        except UnsupportedModelError as error:
            if not self._free or self.method == _SECOND:
                raise
            self.notes.append(Message("explained by {method}: {error}", method=_SECOND, error=str(error)))
            self.method = _SECOND
            return self(images, target)
        self._predictor.advance(len(images))
        return explanation.attribution.sum(1).float()


_NEUTRAL = 2  # neutral changes of a form, at most
_NAMED = 5  # classes in a note


@dataclass(frozen=True)
class StudyPlan:
    """What is asked for.

    Attributes:
        kinds: of probes.
        strengths: increasing.
        least: by how much a shortcut must beat neutral changes.
    """

    kinds: tuple[ProbeKind, ...]
    strengths: tuple[float, ...]
    least: float


class Study:
    """Everything that one run knows."""

    def __init__(self, predictor: Predictor, plan: StudyPlan, sample: StudySample, explaining: Explaining) -> None:
        self.predictor, self.plan, self.sample, self.explaining = predictor, plan, sample, explaining
        self.classifier = predictor.classifier
        self.chosen, self.judged = sample.halves()
        self.held_out = self.judged
        self.notes = list(sample.notes)

    def run(self) -> ShortcutResult:
        """Return the report."""
        from_data, usual = self._forms()
        trials = [self._tried(form) for form in from_data] + self._trials(usual)
        figures = [weigh(trial, local=trial.suspect.form.local) for trial in trials]
        cut, classes = len(from_data), self.classifier.num_classes
        searched = holm([evidence.p for evidence in figures[:cut]])
        standard = holm([evidence.p for evidence in figures[cut:]], questions=len(usual) * classes)
        adjusted = np.concatenate([searched, standard]).tolist()
        cases = [self._case(*each) for each in zip(trials, figures, adjusted, strict=True)]
        least, names = self.plan.least, self.classifier.class_names
        responses = [respond(case, verdict_of(case, least), self.plan.strengths, names) for case in cases]
        self.predictor.finish()
        return self._result(merged(responses), trials, [case.confirmation for case in cases])

    def _forms(self) -> tuple[list[DataForm], list[Form]]:
        """Return what was found in the data, and what is tried on every model."""
        searched, self.held_out = self.sample.searched()
        context = ProbeContext(self.chosen, self.classifier.class_names, searched, self.held_out)
        self._note_searched(context)
        made: list[Form] = []
        for kind in self.plan.kinds:
            forms = list(kind.forms(context))
            if not forms:
                probe = Message(kind.name.replace("_", " "))
                self.notes.append(Message("{probe}: none for these images", probe=probe))
            made += forms
        self._note_masks()
        from_data = [form for form in made if isinstance(form, DataForm)]
        return from_data, [form for form in made if not isinstance(form, DataForm)]

    def _note_searched(self, context: ProbeContext) -> None:
        """Keep the classes of which there are enough images, and say which there are not."""
        self.searched = frozenset(context.classes)
        counts = torch.bincount(context.data.labels, minlength=len(context.names))
        self.share = float(counts[context.classes].sum() / counts.sum().clamp_min(1))
        few = [context.names[k] for k in counts.nonzero()[:, 0].tolist() if k not in self.searched]
        if few:
            named = ", ".join([*map(repr, few[:_NAMED]), *["..."] * (len(few) > _NAMED)])
            template = "too few images to look for what sets {count} class(es) apart (fewer than {fewest}): {classes}"
            self.notes.append(Message(template, count=len(few), fewest=FEWEST, classes=named))

    def _note_masks(self) -> None:
        masks = self.judged.masks
        if masks is not None and bool(masks.all()) and bool(self.chosen.masks is None or self.chosen.masks.all()):
            note = "masks: the object fills every image, so there is no background to compare with"
            self.notes.append(Message(note))

    def _tried(self, form: DataForm) -> Trial:
        """Plant what was found, at the strength that turns most beyond the controls on the half that chooses."""
        suspect = choose(self.predictor, form, self.chosen, self.plan.strengths, self.classifier.num_classes)
        return try_out(self.predictor, suspect, self.judged, self.plan.strengths)

    def _trials(self, forms: Sequence[Form]) -> list[Trial]:
        """Choose on one half, ask on the other."""
        levels, units = self.plan.strengths, len({form.unit for form in forms})
        choosing = (1 + _NEUTRAL) * len(levels) * min(TRIED, len(self.chosen))
        judging = (_NEUTRAL + len(levels)) * len(self.judged)
        self.predictor.expect(len(forms) * (FIRST + SECOND // 4) + units * (choosing + judging))
        best = strongest(self.predictor, forms, self.chosen)
        classes = self.classifier.num_classes
        suspects = [choose(self.predictor, form, self.chosen, levels, classes) for form in best]
        return [try_out(self.predictor, suspect, self.judged, levels) for suspect in suspects]

    def _case(self, trial: Trial, evidence: Evidence, p: float) -> ShortcutCase:
        """Return everything about one probe; what is costly only where the model seems to follow it."""
        form, least = trial.suspect.form, self.plan.least
        if isinstance(form, DataForm):
            tells = self._association(form)
            if not follows(evidence, p, least):
                return ShortcutCase(trial, evidence, p, association=tells)
            seen = confirm(self.predictor, trial, self.judged, self.explaining)
            removal = take_out(self.predictor, form, self.held_out)
            return ShortcutCase(trial, evidence, p, association=tells, removal=removal, confirmation=seen)
        searched = form.of_class or trial.suspect.target in self.searched
        natural = 0.5
        if not form.of_class and attracts_more(evidence, least):
            natural = self._natural(form, trial.suspect.target)
        if not stands_out(evidence, p, least, local=form.local):
            return ShortcutCase(trial, evidence, p, searched=searched, natural=natural)
        seen, missed = confirm(self.predictor, trial, self.judged, self.explaining), self._missed(trial.suspect.target)
        known: dict[str, Any] = {"searched": searched, "natural": natural, "missed": missed, "confirmation": seen}
        known["lacking"] = searched and not form.of_class and self.sample.train is not None
        return ShortcutCase(trial, evidence, p, **known)

    def _missed(self, target: int) -> float:
        """Return the largest share of the images of a class other than the target that is surely not recognised."""
        wrong, labels = ~self.judged.right, self.judged.labels
        others = [wrong[labels == k] for k in sorted(set(labels.tolist())) if k != target]
        return max((wilson_interval(int(is_wrong.sum()), len(is_wrong))[0] for is_wrong in others), default=0.0)

    def _association(self, form: DataForm) -> Association:
        values, own = form.carried(self.held_out.images), self.held_out.labels == form.target
        area, p = mann_whitney(values[~own].numpy(), values[own].numpy())
        questions = len(self.plan.kinds) * self.classifier.num_classes
        shares = [
            float((part >= form.least).float().mean()) if len(part) else 0.0 for part in (values[own], values[~own])
        ]
        return Association(area, min(1.0, p * questions), *shares)

    def _natural(self, form: Form, target: int) -> float:
        """Return how well likeness to a probe tells its class by nature."""
        values, own = form.likeness(self.held_out.images), self.held_out.labels == target
        return mann_whitney(values[~own].numpy(), values[own].numpy())[0]

    def _result(
        self, responses: Sequence[Response], trials: Sequence[Trial], seen: Sequence[Confirmation | None]
    ) -> ShortcutResult:
        half = len(self.chosen)
        return ShortcutResult(
            responses=tuple(responses),
            strengths=self.plan.strengths,
            image_names=self.sample.names[half:],
            class_names=self.classifier.class_names,
            provenance=Provenance.of(self.classifier, self._settings(), self.judged.seed, {"name": self.sample.data}),
            notes=tuple(dict.fromkeys([*self.notes, *self.explaining.notes])),
            **_predictions_of(self.judged, trials, len(self.plan.strengths)),
            **_shown(self.judged, seen),
        )

    def _settings(self) -> dict[str, Any]:
        return {
            "probes": [kind.name for kind in self.plan.kinds],
            "samples": len(self.sample.images),
            "least": self.plan.least,
            "searched": self.share,
            "method": self.explaining.method,
            "masks": self.judged.masks is not None,
            "train": self.sample.train is not None,
        }


def _predictions_of(images: ProbeImages, trials: Sequence[Trial], levels: int) -> dict[str, np.ndarray]:
    """Return what was answered about all images, as the report keeps it."""
    return {
        "labels": images.labels.numpy(),
        "clean": images.predictions.numpy(),
        "predictions": np.array([trial.predictions for trial in trials], dtype=np.int64).reshape(
            -1, levels, len(images)
        ),
        "true_class_probability": np.array([trial.confidence for trial in trials], dtype=np.float32).reshape(
            -1, levels, len(images)
        ),
        "clean_true_class_probability": images.confidence.numpy(),
    }


def _shown(images: ProbeImages, seen: Sequence[Confirmation | None]) -> dict[str, np.ndarray]:
    """Return the images that probes turned, as the report keeps them."""
    confirmed = [(k, each) for k, each in enumerate(seen) if each is not None]
    numbers = [(k, row) for k, each in confirmed for row in each.rows]
    empty = images.images[:0]
    parts = {"before": empty, "after": empty, "heatmaps": empty[:, 0]}
    arrays = {
        name: np.concatenate([none.numpy(), *(getattr(each, name).numpy() for _, each in confirmed)])
        for name, none in parts.items()
    }
    return arrays | {"shown": np.array(numbers, dtype=np.int64).reshape(-1, 2)}


STRENGTHS = (0.1, 0.25, 0.5, 0.75, 1.0)
_FEWEST = 40


def shortcuts(
    model: Classifier | nn.Module,
    data: Any,
    seed: int = 0,
    *,
    labels: Any = None,
    masks: Any = None,
    train: Any = None,
    probes: Sequence[str] | None = None,
    strengths: Sequence[float] = STRENGTHS,
    samples: int = 400,
    least: float = 0.1,
    method: str | None = None,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> ShortcutResult:
    """Find marks, texts, compression, blur, brightness and tint that a class is recognised by.

    Probes are looked for in the data first, on half of the images: what most images of one class have, those of the
    others do not, and objects do not have by nature. What was found is inserted into images of other classes, in the
    form that the data have, beside equally large controls that cannot contain it, and taken out of images of the class.

    A probe is a shortcut if it goes with the class in the data, turns images of other classes into the class `least`
    more often than every control does, and taking it out lowers the log odds of the class more than a control. Some
    probes are tried on every model as well. Where the data lack such a probe it is a shortcut only if most images of
    the class are recognised only with it; otherwise it is a sensitivity, or "not confirmed" if it has a place, removal
    confirms it and nothing in the data explains it. Explanations are reported, and decide nothing.

    Args:
        model: from `xai.load`, an `xai.Classifier`, or a bare `nn.Module` that takes pixels in [0, 1].
        data: a data set of `xai.load_data`, or N images in any form that `xai.explain` takes.
        seed: fixes everything random: the draw of images, the halves, the controls of each image.
        labels: the truth (N,), indices or names; None takes the data's, by class name where the order differs.
        masks: (N, h, w) bool, the object in the model's input geometry; backgrounds are exchanged. None if unknown.
        train: what the model learnt from, a data set or a pair (images, labels); probes are looked for there. None
            looks for them in `data`, which must then carry them as well.
        probes: names from `xai.fairness.shortcuts.probes.base.PROBES`; None takes all.
        strengths: increasing, above 0 to 1, shares of the full probe.
        samples: images drawn from the data; half of them choose, half of them judge. Twice as many of `train`.
        least: by how much a shortcut must beat controls, a share of images.
        method: of the explanations; None takes HiResCAM, or occlusion where the model has no layer with places.
        progress: None, True for a bar, or a callable `(done, total)` in rows, the total being an estimate.
        should_stop: asked between chunks; True ends the work with `xai.errors.Stopped`.

    Returns:
        ShortcutResult; `.findings` has the shortcuts, `.verdict` the conclusion, `.table` all probes, `.doses` the
        dose-responses.

    Raises:
        InputError: no labels, or too few images.
        NameLookupError: no such probe or method.
        RangeError: `strengths`, `samples` or `least` outside what is possible.
        ShapeError: masks of another number or size.
        Stopped: `should_stop()` was true.

    Cost: with 400 images about 20,000 rows forward for grey images, 30,000 for colour, and a search in the data.
    Source: dose and attraction after Li et al. 2023 (arXiv 2212.04825), backgrounds after Xiao et al. 2020; the search
        in the data, the controls and the removal are ours.

    Example:
        >>> import xai
        >>> clf, data = xai.load("example:fashion-shortcut"), xai.load_data("example:fashion-test").subset(300)
        >>> "Shirt" in str(xai.shortcuts(clf, data, probes=["corner_mark"], samples=160).findings)
        True
    """
    classifier, seed, plan = as_classifier(model), check_seed(seed), _plan(probes, strengths, least, samples)
    with reporting(progress, "shortcuts") as report:
        predictor = Predictor(classifier, report, should_stop)
        sample = read(predictor, data, labels, masks, samples, seed, train)
        return Study(predictor, plan, sample, Explaining(classifier, predictor, method, seed)).run()


def _plan(probes: Sequence[str] | None, strengths: Sequence[float], least: float, samples: int) -> StudyPlan:
    names = tuple(PROBES.names() if probes is None else probes)
    plan = StudyPlan(tuple(PROBES[name] for name in names), _strengths(strengths), _share(least))
    if samples < _FEWEST:
        raise RangeError(f"Expected `samples` of at least {_FEWEST}, but got {samples}: half choose, half judge.")
    return plan


def _strengths(strengths: Sequence[float]) -> tuple[float, ...]:
    """Return increasing strengths above 0.

    Raises:
        RangeError: one outside of 0 to 1.
        ShapeError: none, or not increasing.
    """
    values = tuple(float(strength) for strength in strengths)
    if not values or any(low >= high for low, high in pairwise(values)):
        raise ShapeError(f"Expected increasing strengths such as (0.25, 0.5, 1), but got {list(strengths)}.")
    if not all(0 < strength <= 1 for strength in values):
        raise RangeError(f"Expected strengths above 0 and at most 1, but got {list(strengths)}.")
    return values


def _share(least: float) -> float:
    if not (isfinite(least) and 0 <= least < 1):
        raise RangeError(f"Expected `least` as a share from 0 to below 1, but got {least!r}.")
    return float(least)
