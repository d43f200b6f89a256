"""The questions asked of each grouping of the images. Each has a weight and a result."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from xai.core.runtime.batching import Progress, ShouldStop
from xai.errors import NameLookupError, RangeError, Stopped
from xai.fairness.groups.tables import RATES, Class, Cube, Division, ImageTable
from xai.stats.intervals import CORRECTIONS
from xai.stats.permutation import PermutationResult, RateTest
from xai.stats.permutation_tables import MixOutcome, MixTest, TableTest, calibration_test, mean_test

ACCURACY, CALIBRATION, CONFIDENCE = "accuracy", "calibration", "confidence"
CONFUSION, PRECISION, FALSE_POSITIVES = "confusion", "precision", "false_positive_rate"
RECALL, MISSES = "recall", "false_negative_rate"
METRICS = (*RATES, CALIBRATION, CONFIDENCE)
_MANY_CLASSES = 20  # with more, confusions of pairs are asked for by name only
_RARE = 5  # confusions seen less often, in all groups together, are not worth a question


@dataclass(frozen=True)
class BiasSettings:
    """How gaps are judged.

    Args:
        metrics: names of `METRICS`; None takes all (confusions up to 20 classes).
        alpha: chance of any false "unfair" in the whole report ("holm"), or share of false ones ("bh").
        correction: "holm" or "bh".
        depth: columns are crossed up to this many at a time; 1 crosses none.
        min_count: groups measured on fewer images are shown and not compared.
        relevant: a gap that matters; what could not have been seen is "too small to tell".
        tolerance: gaps whose interval does not lie above this are not called unfair.
        replicates: draws of each permutation distribution.
    """

    metrics: tuple[str, ...] | None = None
    alpha: float = 0.05
    correction: str = "holm"
    depth: int = 2
    min_count: int = 10
    relevant: float = 0.1
    tolerance: float = 0.0
    replicates: int = 10_000

    def __post_init__(self) -> None:
        """Check.

        Raises:
            NameLookupError: no such metric or correction.
            RangeError: a number outside its range.
        """
        for metric in self.metrics or ():
            if metric not in METRICS:
                raise NameLookupError("bias metric", metric, METRICS)
        if self.correction not in CORRECTIONS:
            raise NameLookupError("correction", self.correction, list(CORRECTIONS))
        _check("alpha", self.alpha, 0 < self.alpha < 1, "above 0 and below 1, such as 0.05")
        _check("relevant", self.relevant, 0 < self.relevant <= 1, "above 0 and at most 1, such as 0.1")
        _check("tolerance", self.tolerance, 0 <= self.tolerance < 1, "from 0 to below 1")
        _check("depth", self.depth, self.depth >= 1, "of at least 1")
        _check("min_count", self.min_count, self.min_count >= 1, "of at least 1")
        _check("replicates", self.replicates, self.replicates >= 100, "of at least 100")


def _check(name: str, value: float, holds: bool, expected: str) -> None:
    if not holds:
        raise RangeError(f"Expected `{name}` {expected}, but got {value!r}.")


@dataclass(frozen=True, eq=False)
class GroupQuestion:
    """One measure of one division.

    Attributes:
        division: of the images.
        metric: what is measured.
        label: class or (true, answered), or None.
        test: hits or cells of each group.
        beyond: the same with the true classes of each group held fixed (for the confidence also which answers are
            right); where there is one, only what both show is unfair: the rest follows from base rates.
        weight: share of alpha.
        outcome: None until it is answered.
        p_adjusted: corrected over all questions.
        first: whether no earlier question was the same.
        plain: p-value of `test` alone, corrected by its weight (Bonferroni).
        expected: (G,) values that base rates alone make, from `beyond`; None where it was not needed.
    """

    division: Division
    metric: str
    label: Class
    test: RateTest | TableTest
    beyond: MixTest | TableTest | None = None
    weight: float = 0.0
    outcome: PermutationResult | None = field(default=None, repr=False)
    p_adjusted: float = 1.0
    first: bool = False
    plain: float = 1.0
    expected: np.ndarray | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Different for all questions of a report."""
        return f"{self.division.name}/{self.metric}/{self.label}"


def ask(division: Division, rows: ImageTable, settings: BiasSettings, seed: int) -> list[GroupQuestion]:
    """Return the questions of one division, with weights that add up to at most 1.

    Half of the weight is accuracy's when other metrics are asked as well; the others share the rest equally, and within
    a metric so do the classes in which anything could be found.
    """
    groups, least = len(division.groups), settings.min_count
    cube = Cube.of(division.codes, rows.labels, rows.predictions, groups, len(rows.classes))
    questions = [
        GroupQuestion(division, metric, label, test, _beyond(metric, label, test, rows, division))
        for metric in _chosen(rows, settings)
        for label, test in _tests(metric, cube, rows, division, least, seed)
    ]
    return _weighted(questions)


def _beyond(
    metric: str, label: Class, test: RateTest | TableTest, rows: ImageTable, division: Division
) -> MixTest | TableTest | None:
    """Return the same question with the mix of true classes held fixed; None where only one class is involved."""
    if metric in (RECALL, MISSES, CONFUSION):
        return None
    codes, groups, classes = division.codes, len(division.groups), len(rows.classes)
    if isinstance(test, TableTest):
        known = ~np.isnan(rows.extra[metric]) if metric in rows.extra else np.ones(len(rows), dtype=bool)
        strata = 2 * rows.labels + (rows.labels == rows.predictions) if metric == CONFIDENCE else rows.labels
        return test.within(strata[known], codes[known])
    inside, hits, counted = _hits(metric, label, rows)
    place = rows.labels * groups + codes
    totals, hits_by_place = (
        np.bincount(place[which], minlength=classes * groups).reshape(classes, groups)
        for which in (inside, inside & hits)
    )
    size = None if metric == PRECISION else test.totals
    mix = MixTest(hits_by_place, totals, counted, size, test.compared)
    return mix if mix.informative else None


def _hits(metric: str, label: Class, rows: ImageTable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which images a rate is about (N,), which are hits (N,), and which true classes (L,) count."""
    every, counted = np.ones(len(rows), dtype=bool), np.ones(len(rows.classes))
    if metric == ACCURACY:
        return every, rows.labels == rows.predictions, counted
    if metric in rows.extra:
        known = ~np.isnan(rows.extra[metric])
        return known, np.nan_to_num(rows.extra[metric]) == 1, counted
    if metric == PRECISION:
        counted = (np.arange(len(counted)) == label).astype(np.float64)
    inside = rows.labels != label if metric == FALSE_POSITIVES else every
    return inside, rows.predictions == label, counted


def _chosen(rows: ImageTable, settings: BiasSettings) -> list[str]:
    usual = [metric for metric in METRICS if metric != CONFUSION or len(rows.classes) <= _MANY_CLASSES]
    named = [metric for metric in settings.metrics or usual if metric in RATES or rows.confidence is not None]
    return [*named, *rows.extra]


def _tests(
    metric: str, cube: Cube, rows: ImageTable, division: Division, least: int, seed: int
) -> Iterable[tuple[Class, RateTest | TableTest]]:
    groups, codes = len(division.groups), division.codes
    if metric in RATES:
        rates = RATES[metric](cube)
        for label, hits, totals in zip(rates.classes, rates.hits, rates.totals, strict=True):
            if metric != CONFUSION or hits.sum() >= _RARE:
                yield label, RateTest(hits, np.ascontiguousarray(totals), least)
        return
    values = rows.confidence if metric in {CALIBRATION, CONFIDENCE} else rows.extra[metric]
    if metric == CALIBRATION and values is not None:
        rng = draws_of(seed, f"{division.name}/{metric}/noise")
        right = (rows.labels == rows.predictions).astype(np.int64)
        yield None, calibration_test(values, right, codes, groups, least, rng)
    elif values is not None:
        known = ~np.isnan(values)
        if bool(np.isin(values[known], (0, 1)).all()):
            hits = np.bincount(codes[known], values[known], groups).astype(np.int64)
            yield None, RateTest(hits, np.bincount(codes[known], minlength=groups).astype(np.int64), least)
        else:
            yield None, mean_test(values, codes, groups, least)


def _weighted(questions: list[GroupQuestion]) -> list[GroupQuestion]:
    metrics = list(dict.fromkeys(q.metric for q in questions if q.test.possible))
    first = 0.5 if ACCURACY in metrics and len(metrics) > 1 else 1 / max(1, len(metrics))
    other = (1 - first) / max(1, len(metrics) - 1) if ACCURACY in metrics else 1 / max(1, len(metrics))
    sizes = {metric: sum(q.metric == metric and q.test.possible for q in questions) for metric in metrics}
    return [
        replace(q, weight=(first if q.metric == ACCURACY else other) / sizes[q.metric]) if q.test.possible else q
        for q in questions
    ]


def draws_of(seed: int, name: str) -> np.random.Generator:
    """Return a generator that depends on the seed and on what is drawn alone."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def judge_questions(
    questions: list[GroupQuestion],
    settings: BiasSettings,
    seed: int,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> list[GroupQuestion]:
    """Return the questions with outcomes, each different one tested once, and p-values corrected over all.

    Raises:
        Stopped: `should_stop()` was true.
    """
    keys = [_key(question) for question in questions]
    share = 1 / max(sum(q.weight for q in questions), 1e-12)
    weights: dict[object, float] = {}
    for question, key in zip(questions, keys, strict=True):
        weights[key] = weights.get(key, 0.0) + share * question.weight
    usual = 1 / max(1, len(weights))  # of questions that nothing could answer
    tested: dict[object, _Tested] = {}
    firsts = [key not in keys[:k] for k, key in enumerate(keys)]
    for done, (question, key) in enumerate(zip(questions, keys, strict=True)):
        if should_stop is not None and should_stop():
            raise Stopped(f"Stopped after {done} of {len(questions)} questions, as asked.")
        if key not in tested:
            tested[key] = _tested(question, settings, settings.alpha * (weights[key] or usual), seed)
        if progress is not None:
            progress(done + 1, len(questions))
    adjust: Callable[[np.ndarray, np.ndarray], np.ndarray] = CORRECTIONS[settings.correction]
    order = list(tested)
    adjusted = adjust(np.array([tested[key].outcome.p for key in order]), np.array([weights[key] for key in order]))
    corrected = dict(zip(order, adjusted.tolist(), strict=True))
    return [
        replace(
            _test_one(q, tested[key]),
            p_adjusted=corrected[key],
            weight=weights[key],
            first=first,
            plain=min(1.0, tested[key].plain / (weights[key] or usual)),
        )
        for q, key, first in zip(questions, keys, firsts, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class _Tested:
    """What a question came to: its outcome, the p-value without `beyond`, and what base rates alone make."""

    outcome: PermutationResult
    plain: float
    expected: np.ndarray | None


def _tested(question: GroupQuestion, settings: BiasSettings, alpha: float, seed: int) -> _Tested:
    """Return the outcome; p-values of two tests that must both show it are the larger ones."""
    test = question.test.canonical if isinstance(question.test, RateTest) else question.test
    outcome = test.run(draws_of(seed, question.name), replicates=settings.replicates, alpha=alpha)
    if question.beyond is None or outcome.p > settings.alpha:  # which no correction makes smaller
        return _Tested(outcome, outcome.p, None)
    rng, expected = draws_of(seed, f"{question.name}/beyond"), None
    if isinstance(question.beyond, MixTest):
        more: MixOutcome | PermutationResult = question.beyond.run(rng, replicates=settings.replicates)
        expected = more.expected if isinstance(more, MixOutcome) else None
    else:
        more = question.beyond.run(rng, replicates=settings.replicates, alpha=alpha)
    both = replace(outcome, p=max(outcome.p, more.p), p_groups=np.maximum(outcome.p_groups, more.p_groups))
    return _Tested(both, outcome.p, expected)


def _key(question: GroupQuestion) -> object:
    """The same for questions whose answers are the same: a rate and its complement."""
    if not isinstance(question.test, RateTest):
        return question.name
    return question.division.name, question.beyond is None, *question.test.key


def _test_one(question: GroupQuestion, tested: _Tested) -> GroupQuestion:
    same = not isinstance(question.test, RateTest) or question.test is question.test.canonical
    outcome = tested.outcome if same else tested.outcome.complement()
    return replace(question, outcome=outcome, expected=tested.expected)
