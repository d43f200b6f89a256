"""The test on the other half: which slices are weak, and which are the same."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from xai.core.results.message import Message, joined
from xai.core.runtime.batching import ShouldStop
from xai.fairness.slices.result import NONE, TOO_SMALL, WEAK, WITHIN, Slice
from xai.fairness.slices.search import Candidate, Facts, asking, overlap
from xai.stats.intervals import newcombe, wilson_interval

Interval = tuple[float, float]
RELEVANT = 0.1  # a gap in accuracy that matters: where it could not have been seen, the slice is too small to tell
_POWER = 0.8


@dataclass(frozen=True, eq=False)
class SliceTest:
    """What the other half says about a candidate.

    Attributes:
        candidate: the slice.
        members: (N,) bool.
        p: exact.
        p_adjusted: corrected for all candidates (Benjamini-Hochberg).
        weak: whether the false discovery rate allows to say so.
        within: number of the weak slice that says the same; None when it says something of its own, or nothing.
    """

    candidate: Candidate
    members: np.ndarray
    p: float
    p_adjusted: float
    weak: bool
    within: int | None


def judge(
    candidates: Sequence[Candidate], facts: Facts, alpha: float, should_stop: ShouldStop | None = None
) -> list[SliceTest]:
    """Test candidates on images that they were not found on; weak ones that say the same are merged.

    The most certain comes first.
    """
    if not candidates:
        return []
    stoppable = asking(candidates, should_stop)
    tested = sorted(((candidate.p_value(facts), candidate) for candidate in stoppable), key=lambda pair: pair[0])
    p, candidates = np.array([pair[0] for pair in tested]), [pair[1] for pair in tested]
    members = [candidate.members(facts) for candidate in candidates]
    adjusted = scipy.stats.false_discovery_control(p, method="bh")
    within = _merged(members, facts.wrong, np.flatnonzero(adjusted <= alpha).tolist(), alpha)
    return [
        SliceTest(candidate, own, float(p[k]), float(adjusted[k]), bool(adjusted[k] <= alpha), within.get(k))
        for k, (candidate, own) in enumerate(zip(candidates, members, strict=True))
    ]


def _merged(members: Sequence[np.ndarray], wrong: np.ndarray, weak: Sequence[int], alpha: float) -> dict[int, int]:
    """Return which weak slices say what another one says already: {number: number of the other}.

    The most certain slice comes first; a further one must still be weak, with Bonferroni's correction for all weak
    ones, among images that are alike in their membership of those before. Then, the largest first, those go that
    are weak only through a part which has been kept as well.
    """
    level = alpha / max(1, len(weak))
    remaining: list[int] = []
    for k in weak:
        if _says_more(k, remaining, members, wrong, level):
            remaining.append(k)
    for k in sorted(remaining, key=lambda j: -int(members[j].sum())):
        others = [j for j in remaining if j != k]
        if not _says_more(k, others, members, wrong, level):
            remaining = others
    return {k: max(remaining, key=lambda j: overlap(members[j], members[k])) for k in weak if k not in remaining}


def _says_more(k: int, others: Sequence[int], members: Sequence[np.ndarray], wrong: np.ndarray, level: float) -> bool:
    """Tell whether a slice is still weak among images that are alike in their membership of others."""
    return not others or stratified(wrong, members[k], np.stack([members[j] for j in others])) <= level


def stratified(wrong: np.ndarray, inside: np.ndarray, strata: np.ndarray) -> float:
    """Return the one-sided p-value that answers are wrong no more often inside, given membership in others (S, N).

    Source: Cochran 1954, Mantel and Haenszel 1959, with continuity correction.
    """
    _, stratum = np.unique(strata, axis=1, return_inverse=True)
    stratum = stratum.reshape(-1)
    total, hits, size = (np.bincount(stratum, weights=w) for w in (np.ones(len(wrong)), wrong, inside))
    expected = hits * size / total
    variance = expected * (total - hits) * (total - size) / (total * np.maximum(1, total - 1))
    if variance.sum() <= 0:
        return 1.0
    return float(scipy.stats.norm.sf(((wrong & inside).sum() - 0.5 - expected.sum()) / np.sqrt(variance.sum())))


def gap(wrong: np.ndarray, inside: np.ndarray) -> tuple[float, Interval]:
    """Return accuracy outside less accuracy inside, and its 95 % interval.

    Source: Newcombe 1998, method 10 (from two Wilson intervals).
    """
    hits, sizes = ([int(part[where].sum()) for where in (inside, ~inside)] for part in (wrong, np.ones_like(wrong)))
    shares = [hit / max(1, size) for hit, size in zip(hits, sizes, strict=True)]
    ends, rest_ends = (wilson_interval(hit, size) for hit, size in zip(hits, sizes, strict=True))
    low, high = newcombe(shares[0], ends, shares[1], rest_ends).tolist()
    return shares[0] - shares[1], (low, high)


def detectable(wrong: np.ndarray, size: int, alpha: float) -> float:
    """Return the smallest gap that a slice of `size` images would show four times in five, in a test at `alpha`.

    By the normal approximation, with the spread of all images.
    """
    share, rest = float(wrong.mean()), len(wrong) - size
    if size == 0 or rest == 0:
        return 1.0
    spread = np.sqrt(max(share * (1 - share), 1 / len(wrong)) * (1 / size + 1 / rest))
    return float(min(1.0, (scipy.stats.norm.isf(alpha) + scipy.stats.norm.ppf(_POWER)) * spread))


def lines(
    outcomes: Sequence[SliceTest], searched: Facts, judged: Facts, predictions: np.ndarray, alpha: float
) -> Iterator[Slice]:
    """Yield a line for each slice tested.

    Args:
        outcomes: of the tests.
        searched: facts of the half that slices were found on.
        judged: facts of the half that judges (N).
        predictions: (N,) its answers.
        alpha: the false discovery rate.
    """
    for outcome in outcomes:
        own, before = outcome.members, outcome.candidate.members(searched)
        least = detectable(judged.wrong, int(own.sum()), alpha / len(outcomes))
        within = "" if outcome.within is None else outcomes[outcome.within].candidate.words
        right = int((own & ~judged.wrong).sum())
        size, middle = int(own.sum()), gap(judged.wrong, own)
        low, high = wilson_interval(right, size)
        verdict = _verdict(outcome, least)
        accuracy, rest = right / max(1, size), float((~judged.wrong[~own]).mean()) if size < len(own) else float("nan")
        yield Slice(
            words=outcome.candidate.words,
            rule=joined([each.rule(judged.classes) for each in outcome.candidate.conditions], " and "),
            kind=outcome.candidate.kind,
            images=size,
            accuracy=accuracy,
            accuracy_interval=(low, high),
            rest=rest,
            gap=middle[0],
            gap_interval=middle[1],
            p=outcome.p,
            p_adjusted=outcome.p_adjusted,
            detectable=least,
            confused=_confused(judged, predictions, own),
            found_accuracy=float((~searched.wrong[before]).mean()),
            found_images=int(before.sum()),
            within=within,
            verdict=verdict,
            reason=Message(
                "{slice}: {accuracy:.0%} correct ({low:.0%} to {high:.0%}, {count} images), all others {rest:.0%}; "
                "{verdict}",
                **{"slice": outcome.candidate.words, "accuracy": accuracy, "low": low, "high": high},
                **{"count": size, "rest": rest, "verdict": _verdict_words(verdict, within)},
            ),
        )


def _verdict_words(verdict: str, within: str) -> Message:
    words = Message(verdict)
    return Message("{verdict} ({within})", verdict=words, within=within) if within else words


def _verdict(outcome: SliceTest, least: float) -> str:
    if outcome.weak:
        return WEAK if outcome.within is None else WITHIN
    return TOO_SMALL if least > RELEVANT else NONE


def _confused(facts: Facts, predictions: np.ndarray, own: np.ndarray) -> str:
    """Return the most frequent wrong answer of a slice."""
    answers, counts = np.unique(predictions[own & facts.wrong], return_counts=True)
    return str(facts.classes[int(answers[counts.argmax()])]) if len(answers) else ""
