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
    cues: Sequence[str] | None = None,
    strengths: Sequence[float] = STRENGTHS,
    samples: int = 400,
    least: float = 0.1,
    method: str | None = None,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> ShortcutResult:
    """Look for shortcuts: things beside the object that decide for a class.

    Cues are planted into pictures at rising strength: marks in each corner, a border, patches of texture, brightness,
    a colour cast, blur, backgrounds of other pictures where masks are given, and regions that the explanations of a
    class share and that are not the object. On one half of the pictures the form of each cue, its strength and the
    class that it attracts to are chosen; all figures are from the other half.

    A cue is a shortcut only if it turns pictures of other classes into one class more often than equally large changes
    that mean nothing do (the same pixels elsewhere or scattered, one half of the picture changed more, blocks of it
    either way, the same region of pictures of further classes), by more than `least`, and stands out: either it does
    more than these changes harm in any direction, or most pictures of the class are recognised only with it. For what
    has a place, explanations of the class must also point there, and filling the region in must take the class away
    again, more than filling another region does. What is wrong in all directions is called fragile and is no finding.

    Args:
        model: from `xai.load`, an `xai.Classifier`, or a bare `nn.Module` that takes pixels in [0, 1].
        data: a data set of `xai.load_data`, or N pictures in any form that `xai.explain` takes.
        seed: fixes everything random: the draw of pictures, the halves, the neutral changes of each picture.
        labels: the truth (N,), indices or names; None takes the data's, by class name where the order differs.
        masks: (N, h, w) bool, the object in the model's input geometry; None when not known. Then backgrounds are left
            out, and objects are taken to be in the middle when shared regions are looked for.
        cues: names from `xai.cues.CUES`; None takes all.
        strengths: increasing, above 0 to 1, shares of the full cue.
        samples: pictures drawn from the data; half of them choose, half of them judge.
        least: by how much a shortcut must beat neutral changes, a share of pictures.
        method: of the explanations; None takes Grad-CAM, or occlusion where the model has no layer with places.
        progress: None, True for a bar, or a callable `(done, total)` in rows, the total being an estimate.
        should_stop: asked between chunks; True ends the work with `xai.errors.Stopped`.

    Returns:
        ShortcutResult; `.findings` has the shortcuts, `.table` all cues, `.doses` the dose-responses.

    Raises:
        InputError: no labels, or too few pictures.
        NameLookupError: no such cue or method.
        RangeError: `strengths`, `samples` or `least` outside what is possible.
        ShapeError: masks of another number or size.
        Stopped: `should_stop()` was true.

    Cost: with 400 pictures about 30,000 rows forward for grey pictures, 45,000 for colour; they grow with `samples`,
        `strengths` and, for shared regions and backgrounds, with the classes.
    Source: dose and attraction after Li et al. 2023 (arXiv 2212.04825), backgrounds after Xiao et al. 2020; the neutral
        changes and the two ways to stand out are ours.

    Example:
        >>> import xai
        >>> clf, data = xai.load("example:fashion-shortcut"), xai.load_data("example:fashion-test").subset(300)
        >>> "Shirt" in str(xai.shortcuts(clf, data, cues=["corner_mark"], samples=60).findings)
        True
    """
    classifier, seed, plan = as_classifier(model), check_seed(seed), _plan(cues, strengths, least, samples)
    with reporting(progress, "shortcuts") as report:
        probe = Probe(classifier, report, should_stop)
        sample = read(probe, data, labels, masks, samples, seed)
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
