"""Parity measures of a whole division: what fairness papers name, made of the gaps of its classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xai.fairness.groups.gaps import NO_EVIDENCE, TOO_SMALL, UNFAIR, label_name, outcome_of
from xai.fairness.groups.questions import GroupQuestion
from xai.stats.permutation import RateTest, gap_interval

_PARTS = {
    "demographic parity": ("selection_rate",),
    "equal opportunity": ("recall",),
    "equalised odds": ("recall", "false_positive_rate"),
    "equalised odds, all answers": ("recall", "confusion"),
}


@dataclass(frozen=True)
class Parity:
    """One measure of a whole division.

    Attributes:
        column: what divides the images.
        measure: "worst group", "worst group and class", or one of the parities.
        value: accuracy or recall of the worst; of a parity the largest gap over classes.
        mean: mean over classes of the gap ("equalised odds": of the larger of the two); None for the worst.
        where: the group, or the class (and answer) with the largest gap.
        interval: 95 %, of a parity simultaneous over classes and pairs of groups.
        expected: what chance alone makes of it at these sizes, classes taken as independent; None for the worst.
        verdict: of the gaps it is made of; "" for the worst.
    """

    column: str
    measure: str
    value: float
    mean: float | None
    where: str
    interval: tuple[float, float]
    expected: float | None
    verdict: str


def parities(questions: Sequence[GroupQuestion], verdicts: Sequence[str], classes: Sequence[str]) -> list[Parity]:
    """Return the measures of one division from its answered questions and their verdicts."""
    pairs = list(zip(questions, verdicts, strict=True))
    measures = [_worst(questions, metric, classes) for metric in ("accuracy", "recall")]
    for measure, metrics in _PARTS.items():
        verdicts_of_metrics = [(q, v) for q, v in pairs if q.metric in metrics and np.isfinite(outcome_of(q).gap)]
        if {q.metric for q in questions if q.metric in metrics} == set(metrics) and verdicts_of_metrics:
            measures.append(_parity(measure, verdicts_of_metrics, classes))
    return [parity for parity in measures if parity is not None]


def _worst(questions: Sequence[GroupQuestion], metric: str, classes: Sequence[str]) -> Parity | None:
    """Return the group (and class) with the smallest share of right answers, among those large enough."""
    best = None
    for question in questions:
        outcome = outcome_of(question)
        for k in np.flatnonzero(outcome.compared).tolist() if question.metric == metric else ():
            value, span = float(outcome.values[k]), outcome.intervals[k]
            if best is None or value < best.value:
                label = label_name(question.label, classes)
                where = " / ".join(part for part in (question.division.groups[k], label) if part)
                measure = "worst group and class" if label else "worst group"
                interval = (float(span[0]), float(span[1]))
                best = Parity(question.division.name, measure, value, None, where, interval, None, "")
    return best


def _parity(measure: str, parts: Sequence[tuple[GroupQuestion, str]], classes: Sequence[str]) -> Parity:
    gaps = np.array([outcome_of(question).gap for question, _ in parts])
    worst, verdicts = parts[int(gaps.argmax())][0], {verdict for _, verdict in parts}
    return Parity(
        column=worst.division.name,
        measure=measure,
        value=float(gaps.max()),
        mean=_mean_over_classes(parts, gaps),
        where=label_name(worst.label, classes),
        interval=_interval([question for question, _ in parts], int(gaps.argmax())),
        expected=float(np.max([outcome_of(question).chance for question, _ in parts], 0).mean()),
        verdict=next(word for word in (UNFAIR, TOO_SMALL, NO_EVIDENCE) if word in verdicts),
    )


def _mean_over_classes(parts: Sequence[tuple[GroupQuestion, str]], gaps: np.ndarray) -> float:
    largest: dict[object, float] = {}
    for (question, _), gap in zip(parts, gaps.tolist(), strict=True):
        largest[question.label] = max(gap, largest.get(question.label, 0.0))
    return float(np.mean(list(largest.values())))


def _interval(questions: Sequence[GroupQuestion], worst: int) -> tuple[float, float]:
    """Return the interval of the largest gap, both of the class named and over all: all hold at once by Bonferroni."""
    level = 1 - 0.05 / len(questions)
    tests = [question.test for question in questions if isinstance(question.test, RateTest)]
    ends = np.array([gap_interval(t.hits[t.compared], t.totals[t.compared], level) for t in tests])
    return float(ends[worst, 0]), float(ends[:, 1].max())
