"""How each image is treated: does the answer hold, is the image rejected, can the explanation be believed?"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai.core.images.border import open_data
from xai.core.labels import labels_of
from xai.core.model.classifier import Classifier, as_classifier
from xai.core.model.resizing import InputReader
from xai.core.runtime.batching import Progress, ShouldStop, reporting
from xai.core.validation import check_seed
from xai.errors import InputError
from xai.explanations.methods.base import EXPLAINERS
from xai.explanations.rating.rate import rate_explanation
from xai.ood.detector import OODDetector
from xai.ood.judgement import OUT_OF_DISTRIBUTION
from xai.robust.attacks.base import ATTACKS

_AT_ONCE = 256  # images attacked or judged in one call
_FEW = 8  # explained in one call
ROBUST, REJECTED, SANE, BELIEVED = (
    "robust accuracy",
    "false rejection",
    "explanation passes the sanity check",
    "explanation is not rejected",
)
_Measure = Callable[[Tensor, np.ndarray], tuple[dict[str, np.ndarray], Sequence[str]]]
_Part = tuple[_Measure, np.ndarray, int]  # what is measured, of which images, how many at a time


class Treatment(dict[str, np.ndarray]):
    """What was measured per image, {name: (N,) float64}, with notes.

    Attributes:
        notes: what is to be known of the model, and what was done to the images.

    Example:
        >>> import xai
        >>> data = xai.load_data("example:fashion-test").subset(6)
        >>> xai.treatment(xai.load("example:fashion"), data, attack="fgsm").notes
        ()
    """

    notes: tuple[str, ...] = ()


def treatment(
    model: Classifier | nn.Module,
    data: Any,
    labels: Any = None,
    *,
    attack: str | None = "pgd",
    eps: float | None = None,
    norm: str = "linf",
    detector: OODDetector | None = None,
    method: str | None = None,
    samples: int = 200,
    seed: int = 0,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Treatment:
    """Measure each image as `xai.bias(..., extra=...)` takes it: who is attacked, rejected or badly explained first?

    Args:
        model: a classifier or a bare module.
        data: a data set of `xai.load_data`, or images that can be indexed.
        labels: the truth (N,), indices or names; None takes the data's.
        attack: name of the attack for "robust accuracy": 1 where the answer is right and stays so. None leaves it out.
        eps: its radius, in the scale of pixels in [0, 1]; None takes 8/255 (linf), 0.5 (l2) or 12 (l1).
        norm: "linf", "l2" or "l1".
        detector: of `xai.fit_ood`, for "false rejection": 1 where it rejects the image. None leaves it out.
        method: of explanation, such as "gradcam", for "explanation passes the sanity check" (the map is another one
            with random weights) and "explanation is not rejected" (by any question of `xai.rate_explanation`); nan
            where an image was not drawn. None leaves both out.
        samples: images that are explained, drawn at random.
        seed: of everything random.
        progress: None, True for a bar, or a callable `(done, total)` in images.
        should_stop: asked between images; True ends the work with `xai.errors.Stopped`.

    Returns:
        Treatment: {name: (N,) float64}; its `notes` say what is to be known of the model.

    Raises:
        InputError: nothing is asked for, or no labels for an attack.

    Cost: that of the attack on all images, and for each of `samples` what `xai.rate_explanation` costs.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(6)
        >>> found = xai.treatment(clf, data, attack="fgsm")
        >>> {name: values.shape for name, values in found.items()}
        {'robust accuracy': (6,)}
    """
    classifier, seed, data = as_classifier(model), check_seed(seed), open_data(data)
    reader = InputReader(classifier, data)
    count = len(reader)
    drawn = np.sort(np.random.default_rng(abs(seed)).permutation(count)[: samples if method is not None else 0])
    parts: list[_Part] = []
    if attack is not None:
        truth = labels_of(classifier, data, labels, count)[0]
        parts.append((_Attacked(classifier, truth, attack, eps, norm, seed, should_stop), np.arange(count), _AT_ONCE))
    if detector is not None:
        parts.append((_judged(detector, should_stop), np.arange(count), _AT_ONCE))
    if method is not None:
        parts.append((_explained(classifier, method, seed, should_stop), drawn, _FEW))
    if not parts:
        raise InputError("Expected an attack, a detector or a method of explanation, but got None for all. Name one.")
    return _measured(parts, reader, progress)


def _measured(parts: Sequence[_Part], reader: InputReader, progress: bool | Progress | None) -> Treatment:
    treatment = Treatment()
    done, total = 0, sum(len(rows) for _, rows, _ in parts)
    with reporting(progress, "treatment") as report:
        for measure, rows, size in parts:
            for start in range(0, len(rows), size):
                some = rows[start : start + size]
                measured, notes = measure(reader.inputs(some.tolist()), some)
                treatment.notes = tuple(dict.fromkeys([*treatment.notes, *notes]))
                for name, values in measured.items():
                    treatment.setdefault(name, np.full(len(reader), np.nan))[some] = values
                done += len(some)
                if report is not None:
                    report(done, total)
    return treatment


class _Attacked:
    """Whether answers are right and stay right."""

    def __init__(
        self,
        classifier: Classifier,
        truth: Tensor,
        attack: str,
        eps: float | None,
        norm: str,
        seed: int,
        should_stop: ShouldStop | None,
    ) -> None:
        self._attacker = ATTACKS[attack]()
        self._classifier, self._truth = classifier, truth
        self._settings = {"eps": eps, "norm": norm, "seed": seed, "should_stop": should_stop}

    def __call__(self, images: Tensor, rows: np.ndarray) -> tuple[dict[str, np.ndarray], Sequence[str]]:
        truth = self._truth[torch.from_numpy(rows)]
        result = self._attacker.run(self._classifier, images, truth, **self._settings)  # type: ignore[arg-type]
        return {ROBUST: (result.predictions.cpu() == truth).double().numpy()}, result.notes


def _judged(detector: OODDetector, should_stop: ShouldStop | None) -> _Measure:
    def measure(images: Tensor, _rows: np.ndarray) -> tuple[dict[str, np.ndarray], Sequence[str]]:
        judgement = detector.judge(images, should_stop=should_stop)
        return {
            REJECTED: np.array([verdict == OUT_OF_DISTRIBUTION for verdict in judgement.verdicts], dtype=np.float64)
        }, judgement.notes

    return measure


def _explained(classifier: Classifier, method: str, seed: int, should_stop: ShouldStop | None) -> _Measure:
    def measure(images: Tensor, _rows: np.ndarray) -> tuple[dict[str, np.ndarray], Sequence[str]]:
        explanation = EXPLAINERS[method]().explain(classifier, images, seed=seed, should_stop=should_stop)
        rating = rate_explanation(classifier, images, explanation, seed=seed, should_stop=should_stop)
        verdicts = [{check.name: check.verdict for check in checks} for checks in rating.checks]
        sane = [{"trust": 1.0, "doubt": 0.0, "reject": 0.0}.get(own.get("sanity", ""), np.nan) for own in verdicts]
        believed = np.array([verdict != "reject" for verdict in rating.verdicts], float)
        return {SANE: np.array(sane), BELIEVED: believed}, explanation.notes

    return measure
