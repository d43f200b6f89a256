"""Recorded calls of attacks, corruptions, certificates and curves of robust accuracy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

import xai
from tests.recorded.material import answers, convolutional, images, transformer

Call = Callable[[], dict[str, Any]]

EPS = [1 / 255, 4 / 255, 12 / 255]
_MINIMAL = ("cw", "ddn", "deepfool", "fab-t", "fmn")
_FEWER: dict[str, dict[str, Any]] = {
    "apgd-ce": {"steps": 12},
    "apgd-dlr": {"steps": 12},
    "apgd-t": {"steps": 8, "targets": 3},
    "cw": {"steps": 30, "searches": 3},
    "ddn": {"steps": 20},
    "fab-t": {"steps": 10, "targets": 3},
    "fmn": {"steps": 20},
    "noise": {"samples": 20},
    "pgd": {"steps": 8},
    "spatial": {"angles": 5, "shifts": 3},
    "square": {"queries": 60},
}
CALLS: dict[str, Call] = {}


def _attacked(found: xai.results.AttackResult) -> dict[str, Any]:
    return {
        "adversarial": found.adversarial,
        "success": found.success,
        "distance": found.distance,
        "predictions": found.predictions,
        "clean predictions": found.clean_predictions,
        "logits": found.logits,
        "robust accuracy": found.robust_accuracy,
        "interval": found.interval,
        "broken by": found.broken_by,
        "passes": [found.forwards, found.backwards],
    }


def _attack(method: str, model: Callable[[], xai.Classifier] = convolutional, **settings: Any) -> Call:
    def call() -> dict[str, Any]:
        rows, clf = images(4 if method == "autoattack" else 8, seed=11), model()
        return _attacked(xai.attack(clf, rows, answers(clf, rows), method, seed=3, **_FEWER.get(method, {}) | settings))

    return call


for _info in xai.methods(kind="attack"):
    _norm = {"norm": _info.norms[0]} if _info.norms else {}
    CALLS[f"attack {_info.name}"] = _attack(_info.name, **({} if _info.name in _MINIMAL else {"eps": 3 / 255}) | _norm)
    for _norm_name in _info.norms[1:] if _info.name in {"pgd", "apgd-ce", "fmn", "fab-t", "square", "noise"} else ():
        _eps = {} if _info.name in _MINIMAL else {"eps": {"linf": 3 / 255, "l2": 0.12, "l1": 1.5}[_norm_name]}
        CALLS[f"attack {_info.name}, {_norm_name}"] = _attack(_info.name, norm=_norm_name, **_eps)


def _attack_targeted() -> dict[str, Any]:
    rows, clf = images(8, seed=11), convolutional()
    labels = answers(clf, rows)
    return _attacked(xai.attack(clf, rows, labels, "pgd", eps=24 / 255, steps=8, targeted=(labels + 1) % 4, seed=3))


CALLS["attack pgd, targeted"] = _attack_targeted
CALLS["attack pgd, attention"] = _attack("pgd", transformer, eps=16 / 255)


def _corrupt(name: str) -> Call:
    return lambda: {"images": xai.corrupt(images(2, size=(20, 28), seed=5), name, severity=3, seed=1)}


for _info in xai.methods(kind="corruption"):
    CALLS[f"corrupt {_info.name}"] = _corrupt(_info.name)


def _corruption_robustness() -> dict[str, Any]:
    rows, clf = images(24, seed=12), convolutional()
    found = xai.corruption_robustness(
        clf, rows, answers(clf, rows), names=("gaussian_noise", "fog", "contrast"), severities=(1, 3, 5), seed=2
    )
    return {
        "clean": found.clean,
        "clean interval": found.clean_interval,
        "accuracy": found.accuracy,
        "intervals": found.intervals,
        "critical severity": found.critical_severity,
        "predictions": found.predictions,
        "errors": [list(found.errors[name]) for name in found.names],
    }


def _corruption_robustness_of_all() -> dict[str, Any]:
    rows, clf = images(16, seed=12), convolutional(1000)  # AlexNet's errors are those on the classes of ImageNet
    found = xai.corruption_robustness(clf, rows, answers(clf, rows), seed=2).mce
    return {"mce": [found.mce, *found.interval], "relative mce": [found.relative_mce, *found.relative_interval]}


def _mce() -> dict[str, Any]:
    source = np.random.default_rng(4)
    errors = {name: source.uniform(0.2, 0.9, 5).tolist() for name in ("fog", "snow", "contrast", "shot_noise")}
    found = xai.mce(errors, clean=0.15, partial=True)
    return {"ce": list(found.ce.values()), "mce": found.mce, "relative mce": found.relative_mce, "names": found.names}


def _certified(found: xai.results.Certificate) -> dict[str, Any]:
    return {
        "verified": found.verified,
        "margin": found.margin,
        "margins": found.margins,
        "predictions": found.predictions,
        "accuracy": found.certified_accuracy,
        "interval": found.interval,
        "decided by": found.decided_by,
    }


def _certify(method: str, norm: str = "linf", **settings: Any) -> Call:
    def call() -> dict[str, Any]:
        rows, clf = images(8, seed=13), convolutional()
        return _certified(xai.certify(clf, rows, answers(clf, rows), norm=norm, method=method, seed=4, **settings))

    return call


for _method in ("ibp", "crown_ibp", "crown", "auto"):
    CALLS[f"certify {_method}"] = _certify(_method, eps=2 / 255)
    CALLS[f"certify {_method}, l2"] = _certify(_method, "l2", eps=0.05)
CALLS["certify crown, l1"] = _certify("crown", "l1", eps=0.3)
CALLS["certify smoothing"] = _certify("smoothing", "l2", eps=0.05, sigma=0.1, samples=200, first=50)


def _output_bounds(method: str) -> Call:
    def call() -> dict[str, Any]:
        rows = images(3, seed=14)
        low, high = xai.output_bounds(convolutional(), (rows - 0.01).clamp(0, 1), (rows + 0.01).clamp(0, 1), method)
        return {"lower": low, "upper": high}

    return call


for _method in ("ibp", "crown_ibp", "crown"):
    CALLS[f"output_bounds {_method}"] = _output_bounds(_method)


def _robustness(norm: str, eps: list[float], **settings: Any) -> dict[str, Any]:
    rows, clf = images(10, seed=15), convolutional()
    labels = answers(clf, rows)
    labels[0] = (labels[0] + 1) % 4
    curve = xai.robustness(clf, rows, labels, eps=eps, norm=norm, seed=5, **settings)
    nearest: list[Tensor | None] = list(curve.counterexamples.ravel())
    found = {
        "clean": curve.clean,
        "attacked": curve.attacked,
        "certified": curve.certified,
        "intervals": list(curve.intervals.values()),
        "verdicts": curve.verdicts,
        "smallest eps": curve.smallest_eps,
        "distance": curve.distance,
        "counterexamples": torch.stack([image for image in nearest if image is not None]),
        "changed": sorted(curve.changed),  # the order of equal distances is that of their rounding
        "confusion": curve.confusion(eps[1]).to_numpy(),
        "per class": curve.per_class.select_dtypes("number").to_numpy(),
        "broken by": curve.broken_by,
        "proved by": curve.certified_by,
    }
    if curve.trust is not None:
        found["trust flags"] = list(curve.trust.flags)
        found["trust checks"] = [[check.name, check.status, check.value] for check in curve.trust.checks]
    return found


CALLS |= {
    "corruption_robustness three": _corruption_robustness,
    "corruption_robustness default": _corruption_robustness_of_all,
    "mce": _mce,
    "robustness linf": lambda: _robustness("linf", EPS, attacks=("fgsm", "pgd"), trust=True),
    "robustness l2": lambda: _robustness("l2", [0.02, 0.1, 0.3], attacks=("pgd", "ddn"), trust=False),
    "robustness default": lambda: _robustness("linf", EPS, trust=False),
}
