"""What is asked about foreign pictures: a detector with its verdicts, one picture, a map of its score."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd

import xai
from xai.dashboard.jobs import Job, parts, watched
from xai.dashboard.keeping import Key
from xai.dashboard.language import t, told
from xai.dashboard.pictures import Picture
from xai.dashboard.sets import Sample
from xai.dashboard.tasks import Report
from xai.dashboard.work import Model

_ROWS_OF_SHIFTS = 5 / 3  # for each calibration picture, when the method is chosen


@dataclass(frozen=True, eq=False)
class Plan:
    """Which pictures and which method.

    Attributes:
        fit: ordinary pictures to learn from.
        calibration: ordinary pictures that the promise rests on.
        test: ordinary pictures drawn with those, and kept back.
        foreign: a data set; None for a shift of the kept back ones.
        shift: its name; "" for a data set.
        method: of the detector, or "auto".
    """

    fit: Sample
    calibration: Sample
    test: Sample
    foreign: Sample | None
    shift: str
    method: str

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All data sets."""
        every = (self.fit, self.calibration, self.test, self.foreign)
        return tuple(sample for sample in every if sample is not None)

    @property
    def strange(self) -> str:
        """What is foreign: the name of the data set or of the shift."""
        return self.shift if self.foreign is None else self.foreign.name

    @property
    def key(self) -> Key:
        """All that the result depends on, but the model."""
        return (*(sample.key for sample in self.samples), self.shift, self.method)

    @property
    def seed(self) -> int:
        """Of everything random."""
        return self.fit.seed

    @property
    def code(self) -> tuple[str, ...]:
        """Lines that make the detector `d`, the kept back pictures `test` and the foreign ones `foreign`."""
        settings = f"method={self.method!r}, seed={self.seed}"
        return (
            f"fit = {self.fit.code}",
            f"calibration = {self.calibration.code}",
            f"test = {self.test.code}",
            f"d = xai.fit_ood(clf, fit, calibration, {settings})",
            f"foreign = {self.foreign.code if self.foreign else f'd.shifted(test, {self.shift!r})'}",
        )


@dataclass(frozen=True, eq=False)
class Detection:
    """A detector and what it says of pictures that it has not seen.

    Attributes:
        plan: what it was made of.
        detector: fitted and calibrated.
        inside: of the ordinary pictures that were kept back.
        outside: of the foreign ones.
        foreign: these: a data set, or shifted pictures by number.
    """

    plan: Plan
    detector: xai.OODDetector
    inside: xai.Judgement
    outside: xai.Judgement
    foreign: Any

    def picture(self, *, foreign: bool, k: int) -> Picture:
        """Return a picture by its number among the ordinary or the foreign ones."""
        if not foreign:
            return self.plan.test.picture(k)
        if self.plan.foreign is not None:
            return self.plan.foreign.picture(k)
        identity = "/".join(map(str, (*self.plan.test.key, self.plan.shift, k)))
        return Picture(f"{self.plan.shift} {k}", identity, self.foreign[k], f"foreign[{k}]")


@dataclass(frozen=True, eq=False)
class OneJudged:
    """What a detector says of one picture.

    Attributes:
        judgement: score, p-value, reasons.
        neighbours: the fit pictures most like it, one per row; None where the model has no features.
    """

    judgement: xai.Judgement
    neighbours: pd.DataFrame | None


def to_detect(model: Model, plan: Plan, slot: Any) -> Job:
    """Return the job whose result is the detector with its verdicts."""
    rows = sum(len(sample.data) for sample in plan.samples) + len(plan.test.data) * (plan.foreign is None)
    rows += round(_ROWS_OF_SHIFTS * len(plan.calibration.data)) if plan.method == "auto" else 0
    ask = partial(_detect, model, plan)
    return Job(("detection", model.key, *plan.key), t("Fitting and judging"), ask, slot, rows)


def to_compare_methods(model: Model, found: Detection, slot: Any) -> Job:
    """Return the job whose result is every detector on the same pictures."""
    rows = sum(len(sample.data) for sample in found.plan.samples)
    key = ("compared", model.key, *found.plan.key)
    return Job(key, t("Comparing all methods"), partial(_compare, model, found), slot, rows)


def to_judge(model: Model, found: Detection, picture: Picture, slot: Any) -> Job:
    """Return the job whose result is the verdict on one picture."""
    key = ("judged", model.key, *found.plan.key, picture.identity, picture.name)
    return Job(key, t("Judging"), partial(_judge, model, found, picture), slot, rows=2)


def to_explain_score(model: Model, found: Detection, picture: Picture, method: xai.MethodInfo, slot: Any) -> Job:
    """Return the job whose result is the map of what makes a picture foreign."""
    key = ("score explained", model.key, *found.plan.key, picture.identity, picture.name, method.name)
    ask = partial(_explain, model, found, picture, method.name)
    return Job(key, t("{title} of the score", title=told(method.title)), ask, slot, method.forward + method.backward)


def _detect(model: Model, plan: Plan, report: Report | None) -> Detection:
    fitting, first, second = parts(report, 3)
    with model.borrowed() as classifier:
        detector = xai.fit_ood(
            classifier, plan.fit.data, plan.calibration.data, plan.method, plan.seed, **watched(fitting)
        )
        foreign: Any = plan.foreign.data if plan.foreign else detector.shifted(plan.test.data, plan.shift)
        inside = detector.judge(plan.test.data, **watched(first))
        outside = detector.judge(foreign, **watched(second))
    return Detection(plan, detector, inside, outside, foreign)


def _compare(model: Model, found: Detection, report: Report | None) -> xai.OODComparison:
    plan = found.plan
    fit, calibration, test = plan.fit.data, plan.calibration.data, plan.test.data
    with model.borrowed() as classifier:
        return xai.compare_ood(
            classifier,
            fit,
            calibration,
            test,
            {plan.strange: found.foreign},
            seed=plan.seed,
            **watched(report),
        )


def _judge(model: Model, found: Detection, picture: Picture, report: Report | None) -> OneJudged:  # noqa: ARG001
    with model.borrowed() as classifier:
        detector = replace(found.detector, classifier=classifier)
        judgement = detector.judge(picture.open())
        near = None if detector.bank is None else detector.neighbours(picture.open())
    return OneJudged(judgement, near)


def _explain(model: Model, found: Detection, picture: Picture, method: str, report: Report | None) -> xai.Explanation:
    with model.borrowed() as classifier:
        return replace(found.detector, classifier=classifier).explain(
            picture.open(), method, seed=found.plan.seed, **watched(report)
        )
