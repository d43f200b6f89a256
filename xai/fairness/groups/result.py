"""Parity measures, and the result of `xai.bias`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from xai.core.extras import missing_extra
from xai.core.results.message import frame_of
from xai.core.results.result import Result
from xai.errors import NameLookupError
from xai.fairness.groups.gaps import NO_EVIDENCE, TOO_SMALL, UNFAIR, Gap, GroupValue, label_name, outcome_of
from xai.fairness.groups.questions import GroupQuestion
from xai.fairness.groups.tables import Amplification, Cube
from xai.stats.permutation import RateTest, gap_interval

if TYPE_CHECKING:
    import pandas as pd

_PARTS = {
    "demographic parity": ("selection_rate",),
    "equal opportunity": ("recall",),
    "equalised odds": ("recall", "false_positive_rate"),
    "equalised odds, all predictions": ("recall", "confusion"),
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


@dataclass(frozen=True, eq=False, repr=False)
class BiasResult(Result):
    """What was found about D ways to divide N images.

    Attributes:
        gaps: one per column (and intersection), metric and class.
        values: one per group of each of them.
        parities: worst groups, demographic parity, equal opportunity and equalised odds of each column.
        amplifications: of each column, answers against labels.
        columns: D names.
        group_names: of each column.
        labels: (N,) int64, the truth.
        predictions: (N,) int64.
        codes: (D, N) int64, the group of each image.
        class_names: of all classes.
        provenance: model (empty for stored predictions), settings of the tests, seed of the permutations, data.
        notes: what was done and what to beware of.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(200)
        >>> part = ["day", "night"] * 100
        >>> found = xai.bias(clf, data, groups={"light": part})
        >>> found.findings  # gaps that are more than chance
        ()
    """

    _kind: ClassVar[str] = "bias report"
    _derived: ClassVar[tuple[str, ...]] = ("verdict", "findings")

    gaps: tuple[Gap, ...]
    values: tuple[GroupValue, ...]
    parities: tuple[Parity, ...]
    amplifications: tuple[Amplification, ...]
    columns: tuple[str, ...]
    group_names: tuple[tuple[str, ...], ...]
    labels: np.ndarray = field(repr=False)
    predictions: np.ndarray = field(repr=False)
    codes: np.ndarray = field(repr=False)
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def __repr__(self) -> str:
        """Size and verdict."""
        return (
            f"BiasResult({len(self)} images by {', '.join(self.columns)}: {self.verdict}, "
            f"{len(self.findings)} of {len(self.gaps)} gaps unfair)"
        )

    def __str__(self) -> str:
        """Return the findings, or what could have been found, in words."""
        lines = [str(gap) for gap in self.findings or self.gaps if self.findings or gap.metric == self.gaps[0].metric]
        return "\n".join([f"{self.verdict} ({len(self)} images)", *lines])

    @property
    def findings(self) -> tuple[Gap, ...]:
        """The gaps that are unfair, each once, most certain first; empty: nothing found."""
        unfair = [gap for gap in self.gaps if gap.verdict == UNFAIR and not gap.repeats]
        return tuple(sorted(unfair, key=lambda gap: (gap.p_adjusted, -(gap.gap or 0.0))))

    @property
    def verdict(self) -> str:
        """Of the whole: "unfair" with any finding; else of the first metric asked, in its least sure column."""
        if self.findings:
            return UNFAIR
        first = {gap.verdict for gap in self.gaps if gap.metric == self.gaps[0].metric}
        return TOO_SMALL if TOO_SMALL in first else NO_EVIDENCE

    @property
    def table(self) -> "pd.DataFrame":
        """One row per gap: column, metric, class, gap, interval, chance, p, what was detectable, verdict."""
        rows = _frame(self.gaps)
        rows["low"], rows["high"] = zip(*rows.pop("interval"), strict=True)
        words = ["headline", "reason"]
        return rows[[name for name in rows if name not in words] + words]

    @property
    def groups(self) -> "pd.DataFrame":
        """One row per group, metric and class: n, value, interval, deviation, what was detectable, verdict."""
        return _frame(self.values)

    @property
    def summary(self) -> "pd.DataFrame":
        """One row per column and measure: worst groups, demographic parity, equalised odds."""
        rows = _frame(self.parities)
        rows["low"], rows["high"] = zip(*rows.pop("interval"), strict=True)
        return rows

    def cube(self, column: str | None = None) -> np.ndarray:
        """Return the counts (G, K, K) by group, true class and predicted class. None takes the first column.

        Raises:
            NameLookupError: no such column.
        """
        k = self._place(column)
        size = len(self.group_names[k])
        return Cube.of(self.codes[k], self.labels, self.predictions, size, len(self.class_names)).dense()

    def to_metricframe(self, metrics: Any = None, column: str | None = None) -> Any:
        """Return the same images as a `fairlearn.metrics.MetricFrame`.

        Args:
            metrics: functions of fairlearn or scikit-learn by name, or one; None takes accuracy and counts.
            column: None takes the first.

        Raises:
            MissingExtraError: fairlearn is not installed.
            NameLookupError: no such column.
        """
        import pandas as pd

        try:
            from fairlearn.metrics import MetricFrame, count
        except Exception as error:  # one that does not work raises anything
            raise missing_extra("to_metricframe", "fairness", error, "fairlearn") from error
        from sklearn.metrics import accuracy_score

        k = self._place(column)
        groups = pd.Series(np.array(self.group_names[k])[self.codes[k]], name=self.columns[k])
        metrics_by_name = {"accuracy": accuracy_score, "count": count} if metrics is None else metrics
        return MetricFrame(
            metrics=metrics_by_name, y_true=self.labels, y_pred=self.predictions, sensitive_features=groups
        )

    def plot(self, column: str | None = None) -> Any:
        """Draw the groups of a column with intervals, and all gaps.

        What chance alone makes is drawn too; the figure is returned.

        Args:
            column: None takes that of the first finding, or the first.

        Raises:
            NameLookupError: no such column.
        """
        from xai.plots.fairness import bias_figure

        chosen = column or (self.findings[0].column if self.findings else None)
        return bias_figure(self, self.columns[self._place(chosen)])

    def _place(self, column: str | None) -> int:
        if column is not None and column not in self.columns:
            raise NameLookupError("column of this report", column, self.columns)
        return 0 if column is None else self.columns.index(column)


def _frame(rows: Sequence[Any]) -> "pd.DataFrame":
    return frame_of(rows)
