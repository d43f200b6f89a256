"""Certificates of one image. They are the margin in a ball, bounds of the logits, and the largest radius."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

import xai
from xai.dashboard.session import Job, Report, SharedModel, SourceImage, progress_arguments, progress_parts
from xai.dashboard.text import t

_ROWS = {"ibp": 4, "crown_ibp": 30, "crown": 500, "auto": 540}  # for 28 x 28 pixels; only an order of size
_SMALL = 28 * 28
RUNGS = {
    "linf": tuple(k / 255 for k in (0.125, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 12, 16)),
    "l2": (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0),
    "l1": (0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 24.0),
}


@dataclass(frozen=True, eq=False)
class CertificateRequest:
    """A certificate as it was chosen.

    Attributes:
        method: as in `xai.certify`.
        norm: of the ball.
        eps: its radius.
        seed: of smoothing.
        settings: of smoothing, those that are not the default.
    """

    method: str
    norm: str
    eps: float
    seed: int
    settings: Mapping[str, Any]

    @property
    def arguments(self) -> dict[str, Any]:
        """What goes to `xai.certify` by name, but the radius."""
        seed = {"seed": self.seed} if self.seed else {}
        return {"norm": self.norm, "method": self.method, **seed, **self.settings}

    @property
    def smooths(self) -> bool:
        """Whether it is about noisy copies, and not about bounds of each layer."""
        return self.method == "smoothing"

    def rows(self, model: SharedModel) -> int:
        """Return how many rows go through the model, about."""
        copies = {"first": 100, "samples": 1000} | dict(self.settings)
        return (int(copies["first"] + copies["samples"]) if self.smooths else _ROWS[self.method]) * _scale(model)


@dataclass(frozen=True, eq=False)
class LogitBounds:
    """Bounds of the logits over a box around an image.

    Attributes:
        clean: (K,) logits of the image itself.
        low: (K,) lower bounds.
        high: (K,) upper bounds.
        method: that found them.
    """

    clean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    method: str


@dataclass(frozen=True)
class CertifiedReach:
    """How far a certificate reaches on a ladder of radii.

    Attributes:
        certified: the largest radius that is certified; None where the smallest is not.
        open: the next one, which is not; None where the largest is certified.
    """

    certified: float | None
    open: float | None


def supported_job(model: SharedModel, image: SourceImage, slot: Any) -> Job:
    """Return the job that ends in the library's sentence where bounds cannot handle the model."""
    ask = model.ask(lambda classifier, report: _certified(classifier, image, 0.0, {"method": "ibp"}, report))
    return Job(("certifiable", model.key), t("Analysing the model"), ask, slot, rows=2)


def certificate_job(model: SharedModel, image: SourceImage, request: CertificateRequest, slot: Any) -> Job:
    """Return the job whose result is the certificate; what the model answers to the image counts as the truth."""
    key = ("certificate", *_about(model, image, request), request.eps)
    ask = model.ask(lambda classifier, report: _certified(classifier, image, request.eps, request.arguments, report))
    return Job(key, t("Certifying"), ask, slot, request.rows(model))


def bounds_job(model: SharedModel, image: SourceImage, method: str, eps: float, slot: Any) -> Job:
    """Return the job whose result is the bounds of the logits over the l-inf ball, cut to pixels in [0, 1]."""

    def bound(classifier: xai.Classifier, report: Report | None) -> LogitBounds:
        clean = classifier.prepare(image.open()).inputs
        ends = (clean - eps).clamp(0, 1), (clean + eps).clamp(0, 1)
        low, high = xai.output_bounds(classifier, *ends, method, **progress_arguments(report))
        logits = classifier.predict(clean).logits
        return LogitBounds(logits[0].double().numpy(), low[0].numpy(), high[0].numpy(), method)

    key = ("bounds", model.key, image.identity, method, eps)
    return Job(key, t("Bounding the logits"), model.ask(bound), slot, _ROWS[method] * _scale(model))


def reach_job(model: SharedModel, image: SourceImage, request: CertificateRequest, slot: Any) -> Job:
    """Return the job whose result says how far the certificate reaches; the ladder is halved again and again."""

    def reach(classifier: xai.Classifier, report: Report | None) -> CertifiedReach:
        return largest_certified(classifier, image, request.norm, request.arguments, report)

    key, rows = ("reach", *_about(model, image, request)), _rounds(request.norm) * request.rows(model)
    return Job(key, t("Searching for the largest radius"), model.ask(reach), slot, rows)


def largest_certified(
    classifier: xai.Classifier, image: SourceImage, norm: str, arguments: Mapping[str, Any], report: Report | None
) -> CertifiedReach:
    """Return how far a certificate reaches on the ladder of a norm."""
    rungs = RUNGS[norm]
    certified, left = -1, len(rungs)
    for part in progress_parts(report, _rounds(norm)):
        if left - certified == 1:
            break
        middle = (certified + left) // 2
        result = _certified(classifier, image, rungs[middle], arguments, part)
        certified, left = (middle, left) if bool(result.verified[0]) else (certified, middle)
    return CertifiedReach(rungs[certified] if certified >= 0 else None, rungs[left] if left < len(rungs) else None)


def _certified(
    classifier: xai.Classifier, image: SourceImage, eps: float, arguments: Mapping[str, Any], report: Report | None
) -> xai.results.Certificate:
    clean = classifier.prepare(image.open()).inputs
    label = classifier.predict(clean).index
    return xai.certify(classifier, clean, label, eps, **arguments, **progress_arguments(report))


def _about(model: SharedModel, image: SourceImage, request: CertificateRequest) -> tuple[Any, ...]:
    return (model.key, image.identity, *sorted(request.arguments.items()))


def _scale(model: SharedModel) -> int:
    size = model.classifier.input_size or (224, 224)
    return max(1, model.classifier.channels * prod(size) // _SMALL)


def _rounds(norm: str) -> int:
    return len(RUNGS[norm]).bit_length()
