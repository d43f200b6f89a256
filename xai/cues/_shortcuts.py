"""`shortcuts`: does a class hang on something that is not its object?"""

from collections.abc import Sequence
from itertools import pairwise
from math import isfinite
from typing import Any

from torch import nn

from xai.core.classifier import Classifier, as_classifier
from xai.core.rows import Progress, ShouldStop, reporting
from xai.core.seeds import check_seed
from xai.cues._base import CUES
from xai.cues._explaining import Explaining
from xai.cues._probe import Probe
from xai.cues._reading import read
from xai.cues._result import ShortcutResult
from xai.cues._study import Plan, Study
from xai.errors import RangeError, ShapeError

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
    cues: Sequence[str] | None = None,
    strengths: Sequence[float] = STRENGTHS,
    samples: int = 400,
    least: float = 0.1,
    method: str | None = None,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> ShortcutResult:
    """Return what a class is recognised by beside its object: marks, texts, compression, blur, brightness, tint.

    Cues are looked for in the data first, on half of the images: what most images of one class have, those of the
    others do not, and objects do not have by nature. What was found is planted into images of other classes, in the
    form that the data have, beside equally large controls that cannot contain it, and taken out of images of the class.

    A cue is a shortcut if it goes with the class in the data, turns images of other classes into the class `least` more
    often than every control does, and taking it out lowers the log odds of the class more than a control. Some cues are
    tried on every model as well. Where the data lack such a cue it is a shortcut only if most images of the class are
    recognised only with it; otherwise it is a sensitivity, or "not confirmed" if it has a place, removal confirms it
    and nothing in the data explains it. Explanations are reported, and decide nothing.

    Args:
        model: from `xai.load`, an `xai.Classifier`, or a bare `nn.Module` that takes pixels in [0, 1].
        data: a data set of `xai.load_data`, or N images in any form that `xai.explain` takes.
        seed: fixes everything random: the draw of images, the halves, the controls of each image.
        labels: the truth (N,), indices or names; None takes the data's, by class name where the order differs.
        masks: (N, h, w) bool, the object in the model's input geometry; backgrounds are exchanged. None if unknown.
        train: what the model learnt from, a data set or a pair (images, labels); cues are looked for there. None looks
            for them in `data`, which must then carry them as well.
        cues: names from `xai.cues.CUES`; None takes all.
        strengths: increasing, above 0 to 1, shares of the full cue.
        samples: images drawn from the data; half of them choose, half of them judge. Twice as many of `train`.
        least: by how much a shortcut must beat controls, a share of images.
        method: of the explanations; None takes HiResCAM, or occlusion where the model has no layer with places.
        progress: None, True for a bar, or a callable `(done, total)` in rows, the total being an estimate.
        should_stop: asked between chunks; True ends the work with `xai.errors.Stopped`.

    Returns:
        ShortcutResult; `.findings` has the shortcuts, `.verdict` the conclusion, `.table` all cues, `.doses` the
        dose-responses.

    Raises:
        InputError: no labels, or too few images.
        NameLookupError: no such cue or method.
        RangeError: `strengths`, `samples` or `least` outside what is possible.
        ShapeError: masks of another number or size.
        Stopped: `should_stop()` was true.

    Cost: with 400 images about 20,000 rows forward for grey images, 30,000 for colour, and a search in the data.
    Source: dose and attraction after Li et al. 2023 (arXiv 2212.04825), backgrounds after Xiao et al. 2020; the search
        in the data, the controls and the removal are ours.

    Example:
        >>> import xai
        >>> clf, data = xai.load("example:fashion-shortcut"), xai.load_data("example:fashion-test").subset(300)
        >>> "Shirt" in str(xai.shortcuts(clf, data, cues=["corner_mark"], samples=160).findings)
        True
    """
    classifier, seed, plan = as_classifier(model), check_seed(seed), _plan(cues, strengths, least, samples)
    with reporting(progress, "shortcuts") as report:
        probe = Probe(classifier, report, should_stop)
        sample = read(probe, data, labels, masks, samples, seed, train)
        return Study(probe, plan, sample, Explaining(classifier, probe, method, seed)).run()


def _plan(cues: Sequence[str] | None, strengths: Sequence[float], least: float, samples: int) -> Plan:
    names = tuple(CUES.names() if cues is None else cues)
    plan = Plan(tuple(CUES[name] for name in names), _strengths(strengths), _share(least))
    if samples < _FEWEST:
        raise RangeError(f"Expected `samples` of at least {_FEWEST}, but got {samples}: half choose, half judge.")
    return plan


def _strengths(strengths: Sequence[float]) -> tuple[float, ...]:
    """Return increasing strengths above 0.

    Raises:
        RangeError: one outside of 0 to 1.
        ShapeError: none, or not increasing.
    """
    found = tuple(float(strength) for strength in strengths)
    if not found or any(low >= high for low, high in pairwise(found)):
        raise ShapeError(f"Expected increasing strengths such as (0.25, 0.5, 1), but got {list(strengths)}.")
    if not all(0 < strength <= 1 for strength in found):
        raise RangeError(f"Expected strengths above 0 and at most 1, but got {list(strengths)}.")
    return found


def _share(least: float) -> float:
    if not (isfinite(least) and 0 <= least < 1):
        raise RangeError(f"Expected `least` as a share from 0 to below 1, but got {least!r}.")
    return float(least)
