"""Images of two, four, five and more bands: explained, shown and kept like any other."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import xai
from xai.errors import ShapeError


def net_of(bands: int, seed: int = 0) -> xai.Classifier:
    """A convolutional network of odd, non-square input, with fixed weights."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(bands, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten())
    return xai.Classifier(nn.Sequential(*net, nn.Linear(54, 3)).eval(), input_size=(33, 41), channels=bands)


def image_of(bands: int) -> Tensor:
    return torch.rand(bands, 33, 41, generator=torch.Generator().manual_seed(bands))


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5, 12])
def test_the_colours_of_bands(bands: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, bands), dtype=np.uint8)
    shown = xai.to_rgb(pixels)
    assert shown.shape == (5, 7, 3)
    assert shown.dtype == np.uint8
    right = pixels[..., :3] if bands >= 3 else np.repeat(pixels.mean(2, keepdims=True).astype(np.uint8), 3, 2)
    np.testing.assert_array_equal(shown, right)
    with pytest.raises(ShapeError, match=r"Expected an image \(H, W, C\)"):
        xai.to_rgb(pixels[0])


@pytest.mark.parametrize("bands", [2, 4, 5, 9])
@pytest.mark.parametrize("method", ["gradcam", "saliency", "lime"])
def test_an_explanation_of_bands_is_drawn_and_saved(bands: int, method: str, tmp_path: Path) -> None:
    found = xai.explain(net_of(bands), image_of(bands), method, **({"samples": 40} if method == "lime" else {}))
    assert found.images[0].shape == (33, 41, bands)
    assert found.overlay().shape == (33, 41, 3)
    assert any(note.startswith(f"images of {bands} bands are shown by ") for note in found.notes)
    found.save(tmp_path / "map.png")
    found.save(tmp_path / "all")
    again = xai.Explanation.load(tmp_path / "all")
    np.testing.assert_array_equal(again.images[0], found.images[0])
    assert len(found.plot().axes) == 4


def test_bands_on_a_page_and_side_by_side(tmp_path: Path) -> None:
    clf, image = net_of(5), image_of(5)
    every = [xai.explain(clf, image, name) for name in ("gradcam", "occlusion")]
    xai.agreement(every).save(tmp_path / "both.png")
    xai.report(every, tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size > 1000
    assert xai.rate_explanation(clf, image, every[1]).verdict in {"trust", "doubt", "reject"}
