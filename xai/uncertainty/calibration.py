"""`xai.calibration`: measure, fit a temperature on one half, judge it on the other."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import scipy
import torch
from torch import Tensor, nn

from xai.core.model.classifier import Classifier, as_classifier
from xai.core.model.inference import LabelledOutputs, draw_of, labelled_outputs
from xai.core.results.message import Message
from xai.core.results.result import Provenance
from xai.core.runtime.batching import Progress, ShouldStop
from xai.core.validation import check_level, check_number, check_seed, check_whole
from xai.errors import DataError, InputError
from xai.stats.intervals import holm, paired_mean, swapped_error_p
from xai.uncertainty.calibration_result import Calibration, Measures, TemperatureEffect, measure
from xai.uncertainty.calibration_scores import LIMITS, Scores, Temperature, fit_temperature, score

NO_EVIDENCE, TOO_SMALL = "no evidence", "too small to tell"


def judge(measures: Measures, settings: Mapping[str, Any]) -> tuple[str, tuple[Message, ...]]:
    """Return the verdict and its reasons."""
    error, alpha = measures.ece, 1 - settings["level"]
    figure = Message(
        "ECE {value:.4f} on {count} images; a perfectly calibrated model would show {chance:.4f} (p = {p:.2g}); "
        "true error {low:.4f} to {high:.4f}",
        **{"value": error.value, "count": measures.count, "chance": error.chance, "p": error.p_value},
        **{"low": error.low, "high": error.high},
    )
    if error.p_value > alpha and error.detectable > settings["tolerance"]:
        limit = Message(
            "{count} images are too few to detect errors below {detectable:.4f}, and {tolerance:.4g} would matter",
            **{"count": measures.count, "detectable": error.detectable, "tolerance": settings["tolerance"]},
        )
        return TOO_SMALL, (figure, limit)
    if error.p_value > alpha:
        limit = Message("an error above {detectable:.4f} would have been detected", detectable=error.detectable)
        return NO_EVIDENCE, (figure, limit)
    gap, p_value = _confidence_gap(measures)
    if p_value > alpha:
        return "miscalibrated", (
            figure,
            Message("high and low confidences are off in opposite directions: see the curve"),
        )
    means = Message(
        "mean confidence {confidence:.4f}, accuracy {accuracy:.4f}",
        **{"confidence": measures.confidence, "accuracy": measures.accuracy},
    )
    return "overconfident" if gap > 0 else "underconfident", (figure, means)


def _confidence_gap(measures: Measures) -> tuple[float, float]:
    """Return mean confidence minus accuracy, and its two-sided p-value were the confidences right."""
    gap = measures.confidence - measures.accuracy
    variance = (
        sum(each.count * each.confidence * (1 - each.confidence) for each in measures.ece.bins) / measures.count**2
    )
    return gap, float(2 * scipy.stats.norm.sf(abs(gap) / max(variance, 1e-300) ** 0.5))


def compare(
    plain: Scores,
    warm: Scores,
    measures: tuple[Measures, Measures],
    order: Sequence[int],
    settings: Mapping[str, Any],
    seed: int,
) -> tuple[TemperatureEffect, ...]:
    """Return ECE, Brier score and NLL without and with a temperature. They are tested on the same images.

    Args:
        plain: without.
        warm: with.
        measures: of both.
        order: of the images for the draws, which does not depend on the order they came in.
        settings: bins and level.
        seed: of the draws.
    """
    before, after = (measure.ece.value for measure in measures)
    columns = [values[list(order)] for values in (plain.confidence, warm.confidence, plain.correct)]
    swapped = swapped_error_p(*columns, bins=settings["bins"], seed=seed)
    rows: list[list[Any]] = [["ece", before, after, after - before, None, None, swapped]]
    for name in ("brier", "nll"):
        plain_values, two = getattr(plain, name), getattr(warm, name)
        rows.append(
            [name, float(plain_values.mean()), float(two.mean()), *paired_mean(plain_values, two, settings["level"])]
        )
    names = [field.name for field in fields(TemperatureEffect)]
    adjusted = holm([row[-1] for row in rows]).tolist()
    return tuple(
        TemperatureEffect(**dict(zip(names, [*row, p], strict=True))) for row, p in zip(rows, adjusted, strict=True)
    )


def about_temperature(
    temperature: Temperature, tests: Sequence[TemperatureEffect], settings: Mapping[str, Any]
) -> Message:
    """Return what the temperature is and whether it helps on images that it was not fitted on."""
    if temperature.at_limit and temperature.value == LIMITS[0]:
        return Message("no temperature fits: all predictions it was fitted on are correct")
    if temperature.at_limit:
        return Message("no temperature fits: the predictions are no better than chance")
    alpha = 1 - settings["level"]
    better = ", ".join(test.measure for test in tests if test.difference < 0 and test.adjusted <= alpha)
    worse = ", ".join(test.measure for test in tests if test.difference > 0 and test.adjusted <= alpha)
    return Message(
        "temperature {value:.3f} ({low:.3f} to {high:.3f}), fitted on {count} other images: {effect}",
        **{"value": temperature.value, "low": temperature.low, "high": temperature.high, "count": temperature.count},
        effect=_effect(better, worse),
    )


def _effect(better: str, worse: str) -> Message:
    if better and worse:
        return Message("improves {better} and worsens {worse}", better=better, worse=worse)
    if better or worse:
        return Message("improves {better}", better=better) if better else Message("worsens {worse}", worse=worse)
    return Message("no evidence of a change")


_FEWEST = 20  # images: with fewer, halves say nothing


def calibration(
    model: Classifier | nn.Module,
    data: Any,
    labels: Any = None,
    *,
    fit_data: Any = None,
    bins: int = 15,
    level: float = 0.95,
    tolerance: float = 0.05,
    seed: int = 0,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Calibration:
    """Measure how well calibrated a classifier's probabilities are. It also says whether a temperature helps.

    The temperature is fitted on half of the images and judged on the other half; which is which follows from their
    content, so that equal images stay together. Or it is fitted on `fit_data` and judged on all of `data`.

    Args:
        model: a classifier or a bare module whose classes exclude each other.
        data: labelled images that the model was not trained on: a data set of `xai.load_data`, images, or the outputs
            of an earlier `clf.outputs(data)`.
        labels: the truth (N,), indices or names; None takes the data set's.
        fit_data: labelled images to fit the temperature on; none of them may be in `data`.
        bins: of confidence.
        level: of the intervals, and 1 minus the level of the tests.
        tolerance: calibration error that would matter: where not even this could be told from chance, the verdict is
            "too small to tell".
        seed: fixes halves, bootstrap and swaps, by the images' content: their order changes nothing.
        progress: None, True for a bar, or a callable `(done, total)`.
        should_stop: asked between chunks of images; True ends the work with `xai.errors.Stopped`.

    Returns:
        Calibration; `.ece` and `.ece_interval`, `.curve`, `.temperature`, `.table`, `.per_class`, `.risk_coverage`.

    Raises:
        InputError: no labels, or fewer than 20 images.
        DataError: images of `fit_data` are in `data` too, or nearly all of `data` are equal.
        RangeError: `bins`, `level` or `tolerance` outside their range.
        UnsupportedModelError: several classes may be right at once.
        NonFiniteError: the model answered NaN or infinity.
        Stopped: `should_stop()` was true.

    Cost: one pass over the images, about twenty softmaxes of the logits.
    Source: Guo et al. 2017 for ECE and temperature; see `xai.uncertainty.calibration_error` for interval and test.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(400)
        >>> xai.calibration(clf, data).temperature.value > 0
        True
    """
    classifier, seed = as_classifier(model), check_seed(seed)
    _check(bins, level, tolerance)
    outputs = labelled_outputs(classifier, data, labels, progress=progress, should_stop=should_stop)
    fitted = None
    if fit_data is not None:
        fitted = labelled_outputs(classifier, fit_data, progress=progress, should_stop=should_stop)
        _refuse_overlap(outputs, fitted)
    fewest = min(len(outputs), len(outputs if fitted is None else fitted))
    if fewest < _FEWEST:
        raise InputError(f"Expected at least {_FEWEST} labelled images, but got {fewest}. Give more.")
    settings = {"bins": bins, "level": level, "tolerance": tolerance}
    return _calibration(classifier, outputs, fitted, settings, seed)


def _check(bins: int, level: float, tolerance: float) -> None:
    check_whole("bins", bins, 1, 1000)
    check_level(level)
    check_number("tolerance", tolerance, "(0, 1)", cure="5 points are 0.05.")


def _refuse_overlap(outputs: LabelledOutputs, fitted: LabelledOutputs) -> None:
    shared = len(set(outputs.keys) & set(fitted.keys))
    if shared:
        raise DataError(
            f"Expected `fit_data` without images of `data`, but {shared} are in both: a temperature judged on what "
            "it was fitted on always looks good. Leave `fit_data` out, or take other images."
        )


def _calibration(
    classifier: Classifier,
    outputs: LabelledOutputs,
    fitted: LabelledOutputs | None,
    settings: Mapping[str, Any],
    seed: int,
) -> Calibration:
    is_evaluation = np.ones(len(outputs), dtype=bool) if fitted is not None else _half(outputs, seed)
    rows = torch.from_numpy(is_evaluation)
    temperature = _fit(outputs, ~rows, settings) if fitted is None else _fit(fitted, None, settings)

    def scored(logits: Tensor, ground_truth: Tensor, value: float = 1.0) -> tuple[Scores, Measures]:
        scores = score(logits, ground_truth, temperature=value, bins=settings["bins"])
        return scores, measure(scores, classifier.class_names, settings["bins"], settings["level"], seed)

    ground_truth = outputs.ground_truth
    plain, measures = scored(outputs.logits, ground_truth)
    cold, before = scored(outputs.logits[rows], ground_truth[rows])
    warm, after = scored(outputs.logits[rows], ground_truth[rows], temperature.value)
    calibrated = np.full(len(outputs), np.nan)
    calibrated[is_evaluation] = warm.confidence
    order = [int(k) for k in np.argsort(np.argsort(outputs.order(seed))[is_evaluation])]
    comparisons = compare(cold, warm, (before, after), order, settings, seed)
    verdict, reasons = judge(measures, settings)
    data = {
        "name": outputs.name,
        "count": len(outputs),
        "judged": int(is_evaluation.sum()),
        "fitted_on": outputs.name if fitted is None else fitted.name,
        "fitted": temperature.count,
    }
    return Calibration(
        measures=measures,
        temperature=temperature,
        before=before,
        after=after,
        comparisons=comparisons,
        verdict=verdict,
        reasons=(*reasons, about_temperature(temperature, comparisons, settings)),
        labels=ground_truth.numpy(),
        predictions=plain.predicted,
        confidence=plain.confidence,
        calibrated=calibrated,
        is_evaluation=is_evaluation,
        class_names=tuple(classifier.class_names),
        provenance=Provenance.of(classifier, settings, seed, data),
        notes=outputs.notes,
    )


def _half(outputs: LabelledOutputs, seed: int) -> np.ndarray:
    """Return which images judge (N,): half of them, equal images on one side, whatever their order.

    Raises:
        DataError: hardly any image on one side.
    """
    draws = np.array([draw_of(seed, key) for key in outputs.keys])
    is_judge: np.ndarray = draws < np.sort(draws)[len(draws) // 2]
    if min(is_judge.sum(), (~is_judge).sum()) < _FEWEST // 4:
        raise DataError(
            f"Expected different images, but most of the {len(is_judge)} are equal, and equal ones stay in one half. "
            "Pass `fit_data` to fit the temperature on."
        )
    return is_judge


def _fit(outputs: LabelledOutputs, rows: Tensor | None, settings: Mapping[str, Any]) -> Temperature:
    logits, ground_truth = outputs.logits, outputs.ground_truth
    chosen = (logits, ground_truth) if rows is None else (logits[rows], ground_truth[rows])
    return fit_temperature(*chosen, level=settings["level"])
