"""From the image to the model's input and exactly back."""

import time

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision_cpu import import_torchvision

from xai.core.images.geometry import RESIZES, Geometry, plan_geometry
from xai.errors import NameLookupError

SIZES = [(1, 1), (1, 9), (2, 3), (16, 16), (17, 31), (224, 224), (225, 223), (300, 500), (3000, 200), (200, 3000)]
FILL = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("original", SIZES)
@pytest.mark.parametrize("size", [(224, 224), (28, 28), (64, 48), (1, 1)])
def test_every_size_goes_there_and_back(original: tuple[int, int], size: tuple[int, int], resize: str) -> None:
    plan = plan_geometry(original, size, resize)
    there = plan.apply(noise(3, *original), FILL)
    assert there.shape == (3, *size)
    assert float(there.min()) >= 0
    assert float(there.max()) <= 1
    back = plan.back(there)
    assert back.shape == (3, *original)
    assert bool(torch.isfinite(back).all())
    assert float(back.max()) <= 1 + 1e-5
    assert 0 < plan.share_seen <= 1 + 1e-9
    flat = plan.back(torch.ones(size))
    assert set((flat * 1e5).round().unique().tolist()) <= {0.0, 1e5}
    if resize == "squash":
        assert float(flat.min()) > 0.99999


@pytest.mark.parametrize("size", [None, (20, 30)])
def test_identity_is_exact(size: tuple[int, int] | None) -> None:
    plan, image = plan_geometry((20, 30), size), noise(3, 20, 30)
    assert plan.identity
    assert plan.apply(image, FILL) is image
    assert plan.back(image) is image
    assert plan.seen == (0, 0, 20, 30)


@pytest.mark.parametrize("original", [(16, 16), (17, 31), (100, 60), (300, 500), (5, 400), (1, 1)])
@pytest.mark.parametrize("size", [(24, 24), (64, 48)])
def test_squash_back_is_interpolation(original: tuple[int, int], size: tuple[int, int]) -> None:
    heat = noise(1, 1, *size)
    smaller = any(mine < theirs for mine, theirs in zip(original, size, strict=True))
    wanted = F.interpolate(heat, original, mode="bilinear", align_corners=False, antialias=smaller)
    found = plan_geometry(original, size, "squash").back(heat[0, 0])
    torch.testing.assert_close(found, wanted[0, 0], atol=1e-5, rtol=0)


def test_back_keeps_batches_and_types() -> None:
    plan, heat = plan_geometry((40, 60), (8, 8), "squash"), noise(2, 3, 8, 8).double()
    found = plan.back(heat)
    assert (found.shape, found.dtype) == ((2, 3, 40, 60), torch.float64)
    torch.testing.assert_close(found[1, 2], plan.back(heat[1, 2]))


def square_in(original: tuple[int, int], seen: tuple[float, float, float, float]) -> tuple[Tensor, tuple[float, float]]:
    """Return an image with a bright square in the seen part, off its middle, and the square's centre."""
    top, left, bottom, right = seen
    side = max(2, int(min(bottom - top, right - left) / 6))
    row, column = int(top + 0.55 * (bottom - top)), int(left + 0.3 * (right - left))
    image = torch.zeros(1, *original)
    image[0, row : row + side, column : column + side] = 1
    return image, (row + side / 2, column + side / 2)


def centre_of(heat: Tensor) -> tuple[float, float]:
    mass = heat.double() / heat.double().sum()
    rows, columns = (torch.arange(n, dtype=torch.float64) + 0.5 for n in heat.shape)
    return float((mass.sum(1) * rows).sum()), float((mass.sum(0) * columns).sum())


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("original", [(40, 40), (90, 60), (64, 333), (500, 375), (1000, 750), (200, 3000)])
@pytest.mark.parametrize("size", [(64, 64), (96, 64), (224, 224)])
def test_a_planted_square_comes_back_to_its_place(
    original: tuple[int, int], size: tuple[int, int], resize: str
) -> None:
    plan = plan_geometry(original, size, resize)
    image, centre = square_in(original, plan.seen)
    there = plan.apply(image, torch.zeros(1, 1, 1))
    row, column = centre_of(plan.back(there)[0])
    assert abs(row - centre[0]) <= 0.5
    assert abs(column - centre[1]) <= 0.5


@pytest.mark.parametrize("original", [(30, 90), (90, 30), (301, 200)])
def test_outside_the_crop_the_map_is_zero(original: tuple[int, int]) -> None:
    plan = plan_geometry(original, (28, 28), "crop")
    found = plan.back(torch.ones(28, 28))
    top, left, bottom, right = plan.seen
    rows, columns = (torch.arange(n) + 0.5 for n in original)
    inside = ((rows > top) & (rows < bottom))[:, None] & ((columns > left) & (columns < right))
    assert bool((found[~inside] == 0).all())
    torch.testing.assert_close(found[inside], torch.ones(int(inside.sum())))
    assert plan.share_seen < 1
    assert abs(plan.share_seen - float(inside.double().mean())) < 0.1


def test_padding_is_the_fill_and_the_rest_is_untouched() -> None:
    plan, image = plan_geometry((8, 16), (16, 16), "pad"), noise(3, 8, 16)
    there = plan.apply(image, FILL)
    assert torch.equal(there[:, 4:12], image)
    assert torch.equal(there[:, :4], FILL.expand(3, 4, 16))
    assert torch.equal(there[:, 12:], FILL.expand(3, 4, 16))
    assert torch.equal(plan.back(there), image)
    assert plan.share_seen == 1


def test_a_crop_takes_pixels_as_they_are() -> None:
    plan, image = Geometry((8, 16), (8, 16), (2, 5), (4, 4)), noise(3, 8, 16)
    assert torch.equal(plan.apply(image, FILL), image[:, 2:6, 5:9])
    heat = noise(4, 4)
    wanted = torch.zeros(8, 16)
    wanted[2:6, 5:9] = heat
    assert torch.equal(plan.back(heat), wanted)
    assert plan.seen == (2, 5, 6, 9)


@pytest.mark.parametrize("original", [(256, 256), (300, 400), (511, 333), (180, 1000), (50, 70)])
def test_crop_is_what_torchvision_does(original: tuple[int, int]) -> None:
    import_torchvision()
    from torchvision.transforms.v2 import functional

    image = noise(3, *original)
    wanted = functional.center_crop(functional.resize(image, [256], antialias=True), [224, 224])
    found = plan_geometry(original, (224, 224), "crop", 224 / 256).apply(image, FILL)
    torch.testing.assert_close(found, wanted.clamp(0, 1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("original", [(40, 4000), (3000, 20), (8, 700)])
def test_a_strip_is_cropped_as_any_picture_is(original: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    plan, image = plan_geometry(original, (32, 32), "crop"), noise(3, *original).double()
    found = plan.apply(image, FILL)
    monkeypatch.setattr("xai.core.images.geometry._STRIP", 1e9)
    torch.testing.assert_close(found, plan.apply(image, FILL), atol=1e-6, rtol=0)
    monkeypatch.setattr("xai.core.images.geometry._STRIP", 0)
    torch.testing.assert_close(found, plan.apply(image, FILL), atol=1e-6, rtol=0)


@pytest.mark.parametrize("original", [(1, 32_768), (20_000, 3)])
def test_a_long_strip_costs_no_more_than_its_crop(original: tuple[int, int]) -> None:
    started = time.perf_counter()
    there = plan_geometry(original, (224, 224), "crop").apply(noise(3, *original), FILL)
    assert there.shape == (3, 224, 224)
    assert time.perf_counter() - started < 20  # all of it resized would be 25 GB


def test_an_unknown_way_to_resize() -> None:
    with pytest.raises(NameLookupError, match="no way to resize 'stretch'"):
        plan_geometry((4, 4), (8, 8), "stretch")
