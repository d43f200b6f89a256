"""From figures to a line of the report: verdict and sentence."""

from collections.abc import Iterator, Sequence

import numpy as np

from xai.core.intervals import wilson
from xai.fairness.slices_facts import Facts
from xai.fairness.slices_judge import RELEVANT, Outcome, detectable, gap
from xai.fairness.slices_result import NONE, TOO_SMALL, WEAK, WITHIN, Slice


def lines(outcomes: Sequence[Outcome], found: Facts, judged: Facts, said: np.ndarray, alpha: float) -> Iterator[Slice]:
    """Yield a line for each slice tested.

    Args:
        outcomes: of the tests.
        found: facts of the half that slices were found on.
        judged: facts of the half that judges (N).
        said: (N,) its answers.
        alpha: the false discovery rate.
    """
    for outcome in outcomes:
        own, before = outcome.members, outcome.candidate.members(found)
        least = detectable(judged.wrong, int(own.sum()), alpha / len(outcomes))
        within = "" if outcome.within is None else outcomes[outcome.within].candidate.words
        right = int((own & ~judged.wrong).sum())
        size, middle = int(own.sum()), gap(judged.wrong, own)
        low, high = wilson(right, size)
        verdict = _verdict(outcome, least)
        accuracy, rest = right / max(1, size), float((~judged.wrong[~own]).mean()) if size < len(own) else float("nan")
        yield Slice(
            words=outcome.candidate.words,
            rule=" and ".join(each.rule(judged.classes) for each in outcome.candidate.conditions),
            kind=outcome.candidate.kind,
            pictures=size,
            accuracy=accuracy,
            accuracy_interval=(float(low), float(high)),
            rest=rest,
            gap=middle[0],
            gap_interval=middle[1],
            p=outcome.p,
            p_adjusted=outcome.p_adjusted,
            detectable=least,
            confused=_confused(judged, said, own),
            found_accuracy=float((~found.wrong[before]).mean()),
            found_pictures=int(before.sum()),
            within=within,
            verdict=verdict,
            reason=f"{outcome.candidate.words}: {accuracy:.0%} right ({low:.0%} to {high:.0%}, {size} pictures), "
            f"all others {rest:.0%}; {verdict}" + (f" ({within})" if within else ""),
        )


def _verdict(outcome: Outcome, least: float) -> str:
    if outcome.weak:
        return WEAK if outcome.within is None else WITHIN
    return TOO_SMALL if least > RELEVANT else NONE


def _confused(facts: Facts, said: np.ndarray, own: np.ndarray) -> str:
    """Return the most frequent wrong answer of a slice."""
    answers, counts = np.unique(said[own & facts.wrong], return_counts=True)
    return str(facts.classes[int(answers[counts.argmax()])]) if len(answers) else ""
