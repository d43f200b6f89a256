"""One run: cues are looked for and chosen on one half of the images and judged on the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from xai.core.intervals import wilson
from xai.core.records import versions
from xai.cues._base import Cue, Form, Pictures, Scene
from xai.cues._clusters import auroc
from xai.cues._confirm import Confirmation, confirm
from xai.cues._explaining import Explaining
from xai.cues._found import Found
from xai.cues._judge import Evidence, Trial, follows, pulls_more, stands_out, try_out, weigh
from xai.cues._probe import Probe
from xai.cues._reading import Sample
from xai.cues._removal import Association, take_out
from xai.cues._repetition import FEWEST
from xai.cues._result import Response, ShortcutResult
from xai.cues._search import FIRST, SECOND, TRIED, choose, strongest
from xai.cues._statistics import holm
from xai.cues._words import Case, merged, respond, verdict_of

_NEUTRAL = 2  # neutral changes of a form, at most
_NAMED = 5  # classes in a note


@dataclass(frozen=True)
class Plan:
    """What is asked for.

    Attributes:
        kinds: of cues.
        strengths: increasing.
        least: by how much a shortcut must beat neutral changes.
    """

    kinds: tuple[Cue, ...]
    strengths: tuple[float, ...]
    least: float


class Study:
    """Everything that one run knows."""

    def __init__(self, probe: Probe, plan: Plan, sample: Sample, explaining: Explaining) -> None:
        self.probe, self.plan, self.sample, self.explaining = probe, plan, sample, explaining
        self.classifier = probe.classifier
        self.chosen, self.judged = sample.halves()
        self.held = self.judged
        self.notes = list(sample.notes)

    def run(self) -> ShortcutResult:
        """Return the report."""
        found, usual = self._forms()
        trials = [self._tried(form) for form in found] + self._trials(usual)
        figures = [weigh(trial, local=trial.suspect.form.local) for trial in trials]
        cut, classes = len(found), self.classifier.num_classes
        adjusted = [*holm([e.p for e in figures[:cut]], cut), *holm([e.p for e in figures[cut:]], len(usual) * classes)]
        cases = [self._case(*each) for each in zip(trials, figures, map(float, adjusted), strict=True)]
        least, names = self.plan.least, self.classifier.labels
        responses = [respond(case, verdict_of(case, least), self.plan.strengths, names) for case in cases]
        self.probe.finish()
        return self._result(merged(responses), trials, [case.confirmation for case in cases])

    def _forms(self) -> tuple[list[Found], list[Form]]:
        """Return what was found in the data, and what is tried on every model."""
        searched, self.held = self.sample.searched()
        scene = Scene(self.chosen, self.classifier.labels, searched, self.held)
        self._note_searched(scene)
        made: list[Form] = []
        for kind in self.plan.kinds:
            forms = list(kind.forms(scene))
            if not forms:
                self.notes.append(f"{kind.name.replace('_', ' ')}: none for these images")
            made += forms
        self._note_masks()
        found = [form for form in made if isinstance(form, Found)]
        return found, [form for form in made if not isinstance(form, Found)]

    def _note_searched(self, scene: Scene) -> None:
        """Keep the classes of which there are enough images, and say which there are not."""
        self.searched = frozenset(scene.classes)
        counts = torch.bincount(scene.data.labels, minlength=len(scene.names))
        self.share = float(counts[scene.classes].sum() / counts.sum().clamp_min(1))
        few = [scene.names[k] for k in counts.nonzero()[:, 0].tolist() if k not in self.searched]
        if few:
            named = ", ".join([*map(repr, few[:_NAMED]), *["..."] * (len(few) > _NAMED)])
            told = f"too few images to look for what sets {len(few)} class(es) apart (fewer than {FEWEST}): {named}"
            self.notes.append(told)

    def _note_masks(self) -> None:
        masks = self.judged.masks
        if masks is not None and bool(masks.all()) and bool(self.chosen.masks is None or self.chosen.masks.all()):
            self.notes.append("masks: the object fills every image, so there is no background to compare with")

    def _tried(self, form: Found) -> Trial:
        """Plant what was found, at the strength that turns most beyond the controls on the half that chooses."""
        suspect = choose(self.probe, form, self.chosen, self.plan.strengths, self.classifier.num_classes)
        return try_out(self.probe, suspect, self.judged, self.plan.strengths)

    def _trials(self, forms: Sequence[Form]) -> list[Trial]:
        """Choose on one half, ask on the other."""
        levels, units = self.plan.strengths, len({form.unit for form in forms})
        choosing = (1 + _NEUTRAL) * len(levels) * min(TRIED, len(self.chosen))
        judging = (_NEUTRAL + len(levels)) * len(self.judged)
        self.probe.expect(len(forms) * (FIRST + SECOND // 4) + units * (choosing + judging))
        best = strongest(self.probe, forms, self.chosen)
        classes = self.classifier.num_classes
        suspects = [choose(self.probe, form, self.chosen, levels, classes) for form in best]
        return [try_out(self.probe, suspect, self.judged, levels) for suspect in suspects]

    def _case(self, trial: Trial, evidence: Evidence, p: float) -> Case:
        """Return everything about one cue; what is costly only where the model seems to follow it."""
        form, least = trial.suspect.form, self.plan.least
        if isinstance(form, Found):
            tells = self._association(form)
            if not follows(evidence, p, least):
                return Case(trial, evidence, p, association=tells)
            seen = confirm(self.probe, trial, self.judged, self.explaining)
            removal = take_out(self.probe, form, self.held)
            return Case(trial, evidence, p, association=tells, removal=removal, confirmation=seen)
        searched = form.of_class or trial.suspect.target in self.searched
        natural = 0.5
        if not form.of_class and pulls_more(evidence, least):
            natural = self._natural(form, trial.suspect.target)
        if not stands_out(evidence, p, least, local=form.local):
            return Case(trial, evidence, p, searched=searched, natural=natural)
        seen, missed = confirm(self.probe, trial, self.judged, self.explaining), self._missed(trial.suspect.target)
        known: dict[str, Any] = {"searched": searched, "natural": natural, "missed": missed, "confirmation": seen}
        known["lacking"] = searched and not form.of_class and self.sample.train is not None
        return Case(trial, evidence, p, **known)

    def _missed(self, target: int) -> float:
        """Return the largest share of the images of a class other than the target that is surely not recognised."""
        wrong, labels = ~self.judged.right, self.judged.labels
        others = [wrong[labels == k] for k in sorted(set(labels.tolist())) if k != target]
        return max((float(wilson(int(one.sum()), len(one))[0]) for one in others), default=0.0)

    def _association(self, form: Found) -> Association:
        values, own = form.carried(self.held.images), self.held.labels == form.target
        area, p = auroc(values[own].numpy(), values[~own].numpy())
        questions = len(self.plan.kinds) * self.classifier.num_classes
        shares = [
            float((part >= form.least).float().mean()) if len(part) else 0.0 for part in (values[own], values[~own])
        ]
        return Association(area, min(1.0, p * questions), *shares)

    def _natural(self, form: Form, target: int) -> float:
        """Return how well likeness to a cue tells its class by nature."""
        values, own = form.likeness(self.held.images), self.held.labels == target
        return auroc(values[own].numpy(), values[~own].numpy())[0]

    def _result(
        self, responses: Sequence[Response], trials: Sequence[Trial], seen: Sequence[Confirmation | None]
    ) -> ShortcutResult:
        half = len(self.chosen)
        about = {"name": self.classifier.name, "fingerprint": self.classifier.fingerprint}
        return ShortcutResult(
            responses=tuple(responses),
            strengths=self.plan.strengths,
            names=self.sample.names[half:],
            class_names=self.classifier.labels,
            settings=self._settings(),
            seed=self.judged.seed,
            model=about | {"preprocessing": self.classifier.preprocessing},
            data=self.sample.data,
            notes=tuple(dict.fromkeys([*self.notes, *self.explaining.notes])),
            versions=versions(),
            **_answered(self.judged, trials, len(self.plan.strengths)),
            **_shown(self.judged, seen),
        )

    def _settings(self) -> dict[str, Any]:
        return {
            "cues": [kind.name for kind in self.plan.kinds],
            "samples": len(self.sample.pictures),
            "least": self.plan.least,
            "searched": self.share,
            "method": self.explaining.method,
            "masks": self.judged.masks is not None,
            "train": self.sample.train is not None,
        }


def _answered(pictures: Pictures, trials: Sequence[Trial], levels: int) -> dict[str, np.ndarray]:
    """Return what was answered about all pictures, as the report keeps it."""
    return {
        "labels": pictures.labels.numpy(),
        "clean": pictures.said.numpy(),
        "said": np.array([trial.said for trial in trials], dtype=np.int64).reshape(-1, levels, len(pictures)),
        "sure": np.array([trial.sure for trial in trials], dtype=np.float32).reshape(-1, levels, len(pictures)),
        "sure_clean": pictures.sure.numpy(),
    }


def _shown(pictures: Pictures, seen: Sequence[Confirmation | None]) -> dict[str, np.ndarray]:
    """Return the pictures that cues turned, as the report keeps them."""
    found = [(k, each) for k, each in enumerate(seen) if each is not None]
    numbers = [(k, row) for k, each in found for row in each.rows]
    empty = pictures.images[:0]
    parts = {"before": empty, "after": empty, "heatmaps": empty[:, 0]}
    arrays = {
        name: np.concatenate([none.numpy(), *(getattr(each, name).numpy() for _, each in found)])
        for name, none in parts.items()
    }
    return arrays | {"shown": np.array(numbers, dtype=np.int64).reshape(-1, 2)}
