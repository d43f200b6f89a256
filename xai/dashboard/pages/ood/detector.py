"""The page "Out of distribution": a detector is chosen, fitted, calibrated and compared."""

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import streamlit as st

import xai
from xai.dashboard import widgets as ui
from xai.dashboard.session import (
    DataSample,
    Job,
    Key,
    Report,
    SharedModel,
    SourceImage,
    data_names,
    draw_sample,
    progress_arguments,
    progress_parts,
    rows_of,
    with_parts,
)
from xai.dashboard.text import t, told

_USUAL, _MOST = 1000, 5000  # images
_AUTO = "auto"
_ROWS_OF_SHIFTS = 5 / 3  # for each calibration image, when the method is chosen


@dataclass(frozen=True, eq=False)
class DetectorPlan:
    """Which images and which method.

    Attributes:
        fit: in-distribution images to learn from.
        calibration: in-distribution images that the promise rests on.
        test: in-distribution images drawn with those, and held out.
        ood_images: a data set; None for a shift of the held out ones.
        shift: its name; "" for a data set.
        method: of the detector, or "auto".
    """

    fit: DataSample
    calibration: DataSample
    test: DataSample
    ood_images: DataSample | None
    shift: str
    method: str

    @property
    def samples(self) -> tuple[DataSample, ...]:
        """All data sets."""
        every = (self.fit, self.calibration, self.test, self.ood_images)
        return tuple(sample for sample in every if sample is not None)

    @property
    def ood_name(self) -> str:
        """What is out-of-distribution: the name of the data set or of the shift."""
        return self.shift if self.ood_images is None else self.ood_images.name

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
        """Lines that make the detector `d`, the held out images `test` and the others `ood_images`."""
        settings = f"method={self.method!r}, seed={self.seed}"
        return (
            f"fit = {self.fit.code}",
            f"calibration = {self.calibration.code}",
            f"test = {self.test.code}",
            f"d = xai.fit_ood(clf, fit, calibration, {settings})",
            f"ood_images = {self.ood_images.code if self.ood_images else f'd.shifted(test, {self.shift!r})'}",
        )


@dataclass(frozen=True, eq=False)
class DetectorResult:
    """A detector and what it says of images that it has not seen.

    Attributes:
        plan: what it was made of.
        detector: fitted and calibrated.
        inside: of the in-distribution images that were held out.
        outside: of the out-of-distribution ones.
        ood_images: these: a data set, or shifted images by number.
    """

    plan: DetectorPlan
    detector: xai.OODDetector
    inside: xai.results.Judgement
    outside: xai.results.Judgement
    ood_images: Any

    def image(self, *, is_ood: bool, k: int) -> SourceImage:
        """Return an image by its number among the in-distribution or the out-of-distribution ones."""
        if not is_ood:
            return self.plan.test.image(k)
        if self.plan.ood_images is not None:
            return self.plan.ood_images.image(k)
        identity = "/".join(map(str, (*self.plan.test.key, self.plan.shift, k)))
        return SourceImage(f"{self.plan.shift} {k}", identity, self.ood_images[k], f"ood_images[{k}]")


@dataclass(frozen=True, eq=False)
class JudgedImage:
    """What a detector says of one image.

    Attributes:
        judgement: score, p-value, reasons.
        neighbours: the fit images most like it, one per row; None where the model has no features.
    """

    judgement: xai.results.Judgement
    neighbours: pd.DataFrame | None


def detector_job(model: SharedModel, plan: DetectorPlan, slot: Any) -> Job:
    """Return the job whose result is the detector with its verdicts."""

    def detect(classifier: xai.Classifier, report: Report | None) -> DetectorResult:
        fitting, first, second = map(progress_arguments, progress_parts(report, 3))
        drawn = plan.fit.data, plan.calibration.data
        detector = xai.fit_ood(classifier, *drawn, plan.method, plan.seed, **fitting)
        ood_images: Any = plan.ood_images.data if plan.ood_images else detector.shifted(plan.test.data, plan.shift)
        inside = detector.judge(plan.test.data, **first)
        return DetectorResult(plan, detector, inside, detector.judge(ood_images, **second), ood_images)

    rows = sum(len(sample.data) for sample in plan.samples) + len(plan.test.data) * (plan.ood_images is None)
    rows += round(_ROWS_OF_SHIFTS * len(plan.calibration.data)) if plan.method == "auto" else 0
    key = ("detection", model.key, *plan.key)
    return Job(key, t("Fitting and evaluating"), model.ask(detect), slot, rows, model.example)


def detector_comparison_job(model: SharedModel, result: DetectorResult, slot: Any) -> Job:
    """Return the job whose result is every detector on the same images."""
    plan = result.plan

    def compare(classifier: xai.Classifier, report: Report | None) -> xai.results.OODComparison:
        fit, calibration, test = plan.fit.data, plan.calibration.data, plan.test.data
        settings = {"seed": plan.seed, **progress_arguments(report)}
        return xai.compare_ood(classifier, fit, calibration, test, {plan.ood_name: result.ood_images}, **settings)

    rows = sum(len(sample.data) for sample in plan.samples)
    key = ("compared", model.key, *plan.key)
    return Job(key, t("Comparing all methods"), model.ask(compare), slot, rows)


def judgement_job(model: SharedModel, result: DetectorResult, image: SourceImage, slot: Any) -> Job:
    """Return the job whose result is the verdict on one image."""

    def judge(classifier: xai.Classifier, report: Report | None) -> JudgedImage:  # noqa: ARG001
        detector = replace(result.detector, classifier=classifier)
        near = None if detector.bank is None else detector.neighbours(image.open())
        return JudgedImage(detector.judge(image.open()), near)

    key = ("judged", model.key, *result.plan.key, image.identity, image.name)
    return Job(key, t("Evaluating"), model.ask(judge), slot, rows=2)


def score_map_job(
    model: SharedModel, result: DetectorResult, image: SourceImage, method: xai.results.MethodInfo, slot: Any
) -> Job:
    """Return the job whose result is the map of what makes an image out-of-distribution."""

    def explain(classifier: xai.Classifier, report: Report | None) -> xai.Explanation:
        detector = replace(result.detector, classifier=classifier)
        return detector.explain(image.open(), method.name, seed=result.plan.seed, **progress_arguments(report))

    key = ("score explained", model.key, *result.plan.key, image.identity, image.name, method.name)
    title = t("{title} of the score", title=told(method.title))
    return Job(key, title, model.ask(explain), slot, rows_of(method))


def choose_plan(model: SharedModel) -> DetectorPlan:
    """Let the user choose in-distribution and out-of-distribution images and a method."""
    names = with_parts(ui.names_for(model))
    first = next((name for name in names if "train" in name), names[0])
    second = next((name for name in names if name.partition("@")[0] != first.partition("@")[0]), first)
    fit = st.selectbox(
        t("Fit on"), names, names.index(first), key="fit", help=t("In-distribution images."), bind="query-params"
    )
    ordinary = st.selectbox(
        t("Calibrate on"),
        names,
        names.index(second),
        key="calibration",
        help=t(
            "Other in-distribution images, on which the model was not trained. Half of those sampled "
            "are used to calibrate, the other half is held out for testing."
        ),
        bind="query-params",
    )
    shifts = xai.OODDetector.SHIFTS
    strange = [name for name in data_names() if name not in names]
    ood_images = st.selectbox(
        t("Out-of-distribution images"),
        [*strange, *shifts],
        format_func=lambda name: (
            t("made from in-distribution images: {name}", name=told(name)) if name in shifts else name
        ),
        key="ood",
        bind="query-params",
    )
    count, seed = ui.choose_size(t("How many of each"), "each", _USUAL, _MOST)
    method = _choose_method()
    with ui.stop_on_error(), st.spinner(t("Sampling images …")):
        learnt, calibration, test = _ordinary(fit, ordinary, count, seed)
        others = None if ood_images in shifts else draw_sample(ood_images, count, seed)
        st.caption(
            t(
                "{count} to fit, {count_2} to calibrate, {count_3} held out.",
                count=len(learnt.data),
                count_2=len(calibration.data),
                count_3=len(test.data),
            )
        )
    return DetectorPlan(learnt, calibration, test, others, ood_images if ood_images in shifts else "", method)


def _choose_method() -> str:
    infos = {info.name: info for info in xai.methods(kind="detector")}
    method: str = st.selectbox(
        t("Method"),
        [_AUTO, *infos],
        format_func=lambda name: told(infos[name].title) if name in infos else t("chosen for this model"),
        key="detector",
        help=t("Tries all methods on shifts of a third of the images used to calibrate."),
        bind="query-params",
    )
    return method


def _ordinary(fit: str, ordinary: str, count: int, seed: int) -> tuple[DataSample, DataSample, DataSample]:
    """Return images to learn from, to calibrate on and to keep back, none of which is in two of them."""
    if fit == ordinary:
        whole = draw_sample(fit, 2 * count, seed)
        learnt, rest = whole.every(2, 0), whole.every(2, 1)
    else:
        learnt, rest = draw_sample(fit, count, seed), draw_sample(ordinary, count, seed)
    return learnt, rest.every(2, 0), rest.every(2, 1)
