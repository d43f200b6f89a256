"""On one half of the pictures: which form of a cue, at which strength, attracts to which class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from xai.cues._base import Form, Pictures
from xai.cues._probe import Probe, answers

FIRST, SECOND, TRIED = 12, 48, 96  # pictures that all forms, the better ones, and the best of each unit are tried on
_KEPT = 4  # one in so many forms gets into the second round


@dataclass(frozen=True, eq=False)
class Suspect:
    """A form with what it was chosen for.

    Attributes:
        form: the strongest of its unit.
        target: the class that it attracts to most.
        strength: at which it attracts most beyond neutral changes.
    """

    form: Form
    target: int
    strength: float


def strongest(probe: Probe, forms: Sequence[Form], pictures: Pictures) -> list[Form]:
    """Return the form of each unit that raises one class's probability most, in two rounds."""
    if not forms:
        return []
    first = _best(forms, _scores(probe, forms, pictures.take(torch.arange(min(FIRST, len(pictures))))), _KEPT)
    again = [form for form in first if sum(other.unit == form.unit for other in first) > 1]
    if again:
        scores = _scores(probe, again, pictures.take(torch.arange(min(SECOND, len(pictures)))))
        winners = {form.unit: form for form in _best(again, scores, None)}
        first = list({form.unit: winners.get(form.unit, form) for form in first}.values())
    return first


def _scores(probe: Probe, forms: Sequence[Form], pictures: Pictures) -> list[float]:
    rises = probe.rises(forms, pictures)
    return [
        float(rise.max() if form.target is None else rise[form.target]) for form, rise in zip(forms, rises, strict=True)
    ]


def _best(forms: Sequence[Form], scores: Sequence[float], share: int | None) -> list[Form]:
    """Return the best one of each unit, or one in `share` of it."""
    found = []
    for unit in dict.fromkeys(form.unit for form in forms):
        own = [k for k, form in enumerate(forms) if form.unit == unit]
        count = 1 if share is None else -(-len(own) // share)
        found += [forms[k] for k in sorted(own, key=lambda k: -scores[k])[:count]]
    return found


def choose(probe: Probe, form: Form, pictures: Pictures, strengths: Sequence[float], classes: int) -> Suspect:
    """Return class and strength at which a form attracts most beyond the strongest neutral change."""
    pictures = pictures.take(pictures.right.nonzero()[:TRIED, 0])
    labels = pictures.labels.numpy()
    own = _pulls(answers(probe.doses(pictures, form.change(pictures), strengths)), labels, classes)
    others = [
        _pulls(answers(probe.doses(pictures, change, strengths)), labels, classes)
        for change in form.neutral(pictures).values()
    ]
    gaps = own - np.max(others, axis=0)
    if form.target is not None:
        gaps[:, [k for k in range(classes) if k != form.target]] = -np.inf
    level, target = np.unravel_index(int(gaps.argmax()), gaps.shape)
    return Suspect(form, int(target), float(strengths[int(level)]))


def _pulls(said: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the share of pictures of other classes that is answered as each class (S, K)."""
    hits = np.stack([((said == k) & (labels != k)).sum(1) for k in range(classes)], 1)
    return hits / np.maximum(1, [(labels != k).sum() for k in range(classes)])
