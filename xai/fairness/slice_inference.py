"""The tests of candidate slices, and the result of `xai.slices`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import scipy

from xai.core.results.message import Message, frame_of, joined
from xai.core.results.result import Result
from xai.core.runtime.batching import ShouldStop
from xai.fairness.slice_search import Candidate, Facts, asking, overlap
from xai.stats.intervals import newcombe, wilson_interval

if TYPE_CHECKING:
    import pandas as pd

WEAK, WITHIN, NONE, TOO_SMALL = "weak", "within another", "no evidence", "too small to tell"
Interval = tuple[float, float]
RELEVANT = 0.1  # a gap in accuracy that matters: where it could not have been seen, the slice is too small to tell
_POWER = 0.8


@dataclass(frozen=True)
class Slice:
    """A part of the images that was suspicious on one half, and what the other half says.

    Attributes:
        words: what it is.
        rule: how it is computed, from measured properties, classes or clusters of the embeddings.
        kind: "rule" or "cluster".
        images: in the half that judges.
        accuracy: of these.
        accuracy_interval: 95 %, Wilson.
        rest: accuracy of all other images of that half.
        gap: rest minus accuracy.
        gap_interval: 95 %, Newcombe.
        p: exact, one-sided: answers are wrong no more often inside than outside (Fisher); with several conditions each
            of them must matter.
        p_adjusted: corrected for all slices that were tested (Benjamini-Hochberg).
        detectable: the smallest gap that a slice of this size would show four times in five.
        confused: the most frequent wrong answer, "" when there is none.
        found_accuracy: in the half where it was found; too low, since it was chosen for that.
        found_images: in that half.
        within: words of the weak slice that says the same; "" when there is none.
        verdict: "weak", "within another" (weak, but so are images of that one), "no evidence" or "too small to tell".
        reason: one sentence.
    """

    words: str
    rule: str
    kind: str
    images: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    rest: float
    gap: float
    gap_interval: tuple[float, float]
    p: float
    p_adjusted: float
    detectable: float
    confused: str
    found_accuracy: float
    found_images: int
    within: str
    verdict: str
    reason: str

    def __str__(self) -> str:
        """Return the sentence."""
        return self.reason


@dataclass(frozen=True, eq=False, repr=False)
class SliceResult(Result):
    """What was found about S slices of data of which N images judge.

    Attributes:
        slices: that were tested, the most certain first (S).
        rows: (N,) int64, which images of the data judge.
        labels: (N,) int64, the truth.
        predictions: (N,) int64, the answers.
        members: (S, N) bool.
        images: (M, C, h, w) some wrong ones of each weak slice, in the model's input geometry; empty without a model.
        shown: (M, 2) int64, number of the slice, and of the image among those that judge.
        image_names: of the images shown (M).
        class_names: of the model.
        provenance: model (empty for stored predictions), settings, seed of halves and clustering, name of the data.
        notes: what was done and what to beware of.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(300)
        >>> found = xai.slices(clf, data)
        >>> isinstance(found.findings, tuple)
        True
    """

    _kind: ClassVar[str] = "slice report"
    _derived: ClassVar[tuple[str, ...]] = ("findings",)

    slices: tuple[Slice, ...]
    rows: np.ndarray = field(repr=False)
    labels: np.ndarray
    predictions: np.ndarray
    members: np.ndarray
    images: np.ndarray
    shown: np.ndarray
    image_names: tuple[str, ...]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of slices tested."""
        return len(self.slices)

    def __repr__(self) -> str:
        """Size and findings."""
        findings = "; ".join(s.words for s in self.findings) or "none"
        return f"SliceResult({len(self)} slices tested on {len(self.labels)} images, weak: {findings})"

    def __str__(self) -> str:
        """Return the findings in words."""
        return "\n".join(s.reason for s in self.findings) or f"no weak slice found ({len(self)} tested)"

    @property
    def findings(self) -> tuple[Slice, ...]:
        """The weak slices that say something of their own, most certain first; empty: nothing found."""
        return tuple(line for line in self.slices if line.verdict == WEAK)

    @property
    def table(self) -> "pd.DataFrame":
        """One row per slice tested, the weak ones first."""
        rows = frame_of(self.slices, [f.name for f in fields(Slice)])
        for name in ("accuracy_interval", "gap_interval"):
            ends = rows.pop(name).tolist()
            short = name.removesuffix("_interval")
            rows[f"{short}_low"], rows[f"{short}_high"] = ([pair[k] for pair in ends] for k in (0, 1))
        return rows.sort_values("verdict", key=lambda v: v != WEAK, kind="stable").reset_index(drop=True)

    def members_of(self, line: Slice) -> np.ndarray:
        """Return which images of the data belong to a slice. Only images of the half that judges are counted."""
        return np.asarray(self.rows[self.members[self.slices.index(line)]])

    def plot(self) -> Any:
        """Draw the accuracy of each weak slice with some misclassified images. The matplotlib figure is returned."""
        from xai.plots.fairness import slices_figure

        return slices_figure(self)


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
    """Return accuracy outside minus accuracy inside, and its 95 % interval.

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
    classes, counts = np.unique(predictions[own & facts.wrong], return_counts=True)
    return str(facts.classes[int(classes[counts.argmax()])]) if len(classes) else ""
