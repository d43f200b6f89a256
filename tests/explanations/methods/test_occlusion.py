"""Occlusion against captum, closed forms, planted evidence; fills, borders, dropped tokens."""

from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import Occlusion
from small_models import (
    GapCnn,
    InplaceFirst,
    LinearModel,
    PlantedCnn,
    PlantedSwin,
    PlantedViT,
    Quadratic,
    ReusedModule,
    pictures,
    red_square,
)
from torch import Tensor, nn
from torchvision_cpu import import_torchvision

import xai
from xai.errors import NameLookupError, RangeError, ShapeError, Stopped, UnsupportedModelError
from xai.explanations.methods.fills import fill_image, inpaint

NETWORKS: list[nn.Module] = [GapCnn(), ReusedModule(), PlantedCnn(), PlantedViT(), PlantedSwin(), Quadratic()]
BORDERS = [
    ((4, 4), (2, 2)),
    ((5, 3), (3, 2)),
    ((7, 7), (7, 7)),
    ((5, 5), (2, 3)),
    ((16, 16), (1, 1)),
    ((1, 16), (1, 16)),
]


def captum(module: nn.Module, images: Tensor, target: int, window: Any, stride: Any, baseline: Any) -> Tensor:
    found = Occlusion(module).attribute(
        images,
        (images.shape[1], *window),
        strides=(images.shape[1], *stride),
        baselines=baseline,
        target=target,
        perturbations_per_eval=16,
    )
    return found[:, :1]


def occlude(model: Any, images: Any, **settings: Any) -> xai.Explanation:
    return xai.explain(model, images, "occlusion", **settings)


@pytest.mark.parametrize(("window", "stride"), BORDERS)
@pytest.mark.parametrize("module", [*NETWORKS, InplaceFirst()], ids=lambda m: type(m).__name__)
def test_equals_captum(module: nn.Module, window: tuple[int, int], stride: tuple[int, int]) -> None:
    images = pictures(2)
    found = occlude(module, images, target=1, window=window, stride=stride, baseline="zero").attribution
    torch.testing.assert_close(found, captum(module, images, 1, window, stride, 0), atol=1e-5, rtol=0)


SLOW_NETWORKS = ("resnet18", "mobilenet_v2", "vgg11")


@pytest.mark.parametrize(
    "name", ["efficientnet_lite0", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_NETWORKS)]
)
def test_equals_captum_on_known_networks(name: str) -> None:
    torch.manual_seed(0)
    if name == "efficientnet_lite0":
        classifier, side = xai.load(name), 224
    else:
        settings = {"init_weights": False} if name == "vgg11" else {}
        module = getattr(import_torchvision().models, name)(num_classes=10, **settings).eval()
        classifier, side = xai.Classifier(module), 96
    images = pictures(1, size=(side, side))
    window, stride = (side // 4, side // 5), (side // 5, side // 6)
    found = occlude(classifier, images, target=3, window=window, stride=stride, baseline="zero").attribution

    class Whole(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            return classifier.logits(pixels)

    wanted = captum(Whole().eval(), images, 3, window, stride, 0)
    assert float((found - wanted).abs().max()) <= 1e-5 * max(1.0, float(wanted.abs().max()))


def test_linear_closed_form() -> None:
    """A pixel's value is the mean over its windows of the sum of w (x - z) inside."""
    model, image = LinearModel().double(), pictures(1).double()
    found = occlude(model, image, target=2, window=(4, 6), stride=(3, 5), baseline="mean").attribution[0, 0]
    weights = model.linear.weight[2].detach().view(3, 16, 16)
    share = (weights * (image[0] - image[0].mean((1, 2), keepdim=True))).sum(0)
    total, count = torch.zeros(16, 16).double(), torch.zeros(16, 16).double()
    for row in range(0, 13, 3):
        for column in range(0, 15, 5):
            total[row : row + 4, column : column + 6] += share[row : row + 4, column : column + 6].sum()
            count[row : row + 4, column : column + 6] += 1
    torch.testing.assert_close(found, total / count, atol=1e-6, rtol=1e-6)


def test_windows_side_by_side_add_up() -> None:
    model, image = LinearModel(), pictures(1)
    found = occlude(model, image, target=0, window=4, stride=4, baseline="zero")
    with torch.no_grad():
        wanted = model(image)[0, 0] - model(torch.zeros_like(image))[0, 0]
    torch.testing.assert_close(found.coarse.sum(), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("baseline", ["mean", "zero", "blur", "inpaint", "noise", 0.3])
def test_finds_the_planted_square_with_every_baseline(baseline: Any) -> None:
    for top, left in ((0, 0), (4, 8), (12, 12)):
        model, image = PlantedCnn(), red_square(top, left)
        found = occlude(model, image, target=1, window=4, stride=2, baseline=baseline)
        row, column = np.unravel_index(found.heatmap.argmax(), found.heatmap.shape)
        assert top <= row < top + 4
        assert left <= column < left + 4


def test_border_inside_keeps_every_window_whole() -> None:
    model, image = GapCnn(), pictures(1)
    clip, inside = (occlude(model, image, window=5, stride=3, border=border) for border in ("clip", "inside"))
    assert clip.coarse.shape == inside.coarse.shape
    torch.testing.assert_close(clip.coarse[:, :-1, :-1], inside.coarse[:, :-1, :-1], atol=1e-5, rtol=0)
    corner = occlude(model, image, window=(5, 5), stride=(5, 5), border="inside").coarse[0, -1, -1]
    with torch.no_grad():
        hidden = image.clone()
        hidden[:, :, 11:, 11:] = image.mean((2, 3))[:, :, None, None]
        wanted = (model(image) - model(hidden))[0, int(clip.targets[0])]
    torch.testing.assert_close(corner, wanted, atol=1e-5, rtol=0)


def test_shares_of_the_side_and_defaults() -> None:
    image = pictures(1, size=(40, 20))
    found = occlude(PlantedCnn(), image, window=0.25, stride=(0.1, 5))
    assert "windows of 10 x 5 pixels" in " ".join(found.notes)
    assert found.coarse.shape == (1, 9, 4)
    default = occlude(PlantedCnn(), image)
    assert "windows of 6 x 3 pixels" in " ".join(default.notes)


def test_a_constant_picture_shows_no_evidence() -> None:
    found = occlude(GapCnn(), torch.full((1, 3, 16, 16), 0.5), window=4, stride=2)
    assert float(found.attribution.abs().max()) < 1e-5


def test_all_classes_from_one_sweep() -> None:
    model, image = GapCnn(), pictures(1)[0]
    together = occlude(model, image, target=[0, 1, 2, 3], window=4, stride=2)
    assert len(together) == 4
    for k in range(4):
        alone = occlude(model, image, target=k, window=4, stride=2)
        assert torch.equal(together.attribution[k], alone.attribution[0])


def test_why_this_rather_than_that() -> None:
    model, image = GapCnn(), pictures(1)[0]
    first, second = (occlude(model, image, target=k, window=4, stride=2).attribution for k in (0, 1))
    found = occlude(model, image, target=0, versus=1, window=4, stride=2)
    torch.testing.assert_close(found.attribution, first - second, atol=1e-5, rtol=0)
    assert found.to_dict()["settings"]["versus"] == ["1"]


@pytest.mark.parametrize("score", ["probability", "margin"])
def test_other_scores(score: str) -> None:
    model, image = GapCnn(), pictures(1)
    found = occlude(model, image, target=2, score=score, window=16, stride=16, baseline="zero").coarse[0, 0, 0]
    with torch.no_grad():
        clean, hidden = model(image)[0], model(torch.zeros_like(image))[0]
    read = {
        "probability": lambda v: v.softmax(0)[2],
        "margin": lambda v: v[2] - torch.cat([v[:2], v[3:]]).max(),
    }[score]
    torch.testing.assert_close(found, read(clean) - read(hidden), atol=1e-5, rtol=1e-5)


def small_vit() -> nn.Module:
    torch.manual_seed(0)
    make = import_torchvision().models.VisionTransformer
    vit = make(32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=5).eval()
    nn.init.normal_(vit.heads.head.weight)
    return vit


def test_dropped_tokens_equal_a_shorter_sequence() -> None:
    """Against the encoder run by hand on the tokens that stay, with their own positions."""
    vit, image = small_vit(), pictures(1, size=(32, 32))
    found = occlude(vit, image, target=1, window=16, stride=8, baseline="drop")
    assert found.coarse.shape == (1, 3, 3)
    with torch.no_grad():
        tokens = torch.cat([vit.class_token, vit._process_input(image)], 1) + vit.encoder.pos_embedding
        keep = [0] + [1 + 4 * r + c for r in range(4) for c in range(4) if not (r in {1, 2} and c in {2, 3})]
        shorter = vit.heads(vit.encoder.ln(vit.encoder.layers(tokens[:, keep]))[:, 0])
        wanted = vit(image)[0, 1] - shorter[0, 1]
    torch.testing.assert_close(found.coarse[0, 1, 2], wanted, atol=1e-5, rtol=1e-4)
    assert "leave the sequence" in " ".join(found.notes)


def test_dropping_is_refused_where_it_cannot_be() -> None:
    for model, why in ((GapCnn(), "no layer of it is a sequence"), (PlantedViT(), "no row of like blocks")):
        with pytest.raises(UnsupportedModelError, match=f"{why}.*Use another `baseline`"):
            occlude(model, pictures(1), baseline="drop")


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"window": 0}, RangeError, "1 to 16 pixels or as a share"),
        ({"window": 17}, RangeError, "1 to 16 pixels"),
        ({"window": 1.5}, RangeError, "up to 1.0"),
        ({"window": (4, 4, 4)}, RangeError, "one length or"),
        ({"window": "big"}, RangeError, "but got 'big'"),
        ({"window": 4, "stride": 5}, RangeError, "pixels would be left out"),
        ({"border": "wrap"}, NameLookupError, "clip"),
        ({"baseline": "blurr"}, NameLookupError, "blur"),
        ({"baseline": 2.0}, RangeError, r"\[0, 1\]"),
        ({"baseline": torch.zeros(5, 5)}, ShapeError, "16, 16"),
        ({"score": "logits"}, NameLookupError, "logit"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        occlude(GapCnn(), pictures(1), **settings)


def test_progress_inside_a_picture_and_stop_inside_a_picture() -> None:
    seen: list[tuple[int, int]] = []
    occlude(GapCnn(), pictures(1), window=2, stride=1, progress=lambda *pair: seen.append(pair))
    assert len(seen) > 3
    assert seen[-1] == (100, 100)
    calls: list[int] = []

    def stop() -> bool:
        calls.append(1)
        return len(calls) > 3

    with pytest.raises(Stopped, match="as asked"):
        occlude(GapCnn(), pictures(1), window=2, stride=1, should_stop=stop)


def test_inpainting_is_harmonic_and_keeps_planes() -> None:
    rows, columns = torch.meshgrid(torch.arange(12).double(), torch.arange(10).double(), indexing="ij")
    plane = (0.2 + 0.03 * rows + 0.04 * columns)[None, None]
    top, left = torch.tensor([3, 5]), torch.tensor([2, 4])
    found = inpaint(plane, top, left, (4, 3))
    for k in range(2):
        wanted = plane[0, :, top[k] : top[k] + 4, left[k] : left[k] + 3]
        torch.testing.assert_close(found[k], wanted, atol=1e-9, rtol=0)


def test_inpainting_at_the_border_uses_what_is_there() -> None:
    image = torch.zeros(1, 1, 8, 8)
    image[:, :, :, 4:] = 1.0
    corner = inpaint(image, torch.tensor([0]), torch.tensor([0]), (8, 4))
    torch.testing.assert_close(corner, torch.ones(1, 1, 8, 4))
    whole = inpaint(image, torch.tensor([0]), torch.tensor([0]), (8, 8))
    torch.testing.assert_close(whole, torch.full((1, 1, 8, 8), float(image[0, 0, [0, -1], :].mean() / 2 + 0.25)))


def test_fills() -> None:
    image = pictures(1)
    assert torch.equal(fill_image(image, "zero"), torch.zeros_like(image))
    assert bool((fill_image(image, "mean").var((2, 3)) < 1e-12).all())
    blurred = fill_image(image, "blur")
    assert float(blurred.var()) < 0.5 * float(image.var())
    noise = [fill_image(image, "noise", key=b"a", seed=s) for s in (0, 0, 1)]
    assert torch.equal(noise[0], noise[1])
    assert not torch.equal(noise[0], noise[2])
    colour = fill_image(image, torch.tensor([0.1, 0.2, 0.3]))
    assert torch.equal(colour[0, :, 3, 4], torch.tensor([0.1, 0.2, 0.3]))
