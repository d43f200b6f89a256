"""Recorded calls of group metrics, weak slices, shortcuts, faults of the data, and outcomes per image."""

from collections.abc import Callable
from typing import Any

import numpy as np

import xai
from tests.recorded.material import clothes, fashion

Call = Callable[[], dict[str, Any]]

_COUNT = 160


def _sites(count: int) -> dict[str, np.ndarray]:
    return {
        "site": np.array(["north", "south", "west"])[np.arange(count) * 7 % 3],
        "hour": np.array(["day", "night"])[np.arange(count) * 5 % 11 % 2],
    }


def _grouped(found: xai.results.BiasResult) -> dict[str, Any]:
    gaps, values = found.gaps, found.values
    return {
        "verdict": found.verdict,
        "findings": len(found.findings),
        "gaps": [[g.low_value, g.high_value, g.low_n, g.high_n, g.gap, g.ratio, *g.interval] for g in gaps],
        "gaps by chance": [[g.expected, g.expected_high, g.p, g.p_adjusted, g.detectable] for g in gaps],
        "verdicts of gaps": [g.verdict for g in gaps],
        "groups": [[v.n, v.value, v.low, v.high, v.score, v.p_adjusted, v.detectable] for v in values],
        "verdicts of groups": [v.verdict for v in values],
        "parities": [[p.value, p.mean, *p.interval, p.expected, p.verdict] for p in found.parities],
        "amplifications": [[a.value, *a.interval, a.change] for a in found.amplifications],
        "cube": found.cube(),
        "predictions": found.predictions,
        "codes": found.codes,
    }


def _bias() -> dict[str, Any]:
    data = clothes(_COUNT, "test", seed=3)
    return _grouped(xai.bias(fashion(), data, _sites(_COUNT), seed=1, replicates=200, min_count=5))


def _bias_of_predictions() -> dict[str, Any]:
    source, count = np.random.default_rng(2), 400
    labels = source.integers(0, 3, count)
    sites = _sites(count)
    wrong = source.random(count) < np.where(sites["site"] == "south", 0.4, 0.1)
    predictions = np.where(wrong, (labels + source.integers(1, 3, count)) % 3, labels)
    confidence = source.uniform(0.4, 1, count)
    return _grouped(xai.bias_of_predictions(labels, predictions, sites, confidence, seed=1, replicates=200))


def _slices() -> dict[str, Any]:
    found = xai.slices(fashion(), clothes(600, "test", seed=3), seed=2)
    rows = found.slices
    return {
        "slices": [[s.images, s.accuracy, *s.accuracy_interval, s.rest, s.gap, *s.gap_interval] for s in rows],
        "tests": [[s.p, s.p_adjusted, s.detectable, s.found_accuracy, s.found_images] for s in rows],
        "verdicts": [s.verdict for s in rows],
        "findings": len(found.findings),
        "members": found.members,
        "predictions": found.predictions,
        "rows": found.rows,
    }


def _shortcuts() -> dict[str, Any]:
    found = xai.shortcuts(
        fashion("example:fashion-shortcut"),
        clothes(200, "test", seed=3),
        seed=3,
        probes=["corner_mark", "blur"],
        strengths=(0.5, 1.0),
        samples=120,
    )
    rows = found.responses
    return {
        "verdict": found.verdict,
        "findings": len(found.findings),
        "verdicts": [r.verdict for r in rows],
        "targets": [[r.target, r.from_data, r.images, r.members, r.strength] for r in rows],
        "attraction": [[r.attraction, *r.attraction_interval, r.flips, *r.flips_interval, r.neutral] for r in rows],
        "excess": [[r.excess, *r.excess_interval, r.beyond, *r.beyond_interval, r.p, r.p_adjusted] for r in rows],
        "leaning": [[r.leaning, *r.leaning_interval, r.strength_10, *r.strength_10_interval] for r in rows],
        "removal": [[r.removed, r.removed_interval, r.removed_beyond, r.removed_p, r.lift] for r in rows],
        "in the data": [[r.carried, r.carried_elsewhere, r.auroc, r.auroc_p] for r in rows],
        "clean predictions": found.clean,
        "clean confidence": found.clean_true_class_probability,
        "predictions": found.predictions,
        "confidence": found.true_class_probability,
        "heatmaps": found.heatmaps,
        "doses": found.doses.select_dtypes("number").to_numpy(),
    }


def _faults(found: xai.results.DataFaults) -> dict[str, Any]:
    effects = [fault.effect for fault in found.findings if fault.effect is not None]
    return {
        "findings": [[fault.kind, fault.count] for fault in found.findings],
        "effects": [[e.accuracy, e.without, e.change, e.interval] for e in effects],
        "pairs": sorted([p.first_row, p.second_row, p.across] for p in found.pairs),
        "suspects": [[s.row, s.given, s.suggested] for s in found.suspects],
        "broken": [broken.row for broken in found.broken],
        "counts": found.counts,
        "sizes": [found.size, found.train_size],
    }


def _data_faults() -> dict[str, Any]:
    images, labels = clothes(120, "test", seed=5).images[:].clone(), clothes(120, "test", seed=5).labels.clone()
    images[7], images[40] = images[3], images[12].flip(-1)
    images[90] = images[90].mean()
    labels[20:30] = (labels[20:30] + 4) % 10
    train = clothes(60, source="example:fashion-train").images[:].clone()
    train[5] = images[50]
    return _faults(xai.data_faults(fashion(), images, train, labels=labels, seed=4))


def _treatment() -> dict[str, Any]:
    detector = xai.fit_ood(
        fashion(), clothes(200, source="example:fashion-train"), clothes(100, "calibration"), "energy"
    )
    found = xai.treatment(
        fashion(), clothes(16, "test"), eps=2 / 255, detector=detector, method="gradcam", samples=2, seed=5
    )
    return {f"measure {k}": values for k, values in enumerate(found.values())}


CALLS: dict[str, Call] = {
    "bias": _bias,
    "bias_of_predictions": _bias_of_predictions,
    "slices": _slices,
    "shortcuts": _shortcuts,
    "data_faults": _data_faults,
    "treatment": _treatment,
}
