"""Do explanations point to the cue, and does taking a planted one out of the image change the prediction back?"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xai.cues._base import Explain, Pictures, filled, moved, planted
from xai.cues._judge import Trial
from xai.cues._probe import Probe, answers
from xai.cues._statistics import Interval, difference, mean, share
from xai.metrics.localisation import mass_inside

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


def confirm(probe: Probe, trial: Trial, pictures: Pictures, explain: Explain) -> Confirmation:
    """Explain, and take the region out of, some images that a cue turned into its class."""
    suspect = trial.suspect
    turned = np.flatnonzero(trial.others & (trial.planted == suspect.target))[:MOST]
    some = pictures.take(torch.from_numpy(turned))
    after = planted(some, suspect.form.change(some), suspect.strength)
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


def _removed(probe: Probe, target: int, images: Tensor, region: Tensor, rolls: Tensor) -> tuple[Span, Span]:
    """Return the share that leaves the class without the region, and that less the share without another one."""
    elsewhere = moved(region[:, None], rolls)[:, 0]
    gone, control = (answers(probe.probabilities(filled(images, part))) != target for part in (region, elsewhere))
    return share(gone), difference(gone, control)
