"""Recorded calls of calibration, conformal sets, drift, and out-of-distribution detectors."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

import xai
from tests.recorded.material import clothes, convolutional, fashion, images

Call = Callable[[], dict[str, Any]]

_TRAIN = "example:fashion-train"
_SHAPING = ("ash", "react", "scale")  # cut by rank: plain backgrounds have equal activations, noise has none
CALLS: dict[str, Call] = {}


def _odd(count: int) -> Tensor:
    """Return negatives of clothes, which no class of the model is like."""
    return 1 - clothes(count, "test", seed=7).images[:]


def _error(found: Any) -> list[float]:
    return [found.value, found.debiased, found.low, found.high, found.chance, found.detectable, found.p_value]


def _measured(found: Any, name: str) -> dict[str, Any]:
    return {
        f"{name}, accuracy": [found.count, found.accuracy, found.accuracy_interval, found.confidence],
        f"{name}, ece": _error(found.ece),
        f"{name}, ece of equal mass": _error(found.ece_mass),
        f"{name}, classwise ece": found.classwise_ece,
        f"{name}, classes": [[row.count, row.expected, row.error, row.excess, row.p_value] for row in found.classes],
        f"{name}, brier": [found.brier.value, found.brier_interval],
        f"{name}, nll": [found.nll, found.nll_interval],
        f"{name}, aurc": [found.selective.aurc, found.selective.low, found.selective.high, found.selective.excess],
    }


def _calibration() -> dict[str, Any]:
    found = xai.calibration(fashion(), clothes(300, "test"), seed=1)
    temperature = found.temperature
    return {
        "verdict": found.verdict,
        "ece": found.ece,
        "ece interval": found.ece_interval,
        "temperature": [temperature.value, temperature.low, temperature.high, temperature.at_limit, temperature.count],
        "comparisons": [[row.before, row.after, row.low, row.high, row.p_value] for row in found.comparisons],
        "confidence": found.confidence,
        "calibrated": found.calibrated,
        "predictions": found.predictions,
        "curve": found.curve.select_dtypes("number").to_numpy(),
        **_measured(found.measures, "all"),
        **_measured(found.before, "before"),
        **_measured(found.after, "after"),
    }


def _conformal(method: str, **settings: Any) -> Call:
    def call() -> dict[str, Any]:
        predictor = xai.fit_conformal(fashion(), clothes(250, "calibration"), method=method, seed=2, **settings)
        data = clothes(80, "test")
        sets = predictor.sets(data.images[:], data.labels)
        return {
            "thresholds": [[one.threshold, one.count, one.rank, one.low, one.high] for one in predictor.promises],
            "members": sets.members,
            "sizes": sets.sizes,
            "average size": sets.average_size,
            "coverage": sets.coverage,
            "interval": sets.interval,
            "p value": sets.p_value,
            "probabilities": sets.probabilities,
        }

    return call


for _method in ("lac", "aps", "raps"):
    CALLS[f"fit_conformal {_method}"] = _conformal(_method)
CALLS["fit_conformal aps, by class"] = _conformal("aps", by_class=True)


def _drift(other: Tensor) -> dict[str, Any]:
    found = xai.drift(convolutional(), images(120, seed=25), other, draws=99, seed=3)
    return {
        "verdict": found.verdict,
        "findings": [[one.value, one.interval, one.p_value] for one in found.findings],
        "tests": [[t.value, t.low, t.high, t.by_chance, t.p_value, t.adjusted] for t in found.tests],
        "classes": [
            [c.share_a, c.share_b, c.difference, c.low, c.high, c.p_value, c.adjusted] for c in found.class_shares
        ],
        "estimated": [[c.estimated_b, c.estimated_low, c.estimated_high, c.detectable] for c in found.class_shares],
        "detectable shift": found.detectable_shift,
        "scores a": found.scores_a,
        "scores b": found.scores_b,
        "confidence b": found.confidence_b,
    }


@cache
def _detector(method: str) -> xai.OODDetector:
    return xai.fit_ood(fashion(), clothes(300, source=_TRAIN), clothes(150, "calibration"), method, seed=4)


@cache
def _small_detector(method: str, **settings: Any) -> xai.OODDetector:
    return xai.fit_ood(convolutional(), images(120, seed=21), images(90, seed=22), method, seed=4, **settings)


def _judged(found: xai.results.Judgement) -> dict[str, Any]:
    return {"scores": found.scores, "p values": found.p_values, "verdicts": found.verdicts} | {
        "guarantee": [found.guarantee.count, found.guarantee.low, found.guarantee.high, found.guarantee.level]
    }


def _described(detector: xai.OODDetector, rows: Tensor) -> dict[str, Any]:
    found = {"threshold": detector.threshold(0.1), "calibration": detector.calibration_scores}
    return found | _judged(detector.judge(rows, alpha=0.1))


def _fit_ood(method: str) -> Call:
    return lambda: _described(_detector(method), torch.cat([clothes(12, "test").images[:], _odd(12)]))


def _fit_small_ood(method: str) -> Call:
    rows = torch.cat([images(12, seed=23), 1 - images(12, seed=24)])
    return lambda: _described(_small_detector(method, percentile=60.0), rows)


for _info in xai.methods(kind="detector"):
    CALLS[f"fit_ood {_info.name}"] = (_fit_small_ood if _info.name in _SHAPING else _fit_ood)(_info.name)


def _fit_ood_auto() -> dict[str, Any]:
    detector = _small_detector("auto")
    table = detector.table
    return {
        "method": detector.method,
        "table": None if table is None else table.select_dtypes("number").to_numpy(),
        "scores": detector.score(1 - images(8, seed=24)),
        "threshold": detector.threshold(0.1),
    }


def _compare_ood() -> dict[str, Any]:
    found = xai.compare_ood(
        fashion(),
        clothes(200, source=_TRAIN),
        clothes(100, "calibration"),
        clothes(50, "test"),
        _odd(50),
        methods=("msp", "energy", "knn"),
        alpha=0.1,
        seed=6,
    )
    return {
        "calibration": found.calibration,
        "inside": found.inside,
        "outside": list(found.outside),
        "table": found.table.select_dtypes("number").to_numpy(),
    }


def _ood_attack() -> dict[str, Any]:
    data = clothes(10, "test")
    found = _detector("energy").attack(data.images[:], data.labels, _odd(10), alpha=0.1, eps=8 / 255, steps=5, seed=7)
    return {
        "clean": found.clean_scores,
        "adversarial": found.adversarial_scores,
        "fooled": found.success,
        "foreign": found.ood_scores,
        "evading": found.evading_scores,
        "limit": found.limit,
        "auroc": found.auroc,
        "flagged": found.flagged,
        "evaded": found.evaded,
    }


def _ood_explained() -> dict[str, Any]:
    found = _detector("mahalanobis").explain(_odd(1), "occlusion", window=0.25)
    return {"heatmap": found.heatmap, "attribution": found.attribution}


CALLS |= {
    "calibration": _calibration,
    "drift darker": lambda: _drift(0.8 * images(80, seed=26)),
    "drift none": lambda: _drift(images(100, seed=27)),
    "fit_ood auto": _fit_ood_auto,
    "compare_ood": _compare_ood,
    "fit_ood energy, attacked": _ood_attack,
    "fit_ood mahalanobis, explained": _ood_explained,
}
