"""What is asked about one picture that is proven: the margin in a ball, bounds of the logits, the largest radius."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np

import xai
from xai.dashboard.jobs import Job, parts, watched
from xai.dashboard.language import t
from xai.dashboard.pictures import Picture
from xai.dashboard.tasks import Report
from xai.dashboard.work import Model

_ROWS = {"ibp": 4, "crown_ibp": 30, "crown": 500, "auto": 540}  # for 28 x 28 pixels; only an order of size
_SMALL = 28 * 28
RUNGS = {
    "linf": tuple(k / 255 for k in (0.125, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 12, 16)),
    "l2": (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0),
    "l1": (0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 24.0),
}


@dataclass(frozen=True, eq=False)
class Proof:
    """A proof as it was chosen.

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
    def asked(self) -> dict[str, Any]:
        """What goes to `xai.certify` by name, but the radius."""
        seed = {"seed": self.seed} if self.seed else {}
        return {"norm": self.norm, "method": self.method, **seed, **self.settings}


@dataclass(frozen=True, eq=False)
class Bounded:
    """Bounds of the logits over a box around a picture.

    Attributes:
        clean: (K,) logits of the picture itself.
        low: (K,) lower bounds.
        high: (K,) upper bounds.
        method: that found them.
    """

    clean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    method: str


@dataclass(frozen=True)
class Reach:
    """How far a proof reaches on a ladder of radii.

    Attributes:
        proven: the largest radius that is proven; None where the smallest is not.
        open: the next one, which is not; None where the largest is proven.
    """

    proven: float | None
    open: float | None


def to_try_bounds(model: Model, picture: Picture, slot: Any) -> Job:
    """Return the job that ends in the library's sentence where bounds cannot handle the network."""
    key = ("provable", model.key)
    return Job(key, t("Reading the network"), partial(_certify, model, picture, 0.0, {"method": "ibp"}), slot, rows=2)


def to_prove(model: Model, picture: Picture, proof: Proof, slot: Any) -> Job:
    """Return the job whose result is the certificate; what the network answers to the picture counts as the truth."""
    key = ("proof", *_about(model, picture, proof), proof.eps)
    ask = partial(_certify, model, picture, proof.eps, proof.asked)
    return Job(key, t("Proving"), ask, slot, _rows(model, proof))


def to_bound(model: Model, picture: Picture, method: str, eps: float, slot: Any) -> Job:
    """Return the job whose result is the bounds of the logits over the l-inf ball, cut to pixels in [0, 1]."""
    key = ("bounds", model.key, picture.identity, method, eps)
    ask = partial(_bound, model, picture, method, eps)
    return Job(key, t("Bounding the logits"), ask, slot, _ROWS[method] * _scale(model))


def to_reach(model: Model, picture: Picture, proof: Proof, slot: Any) -> Job:
    """Return the job whose result says how far the proof reaches; the ladder is halved again and again."""
    key = ("reach", *_about(model, picture, proof))
    ask = partial(_reach, model, picture, proof.norm, proof.asked)
    return Job(key, t("Looking for the largest radius"), ask, slot, _rounds(proof.norm) * _rows(model, proof))


def _about(model: Model, picture: Picture, proof: Proof) -> tuple[Any, ...]:
    return (model.key, picture.identity, *sorted(proof.asked.items()))


def _rows(model: Model, proof: Proof) -> int:
    if proof.method == "smoothing":
        copies = {"first": 100, "samples": 1000} | dict(proof.settings)
        return int(copies["first"] + copies["samples"]) * _scale(model)
    return _ROWS[proof.method] * _scale(model)


def _scale(model: Model) -> int:
    size = model.classifier.input_size or (224, 224)
    return max(1, model.classifier.channels * prod(size) // _SMALL)


def _rounds(norm: str) -> int:
    return len(RUNGS[norm]).bit_length()


def _certify(
    model: Model, picture: Picture, eps: float, asked: Mapping[str, Any], report: Report | None
) -> xai.Certificate:
    with model.borrowed() as classifier:
        return _certified(classifier, classifier.prepare(picture.open()).inputs, eps, asked, report)


def _certified(
    classifier: xai.Classifier, clean: Any, eps: float, asked: Mapping[str, Any], report: Report | None
) -> xai.Certificate:
    label = classifier.predict(clean).index
    return xai.certify(classifier, clean, label, eps, **asked, **watched(report))


def _bound(model: Model, picture: Picture, method: str, eps: float, report: Report | None) -> Bounded:
    with model.borrowed() as classifier:
        clean = classifier.prepare(picture.open()).inputs
        ends = (clean - eps).clamp(0, 1), (clean + eps).clamp(0, 1)
        low, high = xai.output_bounds(classifier, *ends, method, **watched(report))
        logits = classifier.predict(clean).logits
        return Bounded(logits[0].double().numpy(), low[0].numpy(), high[0].numpy(), method)


def _reach(model: Model, picture: Picture, norm: str, asked: Mapping[str, Any], report: Report | None) -> Reach:
    rungs = RUNGS[norm]
    with model.borrowed() as classifier:
        clean = classifier.prepare(picture.open()).inputs
        proven, left = -1, len(rungs)
        for part in parts(report, _rounds(norm)):
            if left - proven == 1:
                break
            middle = (proven + left) // 2
            found = _certified(classifier, clean, rungs[middle], asked, part)
            proven, left = (middle, left) if bool(found.verified[0]) else (proven, middle)
    return Reach(rungs[proven] if proven >= 0 else None, rungs[left] if left < len(rungs) else None)
