"""What is asked about one picture that is changed: worse in steps, or by attacks."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import xai
from xai.dashboard.gallery import TIMES, as_pixels
from xai.dashboard.jobs import Job, parts, watched
from xai.dashboard.language import t, told
from xai.dashboard.pictures import Picture
from xai.dashboard.tasks import Report
from xai.dashboard.work import Model

STEP = 0.25  # of severity
SEVERITIES = tuple(STEP * k for k in range(21))


@dataclass(frozen=True, eq=False)
class Worsened:
    """A picture at each of `SEVERITIES`, and what the network answers.

    Attributes:
        pixels: (S, h, w, 3) uint8, as the network sees them.
        prediction: of the S pictures.
    """

    pixels: np.ndarray
    prediction: xai.Prediction

    @property
    def flips_at(self) -> float | None:
        """Smallest severity with another answer than the clean picture's; None where there is none."""
        changed = np.flatnonzero(self._other)
        return SEVERITIES[int(changed[0])] if len(changed) else None

    @property
    def returns(self) -> bool:
        """Whether the clean picture's answer comes back at a higher severity than that."""
        return bool(np.any(np.diff(self._other.astype(int)) < 0))

    @property
    def _other(self) -> np.ndarray:
        answers = self.prediction.index.numpy()
        found: np.ndarray = answers != answers[0]
        return found


@dataclass(frozen=True, eq=False)
class Attacked:
    """A picture before and after attacks.

    Attributes:
        results: R of `xai.attack`, of the same clean picture.
        pixels: (1 + R, h, w, 3) uint8, the clean picture first, as the network sees them.
        differences: (1 + R, h, w, 3) uint8, ten times what was added, around grey.
        prediction: of the 1 + R pictures.
    """

    results: tuple[xai.AttackResult, ...]
    pixels: np.ndarray
    differences: np.ndarray
    prediction: xai.Prediction


def to_worsen(model: Model, picture: Picture, name: str, seed: int, slot: Any) -> Job:
    """Return the job whose result is the picture at all severities."""
    key = ("worsened", model.key, picture.identity, name, seed)
    title = f"{name.replace('_', ' ').capitalize()} at {len(SEVERITIES)} severities"
    return Job(key, title, partial(_worsen, model, picture, name, seed), slot, rows=len(SEVERITIES))


def to_attack(
    model: Model,
    picture: Picture,
    method: xai.MethodInfo,
    asked: Mapping[str, Any],
    radii: tuple[float | None, ...],
    slot: Any,
) -> Job:
    """Return the job whose result is the attacked picture.

    Args:
        model: attacked; what it answers to the clean picture counts as the truth.
        picture: the clean one.
        method: the attack.
        asked: further arguments of `xai.attack`.
        radii: one attack for each; None leaves the radius to the attack.
        slot: of the page.
    """
    key = ("attacked", model.key, picture.identity, method.name, *sorted(asked.items()), radii)
    title = told(method.title)
    title = title if len(radii) == 1 else t("{title} at {count} radii", title=title, count=len(radii))
    rows = len(radii) * (method.forward + method.backward)
    return Job(key, title, partial(_attack, model, picture, method.name, dict(asked), radii), slot, rows)


def _worsen(model: Model, picture: Picture, name: str, seed: int, report: Report | None) -> Worsened:
    import torch

    with model.borrowed() as classifier:
        clean = classifier.prepare(picture.open()).inputs
        rows = []
        for done, severity in enumerate(SEVERITIES, 1):
            rows.append(xai.corrupt(clean, name, severity, seed))  # the same draws at every severity
            if report is not None:
                report(done, len(SEVERITIES) + 1)
        images = torch.cat(rows)
        return Worsened(as_pixels(images), classifier.predict(images))


def _attack(
    model: Model,
    picture: Picture,
    method: str,
    asked: dict[str, Any],
    radii: tuple[float | None, ...],
    report: Report | None,
) -> Attacked:
    import torch

    with model.borrowed() as classifier:
        clean = classifier.prepare(picture.open()).inputs
        label = classifier.predict(clean).index
        results = tuple(
            xai.attack(classifier, clean, label, method, eps, **asked, **watched(part))
            for eps, part in zip(radii, parts(report, len(radii)), strict=True)
        )
        images = torch.cat([results[0].clean.cpu(), *(r.adversarial.cpu() for r in results)])
        differences = as_pixels(0.5 + TIMES * (images - images[:1]) / 2)
        return Attacked(results, as_pixels(images), differences, classifier.predict(images))
