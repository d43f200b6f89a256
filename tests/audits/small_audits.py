"""A tiny audit that takes a fraction of a second: a small network, its own answers as the truth of most images."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from small_models import LinearModel, pictures

from xai import Classifier, load_data

CLASSES = ("red", "green", "blue")
CHECKS: list[Any] = [
    {"metric": "accuracy", "at_least": 0.5, "worst_class_at_least": 0.1, "worst_group_at_least": 0.2},
    {"metric": "calibration", "at_most": 0.9},
    {"metric": "robust_accuracy", "id": "robust", "attack": "fgsm", "eps": "1/255", "trust": 0, "at_least": 0.9},
    {"metric": "corruption_accuracy", "corruptions": ["brightness"], "severities": [1], "images": 40},
    {"metric": "group_gap"},
]


def model(seed: int = 0, name: str = "small") -> Classifier:
    return Classifier(LinearModel(seed=seed), class_names=CLASSES, input_size=(16, 16), name=name)


def write_data(folder: Path, count: int = 60, seed: int = 0) -> Path:
    """Write images whose labels are the model's answers, but for every fifth."""
    images = pictures(count, seed=seed)
    with torch.no_grad():
        labels = model().logits(images).argmax(1).numpy()
    labels[::5] = (labels[::5] + 1) % 3
    site = np.array(["north", "south"])[np.arange(count) % 2]
    path = folder / "data.npz"
    shown = (images.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
    np.savez(path, images=shown, labels=labels, classes=np.array(CLASSES), site=site)
    return path


def tables(data: Path, **audit: Any) -> dict[str, Any]:
    return {"data": str(data), "check": CHECKS, "audit": {"shard": 16, "micro_batch": 8, **audit}}


def sources(data: Path) -> dict[str, Any]:
    return {"model": model(), "data": load_data(data)}
