"""Against imagecorruptions 1.1.2 at 224 pixels: pixels where nothing is random, else mean, deviation and distance."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from make_reference import RANDOM, STILL, figures, picture, places

from xai.robust.corruptions.base import CORRUPTIONS, corrupt

SEVERITIES = (1, 2, 3, 4, 5)
DRAWS = 24
EIGHT_BIT = 1 / 255 + 1e-4  # Pillow rounds between the two steps of pixelate
LARGEST = {"pixelate": EIGHT_BIT, "defocus_blur": 5e-3}  # the disks of radius 8 and 10 touch the border of their mask
MEAN = {"pixelate": 2.5e-3, "defocus_blur": 5e-4}
# of the mean square distance to the clean image, and of mean and deviation
DISTANCE = {"fog": 0.1, "frost": 0.2, "spatter": 0.12, "glass_blur": 0.04, "snow": 0.04, "motion_blur": 0.04}
LEVELS = {"fog": 0.05, "frost": 0.06}


@cache
def stored():
    with np.load(Path(__file__).parent / "reference.npz", allow_pickle=False) as archive:
        return dict(archive)


def clean():
    return torch.from_numpy(picture()).permute(2, 0, 1).float() / 255


def test_every_corruption_of_imagenet_c_is_held_against_the_reference():
    assert sorted(STILL + RANDOM) == sorted(name for name in CORRUPTIONS if CORRUPTIONS[name].imagenet_c)
    assert all(not CORRUPTIONS[name].stochastic for name in STILL)
    assert all(CORRUPTIONS[name].stochastic for name in RANDOM)


@pytest.mark.parametrize("name", STILL)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_pixels_are_the_reference_s(name, severity):
    down, across = places()
    found = corrupt(clean(), name, severity)[:, down, across].T.double().numpy()
    error = np.abs(found - stored()[f"{name}/{severity}/pixels"])
    assert error.max() <= LARGEST.get(name, 2e-5)
    assert error.mean() <= MEAN.get(name, 2e-6)


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_random_ones_are_distributed_as_the_reference_s(name, severity):
    count = 6 if name == "glass_blur" else DRAWS
    rows = clean().expand(count, -1, -1, -1)
    found = corrupt(rows, name, severity, seed=7, keys=[bytes([k]) for k in range(count)])
    mean, deviation, distance = figures(found.double().numpy(), rows.double().numpy())
    wanted = stored()[f"{name}/{severity}/figures"]
    assert mean == pytest.approx(wanted[0], rel=LEVELS.get(name, 0.01))
    assert deviation == pytest.approx(wanted[1], rel=LEVELS.get(name, 0.01) * 2)
    assert distance == pytest.approx(wanted[2], rel=DISTANCE.get(name, 0.02))
