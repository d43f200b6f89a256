"""The mathematics of dreams: pyramids, natural covariances, pieces."""

import pytest
import torch
from small_models import pictures
from torch import nn

from xai.core.model.classifier import Classifier
from xai.explanations.dream.deep_dream import (
    equalised,
    frequencies,
    merge,
    mix_colours,
    octave_sizes,
    pink,
    resize,
    smooth_space,
    split,
    unit,
)
from xai.explanations.dream.goals import ClassGoal, LayerGoal
from xai.explanations.dream.plan import Eye, pieces, roughness


@pytest.mark.parametrize("size", [(64, 64), (45, 70), (17, 33), (9, 12)])
def test_a_pyramid_adds_up_to_its_picture(size: tuple[int, int]) -> None:
    picture = pictures(1, size=size).double()
    levels = split(picture)
    torch.testing.assert_close(merge(levels), picture)
    assert len(levels) == 1 + sum(min(size) >= 16 * 2**k for k in range(5))


def test_equalised_levels_have_one_strength() -> None:
    source = torch.Generator().manual_seed(0)
    fine, coarse = torch.randn(1, 3, 64, 64, generator=source), torch.randn(1, 3, 8, 8, generator=source)
    for mixed in (fine, 100 * resize(coarse, (64, 64)) + 0.01 * fine):
        before, after = ([float(level.square().mean()) for level in split(g)] for g in (mixed, equalised(mixed)))
        assert max(before) > 10 * min(before)
        assert max(after) < 8 * min(after)


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_unit_strength_at_any_scale(scale: float) -> None:
    values = unit(scale * torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert float(values.square().mean()) == pytest.approx(1, rel=1e-5)
    assert not unit(torch.zeros(1, 1, 4, 4)).any()


def test_octave_sizes() -> None:
    assert octave_sizes((224, 224), 3, 1.4) == [(114, 114), (160, 160), (224, 224)]
    assert octave_sizes((28, 28), 6, 1.4) == [(10, 10), (14, 14), (20, 20), (28, 28)]
    assert octave_sizes((8, 300), 4, 1.4) == [(8, 300)]
    assert octave_sizes((10, 10), 3, 1.01) == [(10, 10)]


def test_smoothing_weighs_frequencies() -> None:
    rows = torch.arange(32, dtype=torch.float64)
    slow, fast = (torch.cos(2 * torch.pi * f * rows / 32).expand(1, 1, 32, 32) for f in (2, 8))
    ratio = smooth_space(slow).norm() / smooth_space(fast).norm()
    assert float(ratio) == pytest.approx((8 / 2) ** 1.5, rel=1e-6)


def test_colours_move_together() -> None:
    grey = mix_colours(torch.ones(1, 3, 1, 1, dtype=torch.float64))
    tint = mix_colours(torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64).view(1, 3, 1, 1))
    assert grey.min() > 0.9 * grey.max()
    assert float(tint.norm() / 2**0.5) < 0.5 * float(grey.norm() / 3**0.5)
    matrix = mix_colours(torch.eye(3, dtype=torch.float64).view(3, 3, 1, 1))[..., 0, 0]
    torch.testing.assert_close(matrix, matrix.T)
    assert torch.linalg.eigvalsh(matrix).min() > 0


def test_pink_noise_has_the_spectrum_of_photographs() -> None:
    noise = pink(torch.randn(1, 1, 128, 128, generator=torch.Generator().manual_seed(0)))
    power, f = torch.fft.rfft2(noise).abs()[0, 0], frequencies((128, 128))
    low, high = (power[(f > a) & (f < 2 * a)].square().mean().sqrt() for a in (0.05, 0.2))
    assert float(low / high) == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize(("size", "tile"), [((100, 70), 32), ((33, 32), 32), ((64, 64), 64), ((40, 500), 64)])
def test_pieces_cover_the_picture_once(size: tuple[int, int], tile: int) -> None:
    seen = torch.zeros(size)
    for rows, columns in pieces(size, tile):
        seen[rows, columns] += 1
        assert max(seen[rows, columns].shape) <= tile
        assert min(seen[rows, columns].shape) >= min(*size, tile // 2)
    assert bool((seen == 1).all())


@pytest.mark.parametrize("tile", [64, 16])
def test_a_moved_view_has_the_gradient_where_the_pixels_are(tile: int) -> None:
    net = nn.Conv2d(3, 4, 1)
    eye = Eye(LayerGoal(Classifier(nn.Sequential(net, nn.ReLU())), "0"), None, tile)
    picture = pictures(1, size=(40, 30))
    score, still = eye.slope(picture, (0, 0), 0)
    moved_score, moved = eye.slope(picture, (7, -5), 7)
    torch.testing.assert_close(moved, still)
    assert moved_score == pytest.approx(score, rel=1e-5)


def test_a_window_sees_the_middle_and_moves() -> None:
    eye = Eye(ClassGoal(Classifier(Brightness()), 0), (8, 8), 512)
    _, slope = eye.slope(torch.full((1, 3, 20, 20), 0.5), (-2, 1), 2)
    seen = (slope[0, 0] != 0).nonzero()
    assert (seen.amin(0).tolist(), seen.amax(0).tolist()) == ([0, 3], [15, 18])


class Brightness(nn.Module):
    """Two classes: bright and dark."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((1, 2, 3))[:, None] * torch.tensor([1.0, -1.0])


def test_roughness_is_the_slope_of_the_total_variation() -> None:
    ramp = torch.linspace(0, 1, 8).expand(1, 1, 8, 8).contiguous()
    assert roughness(torch.full((1, 3, 8, 8), 0.5)).abs().max() == 0
    assert roughness(ramp)[0, 0, 3, 0] < 0 < roughness(ramp)[0, 0, 3, -1]
    assert roughness(ramp)[0, 0, 3, 3].abs() < 1e-4
