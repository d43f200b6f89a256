"""One run: forms are chosen on one half of the pictures and judged on the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xai.core.records import versions
from xai.cues._base import Cue, Form, Pictures, Scene
from xai.cues._confirm import Confirmation, confirm
from xai.cues._explaining import Explaining
from xai.cues._judge import Evidence, Trial, stands_out, try_out, weigh
from xai.cues._probe import Probe
from xai.cues._reading import Sample
from xai.cues._result import Response, ShortcutResult
from xai.cues._search import FIRST, SECOND, TRIED, choose, strongest
from xai.cues._statistics import holm
from xai.cues._words import merged, respond

_NEUTRAL = 2  # neutral changes of a form, at most


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
        self.notes = list(sample.notes)

    def run(self) -> ShortcutResult:
        """Return the report."""
        trials = self._trials(self._forms())
        figures = [weigh(trial, local=trial.suspect.form.local) for trial in trials]
        adjusted = holm([each.p for each in figures], len(trials) * self.classifier.num_classes)
        seen = [self._confirmed(*each) for each in zip(trials, figures, adjusted, strict=True)]
        responses = [
            respond(
                trial, evidence, float(p), confirmation, self.plan.strengths, self.plan.least, self.classifier.labels
            )
            for trial, evidence, p, confirmation in zip(trials, figures, adjusted, seen, strict=True)
        ]
        self.probe.finish()
        return self._result(merged(responses), trials, seen)

    def _forms(self) -> list[Form]:
        scene = Scene(self.chosen, self.classifier.labels, self.explaining)
        found: list[Form] = []
        for kind in self.plan.kinds:
            made = list(kind.forms(scene))
            if not made:
                self.notes.append(f"{kind.name}: none for these pictures")
            found += made
        return found

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

    def _confirmed(self, trial: Trial, evidence: Evidence, p: float) -> Confirmation | None:
        if not stands_out(evidence, p, self.plan.least, local=trial.suspect.form.local):
            return None
        return confirm(self.probe, trial, self.judged, self.explaining)

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
            "method": self.explaining.method,
            "masks": self.judged.masks is not None,
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
