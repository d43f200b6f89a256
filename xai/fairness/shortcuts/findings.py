"""From figures to a line of the report: verdict and sentence."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from xai.core.results.message import Message, joined
from xai.fairness.shortcuts.probes.data_forms import DataForm
from xai.fairness.shortcuts.result import (
    FRAGILE,
    NONE,
    SENSITIVITY,
    SHORTCUT,
    TOO_SMALL,
    UNCONFIRMED,
    WITHIN,
    Evidence,
    Response,
)
from xai.fairness.shortcuts.significance import (
    FEWEST,
    LEVEL,
    Association,
    Confirmation,
    Removal,
    Trial,
    attracts_more,
    follows,
    leans,
    stands_out,
)
from xai.stats.intervals import Interval, crossing, wilson

_FLIPPED = 0.1  # the share of predictions whose strength is named
_TIMES_MISSED, _MISSED = (
    1.75,
    0.95,
)  # of what is surely missed of any other class, from which a probe is wanting; at most
_TELLS, _NATURAL = 0.7, 0.7  # AUROC from which a probe goes with a class, and from which its nature explains a pull
_ORDER = (
    "brightness",
    "corner_mark",
    "border",
    "mark",
    "moving_mark",
    "background",
    "jpeg_quality",
    "tint",
    "watermark",
    "blur",
    "contrast",
)


@dataclass(frozen=True, eq=False)
class ShortcutCase:
    """All that is known of one probe.

    Attributes:
        trial: what the model answered.
        evidence: the figures.
        p: adjusted for all probes.
        searched: whether there were enough images of the class to look for what it has in the data.
        lacking: whether these were of the training set.
        association: with the class, for probes that were found in the data.
        removal: from images of the class, for the same.
        natural: how well the likeness of images to a probe that the data lack tells the class (AUROC), else 0.5.
        missed: largest share of the images of another class that are not recognised for certain.
        confirmation: what explanations and removal said of inserted images, where they were asked.
    """

    trial: Trial
    evidence: Evidence
    p: float
    searched: bool = True
    lacking: bool = False
    association: Association | None = None
    removal: Removal | None = None
    natural: float = 0.5
    missed: float = 0.0
    confirmation: Confirmation | None = None


def verdict_of(case: ShortcutCase, least: float) -> str:
    """Return the verdict by which a probe is listed."""
    if case.evidence.images < FEWEST:
        return TOO_SMALL
    if case.association is not None:
        if follows(case.evidence, case.p, least):
            return _reason_from_data(case)
    elif stands_out(case.evidence, case.p, least, local=case.trial.suspect.form.local):
        return _absent(case)
    elif attracts_more(case.evidence, least):
        return SENSITIVITY if case.searched else TOO_SMALL
    return _harm(case, least)


def _reason_from_data(case: ShortcutCase) -> str:
    """A probe of the data that the model follows: it must go with the class, and be missed when it is taken out."""
    assert case.association is not None
    if case.association.auroc < _TELLS or case.association.p >= LEVEL:
        return SENSITIVITY
    return SHORTCUT if _added(case) and case.removal is not None and case.removal.confirms else UNCONFIRMED


def _added(case: ShortcutCase) -> bool:
    form = case.trial.suspect.form
    return not isinstance(form, DataForm) or form.added


def _absent(case: ShortcutCase) -> str:
    """A probe that the data lack and that attracts to a class: is it recognised only with it, or alike by nature?"""
    seen = case.confirmation
    removed = seen is None or seen.beyond is None or seen.beyond[1][0] > 0
    form = case.trial.suspect.form
    if removed and (form.of_class or _leans(case)):
        return SHORTCUT
    unlike = form.local and removed and case.natural < _NATURAL
    return UNCONFIRMED if unlike or not case.searched else SENSITIVITY


def _leans(case: ShortcutCase) -> bool:
    """Say whether the class needs the probe; a weak model misses many images of any class."""
    return leans(case.evidence) and case.evidence.leaning >= min(_MISSED, _TIMES_MISSED * case.missed)


def _harm(case: ShortcutCase, least: float) -> str:
    wrong, count = _wrong(case.trial)
    if wilson(wrong, count)[:, 0].max() > least:
        return FRAGILE
    return NONE if case.evidence.excess_interval[1] < least or (case.p >= LEVEL and _clear(case, least)) else TOO_SMALL


def _clear(case: ShortcutCase, least: float) -> bool:
    """Say whether the pull itself is below what matters."""
    return case.evidence.attraction_interval[1] < least


def respond(case: ShortcutCase, verdict: str, strengths: Sequence[float], names: Sequence[str]) -> Response:
    """Return the line of one probe."""
    trial, form = case.trial, case.trial.suspect.form
    label, association = names[trial.suspect.target], case.association
    return Response(
        probe=form.kind,
        place=form.place,
        words=form.words,
        box=trial.box,
        label=label,
        target=trial.suspect.target,
        from_data=form.from_data,
        carried=None if association is None else association.own,
        carried_elsewhere=None if association is None else association.others,
        auroc=None if association is None else association.auroc,
        auroc_p=None if association is None else association.p,
        strength=trial.suspect.strength,
        **asdict(case.evidence),
        p_adjusted=case.p,
        **_dose(trial, strengths),
        **_confirmed(case),
        verdict=verdict,
        reason=_reason(verdict, case, label),
    )


def merged(responses: Sequence[Response]) -> list[Response]:
    """Return responses with one shortcut per class and place.

    Of what was found in the data the surest kind of trace stands: a mark also changes how sharp an image is. Marks at
    other places are others. What is tried on every model is the same as a shortcut of its class that was found, or that
    lies at the same place.
    """
    shortcuts: list[Response] = []
    lines = list(responses)
    for k in sorted(range(len(lines)), key=lambda k: _rank(lines[k])):
        each = lines[k]
        if each.verdict not in {SHORTCUT, UNCONFIRMED}:
            continue
        same = [other for other in shortcuts if other.target == each.target and _one(other, each)]
        if same:
            same_as = Message("the same as: {probe} ({place})", probe=same[0].words, place=same[0].place)
            reason = joined([each.reason, same_as])
            lines[k] = replace(each, verdict=WITHIN, reason=reason)
        elif each.verdict == SHORTCUT:
            shortcuts.append(each)
    return lines


def _rank(response: Response) -> tuple[bool, int, float]:
    order = _ORDER.index(response.probe) if response.from_data and response.probe in _ORDER else len(_ORDER)
    return not response.from_data, order, -response.beyond


def _one(shortcut: Response, other: Response) -> bool:
    apart = shortcut.from_data and other.from_data and shortcut.box is not None and other.box is not None
    return (shortcut.from_data and not apart) or _overlap(shortcut, other)


def _overlap(first: Response, other: Response) -> bool:
    """Say whether two regions share a pixel; what is everywhere shares none."""
    if first.box is None or other.box is None:
        return False
    down = max(first.box[0], other.box[0]) < min(first.box[2], other.box[2])
    return down and max(first.box[1], other.box[1]) < min(first.box[3], other.box[3])


def _wrong(trial: Trial) -> tuple[np.ndarray, int]:
    """Return how many right images are wrong at each strength (S,), and how many there are."""
    right = trial.clean == trial.labels
    return (trial.predictions != trial.labels)[:, right].sum(1), int(right.sum())


def _dose(trial: Trial, strengths: Sequence[float]) -> dict[str, Any]:
    wrong, count = _wrong(trial)
    low, high = wilson(wrong, count).T
    ends = [crossing(strengths, shares, _FLIPPED) for shares in (high, low)]
    middle = crossing(strengths, wrong / max(1, count), _FLIPPED)
    return {"strength_10": middle, "strength_10_interval": tuple(ends)}


def _confirmed(case: ShortcutCase) -> dict[str, Any]:
    seen, removal = case.confirmation, case.removal
    spans: dict[str, tuple[float, Interval] | None] = {
        "lift": None if seen is None else seen.lift,
        "removed": None if seen is None else seen.removed,
        "removed_beyond": None if seen is None else seen.beyond,
    }
    if case.association is not None:
        spans |= {
            "removed": None if removal is None else removal.gone,
            "removed_beyond": None if removal is None else removal.beyond,
        }
    figures = {name: None if span is None else span[0] for name, span in spans.items()}
    intervals = {f"{name}_interval": None if span is None else span[1] for name, span in spans.items()}
    return figures | intervals | {"removed_p": None if removal is None else removal.p}


def _reason(verdict: str, case: ShortcutCase, label: str) -> Message:
    form, evidence = case.trial.suspect.form, case.evidence
    probe = Message("{words} ({place})", words=form.words, place=Message(form.place))
    if verdict in {SHORTCUT, UNCONFIRMED, SENSITIVITY}:
        strength = case.trial.suspect.strength
        if strength != 1:
            probe = Message("{probe} at {strength:.0%} of full strength", probe=probe, strength=strength)
        low, high = evidence.attraction_interval
        attraction = Message(
            "{probe} flips {attraction:.0%} of the images of other classes to {class_name!r} ({low:.0%} to {high:.0%})",
            **{"probe": probe, "attraction": evidence.attraction, "class_name": label, "low": low, "high": high},
        )
        controls = Message(
            "equally large controls flip {neutral:.0%} to it and make {wrong:.0%} wrong",
            **{"neutral": evidence.neutral, "wrong": evidence.neutral_flips},
        )
        further = [*_data(case, label), *_leaning(evidence, label), *_seen(case), *_missing(verdict, case)]
        return joined([attraction, controls, *further])
    wrong, count = _wrong(case.trial)
    if verdict == FRAGILE:
        template = "{probe} makes up to {share:.0%} wrong, but not as a shortcut of one class does"
        return Message(template, probe=probe, share=wrong.max() / max(1, count))
    template = "{probe} makes at most {wrong} of {count} wrong"
    if verdict != NONE:
        template += ": too few images to tell"
    return Message(template, probe=probe, wrong=int(wrong.max()), count=count)


def _data(case: ShortcutCase, label: str) -> list[Message]:
    if case.association is None:
        if case.trial.suspect.form.of_class:
            return [Message("it is taken from images of {class_name!r}", class_name=label)]
        if case.natural >= _NATURAL:
            template = "images of {class_name!r} look like that more than others do (AUROC {auroc:.2f})"
            return [Message(template, class_name=label, auroc=case.natural)]
        return [Message("the images of this data set do not have it")]
    own, others = case.association.own, case.association.others
    template = "{own:.0%} of the images of {class_name!r} have it and {others:.0%} of the others"
    return [Message(template, own=own, class_name=label, others=others)]


def _leaning(evidence: Evidence, label: str) -> list[Message]:
    if not leans(evidence):
        return []
    template = "{share:.0%} of the images of {class_name!r} are recognised only with it"
    return [Message(template, share=evidence.leaning, class_name=label)]


def _seen(case: ShortcutCase) -> list[Message]:
    messages, confirmation = [], case.confirmation
    if confirmation is not None and confirmation.lift is not None:
        template = "explanations give the region {lift:.1f} times its share"
        if confirmation.lift[1][1] < 1:
            template += ", so they do not point there"
        messages.append(Message(template, lift=confirmation.lift[0]))
    if case.removal is not None:
        template = "removing it from {count} images of the class undoes {share:.0%}"
        messages.append(Message(template, count=case.removal.carriers, share=case.removal.gone[0]))
    elif confirmation is not None and confirmation.removed is not None:
        messages.append(Message("filling it in undoes {share:.0%}", share=confirmation.removed[0]))
    return messages


def _missing(verdict: str, case: ShortcutCase) -> list[Message]:
    """Return what is missing for a finding."""
    if verdict == SENSITIVITY and case.natural >= _NATURAL:
        return [
            Message("no images of the class lie apart, so this may be its nature or how they were taken: look at them")
        ]
    if verdict == SENSITIVITY:
        return [Message("it is not what the class has in the data, so it is a sensitivity and no shortcut")]
    if verdict != UNCONFIRMED:
        return []
    if case.association is None and case.lacking:
        return [Message("the training set that was searched does not have it: look at the class")]
    if case.association is None:
        return [Message("nothing in the data explains it: search the training set")]
    if not _added(case):
        return [Message("it lies where the rest of the image lies, so it may be what the class shows: look at it")]
    if case.removal is None:
        return [Message("too few images of the class have it to test the model without it")]
    return [Message("without it the class is recognised no worse than under the control")]
