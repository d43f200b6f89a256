"""Ordinary and foreign images for a network that knows clothes."""

from dataclasses import dataclass
from typing import Any

import pytest
from torch import Tensor
from torch.nn import functional as F

import xai


@dataclass(frozen=True)
class Wardrobe:
    """A classifier with images to fit on, to calibrate on and to test with, and digits."""

    classifier: xai.Classifier
    fit: Any
    calibration: Any
    test: Any
    digits: Tensor


@pytest.fixture(scope="session")
def wardrobe() -> Wardrobe:
    tests = xai.load_data("example:fashion-test")
    digits = F.interpolate(xai.load_data("example:digits").images[:80], (28, 28), mode="bilinear").clamp(0, 1)
    return Wardrobe(
        xai.load("example:fashion"),
        xai.load_data("example:fashion-train").subset(600),
        tests.part("calibration").subset(300),
        tests.part("test").subset(200),
        digits,
    )


@pytest.fixture(scope="session")
def vim(wardrobe: Wardrobe) -> xai.OODDetector:
    return xai.fit_ood(wardrobe.classifier, wardrobe.fit, wardrobe.calibration, "vim")
