"""Are images of the class recognised by the cue they carry? It is taken out of them, and a control is not."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from xai.cues._base import Pictures
from xai.cues._found import Found
from xai.cues._probe import Probe
from xai.cues._statistics import Interval, difference, share

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
        fall: mean fall of the class's log odds, less that of the control.
        p: that it falls no more than under the control; exact or by ranks.
    """

    carriers: int
    gone: tuple[float, Interval]
    beyond: tuple[float, Interval] | None
    fall: float
    p: float


def take_out(probe: Probe, form: Found, held: Pictures) -> Removal | None:
    """Return what removal does, None with too few carriers.

    Args:
        probe: asks the model.
        form: the cue, with its class.
        held: images that the cue was not looked for in.
    """
    assert form.target is not None
    carries = (form.carried(held.images) >= form.least) & (held.labels == form.target)
    some = held.take(carries.nonzero()[:_MOST, 0])
    if len(some) < _FEWEST:
        return None
    before, after = (_odds(probe, images, some) for images in (some.images, form.without(some)))
    kept = form.control(some)
    gone = (before > 0) & (after <= 0)
    if kept is None:
        others = held.take((held.labels != form.target).nonzero()[:_MOST, 0])
        usual = _odds(probe, others.images, others) - _odds(probe, form.without(others), others)
        p = float(stats.mannwhitneyu(before - after, usual, alternative="greater").pvalue)
        return Removal(len(some), share(gone[before > 0]), None, float((before - after).mean() - usual.mean()), p)
    still = _odds(probe, kept, some)
    p = float(stats.wilcoxon(still - after, alternative="greater").pvalue) if bool((still != after).any()) else 1.0
    beyond = difference(gone[before > 0], ((before > 0) & (still <= 0))[before > 0])
    return Removal(len(some), share(gone[before > 0]), beyond, float((still - after).mean()), p)


def _odds(probe: Probe, images: Tensor, pictures: Pictures) -> np.ndarray:
    """Return log odds of the true class against the strongest other one (n,)."""
    found = probe.probabilities(images).double()
    rows = torch.arange(len(found))
    own = found[rows, pictures.labels].clone()
    found[rows, pictures.labels] = 0
    return (((own + _TINY) / (found.amax(1) + _TINY)).log()).numpy()
