"""`xai.fit_conformal`: from labelled images to thresholds for sets of classes."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from xai.core.model.classifier import Classifier, as_classifier
from xai.core.model.inference import LabelledOutputs, draw_of, labelled_outputs
from xai.core.results.message import Message
from xai.core.results.result import Provenance, Result
from xai.core.runtime.batching import Progress, ShouldStop
from xai.core.validation import check_alpha, check_choice, check_number, check_seed
from xai.errors import InputError
from xai.uncertainty.prediction_sets import SCORES, CoverageGuarantee, PredictionSets, conformity, guarantee

_DIGEST = 16  # bytes kept of an image's key
_ENTRIES = 1 << 20  # probabilities at a time: bounds the memory


@dataclass(frozen=True, eq=False, repr=False)
class ConformalPredictor(Result):
    """Sets of classes with a promise.

    Attributes:
        method: "lac", "aps" or "raps".
        alpha: share of new images whose set may miss the truth.
        by_class: whether the promise holds for the images of each class.
        promises: one, or one per class: threshold and what it guarantees.
        keys: (n, 16) uint8, digests of the calibration images.
        class_names: of the model.
        provenance: model, settings, seed of the randomisation, name and size of the calibration data.
        notes: what was done and what to beware of.
        classifier: that is asked; not saved.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(200)
        >>> promise = xai.fit_conformal(clf, data, alpha=0.1)
        >>> promise.alpha
        0.1
    """

    _kind: ClassVar[str] = "conformal predictor"
    _derived: ClassVar[tuple[str, ...]] = ("sentence", "too_small")

    method: str
    alpha: float
    by_class: bool
    promises: tuple[CoverageGuarantee, ...]
    keys: np.ndarray = field(repr=False)
    class_names: tuple[str, ...]
    classifier: Classifier | None = field(default=None, repr=False, metadata={"saved": False})

    def __repr__(self) -> str:
        """Method and promise."""
        return f"ConformalPredictor({self.method}, alpha {self.alpha:g}: {self.sentence})"

    @property
    def too_small(self) -> bool:
        """Whether the calibration sample, or that of some class, is too small for the promise."""
        return any(promise.too_small for promise in self.promises)

    @property
    def sentence(self) -> Message:
        """The guarantee in words; by class that of the class with the fewest images."""
        fewest = min(range(len(self.promises)), key=lambda k: self.promises[k].count)
        sentence = self.promises[fewest].sentence
        if not self.by_class:
            return sentence
        return Message("{class_name}: {sentence}", class_name=self.class_names[fewest], sentence=sentence)

    def sets(
        self,
        images: Any,
        labels: Any = None,
        *,
        progress: bool | Progress | None = None,
        should_stop: ShouldStop | None = None,
    ) -> PredictionSets:
        """Return the sets of new images; with labels, also whether they keep the promise.

        Args:
            images: a data set, images in any form, or stored outputs.
            labels: the truth (N,), indices or names; None takes the data set's, if any.
            progress: None, True for a bar, or a callable `(done, total)`.
            should_stop: asked between chunks of images.

        Raises:
            InputError: this predictor was loaded without its model.
            Stopped: `should_stop()` was true.
        """
        if self.classifier is None:
            raise InputError("Expected a model to ask: load with `ConformalPredictor.load(path, model)`.")
        outputs = labelled_outputs(self.classifier, images, labels, progress=progress, should_stop=should_stop)
        members, probabilities = self._members(outputs)
        seen = len(set(map(bytes, keys_of(outputs))) & set(map(bytes, self.keys)))
        notes = [note for note in self.notes if note.startswith("Too small")]
        if seen:
            notes.append(
                Message("{count} of the images are calibration images: nothing is guaranteed for them", count=seen)
            )
        data = {"name": outputs.name, "count": len(outputs), "calibration": dict(self.data)}
        return PredictionSets(
            members=members,
            probabilities=probabilities,
            labels=None if outputs.labels is None else outputs.labels.numpy(),
            promises=self.promises,
            class_names=self.class_names,
            provenance=replace(self.provenance, data=data),
            notes=tuple(dict.fromkeys([*notes, *outputs.notes])),
        )

    def _members(self, outputs: LabelledOutputs) -> tuple[np.ndarray, np.ndarray]:
        limits = torch.tensor([promise.threshold for promise in self.promises], dtype=torch.float64)
        chunks = [
            (scores <= limits, some.float()) for _, scores, some in conformity_of(self.method, outputs, self.seed)
        ]
        members, probabilities = (torch.cat(parts).numpy() for parts in zip(*chunks, strict=True))
        return members, probabilities

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: Classifier | nn.Module | None = None) -> Self:
        """Read a saved predictor; nothing in the files is executed.

        Args:
            path: the folder.
            model: that it was fitted for; without it the record can be read, but makes no sets.

        Raises:
            RecordError: none here, or a damaged one.
            InputError: another model than it was fitted for.
        """
        classifier = None if model is None else as_classifier(model)
        predictor = replace(super().load(path), classifier=classifier)
        if classifier is not None and classifier.fingerprint != predictor.model.get("fingerprint"):
            raise InputError(
                f"{path}: fitted for another model than {classifier.name!r}, for which it promises nothing. Fit anew."
            )
        return predictor


def conformity_of(method: str, outputs: LabelledOutputs, seed: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield rows, how badly each class fits them (n, K), and their probabilities (n, K)."""
    step = max(1, _ENTRIES // outputs.logits.shape[1])
    for start in range(0, len(outputs), step):
        rows = slice(start, min(len(outputs), start + step))
        probabilities = outputs.logits[rows].double().softmax(1)
        draws = torch.tensor([draw_of(seed, key) for key in outputs.keys[rows]], dtype=torch.float64)
        yield rows, conformity(method, probabilities, draws), probabilities


def keys_of(outputs: LabelledOutputs) -> np.ndarray:
    """Return digests of the images (N, 16) uint8."""
    return np.frombuffer(b"".join(key[:_DIGEST] for key in outputs.keys), dtype=np.uint8).reshape(-1, _DIGEST)


def fit_conformal(
    model: Classifier | nn.Module,
    calibration_data: Any,
    labels: Any = None,
    alpha: float = 0.1,
    method: str = "aps",
    *,
    by_class: bool = False,
    level: float = 0.9,
    seed: int = 0,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> ConformalPredictor:
    """Fit prediction sets that contain the true class of `1 - alpha` of new images.

    This holds whatever the model's accuracy.

    Holds for new images of the same kind as the calibration images (exchangeable with them); a worse model only
    makes larger sets.

    Args:
        model: a classifier or a bare module whose classes exclude each other.
        calibration_data: labelled images that the model was not trained on: a data set, images, or stored outputs.
        labels: the truth (n,), indices or names; None takes the data set's.
        alpha: share of new images whose set may miss the truth.
        method: "lac" (smallest on average, may be empty), "aps" (adapts to how hard an image is, randomised) or "raps"
            (as aps, without long tails).
        by_class: keep the promise for the images of each class, not only over all; needs 1 / alpha - 1 of each.
        level: of the interval of the coverage.
        seed: of the randomisation of aps and raps, by image.
        progress: None, True for a bar, or a callable `(done, total)`.
        should_stop: asked between chunks of images; True ends the work with `xai.errors.Stopped`.

    Returns:
        ConformalPredictor; `.sets(images)` gives the sets, `.sentence` the promise. Where the sample is too small,
        `.too_small` is true and the sets hold all classes.

    Raises:
        InputError: no labels.
        RangeError: alpha not between 0 and 1.
        NameLookupError: no such method.
        UnsupportedModelError: several classes may be right at once.
        Stopped: `should_stop()` was true.

    Cost: one pass over the images.
    Source: see `xai.uncertainty.prediction_sets`.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(200)
        >>> promise = xai.fit_conformal(clf, data, alpha=0.1)
        >>> promise.sentence.startswith("Of 100 new images")
        True
    """
    classifier, seed = as_classifier(model), check_seed(seed)
    check_alpha(alpha)
    check_choice("conformal method", method, SCORES)
    check_number("level", level, "(0, 1)", cure="90 % is 0.9.")
    outputs = labelled_outputs(classifier, calibration_data, labels, progress=progress, should_stop=should_stop)
    return _fitted(classifier, outputs, method, alpha, level, seed, by_class=by_class)


def _fitted(
    classifier: Classifier,
    outputs: LabelledOutputs,
    method: str,
    alpha: float,
    level: float,
    seed: int,
    *,
    by_class: bool,
) -> ConformalPredictor:
    scores = _own_scores(method, outputs, seed)
    promises = _promises(scores, outputs.ground_truth, classifier.num_classes, by_class, alpha, level)
    settings = {"method": method, "alpha": float(alpha), "by_class": by_class, "level": level}
    return ConformalPredictor(
        method=method,
        alpha=float(alpha),
        by_class=by_class,
        promises=promises,
        keys=keys_of(outputs),
        class_names=tuple(classifier.class_names),
        provenance=Provenance.of(classifier, settings, seed, {"name": outputs.name, "count": len(outputs)}),
        notes=(*_warnings(promises, classifier.class_names, alpha, by_class), *outputs.notes),
        classifier=classifier,
    )


def _own_scores(method: str, outputs: LabelledOutputs, seed: int) -> np.ndarray:
    """Return the score of the true class of each image (n,)."""
    ground_truth, parts = outputs.ground_truth, []
    for rows, scores, _ in conformity_of(method, outputs, seed):
        parts.append(scores.gather(1, ground_truth[rows][:, None])[:, 0])
    return torch.cat(parts).numpy()


def _promises(
    scores: np.ndarray, ground_truth: Tensor, classes: int, by_class: bool, alpha: float, level: float
) -> tuple[CoverageGuarantee, ...]:
    if not by_class:
        return (guarantee(scores, alpha, level=level),)
    labels = ground_truth.numpy()
    return tuple(guarantee(scores[labels == k], alpha, level=level) for k in range(classes))


def _warnings(
    promises: Sequence[CoverageGuarantee], names: Sequence[str], alpha: float, by_class: bool
) -> list[Message]:
    small = [k for k, promise in enumerate(promises) if promise.too_small]
    if not small:
        return []
    if not by_class:
        return [promises[0].sentence]
    listed = ", ".join(f"{names[k]} ({promises[k].count})" for k in small[:5]) + (", ..." if len(small) > 5 else "")
    template = "Too small for alpha {alpha:g} in {count} classes, which are in every set: {classes}. Give more images."
    return [Message(template, alpha=alpha, count=len(small), classes=listed)]
