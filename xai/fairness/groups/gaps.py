"""Gaps between groups: from p-values and intervals to verdicts and findings."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xai.core.results.message import Message, joined
from xai.errors import ContractError
from xai.fairness.groups.questions import METRICS, BiasSettings, GroupQuestion
from xai.fairness.groups.tables import Class
from xai.stats.permutation import PermutationResult, RateTest

UNFAIR, NO_EVIDENCE, TOO_SMALL = "unfair", "no evidence", "too small to tell"
_TITLES = {
    "accuracy": "share of images predicted correctly",
    "recall": "share of '{first}' that is recognised",
    "false_negative_rate": "share of '{first}' that is missed",
    "precision": "share of predictions '{first}' that are correct",
    "false_positive_rate": "share of other images taken for '{first}'",
    "selection_rate": "share of images predicted as '{first}'",
    "confusion": "share of '{first}' taken for '{second}'",
    "calibration": "calibration error",
    "confidence": "mean confidence",
}


def label_name(label: Class, classes: Sequence[str]) -> str:
    """Return a class, or a pair of true and answered class, as one name; "" for none."""
    if label is None:
        return ""
    return classes[label] if isinstance(label, int) else f"{classes[label[0]]} -> {classes[label[1]]}"


def title(metric: str, label: str) -> Message:
    """Return what is measured, in words."""
    first, _, second = label.partition(" -> ")
    names = {"first": first} if first else {}
    return Message(_TITLES.get(metric, metric), **names, **({"second": second} if second else {}))


def share(value: float | None, *, rate: bool) -> Message:
    """Return a share in percent, another number as it is."""
    if value is None:
        return Message("unknown")
    return Message("{percent:.1f} %", percent=100 * value) if rate else Message("{value:.4g}", value=value)


def distance(value: float | None, *, rate: bool) -> Message:
    """Return a difference of two shares in points, of other numbers as it is."""
    if value is None:
        return Message("unknown")
    return Message("{points:.1f} points", points=100 * value) if rate else Message("{value:.4g}", value=value)


def probability(value: float) -> Message:
    """Return a p-value with three decimals, or one digit where it is smaller."""
    return Message("{value:.3f}" if value >= 0.001 else "{value:.1g}", value=value)


_FEW = 3  # groups named in a sentence
_BASE_RATES = Message("explained by how often each class occurs in the groups")
_VERDICTS = {
    NO_EVIDENCE: Message("no evidence that the groups differ"),
    TOO_SMALL: Message("too few images to tell"),
}


@dataclass(frozen=True)
class Gap:
    """How far the groups of one column are apart in one measure; None where nothing could be compared.

    Attributes:
        column: what divides the images.
        metric: what is measured.
        label: class, or "true -> answered"; "" for none.
        lowest: group with the smallest value.
        highest: group with the largest value.
        low_value: of the lowest group.
        high_value: of the highest group.
        low_n: images that the lowest group was measured on.
        high_n: images that the highest group was measured on.
        gap: largest minus smallest value.
        ratio: smallest over largest value.
        interval: 95 % interval of the gap, simultaneous over all pairs of groups: it holds the difference of the two
            groups named (below 0: the other way round) and the largest difference of any two.
        expected: mean gap that chance alone makes between groups of these sizes.
        expected_high: gap that chance alone exceeds once in twenty times.
        p: of the studentised permutation test of this gap alone.
        p_adjusted: corrected for everything that was asked.
        detectable: deviation that even the smallest group compared would have shown, four times in five.
        compared: groups compared.
        left_out: groups measured on too few images.
        stands_out: group that deviates most from all others, in standard errors.
        verdict: "unfair", "no evidence" or "too small to tell".
        explained: gap that the groups would have with the error rates of all together for each true class: it follows
            from base rates alone. None where that was not asked (no gap, or a rate within one true class).
        repeats: whether an earlier line says the same (false negatives and recall, the two classes of two).
        headline: what was found, for everybody.
        reason: the figures behind it.
    """

    column: str
    metric: str
    label: str
    lowest: str
    highest: str
    low_value: float | None
    high_value: float | None
    low_n: int
    high_n: int
    gap: float | None
    ratio: float | None
    interval: tuple[float | None, float | None]
    expected: float | None
    expected_high: float | None
    p: float
    p_adjusted: float
    detectable: float | None
    compared: int
    left_out: tuple[str, ...]
    stands_out: str
    verdict: str
    repeats: bool
    explained: float | None = None
    headline: str = ""
    reason: str = ""

    def __str__(self) -> str:
        """Return headline and reason, a message."""
        return joined([self.headline, self.reason])


@dataclass(frozen=True)
class GroupValue:
    """One measure in one group.

    Attributes:
        column: what divides the images.
        metric: what is measured.
        label: class, or "true -> answered"; "" for none.
        group: name.
        n: images it was measured on.
        value: None when n is 0.
        low: lower end of the 95 % interval by itself (Wilson, where it is a rate).
        high: upper end.
        score: deviation from all other groups in standard errors; None when too small to be compared.
        p_adjusted: of that deviation, corrected for all groups and everything that was asked.
        detectable: deviation that this group would have shown, four times in five; None: none would.
        verdict: "unfair", "no evidence" or "too small to tell".
    """

    column: str
    metric: str
    label: str
    group: str
    n: int
    value: float | None
    low: float | None
    high: float | None
    score: float | None
    p_adjusted: float | None
    detectable: float | None
    verdict: str


@dataclass(frozen=True, eq=False)
class GapJudge:
    """Says what answered questions mean.

    Args:
        classes: names.
        settings: of the report.
        question_count: number of different questions, for the reasons.
    """

    classes: Sequence[str]
    settings: BiasSettings
    question_count: int

    def groups(self, question: GroupQuestion) -> list[GroupValue]:
        """Return one line for each group."""
        outcome, where = outcome_of(question), self._where(question)
        times = question.p_adjusted / outcome.p
        seen = outcome.detectable <= self._relevant(question)
        lines = []
        for k, group in enumerate(question.division.groups):
            own = min(1.0, float(outcome.p_groups[k]) * times) if outcome.compared[k] else None
            verdict = TOO_SMALL if own is None else self._verdict(outcome, own, seen=bool(seen[k]))
            low, high = outcome.intervals[k]
            numbers = {"value": outcome.values[k], "low": low, "high": high, "score": outcome.scores[k]}
            numbers |= {"detectable": outcome.detectable[k]}
            figures: dict[str, Any] = {name: _number(value) for name, value in numbers.items()}
            n = int(outcome.totals[k])
            lines.append(GroupValue(*where, group, n, p_adjusted=own, verdict=verdict, **figures))
        return lines

    def gap(self, question: GroupQuestion) -> Gap:
        """Return the line of the gap."""
        outcome, names, compared = outcome_of(question), question.division.groups, outcome_of(question).compared
        left_out = tuple(name for name, inside in zip(names, compared, strict=True) if not inside)
        nothing = compared.sum() < 2
        values = np.where(compared, outcome.values, np.nan)
        low, high = (0, 0) if nothing else (int(np.nanargmin(values)), int(np.nanargmax(values)))
        seen = not nothing and bool((outcome.detectable[compared] <= self._relevant(question)).all())
        gap = Gap(
            *self._where(question),
            lowest="" if nothing else names[low],
            highest="" if nothing else names[high],
            low_value=None if nothing else _number(values[low]),
            high_value=None if nothing else _number(values[high]),
            low_n=0 if nothing else int(outcome.totals[low]),
            high_n=0 if nothing else int(outcome.totals[high]),
            gap=_number(outcome.gap),
            ratio=None if nothing or values[high] <= 0 else float(values[low] / values[high]),
            interval=(_number(outcome.interval[0]), _number(outcome.interval[1])),
            expected=_number(outcome.chance.mean()) if len(outcome.chance) else None,
            expected_high=_number(np.quantile(outcome.chance, 0.95)) if len(outcome.chance) else None,
            p=outcome.p,
            p_adjusted=question.p_adjusted,
            detectable=None if nothing else _number(outcome.detectable[compared].max()),
            compared=int(compared.sum()),
            left_out=left_out,
            verdict=TOO_SMALL if nothing else self._verdict(outcome, question.p_adjusted, seen=seen),
            repeats=not question.first,
            explained=_explained(question, low, high),
            stands_out="" if nothing else names[int(np.nanargmax(np.abs(outcome.scores)))],
        )
        return replace(gap, headline=self._headline(gap, question), reason=self._reason(gap, question))

    def _where(self, question: GroupQuestion) -> tuple[str, str, str]:
        return question.division.name, question.metric, label_name(question.label, self.classes)

    def _verdict(self, outcome: PermutationResult, p_adjusted: float, *, seen: bool) -> str:
        beyond = self.settings.tolerance == 0 or outcome.interval[0] > self.settings.tolerance
        if p_adjusted <= self.settings.alpha and beyond:
            return UNFAIR
        return NO_EVIDENCE if seen else TOO_SMALL

    def _relevant(self, question: GroupQuestion) -> float:
        """Return the gap that matters: a share of the range, for numbers that leave [0, 1]."""
        low, high = getattr(question.test, "limits", (0.0, 1.0))
        return self.settings.relevant * (1 if low >= 0 and high <= 1 else high - low)

    def _headline(self, gap: Gap, question: GroupQuestion) -> Message:
        rate = _is_rate(question)
        about = {"measure": title(gap.metric, gap.label), "column": gap.column}
        if gap.gap is None:
            return Message("{measure}, by {column}: too few images to compare groups", **about)
        if gap.verdict == UNFAIR:
            outcome = outcome_of(question)
            k = question.division.groups.index(gap.stands_out)
            own, others = share(float(outcome.values[k]), rate=rate), share(_others(outcome, k), rate=rate)
            template = "{measure}: {own} for {group}, {others} for all others by {column}; more than chance"
            return Message(template, **about, own=own, group=gap.stands_out, others=others)
        ends = {"low": share(gap.low_value, rate=rate), "high": share(gap.high_value, rate=rate)}
        reason = _BASE_RATES if self._from_base_rates(question) else _VERDICTS[gap.verdict]
        return Message("{measure}, by {column}: {low} to {high}; {reason}", **about, **ends, reason=reason)

    def _from_base_rates(self, question: GroupQuestion) -> bool:
        """Whether the groups differ, but no more than the classes in them make them."""
        return question.beyond is not None and question.plain <= self.settings.alpha < question.p_adjusted

    def _reason(self, gap: Gap, question: GroupQuestion) -> Message:
        if gap.gap is None:
            template = "fewer than two groups with at least {count} images"
            return Message(template, count=self.settings.min_count)
        rate = _is_rate(question)
        low, high = (distance(end, rate=rate) for end in gap.interval)
        figures = Message(
            "lowest {lowest} {low_value} (n = {low_n}), highest {highest} {high_value} (n = {high_n}): a gap of {gap} "
            "({low} to {high}), of which chance alone makes {expected}; p = {p} after correction for {tests} questions",
            **{"lowest": gap.lowest, "low_value": share(gap.low_value, rate=rate), "low_n": gap.low_n},
            **{"highest": gap.highest, "high_value": share(gap.high_value, rate=rate), "high_n": gap.high_n},
            **{"gap": distance(gap.gap, rate=rate), "low": low, "high": high},
            **{
                "expected": distance(gap.expected, rate=rate),
                "p": probability(gap.p_adjusted),
                "tests": self.question_count,
            },
        )
        return joined([figures, *self._mix(gap, question, rate=rate), *self._sight(gap, question, rate=rate)])

    def _mix(self, gap: Gap, question: GroupQuestion, *, rate: bool) -> list[Message]:
        """Return what base rates alone make of the gap, where the test without them finds one."""
        if gap.explained is None or question.plain > self.settings.alpha:
            return []
        template = "equal error rates for each class would make a gap of {gap} here"
        return [Message(template, gap=distance(gap.explained, rate=rate))]

    def _sight(self, gap: Gap, question: GroupQuestion, *, rate: bool) -> list[Message]:
        """Return what would have been detected, where nothing was."""
        if gap.verdict == UNFAIR:
            return []
        outcome, names = outcome_of(question), question.division.groups
        visible = outcome.compared & (outcome.detectable <= self._relevant(question))
        few = [name for k, name in enumerate(names) if outcome.compared[k] and not visible[k]]
        parts = [Message("too few images to tell for {groups}", groups=_listed(few))] if few else []
        if visible.any():
            widest = distance(float(outcome.detectable[visible].max()), rate=rate)
            groups = Message("the others" if few else "any group")
            parts.append(Message("a gap of {gap} would have been detected in {groups}", gap=widest, groups=groups))
        return parts


def _is_rate(question: GroupQuestion) -> bool:
    return isinstance(question.test, RateTest) or question.metric in METRICS


def _explained(question: GroupQuestion, low: int, high: int) -> float | None:
    """Return the gap between two groups that base rates alone make, where it is known."""
    if question.expected is None:
        return None
    return _number(abs(question.expected[high] - question.expected[low]))


def _others(outcome: PermutationResult, k: int) -> float:
    """Return the mean value of all compared groups but one."""
    others = outcome.compared & (np.arange(len(outcome.values)) != k)
    return float(np.average(outcome.values[others], weights=outcome.totals[others]))


def _listed(names: Sequence[str]) -> Message:
    listed = ", ".join(names[:_FEW])
    if len(names) <= _FEW:
        return Message("{names}", names=listed)
    return Message("{names} and {count} more", names=listed, count=len(names) - _FEW)


def outcome_of(question: GroupQuestion) -> PermutationResult:
    """Return the outcome of an answered question.

    Raises:
        ContractError: it was not answered.
    """
    if question.outcome is None:
        raise ContractError("A question about groups was judged before it was tested.")
    return question.outcome


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
