"""`xai.drift`: two data sets through one model, and what differs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai.core.model.classifier import Classifier, as_classifier
from xai.core.model.inference import LabelledOutputs, answers_of
from xai.core.results.result import Provenance
from xai.core.runtime.batching import Progress, ShouldStop, reporting
from xai.core.validation import check_seed
from xai.errors import InputError, RangeError, Stopped
from xai.stats.two_sample import TwoSample, classifier_test, detectable_shift, kernel_test, principal
from xai.uncertainty.drift.result import DRIFT, NO_EVIDENCE, TOO_SMALL, ClassShare, Drift, DriftFinding, DriftTest
from xai.uncertainty.drift.tests import Sides, ask, class_shares


def findings_of(tests: Sequence[DriftTest], classes: Sequence[ClassShare], alpha: float) -> tuple[DriftFinding, ...]:
    """Return the differences that chance does not explain; single classes only where the answers differ as a whole."""
    found = [DriftFinding(t.name, _sentence(t), t.value, _span(t), t.adjusted) for t in tests if t.adjusted <= alpha]
    if any(one.id == "classes" for one in found):
        moved = [one for one in classes if one.adjusted <= alpha]
        moved.sort(key=lambda one: -abs(one.difference))
        found += [
            DriftFinding(f"class: {one.name}", _about_class(one), one.difference, (one.low, one.high), one.adjusted)
            for one in moved
        ]
    return tuple(found)


def judge(
    tests: Sequence[DriftTest], findings: Sequence[DriftFinding], shift: float, settings: Mapping[str, Any]
) -> tuple[str, tuple[str, ...]]:
    """Return the verdict and its reasons."""
    if findings:
        return DRIFT, tuple(one.sentence for one in findings)
    nothing = "; ".join(f"{test.name} p = {test.p_value:.2g}" for test in tests)
    if shift > settings["relevant"]:
        size = "no shift at all" if shift == float("inf") else f"only shifts above {shift:.2f} standard deviations"
        few = f"with so few pictures a linear classifier finds {size} 8 times of 10"
        return TOO_SMALL, (f"{few}; {settings['relevant']:g} would matter", nothing)
    seen = f"a shift of the features' mean by {shift:.2f} standard deviations would have been found 8 times of 10"
    return NO_EVIDENCE, (f"no test tells the data sets apart; {seen}", nothing)


def _span(test: DriftTest) -> tuple[float, float] | None:
    return None if test.low is None or test.high is None else (test.low, test.high)


def _sentence(test: DriftTest) -> str:
    p = f"(adjusted p = {test.adjusted:.2g})"
    if test.name == "classifier":
        return (
            f"a classifier that sees the features tells the data sets apart: AUROC {test.value:.3f} "
            f"({test.low:.3f} to {test.high:.3f}) on pictures that it was not fitted on {p}"
        )
    if test.name == "kernel":
        value = f"squared MMD {test.value:.2g}, by chance below {test.by_chance:.2g}"
        return f"the features are distributed differently: {value} {p}"
    if test.name == "classes":
        return f"classes are answered differently often: {test.value:.1%} of the answers moved {p}"
    return f"the confidences are distributed differently; their mean changed by {test.value:+.3f} {p}"


def _about_class(one: ClassShare) -> str:
    return (
        f"{one.name!r} is answered in {one.share_b:.1%} instead of {one.share_a:.1%} "
        f"(difference {one.low:+.1%} to {one.high:+.1%}, adjusted p = {one.adjusted:.2g})"
    )


_STEPS, _FINE = 6, 100  # of the work, and parts of each that progress is told in
_FEWEST = 10  # pictures in each: with fewer, no fold has two of each
_COMPONENTS = 256
_PER_COMPONENT = 10  # pictures for each component at least


def drift(
    model: Classifier | nn.Module,
    data_a: Any,
    data_b: Any,
    *,
    alpha: float = 0.05,
    relevant: float = 0.5,
    rows: int = 5000,
    draws: int = 499,
    seed: int = 0,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Drift:
    """Ask whether two data sets look alike to a model: its features, its answers and its confidence.

    Four questions, each answered by an exact or permutation p-value, together adjusted by Holm: can a classifier tell
    the features apart (AUROC on pictures it was not fitted on); do their distributions differ at all (kernel test,
    MMD); are classes answered as often; is the model as sure.

    Args:
        model: a classifier or a bare module whose classes exclude each other.
        data_a: pictures to compare with, such as those of last year: a data set, images, or stored outputs. With
            labels, the shares of classes in `data_b` are estimated too.
        data_b: the new pictures; needs no labels.
        alpha: of all tests together.
        relevant: shift of the features' mean, in standard deviations, that would matter: where not even this would have
            been found, the verdict is "too small to tell" instead of "no evidence".
        rows: pictures of each that the two tests of features use at most, chosen by the seed.
        draws: relabellings of the permutation tests.
        seed: fixes samples and relabellings, by the pictures' content: their order changes nothing.
        progress: None, True for a bar, or a callable `(done, total)` in hundredths of the six steps.
        should_stop: asked between chunks of pictures and between tests; True ends the work with `xai.errors.Stopped`.

    Returns:
        Drift; `.verdict`, `.findings` (empty: nothing found), `.table`, `.per_class`, `.plot()`.

    Raises:
        InputError: fewer than ten pictures in either.
        RangeError: `alpha`, `relevant`, `rows` or `draws` outside their range.
        UnsupportedModelError: several classes may be right at once.
        Stopped: `should_stop()` was true.

    Cost: one pass over all pictures, and rows^2 (256 + 2 draws) x 4 multiplications.
    Source: see `xai.stats.two_sample`; Rabanser et al. 2019 for tests on a model's outputs, Lipton et al. 2018 for
    the estimate of label shift.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(150)
        >>> xai.drift(clf, data, 1 - data.images[:], draws=49).verdict  # and the same clothes as negatives
        'drift'
    """
    classifier, seed = as_classifier(model), check_seed(seed)
    _check(alpha, relevant, rows, draws)
    settings = {"alpha": alpha, "relevant": relevant, "rows": rows, "draws": draws}
    with reporting(progress, "drift") as report:
        tick = _ticks(report, should_stop)
        pair = []
        for k, data in enumerate((data_a, data_b)):
            pair.append(answers_of(classifier, data, progress=_part(report, k), should_stop=should_stop))
            tick()
        first, second = pair
        if min(len(first), len(second)) < _FEWEST:
            raise InputError(
                f"Expected at least {_FEWEST} pictures in each data set, but got {len(first)} and {len(second)}. "
                "Give more."
            )
        return _drift(classifier, first, second, settings, seed, tick)


def _part(report: Progress | None, step: int) -> Progress | None:
    """Return what reports the pictures of a step as hundredths of it."""
    if report is None:
        return None
    tell: Progress = report
    return lambda done, total: tell(_FINE * step + min(_FINE - 1, _FINE * done // max(1, total)), _FINE * _STEPS)


def _ticks(report: Progress | None, should_stop: ShouldStop | None, total: int = _STEPS) -> Callable[[], None]:
    done = [0]

    def tick() -> None:
        done[0] += 1
        if report is not None:
            report(_FINE * done[0], _FINE * total)
        if should_stop is not None and done[0] < total and should_stop():
            raise Stopped(f"Stopped after {done[0]} of {total} steps, as asked.")

    return tick


def _drift(
    classifier: Classifier,
    first: LabelledOutputs,
    second: LabelledOutputs,
    settings: Mapping[str, Any],
    seed: int,
    tick: Callable[[], None],
) -> Drift:
    told, kernel, size, notes = _feature_tests(first, second, settings, seed, tick)
    sides = Sides.of(first, second, classifier.labels)
    shares = class_shares(sides, settings["alpha"], seed)
    tests = ask(told, kernel, sides, settings["draws"], seed)
    tick()
    few_a, few_b = (min(settings["rows"], len(answers)) for answers in (first, second))
    shift = detectable_shift(few_a, few_b, size, alpha=settings["alpha"] / len(tests))
    findings = findings_of(tests, shares, settings["alpha"])
    verdict, reasons = judge(tests, findings, shift, settings)
    tick()
    data = {"a": first.name, "b": second.name, "count_a": len(first), "count_b": len(second), "components": size}
    return Drift(
        verdict=verdict,
        reasons=reasons,
        findings=findings,
        tests=tests,
        classes=shares,
        detectable_shift=shift if np.isfinite(shift) else None,
        scores_a=told.scores[:few_a],
        scores_b=told.scores[few_a:],
        confidence_a=sides.confidence_a,
        confidence_b=sides.confidence_b,
        provenance=Provenance.of(classifier, settings, seed, data),
        notes=tuple(dict.fromkeys([*notes, *first.notes, *second.notes])),
    )


def _feature_tests(
    first: LabelledOutputs, second: LabelledOutputs, settings: Mapping[str, Any], seed: int, tick: Callable[[], None]
) -> tuple[TwoSample, TwoSample, int, list[str]]:
    """Return both tests of features, the number of components and notes."""
    one, two = (_some_rows(answers, settings["rows"], seed) for answers in (first, second))
    most = max(1, min(_COMPONENTS, (len(one) + len(two)) // _PER_COMPONENT))
    first_part, second_part, share = principal(one, two, most, seed=seed)
    told = classifier_test(first_part, second_part, draws=settings["draws"], seed=seed)
    tick()
    kernel = kernel_test(first_part, second_part, draws=settings["draws"], seed=seed)
    tick()
    size = int(first_part.shape[1])
    notes = [f"the tests of features use {len(one)} and {len(two)} pictures"] * (
        len(one) < len(first) or len(two) < len(second)
    )
    notes += [f"features in {size} principal components, {share:.1%} of their variance"] * (share < 1)
    both = len(set(first.keys) & set(second.keys))
    notes += [f"{both} pictures are in both data sets, which hides differences"] * (both > 0)
    return told, kernel, size, notes


def _some_rows(answers: LabelledOutputs, rows: int, seed: int) -> Tensor:
    """Return features (n, D), or logits where there are none, of at most so many pictures in an order of their own."""
    source = answers.logits if answers.features is None else answers.features
    return source[torch.tensor(answers.order(seed)[:rows])]


def _check(alpha: float, relevant: float, rows: int, draws: int) -> None:
    if not 0 < alpha < 1:
        raise RangeError(f"Expected `alpha` between 0 and 1, but got {alpha!r}. 5 % is 0.05.")
    if not relevant > 0:
        raise RangeError(f"Expected `relevant`, in standard deviations, above 0, but got {relevant!r}.")
    for name, value, least in (("rows", rows, _FEWEST), ("draws", draws, 19)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise RangeError(f"Expected `{name}` of at least {least}, but got {value!r}.")
