"""Do explanations point to the cue, and does taking it out of the picture change the answer back?"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xai.cues._base import Explain, Pictures, moved, planted
from xai.cues._judge import Trial
from xai.cues._probe import Probe, answers
from xai.cues._statistics import Interval, difference, mean, share
from xai.metrics.imputation import impute
from xai.metrics.localisation import mass_inside

MOST = 24  # pictures looked at
SHOWN = 4
_ELSEWHERE = 7  # number of the draw
Span = tuple[float, Interval]


@dataclass(frozen=True, eq=False)
class Confirmation:
    """What was seen on pictures that the cue turned into the class.

    Attributes:
        rows: numbers of these pictures.
        before: (m, C, h, w) the pictures, those that are shown.
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

    @property
    def agrees(self) -> bool:
        """Whether both explanation and removal speak for the region; for cues that are everywhere there is neither."""
        if self.lift is None or self.beyond is None:
            return True
        return self.lift[1][0] > 1 and self.beyond[1][0] > 0


def confirm(probe: Probe, trial: Trial, pictures: Pictures, explain: Explain) -> Confirmation:
    """Explain, and take the region out of, some pictures that a cue turned into its class."""
    suspect = trial.suspect
    turned = np.flatnonzero(trial.others & (trial.planted == suspect.target))[:MOST]
    some = pictures.take(torch.from_numpy(turned))
    after = planted(some, suspect.form.change(some), suspect.strength)
    heatmaps = explain(after, suspect.target).clamp_min(0)
    probe.advance(len(some))
    region = suspect.form.where(some)
    lift = removed = beyond = None
    if region is not None:
        lift = mean((mass_inside(heatmaps, region) / region.double().mean((1, 2))).numpy())
        removed, beyond = _removed(probe, suspect.target, after, region, some.uniform(_ELSEWHERE, 2))
    shown = slice(SHOWN)
    rows = tuple(int(k) for k in turned[shown])
    return Confirmation(rows, some.images[shown], after[shown], heatmaps[shown], lift, removed, beyond)


def _removed(probe: Probe, target: int, images: Tensor, region: Tensor, rolls: Tensor) -> tuple[Span, Span]:
    """Return the share that leaves the class without the region, and that less the share without another one."""
    elsewhere = moved(region[:, None], rolls)[:, 0]
    gone, control = (answers(probe.probabilities(_filled(images, part))) != target for part in (region, elsewhere))
    return share(gone), difference(gone, control)


def _filled(images: Tensor, region: Tensor) -> Tensor:
    return torch.cat([impute(image[None], hidden[None]) for image, hidden in zip(images, region, strict=True)])
