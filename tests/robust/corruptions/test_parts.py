"""The parts against other formulations: loops, scipy, closed forms."""

from math import ceil, cos, radians, sin

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from skimage import filters

from xai.robust.corruptions._filters import (
    border_index,
    canny,
    clipped_zoom,
    disk,
    distance,
    gaussian,
    gaussian_axes,
    motion,
    pad,
)
from xai.robust.corruptions.base import Draws
from xai.robust.corruptions.digital import hue_matrix
from xai.robust.corruptions.noise import _shuffled, poisson
from xai.robust.corruptions.weather import plasma
from xai.stats.intervals import wilson


def draws_for(images, seed=0):
    return Draws(images, [torch.Generator().manual_seed(seed + k) for k in range(len(images))])


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


class Given:
    """Draws that are known beforehand."""

    def __init__(self, *numbers):
        self.left = list(numbers)

    def uniform(self, *shape):
        return self.left.pop(0).clone()


@pytest.mark.parametrize("reach", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(20, 31), (33, 18), (5, 5)])
def test_glass_gives_what_the_sequential_loop_gives(reach, size):
    height, width = size
    images, drawn = rand(2, 3, height, width), rand(2, 2, height, width, seed=1)
    found = _shuffled(images, reach, 1.0, Given(drawn))
    for picture, numbers, made in zip(images, drawn, found, strict=True):
        pixels = picture.permute(1, 2, 0).numpy().copy()
        offsets = ((numbers * 2 - 1) * reach).floor().long()
        for row in range(height - reach, reach, -1):
            for column in range(width - reach, reach, -1):
                down, across = int(offsets[0, row, column]), int(offsets[1, row, column])
                pixels[row, column] = pixels[row + down, column + across]  # the reference's swap writes this one only
        assert np.array_equal(made.permute(1, 2, 0).numpy(), pixels)


def test_a_reach_below_one_moves_that_share_of_pixels():
    image = torch.arange(10_000.0).view(1, 1, 100, 100)
    found = _shuffled(image, 0.25, 0.25, draws_for(image))
    moved = float((found != image)[..., 2:, 2:].float().mean())
    assert moved == pytest.approx(0.25 * 0.75, abs=0.02)  # one offset in four is (0, 0)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.24, 6.0])
@pytest.mark.parametrize("size", [(8, 8), (40, 70), (1, 5)])
def test_gaussian_is_skimage_s(sigma, size):
    images = rand(2, 3, *size).double()
    wanted = filters.gaussian(images.numpy(), sigma=(0, 0, sigma, sigma), mode="nearest", truncate=4)
    assert gaussian(images, sigma).numpy() == pytest.approx(wanted, abs=1e-12)


def test_gaussian_reflects_as_scipy_does():
    images = rand(1, 1, 9, 33).double()
    wanted = ndimage.gaussian_filter(images[0, 0].numpy(), (4.0, 0.6), mode="reflect", truncate=3)
    assert gaussian_axes(images, (4.0, 0.6), 3, "reflect")[0, 0].numpy() == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize(("border", "mode"), [("edge", "edge"), ("reflect", "symmetric"), ("mirror", "reflect")])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_borders_are_numpy_s_at_any_distance(border, mode, size):
    values = np.arange(size) if size > 1 or mode != "reflect" else np.zeros(1, int)
    found = border_index(torch.arange(-9, size + 9), size, border)
    assert found.tolist() == np.pad(values, 9, mode=mode).tolist()
    row = torch.arange(float(size)).expand(1, 1, size, size)
    assert pad(row, 9, border)[0, 0, 0].tolist() == [float(k) for k in found]


@pytest.mark.parametrize("radius", [1, 3, 5, 7])
def test_disk_is_the_mean_over_a_disk(radius):
    images = rand(1, 2, 20, 31).double()
    rows = np.arange(-radius, radius + 1)
    mask = (rows[:, None] ** 2 + rows**2 <= radius**2).astype(float)
    wanted = [ndimage.correlate(channel.numpy(), mask / mask.sum(), mode="mirror") for channel in images[0]]
    assert disk(images, radius, 0.0)[0].numpy() == pytest.approx(np.stack(wanted), abs=1e-12)


def test_disks_between_whole_radii_are_mixed():
    images = rand(1, 1, 16, 16)
    mixed = disk(images, 2.25, 0.0)
    assert torch.allclose(mixed, 0.75 * disk(images, 2, 0.0) + 0.25 * disk(images, 3, 0.0), atol=1e-6)
    assert torch.equal(disk(images, 0.0, 0.0), images)


@pytest.mark.parametrize("angle", [-130.0, -45.0, 0.0, 17.0, 44.0])
def test_motion_is_the_sum_of_shifted_copies(angle):
    images = rand(1, 3, 30, 44).double()
    found = motion(images, 5, 3, [angle])
    weights = np.exp(-(np.arange(11) ** 2) / 18)
    wanted = np.zeros(images.shape[1:])
    padded = np.pad(images[0].numpy(), ((0, 0), (12, 12), (12, 12)), mode="edge")
    for place, weight in enumerate(weights / weights.sum()):
        top, left = ceil(place * sin(radians(angle)) - 0.5), ceil(place * cos(radians(angle)) - 0.5)
        wanted += weight * padded[:, 12 + top : 42 + top, 12 + left : 56 + left]
    assert found[0].numpy() == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("factor", [1.0, 1.07, 1.31, 3.0])
def test_clipped_zoom_is_scipy_s(factor):
    image = rand(1, 3, 50, 61).double()
    rows, columns = ceil(50 / factor), ceil(61 / factor)
    top, left = (50 - rows) // 2, (61 - columns) // 2
    crop = image[0, :, top : top + rows, left : left + columns].numpy()
    wanted = ndimage.zoom(crop, (1, factor, factor), order=1)
    assert clipped_zoom(image, factor)[0].numpy() == pytest.approx(wanted, abs=1e-10)


def slow_plasma(noise, side, decay):
    """Diamond-square as the reference's loop has it, from given noise."""
    found, step, wibble, used = np.zeros((side, side)), side, 100.0, 0
    while step >= 2:
        half, cells = step // 2, side // step
        fields = noise[used : used + 3 * cells**2].reshape(3, cells, cells) * wibble * wibble
        used += 3 * cells**2
        for row in range(cells):
            for column in range(cells):
                up, left = row * step, column * step
                down, right = (up + step) % side, (left + step) % side
                corners = found[up, left] + found[up, right] + found[down, left] + found[down, right]
                found[up + half, left + half] = corners / 4 + fields[0, row, column]
        for row in range(cells):
            for column in range(cells):
                up, left = row * step, column * step
                down, right = (up + step) % side, (left + step) % side
                here = found[up + half, left + half]
                sides = here + found[(up - half) % side, left + half] + found[up, left] + found[up, right]
                found[up, left + half] = sides / 4 + fields[1, row, column]
                sides = here + found[up + half, (left - half) % side] + found[up, left] + found[down, left]
                found[up + half, left] = sides / 4 + fields[2, row, column]
        step, wibble = half, wibble / decay
    found -= found.min()
    return found / found.max()


def test_plasma_is_diamond_square():
    noise = rand(1, 255, seed=3).double()
    found = plasma((16, 11), 1.7, Given(noise))
    wanted = slow_plasma(2 * noise[0].numpy() - 1, 16, 1.7)
    assert found[0, 0].numpy() == pytest.approx(wanted[:, :11], abs=1e-9)


@pytest.mark.parametrize(("photons", "value"), [(3, 1.0), (12, 0.4), (60, 200 / 255), (60, 0.1234), (5, 0.00111)])
def test_poisson_numbers_have_poisson_s_distribution(photons, value):
    images = torch.full((1, 1, 400, 500), value)
    found = poisson(images, photons, draws_for(images)).flatten().numpy()
    law = stats.poisson(value * photons)
    shares = np.bincount(found.astype(int), minlength=int(found.max()) + 1) / len(found)
    assert found.mean() == pytest.approx(law.mean(), abs=4 * law.std() / len(found) ** 0.5 + 1e-4)
    assert np.abs(shares - law.pmf(np.arange(len(shares)))).max() < 4e-3
    assert np.array_equal(found, found.round())


def test_draws_are_normal_and_uniform_and_do_not_depend_on_the_batch():
    like = torch.zeros(2, 1, 1, 1)
    normal, uniform = draws_for(like).normal(1, 300, 300), draws_for(like).uniform(70_001)
    assert float(normal.std()) == pytest.approx(1, abs=5e-3)
    assert stats.kstest(normal[0].flatten().numpy(), "norm").pvalue > 1e-3
    assert stats.kstest(uniform[1].numpy(), "uniform").pvalue > 1e-3
    assert 0 < float(uniform.min()) < float(uniform.max()) < 1
    assert torch.equal(draws_for(like[:1]).uniform(70_001)[0], uniform[0])
    assert not torch.equal(normal[0], normal[1])


def test_distances_are_scipy_s_up_to_the_limit():
    edges = rand(3, 1, 40, 57) > 0.995
    edges[:, 0, 0, 0] = True
    found = distance(edges, 20)
    for mask, made in zip(edges, found, strict=True):
        wanted = ndimage.distance_transform_edt(~mask[0].numpy())
        near = wanted <= 20
        assert made[0].numpy()[near] == pytest.approx(wanted[near], abs=1e-5)
        assert (made[0].numpy()[~near] > 20).all()


def test_canny_finds_the_outline_of_a_square_one_pixel_wide():
    image = torch.zeros(1, 1, 30, 30)
    image[..., 8:20, 10:24] = 200
    found = canny(image, 50, 150)[0, 0]
    assert 30 < int(found.sum()) < 70
    assert not found[11:17, 13:21].any()
    assert not found[:6].any()
    weak = torch.zeros(1, 1, 30, 30)
    weak[..., 8:20, 10:24] = 20  # strength 80: an edge only beside a strong one
    assert not canny(weak, 50, 150).any()


def test_hue_keeps_brightness_and_comes_round():
    assert torch.allclose(hue_matrix(360.0), torch.eye(3).double(), atol=1e-9)
    assert torch.allclose(hue_matrix(40.0) @ hue_matrix(-40.0), torch.eye(3).double(), atol=1e-9)
    weights = torch.tensor([0.299, 0.587, 0.114]).double()
    assert torch.allclose(weights @ hue_matrix(77.0), weights, atol=1e-9)


@pytest.mark.parametrize(("hits", "total"), [(0, 5), (5, 5), (3, 7), (900, 1000)])
def test_wilson_is_scipy_s(hits, total):
    wanted = stats.binomtest(hits, total).proportion_ci(method="wilson")
    assert wilson(np.array(hits), total).tolist() == pytest.approx([wanted.low, wanted.high], abs=1e-12)
    assert wilson(np.array([0]), 0).tolist() == [[0, 1]]
