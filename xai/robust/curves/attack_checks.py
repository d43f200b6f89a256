"""Checks of gradients and of the attacks: what weaker attacks find that stronger ones missed."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xai.core.model.classifier import Classifier
from xai.core.results.message import Message, joined
from xai.robust.attacks.base import ATTACKS
from xai.robust.attacks.search import margin
from xai.robust.curves.evaluation_check import (
    NONE_CORRECT,
    SAMPLE,
    SEARCHED,
    Evaluation,
    EvaluationCheck,
    judged,
    not_checked,
)

_COARSE, _FINE = 1e-3 / 255, 1e-4 / 255  # steps of central differences in float64, as changes of a pixel
_COARSE32, _FINE32 = 0.5 / 255, 0.25 / 255  # in float32 rounding hides smaller ones
_AGREE = 0.1  # relative difference of two estimates of one slope
_MANY = 0.5  # share of the probes
_SOME = 0.05  # share of the images
_FLAT = 1e-12
_BLACK_BOX = Message(
    "Read robustness from 'square' or from certificates, or attack a differentiable stand-in of that part (BPDA)."
)
_OWN_BACKWARD = Message("Look for functions with a backward of their own, hooks and straight-through parts.")
_NO_GRADIENT = Message("no gradient to look at")


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
        return not_checked(name, NONE_CORRECT)
    every = [slope for slope in (seen.margin_slope, seen.entropy_slope) if slope is not None]
    bad = [float((~slope.isfinite()).flatten(1).any(1).double().mean()) for slope in every]
    share = max(bad, default=0.0)
    return judged(
        name,
        share,
        0.0,
        Message("Gradients of {share:.0%} of the images hold NaN or infinity.", share=share),
        Message("Look for divisions, roots and logarithms of 0 in the model: gradient attacks stop there."),
    )


def masked_gradients(seen: Evaluation) -> EvaluationCheck:
    """Answers that move in steps: differences at two step sizes contradict each other."""
    name, slope_estimates = "masked_gradients", slopes(seen)
    if slope_estimates is None:
        return not_checked(name, NONE_CORRECT)
    largest = torch.maximum(slope_estimates.coarse.abs(), slope_estimates.fine.abs())
    apart = (slope_estimates.coarse - slope_estimates.fine).abs() > _AGREE * largest
    share = float((apart | (largest < _FLAT)).double().mean())
    moves = _moves(seen)
    return judged(
        name,
        share if moves else 0.0,
        _MANY,
        Message(
            "Outputs move in steps or jumps: for {share:.0%} of the directions no slope describes how they change, as "
            "behind a quantiser or a rounding.",
            share=share,
        ),
        _BLACK_BOX,
    )


def zero_gradients(seen: Evaluation) -> EvaluationCheck:
    """Images whose margin has no gradient at all."""
    name = "zero_gradients"
    if not len(seen.rows):
        return not_checked(name, NONE_CORRECT)
    slope = seen.margin_slope
    share = 1.0 if slope is None else float((slope.flatten(1).abs().amax(1) == 0).double().mean())
    reason = Message("The gradient of {share:.0%} of the images is 0: gradient attacks cannot move them.", share=share)
    if slope is None:
        reason = Message("No gradient reaches the pixels: gradient attacks cannot move them.")
    return judged(name, share, _SOME, reason, _BLACK_BOX)


def scaled_logits(seen: Evaluation) -> EvaluationCheck:
    """Cross-entropy without gradient where the margin has one: logits so large that the softmax saturates."""
    name, entropy, between = "scaled_logits", seen.entropy_slope, seen.margin_slope
    if not len(seen.rows) or entropy is None or between is None:
        return not_checked(name, _NO_GRADIENT)
    lost = (entropy.flatten(1).abs().amax(1) == 0) & (between.flatten(1).abs().amax(1) > 0)
    share = float(lost.double().mean())
    return judged(
        name,
        share,
        _SOME,
        Message(
            "Cross-entropy has no gradient for {share:.0%} of the images although the margin has one: the logits are "
            "so large that the softmax saturates.",
            share=share,
        ),
        Message("Divide the logits by a constant, or attack the margin: apgd-dlr, apgd-t, pgd with loss='margin'."),
    )


def wrong_gradients(seen: Evaluation) -> EvaluationCheck:
    """Gradients that differ from central differences."""
    name, slope_estimates = "wrong_gradients", slopes(seen)
    if slope_estimates is None or seen.margin_slope is None:
        return not_checked(name, _NO_GRADIENT)
    away = (slope_estimates.given - slope_estimates.fine).abs() > _AGREE * torch.maximum(
        slope_estimates.given.abs(), slope_estimates.fine.abs()
    ) + _FLAT
    share = float(away.double().mean())
    return judged(
        name,
        share,
        _MANY,
        Message("Gradients contradict finite differences for {share:.0%} of the directions.", share=share),
        joined([_OWN_BACKWARD, _BLACK_BOX], " "),
    )


def slopes(seen: Evaluation) -> Slopes | None:
    """Return slopes along the probes; None without an image that is answered rightly."""
    if not len(seen.rows):
        return None
    cached: Slopes | None = seen.__dict__.get("_slopes")
    if cached is None:
        exact = seen.exact
        steps = (_COARSE32, _FINE32) if exact is None else (_COARSE, _FINE)
        coarse, fine = (_differences(exact or seen.classifier, seen, step) for step in steps)
        slope = seen.margin_slope
        given = torch.zeros_like(fine) if slope is None else _along(slope, seen.probes)
        cached = seen.__dict__["_slopes"] = Slopes(coarse, fine, given)
    return cached


def _differences(classifier: Classifier, seen: Evaluation, step: float) -> Tensor:
    """Return (f(x + h d) - f(x - h d)) / 2h of the margin; `step` is the change of a pixel, root mean square."""
    length = step * seen.images[0].numel() ** 0.5
    centres, labels = seen.images.double().repeat(3, 1, 1, 1), seen.labels.repeat(3)
    rivals = _rivals(classifier, seen).repeat(3)
    ends = [_gap(classifier, centres + side * length * seen.probes.double(), labels, rivals) for side in (1, -1)]
    quotients: Tensor = (ends[0] - ends[1]) / (2 * length)
    return quotients


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


_SHARE = 0.002  # of all images: two tenths of a point
_LEAST = 2  # images
_WEAKER = 0.05
_ALIVE = 0.1
_STEPS = 40
_MORE_STEPS = 200
_DRAWS = 100
_STRONGER = Message("Use more steps and restarts, or autoattack, and look at the other flags: gradients may be masked.")
_DONE = Message("no image is left to attack")
_NO_PATH = Message("no gradient reaches the pixels")


def black_box_beats_white_box(seen: Evaluation) -> EvaluationCheck:
    """Images that fell to an attack without gradients after gradient attacks had given up."""
    name = "black_box_beats_white_box"
    done = [stage.name for stage in seen.work.stages if stage.kind == "attack" and stage.finished]
    blind = [attack.name for attack in seen.attacks if not attack.needs and attack.name in done]
    white = [attack.name for attack in seen.attacks if attack.needs]
    if not blind or not white:
        reason = "needs an attack with gradients and then one without, such as 'square', both finished"
        return not_checked(name, Message(reason))
    beaten = sum(by in blind for by in seen.bounds.broken_by)
    return judged(
        name,
        beaten,
        _most(seen),
        Message(
            "{attacks} changed {count} prediction(s) that gradient attacks could not.",
            **{"attacks": ", ".join(blind), "count": beaten},
        ),
        _STRONGER,
    )


def noise_beats_attack(seen: Evaluation) -> EvaluationCheck:
    """Random points that are misclassified where the search did not."""
    name = "noise_beats_attack"
    misclassified, tried = _again(seen, "noise", samples=_DRAWS)
    if not tried:
        return not_checked(name, _DONE)
    reason = Message("Random noise changed {count} prediction(s) that the attacks could not.", count=misclassified)
    return judged(name, misclassified, _most(seen), reason, _STRONGER)


def one_step_beats_many(seen: Evaluation) -> EvaluationCheck:
    """Images that one step changes and many steps of the same attack do not."""
    name, rows = "one_step_beats_many", seen.rows
    if not len(rows) or any("gradients" in stage.note for stage in seen.work.stages if stage.name == "fgsm"):
        return not_checked(name, Message("gradient attacks cannot be made"))
    if seen.margin_slope is None:
        return not_checked(name, _NO_PATH)
    level = _middle(seen, rows)
    changed_by_one = seen.search("fgsm", rows, level)
    many = seen.search("pgd", changed_by_one, level, steps=_STEPS)
    share = (len(changed_by_one) - len(many)) / len(rows)
    return judged(
        name,
        share,
        _WEAKER,
        Message(
            "One step changes the prediction of {share:.0%} of the images that {steps} steps do not.",
            share=share,
            steps=_STEPS,
        ),
        Message("The loss is too rough for its gradient: use more restarts and 'square'."),
    )


def unbounded_attack_fails(seen: Evaluation) -> EvaluationCheck:
    """Images that survive even when every pixel may take every value."""
    name, rows = "unbounded_attack_fails", seen.rows[:SAMPLE]
    if not len(rows):
        return not_checked(name, NONE_CORRECT)
    if seen.margin_slope is None:
        return not_checked(name, _NO_PATH)
    misclassified = seen.attempt("pgd", rows, 1.0, "linf", steps=_STEPS, loss="margin")
    share = 1 - len(misclassified) / len(rows)
    return judged(
        name,
        share,
        max(_ALIVE, 1 / seen.classifier.num_classes),
        Message(
            "With every pixel free the attack still fails for {share:.0%} of the images: it does not work here.",
            share=share,
        ),
        _STRONGER,
    )


def loss_still_rising(seen: Evaluation) -> EvaluationCheck:
    """Images whose prediction more steps change."""
    name = "loss_still_rising"
    if seen.margin_slope is None:
        return not_checked(name, _NO_PATH)
    misclassified, tried = _again(seen, "pgd", steps=_MORE_STEPS, loss="margin")
    if not tried:
        return not_checked(name, _DONE)
    return judged(
        name,
        misclassified,
        max(_LEAST, 0.02 * tried),
        Message(
            "{steps} steps changed {count} of {total} predictions that the attacks had given up.",
            **{"steps": _MORE_STEPS, "count": misclassified, "total": tried},
        ),
        Message("The search stopped too early: use more steps, or autoattack."),
    )


def _again(seen: Evaluation, name: str, **settings: Any) -> tuple[int, int]:
    """Search some unproven images at their largest open radius; return how many were changed and how many tried."""
    if seen.norm not in ATTACKS[name].norms:
        return 0, 0
    bounds, left = seen.bounds, SEARCHED
    parts: list[tuple[int, Tensor]] = []
    for level in reversed(range(len(bounds.eps))):
        parts.append((level, bounds.to_attack(level)[:left]))
        left -= len(parts[-1][1])
    return sum(len(seen.search(name, rows, level, **settings)) for level, rows in parts), SEARCHED - left


def _most(seen: Evaluation) -> float:
    return max(_LEAST, _SHARE * len(seen.bounds.labels))


def _middle(seen: Evaluation, rows: Tensor) -> int:
    """Return the radius at which about half of some images resist the attacks."""
    levels = torch.arange(len(seen.bounds.eps))[:, None]
    left = (seen.bounds.broken[rows] > levels).double().mean(1)
    return int((left - 0.5).abs().argmin())
