"""Properties of images with a known answer."""

import numpy as np
import pytest
import torch

from xai.fairness.per_image_outcomes import PROPERTIES, measure


def one(images: torch.Tensor, name: str) -> float:
    return float(measure(images[None])[name][0])


def checks(size: int = 28, step: int = 1) -> torch.Tensor:
    down, across = torch.meshgrid(torch.arange(size) // step, torch.arange(size) // step, indexing="ij")
    return ((down + across) % 2).float()[None]


def test_flat_pictures():
    for channels in (1, 3, 4):
        found = measure(torch.full((2, channels, 9, 7), 0.25))
        assert found["brightness"] == pytest.approx([0.25, 0.25])
        for name in found.keys() - {"brightness"}:
            assert found[name] == pytest.approx([0, 0], abs=1e-5), name


def test_brightness_and_contrast_by_hand():
    half = torch.cat([torch.zeros(1, 4, 8), torch.ones(1, 4, 8)], 1)
    assert one(half, "brightness") == pytest.approx(0.5)
    assert one(half, "contrast") == pytest.approx(0.5)
    green = torch.tensor([0.0, 1.0, 0.0]).view(3, 1, 1).expand(3, 5, 5)
    assert one(green, "brightness") == pytest.approx(0.587)


def test_colour_by_the_formula():
    pixels = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    red, green, blue = pixels.double().numpy()
    first, second = red - green, 0.5 * (red + green) - blue
    wanted = np.hypot(first.std(), second.std()) + 0.3 * np.hypot(first.mean(), second.mean())
    assert one(pixels, "colourfulness") == pytest.approx(wanted, rel=1e-5)
    assert one(pixels, "warmth") == pytest.approx(red.mean() - blue.mean(), abs=1e-6)
    assert not {"colourfulness", "warmth"} & measure(pixels[None, :1]).keys()


def test_texture_lies_inside_blocks_or_between_them():
    assert one(checks(28, 1), "texture") == pytest.approx(1, abs=1e-4)
    assert one(checks(28, 4), "texture") == pytest.approx(0, abs=1e-4)
    assert 0.1 < one(torch.rand(1, 30, 25, generator=torch.Generator().manual_seed(0)), "texture") <= 1


def test_sharpness_falls_with_blur_and_not_with_contrast():
    sharp = checks(28, 7)
    blurred = torch.nn.functional.avg_pool2d(sharp[None], 5, 1, 2, count_include_pad=False)[0]
    assert one(blurred, "sharpness") < 0.6 * one(sharp, "sharpness")
    assert one(0.2 + 0.3 * sharp, "sharpness") == pytest.approx(one(sharp, "sharpness"), rel=1e-3)


def test_object_size_is_the_share_of_what_is_not_ground():
    image = torch.full((3, 20, 20), 0.9)
    image[:, 5:15, 4:12] = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)
    assert one(image, "object size") == pytest.approx(80 / 400)


def test_pictures_are_measured_one_by_one():
    images = torch.rand(5, 3, 17, 23, generator=torch.Generator().manual_seed(1))
    together = measure(images)
    assert set(together) == set(PROPERTIES.names())
    for name, values in together.items():
        assert values.shape == (5,)
        assert values.dtype == np.float64
        for k in range(5):
            assert one(images[k], name) == pytest.approx(values[k], rel=1e-5), name
