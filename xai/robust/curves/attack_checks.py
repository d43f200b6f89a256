"""Checks of the search: what weaker attacks find that stronger ones missed, and what more work would find."""

from typing import Any

import torch
from torch import Tensor

from xai.robust.attacks.base import ATTACKS
from xai.robust.curves.evaluation_check import SAMPLE, SEARCHED, Evaluation, EvaluationCheck, judged, not_checked

_SHARE = 0.002  # of all pictures: two tenths of a point
_LEAST = 2  # pictures
_WEAKER = 0.05
_ALIVE = 0.1
_STEPS = 40
_MORE_STEPS = 200
_DRAWS = 100
_STRONGER = "Use more steps and restarts, or autoattack, and look at the other flags: gradients may be masked."
_DONE = "no picture is left to search"


def black_box_beats_white_box(seen: Evaluation) -> EvaluationCheck:
    """Pictures that fell to an attack without gradients after gradient attacks had given up."""
    name = "black_box_beats_white_box"
    done = [stage.name for stage in seen.work.stages if stage.kind == "attack" and stage.finished]
    blind = [attack.name for attack in seen.attacks if not attack.needs and attack.name in done]
    white = [attack.name for attack in seen.attacks if attack.needs]
    if not blind or not white:
        return not_checked(name, "needs an attack with gradients and then one without, such as 'square', both finished")
    beaten = sum(by in blind for by in seen.ledger.broken_by)
    return judged(
        name,
        beaten,
        _most(seen),
        f"{', '.join(blind)} changed {beaten} answer(s) that gradient attacks could not.",
        _STRONGER,
    )


def noise_beats_attack(seen: Evaluation) -> EvaluationCheck:
    """Random points that fool where the search did not."""
    name = "noise_beats_attack"
    fooled, tried = _again(seen, "noise", samples=_DRAWS)
    if not tried:
        return not_checked(name, _DONE)
    return judged(
        name, fooled, _most(seen), f"Random noise changed {fooled} answer(s) that the attacks could not.", _STRONGER
    )


def one_step_beats_many(seen: Evaluation) -> EvaluationCheck:
    """Pictures that one step fools and many steps of the same attack do not."""
    name, rows = "one_step_beats_many", seen.rows
    if not len(rows) or any("gradients" in stage.note for stage in seen.work.stages if stage.name == "fgsm"):
        return not_checked(name, "gradient attacks cannot be made")
    if seen.margin_slope is None:
        return not_checked(name, "no gradient reaches the pixels")
    level = _middle(seen, rows)
    one = seen.search("fgsm", rows, level)
    many = seen.search("pgd", one, level, steps=_STEPS)
    share = (len(one) - len(many)) / len(rows)
    return judged(
        name,
        share,
        _WEAKER,
        f"One step fools {share:.0%} of the pictures that {_STEPS} steps do not.",
        "The loss is too rough for its gradient: use more restarts and 'square'.",
    )


def unbounded_eps_does_not_fool(seen: Evaluation) -> EvaluationCheck:
    """Pictures that survive even when every pixel may take every value."""
    name, rows = "unbounded_eps_does_not_fool", seen.rows[:SAMPLE]
    if not len(rows):
        return not_checked(name, "no picture is answered rightly")
    if seen.margin_slope is None:
        return not_checked(name, "no gradient reaches the pixels")
    fooled = seen.attempt("pgd", rows, 1.0, "linf", steps=_STEPS, loss="margin")
    share = 1 - len(fooled) / len(rows)
    return judged(
        name,
        share,
        max(_ALIVE, 1 / seen.classifier.num_classes),
        f"With every pixel free the attack still fails for {share:.0%} of the pictures: it does not work here.",
        _STRONGER,
    )


def loss_still_rising(seen: Evaluation) -> EvaluationCheck:
    """Pictures that more steps fool."""
    name = "loss_still_rising"
    if seen.margin_slope is None:
        return not_checked(name, "no gradient reaches the pixels")
    fooled, tried = _again(seen, "pgd", steps=_MORE_STEPS, loss="margin")
    if not tried:
        return not_checked(name, _DONE)
    return judged(
        name,
        fooled,
        max(_LEAST, 0.02 * tried),
        f"{_MORE_STEPS} steps changed {fooled} of {tried} answers that the attacks had given up.",
        "The search stopped too early: use more steps, or autoattack.",
    )


def _again(seen: Evaluation, name: str, **settings: Any) -> tuple[int, int]:
    """Search some unproven pictures at their largest open radius; return how many were fooled and how many tried."""
    if seen.norm not in ATTACKS[name].norms:
        return 0, 0
    ledger, left = seen.ledger, SEARCHED
    parts: list[tuple[int, Tensor]] = []
    for level in reversed(range(len(ledger.eps))):
        parts.append((level, ledger.to_attack(level)[:left]))
        left -= len(parts[-1][1])
    return sum(len(seen.search(name, rows, level, **settings)) for level, rows in parts), SEARCHED - left


def _most(seen: Evaluation) -> float:
    return max(_LEAST, _SHARE * len(seen.ledger.labels))


def _middle(seen: Evaluation, rows: Tensor) -> int:
    """Return the radius at which attacks leave about half of some pictures."""
    levels = torch.arange(len(seen.ledger.eps))[:, None]
    left = (seen.ledger.broken[rows] > levels).double().mean(1)
    return int((left - 0.5).abs().argmin())
