"""Conditions on check results. They are at least, at most, no drop, no weak class and no weak group."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy

from xai.audits.check_result import CheckResult, GroupShare
from xai.audits.checks.base import Condition
from xai.core.results.codec import finite, plain
from xai.core.results.message import Message, constant, joined, sentences
from xai.stats.gates import FAIL, INCONCLUSIVE, PASS, Gate, judge_drop, judge_interval, judge_share, judge_shares
from xai.stats.intervals import paired_mean

NOT_RUN, ERROR, MEASURED = "not run", "error", "measured"
VERDICTS = (FAIL, ERROR, INCONCLUSIVE, NOT_RUN, PASS, MEASURED)  # from worst to best
NAMES = ("at_least", "at_most", "max_drop_vs_baseline", "worst_class_at_least", "worst_group_at_least")


@dataclass(frozen=True)
class ConditionResult:
    """One condition, judged.

    Attributes:
        condition: its name.
        threshold: as declared.
        verdict: "pass", "fail", "inconclusive" or "not run".
        value: the figure that was compared.
        interval: of it, at `level`.
        level: the gate is wrong at most this seldom: 0.95 means one time in twenty.
        n: images it rests on.
        p_value: one-sided, None where only an interval is known.
        detectable: smallest difference beyond the threshold that would have been seen, four times in five.
        needed: images that would decide; None where decided or undecidable.
        where: class or group.
        why: one sentence.
    """

    condition: str
    threshold: float
    verdict: str
    value: float | None
    interval: tuple[float | None, float | None]
    level: float
    n: int
    p_value: float | None
    detectable: float | None
    needed: int | None
    where: str
    why: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready."""
        content: dict[str, Any] = finite(plain(asdict(self)))
        return content


@dataclass(frozen=True, eq=False)
class PairedOutcome:
    """The outcomes of a check in the baseline and now, image by image.

    Attributes:
        before: (m,) outcomes then, of images that are in both.
        after: (m,) outcomes now.
        same: the model, the settings and every outcome are the baseline's: nothing can have dropped.
    """

    before: np.ndarray
    after: np.ndarray
    same: bool = False


def judge(
    result: CheckResult, conditions: Sequence[Condition], level: float, pair: PairedOutcome | None = None
) -> tuple[str, tuple[ConditionResult, ...]]:
    """Return the verdict of a check, the worst of its conditions', and each of them.

    Args:
        result: its result.
        conditions: to judge it by; with none the verdict is "measured".
        level: of the gates.
        pair: the same images in the baseline, None where there is none.
    """
    outcomes = tuple(_JUDGES[condition.name](result, condition, level, pair) for condition in conditions)
    return worst_of([outcome.verdict for outcome in outcomes]), outcomes


def worst_of(verdicts: Sequence[str]) -> str:
    """Return the worst of some verdicts; "measured" for none."""
    return min(verdicts, key=VERDICTS.index, default=MEASURED)


def _bound(result: CheckResult, condition: Condition, level: float, _pair: PairedOutcome | None) -> ConditionResult:
    """Judge the figure itself."""
    at_most = condition.name == "at_most"
    if result.value is None:
        return _without(condition, level, result.n, Message("nothing could be measured"))
    if result.low is None or result.high is None:
        return _counted(result, condition, level)
    if result.hits is not None:
        gate = judge_share(result.hits, result.n, condition.threshold, level=level, at_most=at_most)
    else:
        low, high = _at_level(result, level)
        gate = judge_interval(result.value, low, high, result.n, condition.threshold, level=level, at_most=at_most)
    return _doubted(result, _outcome(result, condition, level, gate, result.n))


def _at_level(result: CheckResult, level: float) -> tuple[float, float]:
    """Return the interval, stretched where a condition asks for another level than it was measured at."""
    value, low, high = (float(v or 0.0) for v in (result.value, result.low, result.high))
    ratio = float(scipy.stats.norm.isf((1 - level) / 2) / scipy.stats.norm.isf((1 - result.level) / 2))
    return (low, high) if level == result.level else (value - ratio * (value - low), value + ratio * (high - value))


def _counted(result: CheckResult, condition: Condition, level: float) -> ConditionResult:
    """Judge a figure that has its own inference: a count of findings, or a figure that is no estimate."""
    value = float(result.value or 0.0)
    holds = value >= condition.threshold if condition.name == "at_least" else value <= condition.threshold
    verdict = FAIL if not holds else INCONCLUSIVE if result.undecided else PASS
    why = result.claim if verdict != INCONCLUSIVE else sentences([result.claim, result.undecided])
    seen = (None, result.detectable, result.needed if verdict == INCONCLUSIVE else None, "")
    return _doubted(
        result,
        ConditionResult(condition.name, condition.threshold, verdict, value, (None, None), level, result.n, *seen, why),
    )


def _drop(result: CheckResult, condition: Condition, level: float, pair: PairedOutcome | None) -> ConditionResult:
    """Judge the drop against a baseline on the same images."""
    if pair is None or len(pair.before) == 0:
        none = "none of the images of the baseline's check is among these"
        why = Message("there is no baseline" if pair is None else none)
        return _without(condition, level, 0, why)
    n = len(pair.before)
    if pair.same:
        gate = Gate(PASS, 0.0, 0.0, 0.0, None, 0.0)
    elif pair.after.dtype == bool:
        lost, won = int((pair.before & ~pair.after).sum()), int((~pair.before & pair.after).sum())
        gate = judge_drop(lost, won, n, condition.threshold, level=level)
    else:
        gain, low, high, _ = paired_mean(pair.before, pair.after, level)
        gate = judge_interval(-gain, -high, -low, n, condition.threshold, level=level, at_most=True)
    return _doubted(result, _outcome(result, condition, level, gate, n, change=True))


def _worst_class(
    result: CheckResult, condition: Condition, level: float, _pair: PairedOutcome | None
) -> ConditionResult:
    return _worst(result, result.classes, condition, level, "class")


def _worst_group(
    result: CheckResult, condition: Condition, level: float, _pair: PairedOutcome | None
) -> ConditionResult:
    return _worst(result, result.groups, condition, level, "group")


def _worst(
    result: CheckResult, shares: Sequence[GroupShare], condition: Condition, level: float, kind: str
) -> ConditionResult:
    """Judge the weakest of several shares, with all of them in view."""
    if not shares:
        why = Message("the data has no classes" if kind == "class" else "the data has no groups")
        return _without(condition, level, result.n, why)
    names = [f"{share.column} = {share.name}" if share.column else share.name for share in shares]
    counts = [share.n for share in shares]
    gate = judge_shares([share.hits for share in shares], counts, names, condition.threshold, level=level)
    return _doubted(result, _outcome(result, condition, level, gate, counts[names.index(gate.where)]))


_Judge = Callable[[CheckResult, Condition, float, PairedOutcome | None], ConditionResult]
_JUDGES: Mapping[str, _Judge] = {
    "at_least": _bound,
    "at_most": _bound,
    "max_drop_vs_baseline": _drop,
    "worst_class_at_least": _worst_class,
    "worst_group_at_least": _worst_group,
}


def _without(condition: Condition, level: float, n: int, why: str) -> ConditionResult:
    nothing: tuple[None, None] = (None, None)
    return ConditionResult(
        condition.name, condition.threshold, NOT_RUN, None, nothing, level, n, None, None, None, "", why
    )


def _doubted(result: CheckResult, outcome: ConditionResult) -> ConditionResult:
    """Return the outcome; one that would pass on a figure that is itself in doubt is inconclusive."""
    if outcome.verdict != PASS or not result.doubts:
        return outcome
    doubts = Message(
        "but the figure itself is in doubt: {doubts}", doubts=joined([constant(doubt) for doubt in result.doubts])
    )
    why = sentences([outcome.why, doubts])
    return ConditionResult(**{**vars(outcome), "verdict": INCONCLUSIVE, "why": why})


def _outcome(
    result: CheckResult, condition: Condition, level: float, gate: Gate, n: int, *, change: bool = False
) -> ConditionResult:
    words = _Wording(result.unit, change=change)
    seen = (gate.p_value, gate.detectable, gate.needed, gate.where)
    return ConditionResult(
        condition.name,
        condition.threshold,
        gate.verdict,
        gate.value,
        (gate.low, gate.high),
        level,
        n,
        *seen,
        words.why(condition, gate, n),
    )


@dataclass(frozen=True)
class _Wording:
    """Figures of a unit in words."""

    unit: str
    change: bool

    def figure(self, value: float) -> Message:
        if self.unit not in {"share", "points"}:
            return Message("{value:.4g}", value=value)
        if self.change or self.unit == "points":
            return Message("{points:.1f} points", points=100 * value)
        return Message("{percent:.1f} %", percent=100 * value)

    def why(self, condition: Condition, gate: Gate, n: int) -> Message:
        """Return figure, interval, threshold and outcome as a sentence, and the images an undecided gate would need."""
        at_most = condition.name in {"at_most", "max_drop_vs_baseline"}
        outcome = {
            PASS: Message("met by the whole interval"),
            FAIL: Message("clearly above the threshold") if at_most else Message("clearly below the threshold"),
            INCONCLUSIVE: Message("the interval contains the threshold"),
        }
        requirement = Message(
            "at most {threshold}" if at_most else "at least {threshold}", threshold=self.figure(condition.threshold)
        )
        why = Message(
            "{figure} ({low} to {high}, {count:,} images); required {requirement}: {outcome}",
            **{"figure": self.subject(gate), "low": self.figure(gate.low), "high": self.figure(gate.high)},
            **{"count": n, "requirement": requirement, "outcome": outcome[gate.verdict]},
        )
        return sentences([why, *self.need(gate, n)])

    def subject(self, gate: Gate) -> Message:
        """Return the figure with what it is of."""
        figure = self.figure(gate.value)
        if gate.where:
            return Message("{where}: {figure}", where=gate.where, figure=figure)
        return Message("a drop of {figure}", figure=figure) if self.change else figure

    def need(self, gate: Gate, n: int) -> list[Message]:
        if gate.verdict != INCONCLUSIVE:
            return []
        if gate.needed is None:
            return [Message("no number of images would decide if this figure were the true one")]
        words = {"count": max(gate.needed, n + 1), "where": gate.where}
        if gate.where:
            return [Message("about {count:,} images of {where} would decide if this figure were the true one", **words)]
        return [Message("about {count:,} images would decide if this figure were the true one", **words)]
