"""Mean corruption error: by name, AlexNet's own is 1."""

import json

import numpy as np
import pytest

from xai.errors import InputError, NameLookupError, RangeError, ShapeError
from xai.robust.corruptions.result import ALEXNET, ALEXNET_CLEAN, IMAGENET_C, IMAGENET_C_EXTRA, mce

# ResNet-50's CE as the paper's table has them, in percent, and its mCE of 76.7
RESNET50 = {
    "gaussian_noise": 80, "shot_noise": 82, "impulse_noise": 83, "defocus_blur": 75, "glass_blur": 89,
    "motion_blur": 78, "zoom_blur": 80, "snow": 78, "frost": 75, "fog": 66, "brightness": 57, "contrast": 71,
    "elastic_transform": 85, "pixelate": 77, "jpeg_compression": 77,
}  # fmt: skip


def test_alexnet_is_one():
    found = mce(ALEXNET, ALEXNET_CLEAN)
    assert found.mce == pytest.approx(1, abs=1e-12)
    assert found.relative_mce == pytest.approx(1, abs=1e-12)
    assert all(value == pytest.approx(1) for value in found.ce.values())
    assert found.names == IMAGENET_C
    assert len(IMAGENET_C) == 15


def test_resnet50_of_the_paper():
    errors = {name: share / 100 * ALEXNET[name] for name, share in RESNET50.items()}
    assert mce(errors).mce == pytest.approx(0.767, abs=2e-3)
    assert mce(errors).relative_mce is None


def test_order_does_not_count_and_five_severities_are_their_mean():
    spread = np.array([-0.1, -0.05, 0, 0.05, 0.1])
    errors = {name: list(ALEXNET[name] * 0.8 + spread) for name in reversed(IMAGENET_C)}
    found = mce(errors, 0.3)
    assert found.mce == pytest.approx(0.8)
    wanted = np.mean([(0.8 * ALEXNET[n] - 0.3) / (ALEXNET[n] - ALEXNET_CLEAN) for n in IMAGENET_C])
    assert found.relative_mce == pytest.approx(wanted)
    one = dict(errors, fog=[0.0] * 5)
    assert mce(one).ce["fog"] == 0
    assert mce(one).ce["frost"] == pytest.approx(0.8)


def test_missing_and_unknown_corruptions():
    some = {"fog": 0.5, "frost": [0.4] * 5}
    with pytest.raises(InputError, match="gaussian_noise"):
        mce(some)
    assert mce(some, partial=True).names == ("frost", "fog")
    assert mce(some, partial=True).mce == pytest.approx((0.5 / ALEXNET["fog"] + 0.4 / ALEXNET["frost"]) / 2)
    with pytest.raises(InputError, match="partial"):
        mce({}, partial=True)
    with pytest.raises(NameLookupError, match="gaussian_noise"):
        mce({"gausian_noise": 0.5})
    for name in IMAGENET_C_EXTRA:
        with pytest.raises(NameLookupError, match="AlexNet"):
            mce(dict(ALEXNET) | {name: 0.5})


@pytest.mark.parametrize("bad", [1.5, -0.1, float("nan"), 85.0])
def test_errors_are_shares(bad):
    with pytest.raises(RangeError, match="fog"):
        mce(dict(ALEXNET, fog=bad))
    with pytest.raises(RangeError, match="clean"):
        mce(ALEXNET, bad)


def test_one_error_or_five():
    with pytest.raises(ShapeError, match="severities"):
        mce(dict(ALEXNET, fog=[0.5, 0.6]))


def test_the_bootstrap_covers_and_shrinks():
    chance = np.random.default_rng(0)
    widths = []
    for count in (100, 1600):
        wrong = {name: chance.random((5, count)) < 0.6 * ALEXNET[name] for name in IMAGENET_C}
        clean = chance.random(count) < 0.3
        errors = {name: rows.mean(1) for name, rows in wrong.items()}
        found = mce(errors, clean.mean(), wrong=wrong, clean_wrong=clean, seed=1)
        low, high = found.interval
        assert low < found.mce < high
        assert found.relative_interval[0] < found.relative_mce < found.relative_interval[1]
        widths.append(high - low)
        assert mce(errors, wrong=wrong, seed=1).interval == found.interval
    assert widths[1] < widths[0] / 2.5
    json.dumps(found.to_dict())
