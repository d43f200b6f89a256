"""Imputation, removal curves, similarity and localisation against closed forms and exact solutions."""

import numpy as np
import pytest
import torch
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve
from scipy.stats import spearmanr
from torch import Tensor

from xai.explanations.metrics import (
    attribution_inside,
    centre_map,
    edge_map,
    hits,
    impute,
    masks_of,
    moved_copies,
    overlap_of_best,
    pearson,
    ranks,
    removal_curves,
    spearman,
)


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def exact(image: Tensor, hidden: Tensor) -> np.ndarray:
    """Solve ROAD's linear system for one grey image with scipy."""
    height, width = image.shape
    count = height * width
    system, right = lil_matrix((count, count)), np.zeros(count)
    for row in range(height):
        for column in range(width):
            place = row * width + column
            if not hidden[row, column]:
                system[place, place], right[place] = 1, float(image[row, column])
                continue
            for down in (-1, 0, 1):
                for across in (-1, 0, 1):
                    if (down or across) and 0 <= row + down < height and 0 <= column + across < width:
                        weight = 1 / 6 if down * across == 0 else 1 / 12
                        system[place, (row + down) * width + column + across] -= weight
                        system[place, place] += weight
    return spsolve(system.tocsc(), right).reshape(height, width)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("shape", ["scattered", "block"])
def test_imputation_is_near_the_exact_solution(share: float, shape: str) -> None:
    image = torch.rand(1, 1, 20, 17, generator=source())
    if shape == "scattered":
        hidden = torch.rand(20, 17, generator=source(1)) < share
    else:
        hidden = torch.zeros(20, 17, dtype=torch.bool)
        hidden[2 : 2 + round(18 * share), 1 : 1 + round(16 * share)] = True
    found = impute(image, hidden[None])[0, 0]
    assert torch.equal(found[~hidden], image[0, 0][~hidden])
    error = np.abs(found.numpy() - exact(image[0, 0], hidden))
    assert error.max() <= 0.1  # white noise with nine of ten pixels gone is the hardest there is
    assert np.sqrt((error**2).mean()) <= 0.02


def test_imputation_of_a_plane_keeps_it_and_of_everything_gives_the_mean_colour() -> None:
    flat = torch.full((1, 3, 12, 12), 0.3)
    hidden = torch.zeros(2, 12, 12, dtype=torch.bool)
    hidden[0, 3:9, 3:9] = True
    hidden[1] = True
    torch.testing.assert_close(impute(flat, hidden), flat.expand(2, -1, -1, -1), atol=1e-4, rtol=0)
    image = torch.rand(1, 3, 12, 12)
    torch.testing.assert_close(impute(image, hidden)[1], image.mean((2, 3))[0, :, None, None].expand(3, 12, 12))


def test_imputation_adds_noise_to_hidden_pixels_only() -> None:
    image, hidden = torch.full((1, 1, 8, 8), 0.5), torch.zeros(1, 8, 8, dtype=torch.bool)
    hidden[0, 2:5, 2:5] = True
    found = impute(image, hidden, torch.full((1, 1, 8, 8), 0.1))
    torch.testing.assert_close(found[0, 0][hidden[0]], torch.full((9,), 0.6))
    assert torch.equal(found[0, 0][~hidden[0]], image[0, 0][~hidden[0]])


def test_ties_are_broken_at_random_and_counts_are_exact() -> None:
    """A ReLU-clipped map with 96 % zeros: every share asked for is removed, not 4 % or everything."""
    heatmap = torch.zeros(20, 20)
    heatmap[:4, :4] = torch.rand(4, 4) + 0.1
    places = ranks(heatmap, source())
    assert sorted(places.flatten().tolist()) == list(range(400))
    assert set(places[:4, :4].flatten().tolist()) == set(range(16))
    for most_first in (True, False):
        removed = masks_of(places, (0.1, 0.5, 0.9), most_first=most_first).flatten(1).sum(1)
        assert removed.tolist() == [40, 200, 360]
    assert not torch.equal(places, ranks(heatmap, source(1)))
    assert bool(masks_of(places, (0.04,), most_first=True)[0, :4, :4].all())


def test_curves_of_a_score_that_is_a_mean_have_a_closed_form() -> None:
    """The score is the brightness of the top rows of a two-tone image, whose removed pixels take the tone around."""
    image = torch.full((1, 1, 16, 16), 0.2)
    image[:, :, :4, :4] = 1.0
    heatmap = torch.zeros(16, 16)
    heatmap[:4, :4] = 1.0

    def score(pictures: Tensor) -> Tensor:
        return pictures[:, 0, :4, :4].mean((1, 2))

    (found,) = removal_curves(score, image, heatmap[None], generator=source(), shares=(16 / 256, 0.5), noise=0.0)
    assert found.most_first[0] > 0.9 * float((1 - 0.2) / (1 - image.mean()))
    assert abs(float(found.least_first[0])) < 1e-6
    assert found.gap > 0.4
    (wrong,) = removal_curves(score, image, -heatmap[None], generator=source(), shares=(16 / 256, 0.5), noise=0.0)
    assert wrong.gap < -0.4


def test_the_same_draws_give_the_same_curves() -> None:
    image, heatmaps = torch.rand(1, 3, 10, 10), torch.rand(2, 10, 10)
    first, second = (removal_curves(lambda p: p.mean((1, 2, 3)), image, heatmaps, generator=source(3)) for _ in (0, 1))
    assert torch.equal(first[1].most_first, second[1].most_first)


def test_moved_copies_keep_the_values() -> None:
    heatmap = torch.rand(6, 7)
    for copy in [*moved_copies(heatmap), *moved_copies(heatmap, mirrored=True)]:
        assert torch.equal(copy.flatten().sort().values, heatmap.flatten().sort().values)


def test_simple_maps() -> None:
    middle = centre_map((9, 11))
    assert int(middle.argmax()) == 4 * 11 + 5
    image = torch.zeros(1, 3, 8, 8)
    image[:, :, :, 4:] = 1
    edges = edge_map(image)
    assert bool((edges[:, 3:5] > 0).all())
    assert float(edges[:, :2].max()) == 0


def test_correlations_are_scipys() -> None:
    first, second = torch.rand(7, 9, generator=source()), torch.rand(7, 9, generator=source(1)).round(decimals=1)
    assert pearson(first, second) == pytest.approx(np.corrcoef(first.flatten(), second.flatten())[0, 1], abs=1e-9)
    assert spearman(first, second) == pytest.approx(spearmanr(first.flatten(), second.flatten()).statistic, abs=1e-9)
    assert pearson(first, torch.ones(7, 9)) == 0
    assert spearman(first, first) == pytest.approx(1)


def test_overlap_of_the_best_places() -> None:
    first, second = torch.zeros(10, 10), torch.zeros(10, 10)
    first[0], second[0, 5:], second[1, :5] = 1, 1, 1
    assert overlap_of_best(first, first) == 1
    assert overlap_of_best(first, second) == pytest.approx(5 / 15)


def test_pointing_game_and_mass() -> None:
    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[:, :2, :2] = True
    heatmaps = torch.zeros(2, 4, 4)
    heatmaps[0, 1, 1], heatmaps[0, 3, 3] = 3.0, 1.0
    heatmaps[1, 3, 3], heatmaps[1, 0, 0] = 1.0, -5.0
    assert hits(heatmaps, masks).tolist() == [True, False]
    assert attribution_inside(heatmaps, masks).tolist() == [0.75, 0.0]
    assert attribution_inside(torch.zeros(1, 4, 4), masks[:1]).tolist() == [0.0]
