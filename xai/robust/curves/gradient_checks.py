"""Checks of gradients: are there any, do they say how the answers change?"""

from dataclasses import dataclass

import torch
from torch import Tensor

from xai.core.model.classifier import Classifier
from xai.robust.attacks.search import margin
from xai.robust.curves.evaluation_check import Evaluation, EvaluationCheck, judged, not_checked

_COARSE, _FINE = 1e-3 / 255, 1e-4 / 255  # steps of central differences in float64, as changes of a pixel
_COARSE32, _FINE32 = 0.5 / 255, 0.25 / 255  # in float32 rounding hides smaller ones
_AGREE = 0.1  # relative difference of two estimates of one slope
_MANY = 0.5  # share of the probes
_SOME = 0.05  # share of the pictures
_FLAT = 1e-12
_BLACK_BOX = "Read robustness from 'square' or from proofs, or attack a differentiable stand-in of that part (BPDA)."
_NONE = "no picture is answered rightly"


@dataclass(frozen=True, eq=False)
class Slopes:
    """Slopes of the margin along the probes by differences with two steps, and by autograd (3 n,) float64 each."""

    coarse: Tensor
    fine: Tensor
    given: Tensor


def nan_gradients(seen: Evaluation) -> EvaluationCheck:
    """NaN or infinity among the gradients."""
    name = "nan_gradients"
    if not len(seen.rows):
        return not_checked(name, _NONE)
    every = [slope for slope in (seen.margin_slope, seen.entropy_slope) if slope is not None]
    bad = [float((~slope.isfinite()).flatten(1).any(1).double().mean()) for slope in every]
    share = max(bad, default=0.0)
    return judged(
        name,
        share,
        0.0,
        f"Gradients of {share:.0%} of the pictures hold NaN or infinity.",
        "Look for divisions, roots and logarithms of 0 in the model: gradient attacks stop there.",
    )


def masked_gradients(seen: Evaluation) -> EvaluationCheck:
    """Answers that move in steps: differences at two step sizes contradict each other."""
    name, found = "masked_gradients", slopes(seen)
    if found is None:
        return not_checked(name, _NONE)
    largest = torch.maximum(found.coarse.abs(), found.fine.abs())
    apart = (found.coarse - found.fine).abs() > _AGREE * largest
    share = float((apart | (largest < _FLAT)).double().mean())
    moves = _moves(seen)
    return judged(
        name,
        share if moves else 0.0,
        _MANY,
        f"Answers move in steps or jumps: for {share:.0%} of the probes no slope describes how they change, as behind "
        "a quantiser or a rounding.",
        _BLACK_BOX,
    )


def zero_gradients(seen: Evaluation) -> EvaluationCheck:
    """Pictures whose margin has no gradient at all."""
    name = "zero_gradients"
    if not len(seen.rows):
        return not_checked(name, _NONE)
    slope = seen.margin_slope
    share = 1.0 if slope is None else float((slope.flatten(1).abs().amax(1) == 0).double().mean())
    what = "No gradient reaches the pixels" if slope is None else f"The gradient of {share:.0%} of the pictures is 0"
    return judged(name, share, _SOME, f"{what}: gradient attacks cannot move them.", _BLACK_BOX)


def scaled_logits(seen: Evaluation) -> EvaluationCheck:
    """Cross-entropy without gradient where the margin has one: logits so large that the softmax saturates."""
    name, entropy, between = "scaled_logits", seen.entropy_slope, seen.margin_slope
    if not len(seen.rows) or entropy is None or between is None:
        return not_checked(name, "no gradient to look at")
    lost = (entropy.flatten(1).abs().amax(1) == 0) & (between.flatten(1).abs().amax(1) > 0)
    share = float(lost.double().mean())
    return judged(
        name,
        share,
        _SOME,
        f"Cross-entropy has no gradient for {share:.0%} of the pictures although the margin has one: the logits are so "
        "large that the softmax saturates.",
        "Divide the logits by a constant, or attack the margin: apgd-dlr, apgd-t, pgd with loss='margin'.",
    )


def wrong_gradients(seen: Evaluation) -> EvaluationCheck:
    """Gradients that differ from central differences."""
    name, found = "wrong_gradients", slopes(seen)
    if found is None or seen.margin_slope is None:
        return not_checked(name, "no gradient to look at")
    away = (found.given - found.fine).abs() > _AGREE * torch.maximum(found.given.abs(), found.fine.abs()) + _FLAT
    share = float(away.double().mean())
    return judged(
        name,
        share,
        _MANY,
        f"Gradients contradict finite differences for {share:.0%} of the probes.",
        "Look for functions with a backward of their own, hooks and straight-through parts. " + _BLACK_BOX,
    )


def slopes(seen: Evaluation) -> Slopes | None:
    """Return slopes along the probes; None without a picture that is answered rightly."""
    if not len(seen.rows):
        return None
    kept: Slopes | None = seen.__dict__.get("_slopes")
    if kept is None:
        exact = seen.exact
        steps = (_COARSE32, _FINE32) if exact is None else (_COARSE, _FINE)
        coarse, fine = (_differences(exact or seen.classifier, seen, step) for step in steps)
        slope = seen.margin_slope
        given = torch.zeros_like(fine) if slope is None else _along(slope, seen.probes)
        kept = seen.__dict__["_slopes"] = Slopes(coarse, fine, given)
    return kept


def _differences(classifier: Classifier, seen: Evaluation, step: float) -> Tensor:
    """Return (f(x + h d) - f(x - h d)) / 2h of the margin; `step` is the change of a pixel, root mean square."""
    length = step * seen.images[0].numel() ** 0.5
    centres, labels = seen.images.double().repeat(3, 1, 1, 1), seen.labels.repeat(3)
    rivals = _rivals(classifier, seen).repeat(3)
    ends = [_gap(classifier, centres + side * length * seen.probes.double(), labels, rivals) for side in (1, -1)]
    found: Tensor = (ends[0] - ends[1]) / (2 * length)
    return found


def _rivals(classifier: Classifier, seen: Evaluation) -> Tensor:
    with torch.no_grad():
        logits = classifier.raw_logits(seen.images)
    return logits.scatter(1, seen.labels[:, None], -torch.inf).argmax(1)


@torch.no_grad()
def _gap(classifier: Classifier, images: Tensor, labels: Tensor, rivals: Tensor) -> Tensor:
    logits = classifier.raw_logits(images).double()
    return (logits.gather(1, rivals[:, None]) - logits.gather(1, labels[:, None]))[:, 0]


def _along(slope: Tensor, probes: Tensor) -> Tensor:
    return (slope.double().repeat(3, 1, 1, 1) * probes.double()).flatten(1).sum(1)


@torch.no_grad()
def _moves(seen: Evaluation) -> bool:
    """Whether answers change at all within four grey levels."""
    moved = (seen.images + 4 / 255 * seen.probes[: len(seen.images)].sign()).clamp(0, 1)
    before, after = (margin(seen.classifier.raw_logits(v), seen.labels) for v in (seen.images, moved))
    return bool((before != after).double().mean() > _MANY)
