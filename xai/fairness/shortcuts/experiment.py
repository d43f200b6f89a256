"""Experiments that confirm a shortcut: by explanations, and by taking it out of images."""

from dataclasses import dataclass

import numpy as np
import scipy
import torch
from torch import Tensor

from xai.explanations.metrics import mass_inside
from xai.fairness.shortcuts.predictor import Predictor, answers
from xai.fairness.shortcuts.probes.base import Explain, ProbeImages, filled, inserted, moved
from xai.fairness.shortcuts.probes.found import FoundForm, Loss
from xai.fairness.shortcuts.significance import LEVEL, Trial
from xai.stats.paired import Interval, difference, mean, share

MOST = 24  # images looked at
SHOWN = 4
_ELSEWHERE = 7  # number of the draw
Span = tuple[float, Interval]


@dataclass(frozen=True, eq=False)
class Confirmation:
    """What was seen on images that the cue turned into the class.

    Attributes:
        rows: numbers of these images.
        before: (m, C, h, w) the images, those that are shown.
        after: (m, C, h, w) with the cue.
        heatmaps: (m, h, w) explanations of the class with the cue.
        lift: share of the map inside the region over share of the area, mean and 95 % interval; None for cues that are
            everywhere.
        removed: share that is no longer the class when the region is filled in from around it.
        beyond: the same, less the share for an equally large region elsewhere.
    """

    rows: tuple[int, ...]
    before: Tensor
    after: Tensor
    heatmaps: Tensor
    lift: Span | None
    removed: Span | None
    beyond: Span | None


def confirm(probe: Predictor, trial: Trial, images: ProbeImages, explain: Explain) -> Confirmation:
    """Explain, and take the region out of, some images that a cue turned into its class."""
    suspect = trial.suspect
    turned = np.flatnonzero(trial.others & (trial.inserted == suspect.target))[:MOST]
    some = images.take(torch.from_numpy(turned))
    after = inserted(some, suspect.form.change(some), suspect.strength)
    heatmaps = explain(after, suspect.target).clamp_min(0)
    probe.advance(len(some))
    region = suspect.form.where(some)
    lift = removed = beyond = None
    if region is not None:
        lift = mean((mass_inside(heatmaps, region) / region.double().mean((1, 2)).clamp_min(1e-9)).numpy())
        removed, beyond = _removed(probe, suspect.target, after, region, some.uniform(_ELSEWHERE, 2))
    shown = slice(SHOWN)
    rows = tuple(int(k) for k in turned[shown])
    return Confirmation(rows, some.images[shown], after[shown], heatmaps[shown], lift, removed, beyond)


def _removed(probe: Predictor, target: int, images: Tensor, region: Tensor, rolls: Tensor) -> tuple[Span, Span]:
    """Return the share that leaves the class without the region, and that less the share without another one."""
    elsewhere = moved(region[:, None], rolls)[:, 0]
    gone, control = (answers(probe.probabilities(filled(images, part))) != target for part in (region, elsewhere))
    return share(gone), difference(gone, control)


_FEWEST = 4  # carriers
_MOST = 96  # images of other classes that the same is done to
_TINY = 1e-6


@dataclass(frozen=True)
class Association:
    """How the data go with the cue, on images it was not looked for in.

    Attributes:
        auroc: how well carrying it tells the class from the others.
        p: one-sided, that it does not (Mann and Whitney).
        own: share of the class that carries it.
        others: share of the other classes.
    """

    auroc: float
    p: float
    own: float
    others: float


@dataclass(frozen=True)
class Removal:
    """What taking the cue out does to images of the class that carry it.

    Attributes:
        carriers: how many there were.
        gone: share of those recognised that are no longer, with its 95 % interval.
        beyond: that, less the share under the control; None where the control is other classes.
        fall: mean fall of the class's log odds, minus that of the control.
        p: that it falls no more than under the control; exact or by ranks.
        dose_p: for what cannot be brought back, that the log odds of the class in other images do not both rise with
            half of the cue and fall with half of its opposite; None for what can.
    """

    carriers: int
    gone: tuple[float, Interval]
    beyond: tuple[float, Interval] | None
    fall: float
    p: float
    dose_p: float | None

    @property
    def confirms(self) -> bool:
        """Whether the class is missed without the cue; what is lost for good may rest on the two-sided dose."""
        if self.p < LEVEL:
            return True
        return self.dose_p is not None and self.dose_p < LEVEL and self.fall > 0


def take_out(probe: Predictor, form: FoundForm, judged: ProbeImages) -> Removal | None:
    """Return what removal does, None with too few carriers.

    Args:
        probe: asks the model.
        form: the cue, with its class.
        judged: images that the cue was not looked for in.
    """
    assert form.target is not None
    carries = (form.carried(judged.images) >= form.least) & (judged.labels == form.target)
    some = judged.take(carries.nonzero()[:_MOST, 0])
    if len(some) < _FEWEST:
        return None
    before, after = (_odds(probe, images, some.labels) for images in (some.images, form.without(some)))
    restored = form.control(some)
    gone = (before > 0) & (after <= 0)
    others = judged.take((judged.labels != form.target).nonzero()[:_MOST, 0])
    if restored is None:
        usual = _odds(probe, others.images, others.labels) - _odds(probe, form.without(others), others.labels)
        p = float(scipy.stats.mannwhitneyu(before - after, usual, alternative="greater").pvalue)
        return Removal(len(some), share(gone[before > 0]), None, float((before - after).mean() - usual.mean()), p, None)
    still = _odds(probe, restored, some.labels)
    beyond = difference(gone[before > 0], ((before > 0) & (still <= 0))[before > 0])
    dose = _two_sided(probe, form, others) if isinstance(form, Loss) else None
    fall = float((still - after).mean())
    return Removal(len(some), share(gone[before > 0]), beyond, fall, _higher(still, after), dose)


def _two_sided(probe: Predictor, form: FoundForm, others: ProbeImages) -> float:
    """Return the p-value that the class's log odds do not rise with half of the cue and fall with its opposite."""
    labels, change = torch.full_like(others.labels, int(form.target or 0)), form.change(others)
    less, none, more = (_odds(probe, inserted(others, change, dose), labels) for dose in (-0.5, 0.0, 0.5))
    return max(_higher(more, none), _higher(none, less))


def _higher(more: np.ndarray, less: np.ndarray) -> float:
    """Return the one-sided p-value that paired values (n,) are not higher (Wilcoxon 1945)."""
    if bool((more == less).all()):
        return 1.0
    return float(scipy.stats.wilcoxon(more - less, alternative="greater").pvalue)


def _odds(probe: Predictor, images: Tensor, labels: Tensor) -> np.ndarray:
    """Return log odds of one class of each image (n,) against the strongest other one (n,)."""
    probabilities = probe.probabilities(images).double()
    rows = torch.arange(len(probabilities))
    own = probabilities[rows, labels].clone()
    probabilities[rows, labels] = 0
    odds: np.ndarray = ((own + _TINY) / (probabilities.amax(1) + _TINY)).log().numpy()
    return odds
