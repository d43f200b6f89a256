"""One small audit of an example network with failures, images and maps, for all tests of reports."""

import numpy as np
import pytest

import xai
from xai import Audit

CHECKS = [
    {"metric": "accuracy", "at_least": 0.5, "worst_class_at_least": 0.99},
    {"metric": "calibration", "at_most": 0.3},
    {"id": "robust", "metric": "robust_accuracy", "attack": "fgsm", "eps": "8/255", "trust": 8, "at_least": 0.9},
    {"metric": "corruption_accuracy", "corruptions": ["snow"], "severities": [5], "images": 40, "at_least": 0.9},
    {"metric": "group_gap"},
    {"metric": "faithfulness", "images": 6},
    {"metric": "ood_detection"},
]


@pytest.fixture(scope="session")
def audited(tmp_path_factory) -> Audit:
    place = tmp_path_factory.mktemp("reported")
    drawn = xai.load_data("example:fashion-test").subset(120, seed=0)
    images = np.stack([np.asarray(drawn.images[k]).squeeze() for k in range(len(drawn))])
    site = np.array(["north", "south"])[np.arange(len(images)) % 2]
    classes = np.array(xai.load("example:fashion").class_names)
    np.savez(place / "data.npz", images=images, labels=drawn.labels.numpy(), classes=classes, site=site)
    tables = {"model": {"source": "example:fashion"}, "data": str(place / "data.npz"), "check": CHECKS}
    return xai.audit(tables, out=place / "run")
