"""LIME, KernelSHAP and RISE against their reference libraries, exact enumeration and closed forms."""

import itertools
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lime import lime_image
from small_models import GapCnn, LinearModel, PlantedCnn, Quadratic, pictures, red_square
from torch import Tensor, nn

import xai
from xai.errors import NameLookupError, RangeError, ShapeError
from xai.explanations.methods._masked import Hidden, find_regions, mean_colours
from xai.explanations.methods.kernelshap import coalitions, exact_shapley
from xai.explanations.methods.lime import fit_masks, to_lime

GRID = {"segments": "grid", "regions": 16}


def region_sums(model: LinearModel, image: Tensor, labels: Tensor, filled: Tensor, target: int) -> Tensor:
    """Return s_k, the sum of w (x - z) over each region."""
    share = (model.linear.weight[target].detach().view(3, 16, 16) * (image[0] - filled[0])).sum(0)
    return torch.stack([share[labels == k].sum() for k in range(int(labels.max()) + 1)])


def four_by_four() -> Tensor:
    return torch.arange(4).repeat_interleave(4)[:, None] * 4 + torch.arange(4).repeat_interleave(4)


class Probabilities:
    """What lime asks: numpy images (N, h, w, 3) to probabilities."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self.model(torch.from_numpy(np.asarray(images)).permute(0, 3, 1, 2)).softmax(1).double().numpy()


def lime_reference(model: nn.Module, image: Tensor, labels: Tensor, samples: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """Return lime's explanation, its masks and its scores, for our regions."""
    explainer = lime_image.LimeImageExplainer(random_state=3)
    kept: dict[str, Any] = {}
    inner = explainer.base.explain_instance_with_data

    def keep(data: np.ndarray, scores: np.ndarray, *rest: Any, **settings: Any) -> Any:
        kept.update(data=data, scores=scores)
        return inner(data, scores, *rest, **settings)

    explainer.base.explain_instance_with_data = keep
    found = explainer.explain_instance(
        image[0].permute(1, 2, 0).double().numpy(),
        Probabilities(model),
        labels=(0, 1, 2),
        top_labels=None,
        num_samples=samples,
        segmentation_fn=lambda _pixels: labels.numpy(),
    )
    return found, kept["data"], kept["scores"]


@pytest.mark.parametrize("model", [LinearModel(), Quadratic(), GapCnn()], ids=lambda m: type(m).__name__)
def test_same_masks_same_coefficients_as_lime(model: nn.Module) -> None:
    model = model.double()
    image, labels = pictures(1).double(), four_by_four()
    theirs, masks, scores = lime_reference(model, image, labels, 200)
    fit = fit_masks(torch.from_numpy(masks).bool(), torch.from_numpy(scores), 0.25, 1.0)
    for label in range(3):
        wanted = dict(theirs.local_exp[label])
        for region in range(16):
            assert float(fit.coefficients[region, label]) == pytest.approx(wanted[region], abs=1e-6)
        assert float(fit.intercept[label]) == pytest.approx(theirs.intercept[label], abs=1e-6)
    # lime keeps the R2 of the label explained last only; ours has one for each
    assert float(fit.r2[2]) == pytest.approx(
        float(np.ravel(theirs.score)[0] if not isinstance(theirs.score, dict) else theirs.score[2]), abs=1e-6
    )


def test_the_same_pictures_as_lime_shows_with_the_same_masks() -> None:
    image, labels = pictures(1).double(), four_by_four()
    shown: list[np.ndarray] = []

    class Spy(Probabilities):
        def __call__(self, images: np.ndarray) -> np.ndarray:
            shown.extend(np.array(images))
            return super().__call__(images)

    model = GapCnn().double()
    explainer = lime_image.LimeImageExplainer(random_state=3)
    data, _ = explainer.data_labels(
        image[0].permute(1, 2, 0).numpy(),
        mean_colours(image, labels)[0].permute(1, 2, 0).numpy(),
        labels.numpy(),
        Spy(model),
        20,
    )
    ours = Hidden(image, mean_colours(image, labels), labels).copies(torch.from_numpy(data).bool())
    np.testing.assert_allclose(ours.permute(0, 2, 3, 1).numpy(), np.stack(shown), atol=1e-12)


@pytest.mark.parametrize("fill", ["mean", "zero", 0.5])
def test_lime_on_a_linear_model_without_ridge_is_exact(fill: Any) -> None:
    model, image = LinearModel(), pictures(1)
    found = xai.explain(model, image, "lime", target=1, fill=fill, alpha=0.0, samples=60, **GRID)
    labels = found.details[0]["segments"]
    filled = (
        mean_colours(image, labels) if fill == "mean" else torch.full_like(image, float(fill if fill != "zero" else 0))
    )
    wanted = region_sums(model, image, labels, filled, 1)
    torch.testing.assert_close(found.details[0]["coefficients"].float(), wanted, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        assert float(found.details[0]["intercept"]) == pytest.approx(float(model(filled)[0, 1]), abs=1e-5)
    assert float(found.details[0]["r2"]) == pytest.approx(1, abs=1e-6)
    assert found.heatmap.reshape(16, 16)[0, 0] == pytest.approx(float(wanted[labels[0, 0]]), abs=1e-5)


def test_the_ridge_shrinks_as_the_normal_equations_say() -> None:
    source = torch.Generator().manual_seed(0)
    masks, scores = torch.rand(80, 6, generator=source) < 0.5, torch.rand(80, 2, generator=source).double()
    fit = fit_masks(masks, scores, 0.25, 3.0)
    design = torch.cat([masks.double(), torch.ones(80, 1).double()], 1)
    weights = torch.exp(-((1 - masks.double().mean(1).sqrt()) ** 2) / (2 * 0.25**2)).diag()
    penalty = torch.diag(torch.tensor([3.0] * 6 + [0.0]).double())
    wanted = torch.linalg.solve(design.T @ weights @ design + penalty, design.T @ weights @ scores)
    torch.testing.assert_close(fit.coefficients, wanted[:6], atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(fit.intercept, wanted[6], atol=1e-9, rtol=1e-9)


def test_lime_intervals_hold_what_they_promise() -> None:
    """Noise on a linear score: in 95 of 100 draws or so the interval holds the true coefficient."""
    source = torch.Generator().manual_seed(1)
    truth, inside = torch.tensor([1.0, -2.0, 0.0, 0.5]).double(), torch.zeros(4)
    for _ in range(300):
        masks = torch.rand(60, 4, generator=source) < 0.5
        scores = masks.double() @ truth + 0.5 * torch.randn(60, generator=source).double()
        fit = fit_masks(masks, scores[:, None], 0.25, 0.0)
        inside += ((fit.coefficients[:, 0] - truth).abs() <= fit.half[:, 0]).float()
    assert bool((inside / 300 > 0.9).all())
    assert bool((inside / 300 < 0.985).all())


@pytest.mark.parametrize("numbering", ["from one", "with gaps", "negative"])
def test_any_numbering_of_regions(numbering: str) -> None:
    labels = four_by_four()
    given = {"from one": labels + 1, "with gaps": labels * 7 + 3, "negative": labels - 9}[numbering]
    model, image = LinearModel(), pictures(1)
    found = xai.explain(model, image, "lime", target=0, segments=given, alpha=0.0, samples=60)
    wanted = region_sums(model, image, labels, mean_colours(image, labels), 0)
    torch.testing.assert_close(found.details[0]["coefficients"].float(), wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("segments", ["slic", "quickshift", "felzenszwalb", "grid"])
@pytest.mark.parametrize("size", [(1, 1), (16, 16), (40, 60)])
def test_segmentations_number_from_zero_without_gaps(segments: str, size: tuple[int, int]) -> None:
    for channels in (1, 3):
        labels, _ = find_regions(pictures(1, channels=channels, size=size), segments, 20)
        assert labels.shape == size
        assert labels.unique().tolist() == list(range(int(labels.max()) + 1))


def test_a_fill_that_changes_nothing_is_said() -> None:
    found = xai.explain(GapCnn(), torch.full((1, 3, 16, 16), 0.4), "lime", samples=40, **GRID)
    assert any("hiding changes no pixel" in note for note in found.notes)
    assert any("are few for 16 regions" in note for note in found.notes)


def test_lime_stops_when_the_ranking_is_settled() -> None:
    model, image = LinearModel(), pictures(1)
    found = xai.explain(model, image, "lime", target=0, samples=2000, alpha=0.0, **GRID)
    assert int(found.details[0]["samples"]) < 2000
    assert any("was settled after" in note for note in found.notes)
    every = xai.explain(model, image, "lime", target=0, samples=500, stop=False, **GRID)
    assert int(every.details[0]["samples"]) == 500


def test_like_lime_and_back_to_lime() -> None:
    image = red_square(4, 8)
    blocks = four_by_four() // 8 * 2 + four_by_four() % 4 // 2  # larger than the square, so that mean colours differ
    found = xai.explain(PlantedCnn(), image, "lime", target=1, samples=200, like="lime", segments=blocks)
    assert float(found.details[0]["coefficients"].abs().max()) < 1  # of probabilities
    theirs = to_lime(found)
    assert isinstance(theirs, lime_image.ImageExplanation)
    _, mask = theirs.get_image_and_mask(1, positive_only=True, num_features=1)
    assert mask[4:8, 8:12].all()
    assert mask.sum() == 64
    with pytest.raises(ShapeError, match="Expected an explanation of method 'lime'"):
        to_lime(xai.explain(PlantedCnn(), image))


def brute_force(value: Any, count: int) -> np.ndarray:
    """Return Shapley values as the mean over all orders."""
    found = np.zeros(count)
    for order in itertools.permutations(range(count)):
        seen: set[int] = set()
        for player in order:
            found[player] += value(seen | {player}) - value(seen)
            seen.add(player)
    return found / math.factorial(count)


def test_shapley_values_are_the_mean_over_all_orders() -> None:
    source = np.random.default_rng(0)
    game = source.normal(size=2**5)
    ours = exact_shapley(torch.from_numpy(game)[:, None], 5)[:, 0]
    np.testing.assert_allclose(ours, brute_force(lambda s: game[sum(1 << p for p in s)], 5), atol=1e-12)
    assert coalitions(5).sum().item() == 5 * 2**4


@pytest.mark.parametrize("model", [LinearModel(), Quadratic(), GapCnn()], ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("regions", [9, 16])
def test_kernelshap_adds_up(model: nn.Module, regions: int) -> None:
    image = pictures(1)
    found = xai.explain(
        model, image, "kernelshap", target=0, segments="grid", regions=regions, fill="zero", samples=200
    )
    own = found.details[0]
    with torch.no_grad():
        wanted = model(image)[0, 0] - model(torch.zeros_like(image))[0, 0]
    assert float(own["coefficients"].sum()) == pytest.approx(float(own["difference"]), abs=1e-6)
    assert float(own["difference"]) == pytest.approx(float(wanted), abs=1e-5)
    assert abs(float(own["gap"])) < 1e-6


def test_kernelshap_is_exact_on_a_linear_model_with_few_samples() -> None:
    model, image = LinearModel(), pictures(1)
    found = xai.explain(model, image, "kernelshap", target=2, samples=100, **GRID)
    labels = found.details[0]["segments"]
    wanted = region_sums(model, image, labels, mean_colours(image, labels), 2)
    torch.testing.assert_close(found.details[0]["coefficients"].float(), wanted, atol=1e-5, rtol=1e-4)


def test_sampled_kernelshap_agrees_with_enumeration(monkeypatch: pytest.MonkeyPatch) -> None:
    model, image = GapCnn(), pictures(1)
    settings = {"target": 1, "segments": "grid", "regions": 12, "fill": "zero"}
    exact = xai.explain(model, image, "kernelshap", **settings).details[0]["coefficients"]
    monkeypatch.setattr(sys.modules["xai.explanations.methods.kernelshap"], "EXACT", 3)
    found = xai.explain(model, image, "kernelshap", samples=2000, **settings).details[0]
    half = (found["high"] - found["low"]) / 2
    assert bool(((found["coefficients"] - exact).abs() <= 1.7 * half + 1e-6).all())
    assert float(half.max()) < 0.2 * float(exact.abs().max())


def test_rise_on_a_linear_model_is_the_local_sum_of_weights() -> None:
    """The slope at i is sum_j w_j (x_j - z_j) Cov(mask_i, mask_j) / Var(mask_i), computed from the masks themselves."""
    model, image = LinearModel(), pictures(1)
    found = xai.explain(model, image, "rise", target=0, samples=600, grid=4)
    from xai.core.runtime.randomness import generator, image_key

    method = xai.explanations.methods.rise.Rise(grid=4)
    masks = (
        torch.stack([method._mask((16, 16), generator(0, image_key(image[0]), k)) for k in range(600)])
        .flatten(1)
        .double()
    )
    share = (model.linear.weight[0].detach().view(3, 16, 16) * image[0]).sum(0).flatten().double()
    centred = masks - masks.mean(0)
    covariance = centred.T @ centred / 600
    wanted = covariance @ share / covariance.diagonal()
    torch.testing.assert_close(found.attribution.flatten().double(), wanted, atol=1e-4, rtol=1e-3)


def test_rise_finds_the_square_and_says_what_is_noise() -> None:
    image = red_square(4, 8)
    found = xai.explain(PlantedCnn(), image, "rise", target=1, samples=1500)
    row, column = np.unravel_index(found.heatmap.argmax(), (16, 16))
    assert 4 <= row < 8
    assert 8 <= column < 12
    own = found.details[0]
    assert bool((own["low"] <= own["high"]).all())
    assert float(own["low"][5, 9]) > 0
    assert any("differ from 0" in note for note in found.notes)


@pytest.mark.parametrize("method", ["lime", "kernelshap", "rise"])
def test_all_classes_from_one_sweep_and_contrast(method: str) -> None:
    model, image = GapCnn(), pictures(1)[0]
    settings: dict[str, Any] = {"samples": 80} | ({} if method == "rise" else GRID)
    together = xai.explain(model, image, method, target=[0, 1, 2], **settings).attribution
    alone = [xai.explain(model, image, method, target=k, **settings).attribution[0] for k in range(3)]
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-5, rtol=1e-4)
    contrast = xai.explain(model, image, method, target=0, versus=1, **settings).attribution[0]
    torch.testing.assert_close(contrast, alone[0] - alone[1], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("method", ["lime", "kernelshap", "rise"])
def test_details_are_saved(method: str, tmp_path: Path) -> None:
    found = xai.explain(GapCnn(), pictures(1), method, samples=60)
    found.save(tmp_path / "out")
    again = xai.Explanation.load(tmp_path / "out")
    assert sorted(again.details[0]) == sorted(found.details[0])
    for name, value in found.details[0].items():
        assert torch.equal(again.details[0][name], value)


@pytest.mark.parametrize("method", ["lime", "kernelshap", "rise"])
def test_finds_the_planted_square(method: str) -> None:
    for top, left in ((0, 0), (4, 8), (12, 12)):
        image = red_square(top, left)
        settings = {"samples": 400} if method == "rise" else {"samples": 400, "fill": "zero"} | GRID
        heatmap = xai.explain(PlantedCnn(), image, method, target=1, **settings).heatmap
        row, column = np.unravel_index(heatmap.argmax(), heatmap.shape)
        assert (row // 4, column // 4) == (top // 4, left // 4)


@pytest.mark.parametrize(
    ("method", "settings", "error", "says"),
    [
        ("lime", {"samples": 1}, RangeError, "whole number of at least 2"),
        ("lime", {"segments": "slick"}, NameLookupError, "slic"),
        ("lime", {"segments": np.zeros((3, 3))}, ShapeError, "one number per pixel"),
        ("lime", {"regions": 0}, RangeError, "whole number of at least 1"),
        ("lime", {"width": 0.0}, RangeError, "above 0"),
        ("lime", {"like": "captum"}, NameLookupError, "lime"),
        ("kernelshap", {"samples": 10}, RangeError, "of at least 40"),
        ("rise", {"probability": 1.0}, RangeError, "above 0 and below 1"),
        ("rise", {"grid": 0}, RangeError, "of at least 1"),
    ],
)
def test_wrong_settings(method: str, settings: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        xai.explain(GapCnn(), pictures(1), method, **settings)


def noisy_images() -> dict[str, Tensor]:
    """Images on which a segmentation finds nothing to tell apart: odd and non-square sizes, one and three channels."""
    source = torch.Generator().manual_seed(0)
    grains = torch.rand(1, 1, 61, 93, generator=source)
    return {
        "noise": torch.rand(1, 3, 61, 93, generator=source),
        "speckle": (0.5 * (-grains.log()).sqrt()).clamp(0, 1).expand(1, 3, 61, 93),
        "faint noise": 0.5 + 0.02 * torch.randn(1, 3, 61, 93, generator=source),
        "mostly noise": torch.cat([torch.rand(1, 3, 61, 60, generator=source), torch.full((1, 3, 61, 33), 0.5)], 3),
        "noise of 28 pixels": torch.rand(1, 1, 28, 28, generator=source),
        "checkerboard": ((torch.arange(61)[:, None] + torch.arange(93)) % 2).float().expand(1, 3, 61, 93),
    }


@pytest.mark.parametrize("name", noisy_images())
def test_slic_without_regions_becomes_a_grid_and_says_so(name: str) -> None:
    image = noisy_images()[name]
    labels, notes = find_regions(image, "slic", 50)
    grid, _ = find_regions(image, "grid", 50)
    assert torch.equal(labels, grid)
    assert len(notes) == 1
    assert notes[0].startswith("slic finds ")
    assert notes[0].endswith(": a grid is used instead")


@pytest.mark.parametrize("segments", ["quickshift", "felzenszwalb"])
def test_one_region_of_other_segmentations_becomes_a_grid(segments: str) -> None:
    flat = torch.full((1, 3, 28, 33), 0.3)
    labels, notes = find_regions(flat, segments, 30)
    assert torch.equal(labels, find_regions(flat, "grid", 30)[0])
    assert notes == (f"{segments} finds 1 region(s): a grid is used instead",)


def test_specks_become_a_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    specks = np.arange(20 * 31).reshape(20, 31) // 2
    monkeypatch.setattr("skimage.segmentation.felzenszwalb", lambda *_pixels, **_settings: specks)
    labels, notes = find_regions(torch.rand(1, 3, 20, 31), "felzenszwalb", 12)
    assert int(labels.max()) + 1 == 12
    assert notes == ("felzenszwalb finds 310 regions of 2 pixels on average: a grid is used instead",)


def test_regions_that_can_be_used_stay_as_they_are() -> None:
    """Photographs, one region where one is asked for, and whatever label map the caller gives."""
    from skimage import data, transform

    photo = torch.from_numpy(transform.resize(data.coffee(), (96, 131))).permute(2, 0, 1)[None].float()
    for segments in ("slic", "quickshift", "felzenszwalb"):
        labels, notes = find_regions(photo, segments, 50)
        assert (notes, int(labels.max()) > 4) == ((), True)
    assert find_regions(photo, "slic", 1)[1] == ()
    assert find_regions(torch.rand(1, 3, 1, 1), "slic", 50)[1] == ()
    assert find_regions(photo, np.zeros((96, 131)), 50)[1] == ()


@pytest.mark.parametrize("method", ["lime", "kernelshap"])
@pytest.mark.parametrize("model", [LinearModel(), GapCnn()], ids=lambda m: type(m).__name__)
def test_a_noisy_image_gets_the_explanation_of_the_grid(method: str, model: nn.Module) -> None:
    """The values are those of the grid that takes the place of quickshift's single region."""
    image = 0.5 + 0.01 * torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    found = xai.explain(model, image, method, target=0, samples=80, segments="quickshift", regions=12)
    grid = xai.explain(model, image, method, target=0, samples=80, segments="grid", regions=12)
    assert float(found.attribution.std()) > 0
    torch.testing.assert_close(found.attribution, grid.attribution)
    assert "quickshift finds 1 region(s): a grid is used instead" in found.notes
