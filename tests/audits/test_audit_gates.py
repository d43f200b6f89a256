"""Gates of whole audits on simulated models: at the threshold they err as seldom as they say; drops are caught."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import xai

IMAGES, CLASSES, LEVEL = 2000, 4, 0.95


class Simulated(nn.Module):
    """Answers what the corner of an image says: 64 steps of grey per class."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        said = (images[:, 0, 0, 0] * 255 / 64).floor()
        return -(said[:, None] - torch.arange(CLASSES)).abs()


def write(path: Path, right: np.ndarray, seed: int = 0) -> Path:
    """Write images of which the simulated model gets these right."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, CLASSES, len(right))
    said = np.where(right, labels, (labels + 1) % CLASSES)
    images = draw.integers(0, 256, (len(right), 4, 4, 1), dtype=np.uint8)
    images[:, 0, 0, 0] = 64 * said + 32
    np.savez(path, images=images, labels=labels, classes=np.array(["a", "b", "c", "d"]))
    return path


def verdict(folder: Path, right: np.ndarray, check: dict[str, object], **more: object) -> str:
    model = xai.Classifier(Simulated(), input_size=(4, 4), channels=1, name="simulated")
    folder.mkdir()
    data = xai.load_data(write(folder / "data.npz", right))
    given = {"model": model, "data": data, "audit": {"level": LEVEL, **more}}
    return xai.audit({**given, "check": [{"metric": "accuracy", **check}]}, out=folder / "run").verdict


def shares(verdicts: list[str]) -> dict[str, float]:
    return {name: verdicts.count(name) / len(verdicts) for name in ("pass", "fail", "inconclusive")}


def most(runs: int) -> float:
    """Return the largest share of wrong verdicts that 2.5 % explain, once in a thousand times."""
    return float(stats.binom.isf(0.001, runs, (1 - LEVEL) / 2)) / runs


@pytest.mark.parametrize("runs", [6, pytest.param(400, marks=pytest.mark.slow)])
@pytest.mark.parametrize("threshold", [0.8, 0.95])
def test_a_model_exactly_at_the_threshold(tmp_path, runs, threshold):
    draw = np.random.default_rng(1)
    asked = {"at_least": threshold}
    found = shares(
        [verdict(tmp_path / str(k), draw.random(IMAGES) < threshold, asked) for k in range(runs)],
    )
    assert found["fail"] <= most(runs), found
    assert found["pass"] <= most(runs), found


@pytest.mark.parametrize("runs", [3, pytest.param(200, marks=pytest.mark.slow)])
def test_five_points_below_the_threshold_are_caught(tmp_path, runs):
    draw = np.random.default_rng(2)
    asked = {"at_least": 0.85}
    found = shares([verdict(tmp_path / str(k), draw.random(IMAGES) < 0.80, asked) for k in range(runs)])
    assert found["fail"] >= 0.95, found


@pytest.mark.parametrize("runs", [3, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("lost", "most_drop", "caught"), [(0.05, 0.0, True), (0.02, 0.02, False)])
def test_drops_against_a_baseline(tmp_path, runs, lost, most_drop, caught):
    """Before and after on the same images: a drop of five points is caught, one just as large as allowed is not."""
    draw, verdicts = np.random.default_rng(3), []
    for k in range(runs):
        before = draw.random(IMAGES) < 0.9
        churn = draw.random(IMAGES)
        after = np.where(before, churn >= (lost + 0.02) / 0.9, churn < 0.02 / 0.1)
        verdicts.append(drop(tmp_path / str(k), before, after, most_drop))
    found = shares(verdicts)
    if caught:
        assert found["fail"] >= 0.95, found
    else:
        assert max(found["fail"], found["pass"]) <= most(runs), found


class Later(nn.Module):
    """Answers what another corner says: another model of the same images."""

    def __init__(self, corner: int) -> None:
        super().__init__()
        self.register_buffer("corner", torch.tensor(corner))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        said = (images[:, 0, 0, int(self.corner)] * 255 / 64).floor()
        return -(said[:, None] - torch.arange(CLASSES)).abs()


def drop(folder: Path, before: np.ndarray, after: np.ndarray, most_drop: float) -> str:
    folder.mkdir()
    with np.load(write(folder / "before.npz", before)) as held:
        images, labels, classes = held["images"].copy(), held["labels"], held["classes"]
    images[:, 0, 1, 0] = 64 * np.where(after, labels, (labels + 1) % CLASSES) + 32
    np.savez(folder / "data.npz", images=images, labels=labels, classes=classes)
    data = xai.load_data(folder / "data.npz")
    asked = {"metric": "accuracy", "max_drop_vs_baseline": most_drop}
    models = [xai.Classifier(Later(k), input_size=(4, 4), channels=1, name="simulated") for k in (0, 1)]
    xai.audit({"model": models[0], "data": data, "check": ["accuracy"]}, out=folder / "baseline")
    given = {"model": models[1], "data": data, "check": [asked]}
    return xai.audit({**given, "audit": {"baseline": str(folder / "baseline")}}, out=folder / "run").verdict
