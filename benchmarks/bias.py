"""Bias inference against fairlearn's bootstrap: 10,000 images, 4 metrics, 6 groups from 5,000 down to 10.

fairlearn is among the requirements of the tests. It draws 100 bootstrap samples here and gives intervals; xai draws
10,000 permutations and gives p-values, gaps by chance, simultaneous intervals, what could have been seen and verdicts.
"""

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import xai
from benchmarks.timing import medians, table
from xai.fairness.slices import slices_of_predictions

SIZES, ACCURACY, REPLICATES, BOOTSTRAPS = (5000, 3000, 1500, 450, 40, 10), 0.9, 10_000, 100
METRICS = ("accuracy", "recall", "false_positive_rate", "selection_rate")
BAR = 0.5  # seconds


def images() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, answers and groups in which the group does not matter."""
    chance = np.random.default_rng(0)
    groups = np.repeat([f"group {k}" for k in range(len(SIZES))], SIZES)
    labels = chance.integers(0, 2, len(groups))
    return labels, np.where(chance.random(len(groups)) < ACCURACY, labels, 1 - labels), groups


def frame(labels: np.ndarray, answers: np.ndarray, groups: np.ndarray, **settings: Any) -> Any:
    """Return fairlearn's table of the same metrics."""
    fair = importlib.import_module("fairlearn.metrics")
    metrics = {
        "accuracy": importlib.import_module("sklearn.metrics").accuracy_score,
        "recall": fair.true_positive_rate,
        "false_positive_rate": fair.false_positive_rate,
        "selection_rate": fair.selection_rate,
    }
    return fair.MetricFrame(metrics=metrics, y_true=labels, y_pred=answers, sensitive_features=groups, **settings)


def apart(found: Any, theirs: Any) -> float:
    """Return the largest difference of a gap of class 1."""
    gaps = theirs.difference()
    own = {gap.metric: gap.gap for gap in found.gaps if gap.label in {"", "1"}}
    return max(abs(own[metric] - float(gaps[metric])) for metric in METRICS)


def run() -> None:
    """Print seconds of both and how far the gaps are apart."""
    labels, answers, groups = images()

    def ours(metrics: tuple[str, ...] | None = METRICS) -> Any:
        return xai.bias_of_predictions(
            labels, answers, {"group": groups}, metrics=metrics, min_count=1, replicates=REPLICATES
        )

    seconds = medians({"four": ours, "all": lambda: ours(None)}, rounds=7, warm=1)
    rows = [
        ("xai, 4 metrics", f"{REPLICATES} permutations", f"{seconds['four']:.2f} s", f"bar {BAR} s", ""),
        ("xai, all metrics of predictions", f"{REPLICATES} permutations", f"{seconds['all']:.2f} s", "", ""),
    ]
    if importlib.util.find_spec("fairlearn") is not None:
        plain = _seconds(lambda: frame(labels, answers, groups))
        booted = _seconds(lambda: frame(labels, answers, groups, n_boot=BOOTSTRAPS, ci_quantiles=[0.025, 0.975]))
        same = f"gaps within {apart(ours(), frame(labels, answers, groups)):.0e}"
        rows += [
            ("fairlearn, 4 metrics", "no inference", f"{plain:.2f} s", "", ""),
            (
                "fairlearn, 4 metrics",
                f"{BOOTSTRAPS} bootstraps",
                f"{booted:.1f} s",
                f"{booted / seconds['four']:.0f} x",
                same,
            ),
        ]
    table(f"Bias of {len(labels)} images in {len(SIZES)} groups", rows)
    slices()


def slices() -> None:
    """Print seconds of looking for weak slices in noise, where nothing ends early."""
    rng, count, width = np.random.default_rng(0), 10_000, 512
    truth = rng.integers(0, 10, count)
    features = rng.normal(size=(count, width))
    features[:, :10] += 3 * np.eye(10)[truth]
    answers = np.where(rng.random(count) < 0.1, (truth + 1) % 10, truth)
    measured = {name: rng.normal(size=count) for name in ("brightness", "contrast", "sharpness", "texture", "size")}
    spent = _seconds(lambda: slices_of_predictions(truth, answers, features, measured))
    table("Weak slices", [(f"{count} x {width} features, {len(measured)} properties", f"{spent:.1f} s", "bar 20 s")])


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
