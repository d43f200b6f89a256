"""`slices`: on which kinds of images is a classifier weak?"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from xai.core.images.border import open_data
from xai.core.labels import labels_of
from xai.core.model.classifier import Classifier, as_classifier
from xai.core.model.resizing import InputReader
from xai.core.model.usage_checks import data_doubts
from xai.core.results.message import Message
from xai.core.results.result import Provenance
from xai.core.runtime.batching import Progress, ShouldStop, reporting
from xai.core.validation import check_alpha, check_seed
from xai.errors import InputError, Stopped
from xai.fairness.per_image_outcomes import measure
from xai.fairness.slice_inference import WEAK, SliceResult, judge, lines
from xai.fairness.slice_search import CLASS, Facts, Space, search

_READ = 64  # images measured at a time
_FEWEST = 80
_SHOWN = 6  # wrong images of each weak slice


def slices(
    model: Classifier | nn.Module,
    data: Any,
    seed: int = 0,
    *,
    labels: Any = None,
    alpha: float = 0.05,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> SliceResult:
    """Find kinds of images on which a classifier is wrong more often. They are tested on images not used to find them.

    On one half of the images slices are looked for: classes, tails of measured properties (brightness, contrast,
    colour, sharpness, texture, object size), conjunctions of up to three conditions (nodes of shallow trees over
    properties, class, and the class whose mean embedding is nearest), and clusters of the embeddings. The forty most
    suspicious ones are tested on the other half, exactly, with the false discovery rate controlled; in a conjunction
    each condition must matter. Weak slices that say the same are merged: a further one must still be weak among
    images that are alike in their membership of the more certain ones.

    Args:
        model: from `xai.load`, an `xai.Classifier`, or a bare `nn.Module` that takes pixels in [0, 1].
        data: a data set of `xai.load_data`, or images in any form.
        seed: of the halves (of each class) and of the clustering.
        labels: the truth (N,), indices or names; None takes the data's, by class name where the order differs.
        alpha: the false discovery rate.
        progress: None, True for a bar, or a callable `(done, total)`.
        should_stop: asked between chunks; True ends the work with `xai.errors.Stopped`.

    Returns:
        SliceResult; `.findings` holds the weak slices, `.table` all that were tested.

    Raises:
        InputError: no labels, or too few images.
        RangeError: `alpha` outside of 0 to 1.
        Stopped: `should_stop()` was true.

    Cost: one pass of the model over the images and one of the measurements; then seconds for 10,000 images.
    Source: clusters of embeddings after Eyuboglu et al. 2022 (arXiv 2203.14960) and d'Eon et al. 2022, conjunctions
        after SliceLine (Sagadeeva and Boehm 2021); that each is tested on other images is what these lack.

    Example:
        >>> import xai
        >>> len(xai.slices(xai.load("example:fashion"), xai.load_data("example:fashion-test").subset(300)).slices) > 0
        True
    """
    classifier, seed, alpha, data = as_classifier(model), check_seed(seed), check_alpha(alpha), open_data(data)
    with reporting(progress, "slices") as report:
        half = None if report is None else lambda done, total: report(done, 2 * total)
        outputs = classifier.outputs(data, progress=half, should_stop=should_stop)
        ground_truth, notes = labels_of(classifier, data, labels, len(outputs))
        reader = InputReader(classifier, data)
        properties = _properties(reader, len(outputs), report, should_stop)
    predictions = outputs.logits.argmax(1)
    result = slices_of_predictions(
        *(ground_truth.numpy(), predictions.numpy()),
        None if outputs.features is None else outputs.features.numpy(),
        properties,
        class_names=classifier.class_names,
        seed=seed,
        alpha=alpha,
        should_stop=should_stop,
    )
    name, doubts = str(getattr(data, "name", "images")), data_doubts(classifier, data, predictions, ground_truth)
    return replace(
        result,
        **_with_images(result, reader),
        provenance=Provenance.of(classifier, result.settings, seed, {"name": name}),
        notes=tuple(dict.fromkeys([*notes, *doubts, *outputs.notes, *result.notes])),
    )


def slices_of_predictions(
    labels: Any,
    predictions: Any,
    features: Any = None,
    properties: Mapping[str, Any] | None = None,
    *,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
    alpha: float = 0.05,
    should_stop: ShouldStop | None = None,
) -> SliceResult:
    """Do what `slices` does with answers that are already there; no model is needed.

    Args:
        labels: the truth (N,), class numbers from 0.
        predictions: (N,) likewise.
        features: (N, D) embeddings; None leaves clusters out.
        properties: from names to numbers (N,), as of `per_image_outcomes.measure`; None leaves them out.
        class_names: in the order of the numbers; None takes the numbers.
        seed: as in `slices`.
        alpha: as in `slices`.
        should_stop: asked for each kind of images that is tried; True ends the work with `xai.errors.Stopped`.

    Returns:
        SliceResult without images.

    Raises:
        InputError: arrays that do not fit together, numbers that are not finite, or too few images.
        RangeError: `alpha` outside of 0 to 1.
        Stopped: `should_stop()` was true.

    Cost: about 5 s on two cores for 10,000 images with 512 features.
    """
    check_alpha(alpha)
    facts, embedded = _facts(labels, predictions, features, properties, class_names)
    predicted = np.asarray(predictions, dtype=np.int64)
    first, second = _halves(facts.labels, check_seed(seed))
    if embedded is not None:
        space = Space(embedded[first], facts.labels[first], seed)
        codes = {CLASS: facts.labels} | space.codes(embedded, facts.labels)
        facts = Facts(facts.wrong, facts.properties, codes, facts.classes)
    searched, judged = facts.take(first), facts.take(second)
    outcomes = judge(search(searched, seed, should_stop), judged, alpha, should_stop)
    settings = {"alpha": alpha, "properties": list(facts.properties), "features": embedded is not None}
    return SliceResult(
        slices=tuple(lines(outcomes, searched, judged, predicted[second], alpha)),
        rows=second,
        labels=judged.labels,
        predictions=predicted[second],
        members=np.array([outcome.members for outcome in outcomes], dtype=bool).reshape(-1, len(second)),
        images=np.zeros((0, 1, 1, 1), dtype=np.float32),
        shown=np.zeros((0, 2), dtype=np.int64),
        image_names=(),
        class_names=tuple(facts.classes),
        provenance=Provenance.of(None, settings, seed, {"name": "stored predictions"}),
        notes=_notes(facts),
    )


def _facts(
    labels: Any, predictions: Any, features: Any, properties: Mapping[str, Any] | None, classes: Sequence[str] | None
) -> tuple[Facts, np.ndarray | None]:
    """Return what is known of each image, and the embeddings (N, D).

    Raises:
        InputError: arrays that do not fit together, or too few images.
    """
    ground_truth, predicted = (np.asarray(values, dtype=np.int64) for values in (labels, predictions))
    if predicted.shape != ground_truth.shape or ground_truth.ndim != 1 or len(ground_truth) < _FEWEST:
        raise InputError(
            f"Expected one label and one prediction for each of at least {_FEWEST} images, but got shapes "
            f"{ground_truth.shape} and {predicted.shape}. Half of them find slices, half of them judge."
        )
    names = tuple(classes or (str(k) for k in range(int(max(ground_truth.max(), predicted.max())) + 1)))
    table = {
        str(name): _numbers(str(name), values, (len(ground_truth),)) for name, values in (properties or {}).items()
    }
    embedded = None if features is None else _numbers("features", features, (len(ground_truth), -1))
    return Facts(predicted != ground_truth, table, {CLASS: ground_truth}, names), embedded


def _numbers(name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return finite numbers of a shape, in which -1 is any.

    Raises:
        InputError: another shape, or numbers that are not finite.
    """
    numbers = np.asarray(values, dtype=np.float64)
    fits = numbers.ndim == len(shape) and all(
        want in {-1, have} for want, have in zip(shape, numbers.shape, strict=True)
    )
    if not fits or not np.isfinite(numbers).all():
        problem = "numbers that are not finite" if fits else f"shape {numbers.shape}"
        raise InputError(f"Expected {name!r} as {len(shape)}-D finite numbers, one line per image, but got {problem}.")
    return numbers


def _halves(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of both halves, ascending; each class is halved by itself."""
    shuffled = np.random.default_rng(abs(seed)).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    return np.sort(by_class[::2]), np.sort(by_class[1::2])


def _notes(facts: Facts) -> tuple[str, ...]:
    notes = {
        "all predictions are correct": not facts.wrong.any(),
        "all predictions are wrong": facts.wrong.all(),
        "object size is estimated from the colour of the edge": "object size" in facts.properties,
    }
    return tuple(Message(note) for note, holds in notes.items() if holds)


def _properties(
    reader: InputReader, count: int, report: Progress | None, should_stop: ShouldStop | None
) -> dict[str, np.ndarray]:
    """Return the properties of all images (N,) by name; told as the second half of the work."""
    parts = []
    for start in range(0, count, _READ):
        if should_stop is not None and should_stop():
            raise Stopped(f"Stopped after {start} of {count} images were measured, as asked.")
        parts.append(measure(reader.inputs(range(start, min(count, start + _READ)))))
        if report is not None:
            report(count + min(count, start + _READ), 2 * count)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _with_images(result: SliceResult, reader: InputReader) -> dict[str, Any]:
    """Return some wrong images of each weak slice, as the report keeps them."""
    wrong, rng = result.predictions != result.labels, np.random.default_rng(abs(result.seed))
    chosen: list[tuple[int, int]] = []
    for number, each in enumerate(result.slices):
        own = np.flatnonzero(result.members[number] & wrong)
        if each.verdict == WEAK:
            chosen += [(number, int(k)) for k in np.sort(rng.permutation(own)[:_SHOWN])]
    if not chosen:
        return {}
    rows = [int(result.rows[k]) for _, k in chosen]
    return {
        "images": reader.inputs(rows).numpy(),
        "shown": np.array(chosen, dtype=np.int64),
        "image_names": tuple(reader.name(row) for row in rows),
    }
