"""`xai.fit_conformal`: from labelled pictures to sets of classes that contain the truth as often as was asked."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai.calibrations.predictor import ConformalPredictor, conformity_of, keys_of
from xai.core.answers import Answers, answers_of
from xai.core.classifier import Classifier, as_classifier
from xai.core.records import versions
from xai.core.rows import Progress, ShouldStop
from xai.core.seeds import check_seed
from xai.errors import NameLookupError, RangeError
from xai.metrics.conformal import SCORES, Guarantee, check_alpha, guarantee


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
    """Make sets of classes that contain the truth of `1 - alpha` of new pictures, whatever the model is worth.

    Holds for new pictures of the same kind as the calibration pictures (exchangeable with them); a worse model only
    makes larger sets.

    Args:
        model: a classifier or a bare module whose classes exclude each other.
        calibration_data: labelled pictures that the model was not trained on: a data set, images, or stored outputs.
        labels: the truth (n,), indices or names; None takes the data set's.
        alpha: share of new pictures whose set may miss the truth.
        method: "lac" (smallest on average, may be empty), "aps" (adapts to how hard a picture is, randomised) or "raps"
            (as aps, without long tails).
        by_class: keep the promise for the pictures of each class, not only over all; needs 1 / alpha - 1 of each.
        level: of the interval of the coverage.
        seed: of the randomisation of aps and raps, by picture.
        progress: None, True for a bar, or a callable `(done, total)`.
        should_stop: asked between chunks of pictures; True ends the work with `xai.errors.Stopped`.

    Returns:
        ConformalPredictor; `.sets(images)` gives the sets, `.sentence` the promise. Where the sample is too small,
        `.too_small` is true and the sets hold all classes.

    Raises:
        InputError: no labels.
        RangeError: alpha not between 0 and 1.
        NameLookupError: no such method.
        UnsupportedModelError: several classes may be right at once.
        Stopped: `should_stop()` was true.

    Cost: one pass over the pictures.
    Source: see `xai.metrics.conformal`.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(200)
        >>> promise = xai.fit_conformal(clf, data, alpha=0.1)
        >>> promise.sentence.startswith("Of 100 new pictures")
        True
    """
    classifier, seed = as_classifier(model), check_seed(seed)
    check_alpha(alpha)
    if method not in SCORES:
        raise NameLookupError("conformal method", method, SCORES)
    if not 0 < level < 1:
        raise RangeError(f"Expected `level` between 0 and 1, but got {level!r}. 90 % is 0.9.")
    answers = answers_of(classifier, calibration_data, labels, progress=progress, should_stop=should_stop)
    return _fitted(classifier, answers, method, alpha, level, seed, by_class=by_class)


def _fitted(
    classifier: Classifier, answers: Answers, method: str, alpha: float, level: float, seed: int, *, by_class: bool
) -> ConformalPredictor:
    scores = _own_scores(method, answers, seed)
    promises = _promises(scores, answers.truth, classifier.num_classes, by_class, alpha, level)
    return ConformalPredictor(
        method=method,
        alpha=float(alpha),
        by_class=by_class,
        promises=promises,
        keys=keys_of(answers),
        class_names=tuple(classifier.labels),
        seed=seed,
        data={"name": answers.name, "count": len(answers)},
        model={
            "name": classifier.name,
            "fingerprint": classifier.fingerprint,
            "preprocessing": classifier.preprocessing,
        },
        versions=versions(),
        notes=(*_warnings(promises, classifier.labels, alpha, by_class), *answers.notes),
        classifier=classifier,
    )


def _own_scores(method: str, answers: Answers, seed: int) -> np.ndarray:
    """Return the score of the true class of each picture (n,)."""
    truth, parts = answers.truth, []
    for rows, scores, _ in conformity_of(method, answers, seed):
        parts.append(scores.gather(1, truth[rows][:, None])[:, 0])
    return torch.cat(parts).numpy()


def _promises(
    scores: np.ndarray, truth: Tensor, classes: int, by_class: bool, alpha: float, level: float
) -> tuple[Guarantee, ...]:
    if not by_class:
        return (guarantee(scores, alpha, level=level),)
    labels = truth.numpy()
    return tuple(guarantee(scores[labels == k], alpha, level=level) for k in range(classes))


def _warnings(promises: Sequence[Guarantee], names: Sequence[str], alpha: float, by_class: bool) -> list[str]:
    small = [k for k, promise in enumerate(promises) if promise.too_small]
    if not small:
        return []
    if not by_class:
        return [promises[0].sentence]
    listed = ", ".join(f"{names[k]} ({promises[k].count})" for k in small[:5]) + (", ..." if len(small) > 5 else "")
    return [
        f"Too small for alpha {alpha:g} in {len(small)} classes, which are in every set: {listed}. Give more pictures."
    ]
