"""`xai.drift`: two data sets through one model, and what differs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai.core.model.classifier import Classifier, as_classifier
from xai.core.model.inference import LabelledOutputs, labelled_outputs
from xai.core.results.message import Message, joined
from xai.core.results.result import Provenance
from xai.core.runtime.batching import Progress, ShouldStop, reporting
from xai.core.validation import check_alpha, check_number, check_seed, check_whole
from xai.errors import InputError, Stopped
from xai.stats.two_sample import TwoSample, classifier_test, detectable_shift, kernel_test, principal
from xai.uncertainty.drift_tests import (
    DRIFT,
    NO_EVIDENCE,
    TOO_SMALL,
    ClassShare,
    Drift,
    DriftFinding,
    DriftTest,
    Sides,
    ask,
    class_shares,
)


def findings_of(tests: Sequence[DriftTest], classes: Sequence[ClassShare], alpha: float) -> tuple[DriftFinding, ...]:
    """Return the differences that chance does not explain; single classes only where the answers differ as a whole."""
    findings = [DriftFinding(t.name, _sentence(t), t.value, _span(t), t.adjusted) for t in tests if t.adjusted <= alpha]
    if any(finding.id == "classes" for finding in findings):
        moved = sorted(
            (share for share in classes if share.adjusted <= alpha), key=lambda share: -abs(share.difference)
        )
        findings += [
            DriftFinding(f"class: {s.name}", _class_sentence(s), s.difference, (s.low, s.high), s.adjusted)
            for s in moved
        ]
    return tuple(findings)


def judge(
    tests: Sequence[DriftTest], findings: Sequence[DriftFinding], shift: float, settings: Mapping[str, Any]
) -> tuple[str, tuple[str, ...]]:
    """Return the verdict and its reasons."""
    if findings:
        return DRIFT, tuple(finding.sentence for finding in findings)
    p_values = joined([Message("{test} p = {p:.2g}", test=Message(test.name), p=test.p_value) for test in tests])
    relevant = settings["relevant"]
    if shift == float("inf"):
        template = (
            "with so few images a linear classifier would detect no shift; {relevant:g} standard deviations would "
            "matter"
        )
        return TOO_SMALL, (Message(template, relevant=relevant), p_values)
    if shift > relevant:
        template = (
            "with so few images a linear classifier would detect only shifts above {shift:.2f} standard deviations "
            "8 times out of 10; {relevant:g} would matter"
        )
        return TOO_SMALL, (Message(template, shift=shift, relevant=relevant), p_values)
    template = (
        "no test tells the data sets apart; a shift of the features' mean by {shift:.2f} standard deviations would "
        "have been detected 8 times out of 10"
    )
    return NO_EVIDENCE, (Message(template, shift=shift), p_values)


def _span(test: DriftTest) -> tuple[float, float] | None:
    return None if test.low is None or test.high is None else (test.low, test.high)


_SENTENCES = {
    "classifier": "a classifier of the features tells the data sets apart: AUROC {value:.3f} ({low:.3f} to {high:.3f}) "
    "on images that it was not fitted on (adjusted p = {p:.2g})",
    "kernel": "the features are distributed differently: squared MMD {value:.2g}, by chance below {by_chance:.2g} "
    "(adjusted p = {p:.2g})",
    "classes": "the classes are predicted with other frequencies: {value:.1%} of the predictions moved "
    "(adjusted p = {p:.2g})",
    "confidence": "the confidences are distributed differently; their mean changed by {value:+.3f} "
    "(adjusted p = {p:.2g})",
}


def _sentence(test: DriftTest) -> Message:
    figures = {"value": test.value, "low": test.low, "high": test.high, "by_chance": test.by_chance}
    return Message(_SENTENCES[test.name], **figures, p=test.adjusted)


def _class_sentence(share: ClassShare) -> Message:
    return Message(
        "{name!r} is predicted for {share_b:.1%} of the images instead of {share_a:.1%} (difference {low:+.1%} to "
        "{high:+.1%}, adjusted p = {p:.2g})",
        **{"name": share.name, "share_a": share.share_a, "share_b": share.share_b},
        **{"low": share.low, "high": share.high, "p": share.adjusted},
    )


_STEPS, _FINE = 6, 100  # of the work, and parts of each that progress is told in
_FEWEST = 10  # images in each: with fewer, no fold has two of each
_COMPONENTS = 256
_PER_COMPONENT = 10  # images for each component at least


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
    """Test whether two data sets look alike to a model. Its features, predictions and confidence are compared.

    Four questions, each answered by an exact or permutation p-value, together adjusted by Holm: can a classifier tell
    the features apart (AUROC on images it was not fitted on); do their distributions differ at all (kernel test,
    MMD); are classes predicted as often; is the confidence alike.

    Args:
        model: a classifier or a bare module whose classes exclude each other.
        data_a: images to compare with, such as those of last year: a data set, images, or stored outputs. With
            labels, the shares of classes in `data_b` are estimated too.
        data_b: the new images; needs no labels.
        alpha: of all tests together.
        relevant: shift of the features' mean, in standard deviations, that would matter: where not even this would have
            been found, the verdict is "too small to tell" instead of "no evidence".
        rows: images of each that the two tests of features use at most, chosen by the seed.
        draws: relabellings of the permutation tests.
        seed: fixes samples and relabellings, by the images' content: their order changes nothing.
        progress: None, True for a bar, or a callable `(done, total)` in hundredths of the six steps.
        should_stop: asked between chunks of images and between tests; True ends the work with `xai.errors.Stopped`.

    Returns:
        Drift; `.verdict`, `.findings` (empty: nothing found), `.table`, `.per_class`, `.plot()`.

    Raises:
        InputError: fewer than ten images in either.
        RangeError: `alpha`, `relevant`, `rows` or `draws` outside their range.
        UnsupportedModelError: several classes may be right at once.
        Stopped: `should_stop()` was true.

    Cost: one pass over all images, and rows^2 (256 + 2 draws) x 4 multiplications.
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
            pair.append(labelled_outputs(classifier, data, progress=_part(report, k), should_stop=should_stop))
            tick()
        first, second = pair
        if min(len(first), len(second)) < _FEWEST:
            raise InputError(
                f"Expected at least {_FEWEST} images in each data set, but got {len(first)} and {len(second)}. "
                "Give more."
            )
        return _drift(classifier, first, second, settings, seed, tick)


def _part(report: Progress | None, step: int) -> Progress | None:
    """Return what reports the images of a step as hundredths of it."""
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
    separation, kernel, size, notes = _feature_tests(first, second, settings, seed, tick)
    sides = Sides.of(first, second, classifier.class_names)
    shares = class_shares(sides, settings["alpha"], seed)
    tests = ask(separation, kernel, sides, settings["draws"], seed)
    tick()
    few_a, few_b = (min(settings["rows"], len(outputs)) for outputs in (first, second))
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
        class_shares=shares,
        detectable_shift=shift if np.isfinite(shift) else None,
        scores_a=separation.scores[:few_a],
        scores_b=separation.scores[few_a:],
        confidence_a=sides.confidence_a,
        confidence_b=sides.confidence_b,
        provenance=Provenance.of(classifier, settings, seed, data),
        notes=tuple(dict.fromkeys([*notes, *first.notes, *second.notes])),
    )


def _feature_tests(
    first: LabelledOutputs, second: LabelledOutputs, settings: Mapping[str, Any], seed: int, tick: Callable[[], None]
) -> tuple[TwoSample, TwoSample, int, list[Message]]:
    """Return both tests of features, the number of components and notes."""
    first_rows, two = (_some_rows(outputs, settings["rows"], seed) for outputs in (first, second))
    most = max(1, min(_COMPONENTS, (len(first_rows) + len(two)) // _PER_COMPONENT))
    first_part, second_part, share = principal(first_rows, two, most, seed=seed)
    separation = classifier_test(first_part, second_part, draws=settings["draws"], seed=seed)
    tick()
    kernel = kernel_test(first_part, second_part, draws=settings["draws"], seed=seed)
    tick()
    size = int(first_part.shape[1])
    notes = []
    if len(first_rows) < len(first) or len(two) < len(second):
        notes.append(
            Message("the tests of features use {first} and {second} images", first=len(first_rows), second=len(two))
        )
    if share < 1:
        template = "features in {count} principal components, {share:.1%} of their variance"
        notes.append(Message(template, count=size, share=share))
    both = len(set(first.keys) & set(second.keys))
    if both:
        notes.append(Message("{count} images are in both data sets, which hides differences", count=both))
    return separation, kernel, size, notes


def _some_rows(outputs: LabelledOutputs, rows: int, seed: int) -> Tensor:
    """Return features (n, D), or logits where there are none, of at most so many images in an order of their own."""
    source = outputs.logits if outputs.features is None else outputs.features
    return source[torch.tensor(outputs.order(seed)[:rows])]


def _check(alpha: float, relevant: float, rows: int, draws: int) -> None:
    check_alpha(alpha)
    check_number("relevant", relevant, "(0, inf)", cure="It is in standard deviations.")
    check_whole("rows", rows, _FEWEST)
    check_whole("draws", draws, 19)
