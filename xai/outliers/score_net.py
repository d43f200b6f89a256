"""A classifier whose answer is a detector's score, so that explainers and attacks work on the score itself."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from xai.core.classifier import Classifier
from xai.core.containers import first_tensor
from xai.core.explanation import Explanation
from xai.core.hooks import add_hook
from xai.core.images import ImageLike
from xai.core.penultimate import full_precision
from xai.detectors import Fitted
from xai.detectors._rows import Rows, place_of
from xai.errors import UnsupportedModelError
from xai.explainers import EXPLAINERS
from xai.outliers._settings import split_settings
from xai.outliers.conformal import p_values, threshold
from xai.outliers.judgement import FOREIGN, ORDINARY

_ALPHA = 0.05
_ASKED = ("seed", "progress", "should_stop")


class ScoreNet(nn.Module):
    """Normalised pictures (n, C, h, w) to (n, 2): less and plus the score above its threshold.

    Args:
        classifier: that the detector was fitted on; its module is part of this one.
        fitted: the detector.
        limit: the score at which the verdict turns.
    """

    def __init__(self, classifier: Classifier, fitted: Fitted, limit: float) -> None:
        super().__init__()
        self.training = False  # of this module alone: the one inside keeps its mode
        self.module = classifier.module
        self.limit = limit
        self.label = fitted.detector.label
        self._classifier = [classifier]  # in a list: no second path to the same module
        self._fitted = fitted.to(place_of(classifier.device))
        for number, value in enumerate(self._fitted.state.values()):
            self.register_buffer(f"state{number}", value, persistent=False)  # part of the fingerprint

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, 2), float32 or float64 as the images are."""
        classifier, place = self._classifier[0], place_of(images.device)
        kept: list[Tensor] = []
        head = self._fitted.view.head
        handles = [] if head is None else [add_hook(self.module.get_submodule(head.layer), _keeper(kept))]
        try:
            logits = classifier.logits_of_normalised(images)
        finally:
            for handle in handles:
                handle.remove()
        features = full_precision(kept[-1]).to(place) if kept else None
        rows = Rows(self._fitted.view, logits.to(place).double(), features, images, classifier.logits_of_normalised)
        above = (self._fitted.score(rows) - self.limit).to(images)
        return torch.stack([-above, above], 1)


def _keeper(kept: list[Tensor]) -> Any:
    def keep(_module: nn.Module, given: Any, _output: Any) -> None:
        source = first_tensor(given)
        if source is not None and source.ndim == 2:
            kept.append(source)

    return keep


def score_classifier(classifier: Classifier, fitted: Fitted, limit: float) -> Classifier:
    """Return a classifier of pictures as ordinary or foreign; the logit of "foreign" is the score less the limit."""
    return Classifier(
        ScoreNet(classifier, fitted, limit),
        labels=(ORDINARY, FOREIGN),
        input_size=classifier.input_size,
        channels=classifier.channels,
        mean=classifier.mean,
        std=classifier.std,
        resize=classifier.resize,
        crop_ratio=classifier.crop_ratio,
        name=f"{fitted.detector.label} of {classifier.name}",
    )


def explain_score(
    classifier: Classifier,
    fitted: Fitted,
    calibration: Tensor,
    images: ImageLike,
    method: str,
    settings: dict[str, Any],
) -> Explanation:
    """Explain the score; see `OODDetector.explain`.

    Raises:
        UnsupportedModelError: the method asks for a class, or for slopes where the score has none.
        NameLookupError: no such method or setting.
    """
    if {"target", "versus", "score"} & set(settings):
        raise UnsupportedModelError("The score of foreignness is explained: leave `target`, `versus` and `score` out.")
    known, own = split_settings(EXPLAINERS[method], method, settings, _ASKED)
    limit = threshold(calibration, max(_ALPHA, 1 / (len(calibration) + 1)))
    asked = score_classifier(classifier, fitted, limit)
    found = EXPLAINERS[method](**own).explain(asked, images, FOREIGN, **known)
    shares = (1 - p_values(found.logits[:, 1].double() + limit, calibration)).to(found.probabilities)
    notes = (
        f"explained is the score of {fitted.detector.label} ({fitted.detector.unit}), less its threshold {limit:.4g}",
        "the share shown is that of calibration pictures with a lower score",
    )
    return replace(found, probabilities=shares, notes=(*notes, *found.notes))
