"""Recorded calls of audits: each check, comparing two, judging again, plans, shares and positive controls."""

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import xai
from tests.recorded.material import clothes, fashion

Call = Callable[[], dict[str, Any]]

_CHECKS: dict[str, dict[str, Any]] = {
    "accuracy": {"at_least": 0.8, "worst_class_at_least": 0.1, "worst_group_at_least": 0.6},
    "calibration": {"at_most": 0.1},
    "certified_accuracy": {"at_least": 0.2, "eps": "0.1/255", "images": 12},
    "corruption_accuracy": {"at_least": 0.6, "images": 20, "corruptions": ["fog", "contrast"], "severities": [1, 4]},
    "data_faults": {"at_most": 0.05},
    "explanation_drift": {"at_least": 0.5, "method": "gradcam", "images": 8},
    "faithfulness": {"at_least": 0.5, "method": "gradcam", "images": 3},
    "generalisation_gap": {"at_most": 0.1},
    "group_gap": {"at_most": 0},
    "ood_detection": {"at_least": 0.8, "method": "energy"},
    "robust_accuracy": {"at_least": 0.2, "eps": "4/255", "attack": "pgd", "steps": 5, "trust": 2, "images": 12},
    "shortcuts": {"at_most": 0, "samples": 60, "probes": ["corner_mark"]},
    "slices": {"at_most": 0},
    "stability": {"at_least": 0.5, "method": "gradcam", "images": 3},
}
_TABLES = [{"metric": "accuracy", "at_least": 0.9}, {"metric": "calibration", "at_most": 0.1}]
_STRICT = [{"metric": "accuracy", "at_least": 0.999}, {"metric": "calibration", "at_most": 0.001}]


@cache
def _data() -> xai.Dataset:
    """Return 120 images of two sites, one of them twice."""
    drawn = clothes(120, "test", seed=3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.npz"
        site = np.array(["north", "south"])[np.arange(len(drawn)) * 5 % 11 % 2]
        images, labels = drawn.images[:].squeeze(1).numpy(), drawn.labels.numpy()
        images[7], labels[7] = images[3], labels[3]
        np.savez(path, images=images, labels=labels, classes=np.array(drawn.class_names), site=site)
        return xai.load_data(path).subset(len(drawn))


def _given() -> dict[str, Any]:
    return {
        "model": fashion(),
        "data": _data(),
        "train": clothes(150, source="example:fashion-train"),
        "calibration": clothes(100, "calibration"),
        "ood": {"digits": clothes(60, source="example:digits")},
    }


@cache
def _before() -> xai.Audit:
    checks = [*_TABLES, {"metric": "explanation_drift", "method": "gradcam", "images": 8}]
    return xai.audit(model=fashion("example:fashion-robust"), data=_data(), checks=checks, seed=1)


def _measured(found: xai.Audit, name: str) -> dict[str, Any]:
    check = found[name]
    measured, judged = check["measured"], check["conditions"]
    return {
        f"{name}, value": [measured["value"], measured["low"], measured["high"], measured["n"], measured["hits"]],
        f"{name}, verdict": check["verdict"],
        f"{name}, conditions": [[one["value"], one["interval"], one["p_value"], one["verdict"]] for one in judged],
    }


def _check(name: str, settings: dict[str, Any]) -> Call:
    def call() -> dict[str, Any]:
        baseline = _before() if name == "explanation_drift" else None
        checks = [{"metric": name, **settings}]
        found = xai.audit(**_given(), checks=checks, baseline=baseline, seed=1)
        rows = [[one.verdict, one.value, one.interval, one.threshold] for one in found.findings]
        return {**_measured(found, name), "verdict": found.verdict, "findings": rows}

    return call


def _audit_against_baseline() -> dict[str, Any]:
    checks = [{"metric": "accuracy", "max_drop_vs_baseline": 0.05}]
    return _measured(xai.audit(**_given(), checks=checks, baseline=_before(), seed=1), "accuracy")


def _compare() -> dict[str, Any]:
    found = xai.compare(_before(), xai.audit(**_given(), checks=_TABLES, seed=1))
    rows = found.differences
    return {
        "differences": [[d.before, d.after, d.n, d.difference, d.low, d.high, d.p_value, d.adjusted] for d in rows],
        "verdicts": [[d.verdict, *d.verdicts] for d in rows],
        "shared": found.shared,
        "better and worse": [len(found.better), len(found.worse)],
    }


def _judge_again() -> dict[str, Any]:
    found = xai.audit(**_given(), checks=_TABLES, seed=1)
    tables = {"model": {"source": "example:fashion"}, "data": {"source": "example:fashion-test"}, "check": _STRICT}
    again = found.rejudge(tables)
    return {"before": found.verdict, **_measured(again, "accuracy"), **_measured(again, "calibration")} | {
        "verdict": again.verdict
    }


def _plan_audit() -> dict[str, Any]:
    checks = [{"metric": name, **settings} for name, settings in _CHECKS.items()]
    plan = xai.Audit.plan(**_given(), checks=checks)
    found = {row.id: [list(row.images), row.pieces, row.left, row.rows, row.missing != ""] for row in plan.checks}
    return {**found, "pieces": [plan.pieces, plan.left, plan.rows]}


def _share_audit() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        tables = {"check": _TABLES, "audit": {"shard": 40}}
        shares = [xai.Audit.share(tables, k, 2, model=fashion(), data=_data(), out=folder) for k in range(2)]
    return {"left and all": shares}


def _positive_control() -> dict[str, Any]:
    return {"verdicts": list(xai.Audit.positive_control(**_given(), checks=_TABLES).values())}


def _audit_checks() -> dict[str, Any]:
    rows = xai.Audit.available_checks()
    return {row.name: [row.family, row.better, row.needs, row.conditions, row.images] for row in rows}


CALLS: dict[str, Call] = {f"audit {name}": _check(name, settings) for name, settings in _CHECKS.items()} | {
    "audit accuracy, baseline": _audit_against_baseline,
    "compare": _compare,
    "judge_again": _judge_again,
    "plan_audit": _plan_audit,
    "share_audit": _share_audit,
    "positive_control": _positive_control,
    "audit_checks": _audit_checks,
}
