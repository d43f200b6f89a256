"""From figures to a line of the report: verdict and sentence."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from xai.core.intervals import wilson
from xai.cues._confirm import Confirmation
from xai.cues._judge import FEWEST, LEANING, Evidence, Trial
from xai.cues._result import FRAGILE, NONE, SHORTCUT, TOO_SMALL, UNCONFIRMED, WITHIN, Response
from xai.cues._statistics import crossing

_FLIPPED = 0.1  # the share of answers whose strength is named


def respond(
    trial: Trial,
    evidence: Evidence,
    p_adjusted: float,
    confirmation: Confirmation | None,
    strengths: Sequence[float],
    least: float,
    names: Sequence[str],
) -> Response:
    """Return the line of one cue."""
    form, label = trial.suspect.form, names[trial.suspect.target]
    verdict = _verdict(trial, evidence, confirmation, least)
    return Response(
        cue=form.kind,
        place=form.place,
        words=form.words,
        box=trial.box,
        label=label,
        target=trial.suspect.target,
        strength=trial.suspect.strength,
        **asdict(evidence),
        p_adjusted=p_adjusted,
        **_dose(trial, strengths),
        **_confirmed(confirmation),
        verdict=verdict,
        reason=_reason(verdict, trial, evidence, confirmation, label),
    )


def merged(responses: Sequence[Response]) -> list[Response]:
    """Return responses in which shortcuts of one class that share a place are one: the one furthest beyond harm."""
    kept: list[Response] = []
    found = list(responses)
    for k in sorted(range(len(found)), key=lambda k: -found[k].beyond):
        each = found[k]
        if each.verdict != SHORTCUT:
            continue
        same = [other for other in kept if other.target == each.target and _overlap(other, each)]
        if same:
            reason = f"{each.reason}; the same as: {same[0].words} ({same[0].place})"
            found[k] = replace(each, verdict=WITHIN, reason=reason)
        else:
            kept.append(each)
    return found


def _overlap(one: Response, other: Response) -> bool:
    """Say whether two regions share a pixel; what is everywhere shares none."""
    if one.box is None or other.box is None:
        return False
    down = max(one.box[0], other.box[0]) < min(one.box[2], other.box[2])
    return down and max(one.box[1], other.box[1]) < min(one.box[3], other.box[3])


def _verdict(trial: Trial, evidence: Evidence, confirmation: Confirmation | None, least: float) -> str:
    if confirmation is not None:
        return SHORTCUT if confirmation.agrees else UNCONFIRMED
    wrong, count = _wrong(trial)
    low, high = wilson(wrong, count).T
    if evidence.pictures < FEWEST:
        return TOO_SMALL
    return FRAGILE if low.max() > least else NONE if high.max() < least else TOO_SMALL


def _wrong(trial: Trial) -> tuple[np.ndarray, int]:
    """Return how many right pictures are wrong at each strength (S,), and how many there are."""
    right = trial.clean == trial.labels
    return (trial.said != trial.labels)[:, right].sum(1), int(right.sum())


def _dose(trial: Trial, strengths: Sequence[float]) -> dict[str, Any]:
    wrong, count = _wrong(trial)
    low, high = wilson(wrong, count).T
    ends = [crossing(strengths, shares, _FLIPPED) for shares in (high, low)]
    middle = crossing(strengths, wrong / max(1, count), _FLIPPED)
    return {"strength_10": middle, "strength_10_interval": tuple(ends)}


def _confirmed(found: Confirmation | None) -> dict[str, Any]:
    spans = {
        "lift": None if found is None else found.lift,
        "removed": None if found is None else found.removed,
        "removed_beyond": None if found is None else found.beyond,
    }
    figures = {name: None if span is None else span[0] for name, span in spans.items()}
    return figures | {f"{name}_interval": None if span is None else span[1] for name, span in spans.items()}


def _reason(verdict: str, trial: Trial, e: Evidence, found: Confirmation | None, label: str) -> str:
    form, strength = trial.suspect.form, trial.suspect.strength
    what = f"{form.words[0].upper()}{form.words[1:]} ({form.place})"
    if verdict in {SHORTCUT, UNCONFIRMED}:
        dose = "" if strength == 1 else f" at {strength:.0%} of full strength"
        low, high = e.attraction_interval
        turned = f"{e.attraction:.0%} of the pictures of other classes into {label!r} ({low:.0%} to {high:.0%})"
        pull = f"{what}{dose} turns {turned}"
        control = f"equally large changes turn {e.neutral:.0%} into it and make {e.neutral_flips:.0%} wrong"
        return "; ".join([pull, control, *_leaning(e, label), *_seen(found)])
    wrong, count = _wrong(trial)
    if verdict == FRAGILE:
        worst = wrong.max() / max(1, count)
        return f"{what} makes up to {worst:.0%} wrong, but not as a shortcut of one class does"
    if verdict == NONE:
        return f"{what} makes at most {wrong.max()} of {count} wrong"
    return f"{what} makes at most {wrong.max()} of {count} wrong: too few pictures to tell"


def _leaning(e: Evidence, label: str) -> list[str]:
    if not e.leaning_interval[0] > LEANING:
        return []
    return [f"{e.leaning:.0%} of the pictures of {label!r} are recognised only with it"]


def _seen(found: Confirmation | None) -> list[str]:
    if found is None or found.lift is None or found.removed is None:
        return ["it is everywhere, so no explanation can point to it"]
    told = f"explanations give the region {found.lift[0]:.1f} times its share"
    return [told, f"filling it in undoes {found.removed[0]:.0%}"]
