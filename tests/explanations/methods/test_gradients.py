"""Saliency, Input x Gradient, integrated gradients, SmoothGrad, GradientSHAP: closed forms, captum, bounds, notes."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from captum import attr
from small_models import (
    GRID,
    GapCnn,
    LinearModel,
    PlantedAttention,
    PlantedCnn,
    PlantedViT,
    Quadratic,
    float64_twin,
    inplace_relu,
    patch_of,
    pictures,
    red_square,
)
from torch import Tensor, nn
from torchvision_cpu import import_torchvision

import xai
from xai.core.model.classifier import Classifier
from xai.core.runtime.randomness import image_key, noise_like
from xai.errors import NameLookupError, RangeError, Stopped

SUMS = ("integrated_gradients", "gradient_shap", "deeplift")  # methods that add up to a difference of scores
FAST: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"steps": 8},
    "smoothgrad": {"samples": 5},
    "gradient_shap": {"samples": 6},
}
FAMILY = (
    "saliency",
    "input_x_gradient",
    "integrated_gradients",
    "smoothgrad",
    "gradient_shap",
    "guided_backprop",
    "guided_gradcam",
    "deeplift",
)
LOCAL = ("input_x_gradient", "integrated_gradients", "gradient_shap", "deeplift")


def explain(model: Any, images: Any, method: str, **settings: Any) -> xai.Explanation:
    return xai.explain(model, images, method, **{**FAST.get(method, {}), **settings})


def weights_of(net: LinearModel, target: int) -> Tensor:
    return net.linear.weight[target].detach().view(1, 3, 16, 16)


# closed forms


@pytest.mark.parametrize("target", [0, 2])
def test_on_a_linear_model_every_method_gives_its_weights(target: int) -> None:
    net, images = LinearModel().double(), pictures(3).double()
    weights = weights_of(net, target)
    wanted = {"saliency": weights.expand(3, -1, -1, -1), "smoothgrad": weights.expand(3, -1, -1, -1)}
    wanted |= dict.fromkeys(("input_x_gradient", "integrated_gradients", "deeplift"), weights * images)
    for method, values in wanted.items():
        found = explain(net, images, method, target=target).attribution
        torch.testing.assert_close(found, values, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("steps", [1, 2, 7, 50])
@pytest.mark.parametrize("baseline", ["black", "zero", "mean", "blur", "noise", 0.25, torch.rand(3, 16, 16)])
def test_integrated_gradients_of_a_linear_model_are_exact_for_any_steps(steps: int, baseline: Any) -> None:
    net, images = LinearModel().double(), pictures(2).double()
    found = xai.explain(net, images, "integrated_gradients", target=1, steps=steps, baseline=baseline)
    missed = found.attribution / weights_of(net, 1) - images  # minus the baseline
    for k, detail in enumerate(found.details):
        assert abs(float(detail["gap"])) < 1e-10
        torch.testing.assert_close(detail["difference"], found.attribution[k].sum(), atol=1e-10, rtol=1e-10)
    start = -missed
    assert float(start.min()) > -1e-9
    assert float(start.max()) < 1 + 1e-9
    if isinstance(baseline, Tensor | float):
        torch.testing.assert_close(start, torch.as_tensor(baseline).double().expand_as(start), atol=1e-7, rtol=1e-6)
    if baseline == "mean":
        torch.testing.assert_close(start, images.mean((2, 3), keepdim=True).expand_as(images), atol=1e-9, rtol=1e-9)


def test_gradients_are_towards_pixels_before_preprocessing() -> None:
    net = LinearModel()
    std = torch.tensor([0.5, 0.25, 2.0])
    model = Classifier(net, mean=[0.4, 0.5, 0.6], std=std.tolist())
    wanted = weights_of(net, 1) / std.view(1, 3, 1, 1)
    torch.testing.assert_close(explain(model, pictures(1), "saliency", target=1).attribution, wanted)
    torch.testing.assert_close(
        explain(model, pictures(1), "input_x_gradient", target=1).attribution, wanted * pictures(1)
    )


def test_absolute_saliency_has_no_signs() -> None:
    signed, size = (explain(GapCnn(), pictures(2), "saliency", absolute=a).attribution for a in (False, True))
    assert float(signed.min()) < 0
    assert torch.equal(size, signed.abs())


def curve(net: Quadratic, target: int) -> tuple[Tensor, Tensor]:
    """Return the coefficients of x^2 / 2 and of x."""
    parts = net.curve.weight, net.slope.weight
    return tuple(part[target].detach().view(3, 16, 16) for part in parts)


@pytest.mark.parametrize("steps", [1, 3])
def test_integrated_gradients_of_a_quadratic_are_exact_with_one_step(steps: int) -> None:
    net, images = float64_twin(Quadratic()), pictures(2).double()
    bend, slope = curve(net, 1)
    found = xai.explain(net, images, "integrated_gradients", target=1, steps=steps, baseline=0.25)
    wanted = bend * (images.square() - 0.25**2) / 2 + slope * (images - 0.25)
    torch.testing.assert_close(found.attribution, wanted, atol=1e-12, rtol=1e-9)
    assert all(abs(float(detail["gap"])) < 1e-10 for detail in found.details)
    assert "completeness gap: below 0.1 %" in " ".join(found.notes)


def test_smoothgrad_of_a_quadratic_is_its_slope_within_the_standard_error() -> None:
    net, images = float64_twin(Quadratic()), pictures(1).double()
    bend, slope = curve(net, 2)
    found = xai.explain(net, images, "smoothgrad", target=2, samples=64, std=0.2)
    errors = found.details[0]["standard_error"]
    wanted = bend.abs() * 0.2 * float(images.max() - images.min()) / 8
    share = (errors / wanted).mean()
    assert 0.95 < float(share) < 1.05
    z = (found.attribution[0] - (bend * images[0] + slope)) / errors
    assert 0.9 < float(z.square().mean().sqrt()) < 1.15
    assert float(z.abs().max()) < 5


def test_gradient_shap_has_the_expected_value() -> None:
    net, images = float64_twin(Quadratic()), pictures(1).double()
    bend, slope = curve(net, 2)
    found = xai.explain(net, images, "gradient_shap", target=2, samples=300, baseline="black")
    wanted = bend * images[0].square() / 2 + slope * images[0]
    miss, error = (found.attribution[0] - wanted).abs(), found.details[0]["standard_error"]
    assert bool((miss <= 0.5 * error + 1e-12).all())  # stratified places do far better than independent ones
    assert float(error.max()) > 1e-6


def test_gradient_shap_counts_each_baseline_alike() -> None:
    net, images = LinearModel().double(), pictures(1).double()
    own = pictures(2, seed=9).double()
    found = xai.explain(net, images, "gradient_shap", target=1, samples=8, baseline=own)
    torch.testing.assert_close(found.attribution, weights_of(net, 1) * (images - own.mean(0)), atol=1e-12, rtol=1e-9)
    mixed = xai.explain(net, images, "gradient_shap", target=1, samples=9, baseline=["black", own])
    wanted = weights_of(net, 1) * (images - own.sum(0) / 3)
    torch.testing.assert_close(mixed.attribution, wanted, atol=1e-12, rtol=1e-9)


def test_gradient_shap_is_complete_on_a_linear_model_with_its_usual_baselines() -> None:
    found = xai.explain(LinearModel().double(), pictures(2).double(), "gradient_shap", target=1, samples=7)
    assert all(abs(float(detail["gap"])) < 1e-10 for detail in found.details)
    fresh = xai.explain(LinearModel().double(), pictures(1).double(), "gradient_shap", samples=7, baseline="noise")
    assert abs(float(fresh.details[0]["gap"])) < 1e-10
    assert float(fresh.details[0]["standard_error"].max()) > 0  # a new noise each time


# captum


@cache
def resnet() -> xai.Classifier:
    torch.manual_seed(0)
    module = import_torchvision().models.resnet18(num_classes=20).eval()
    return Classifier(module, input_size=(64, 64), mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])


def assert_near(found: Tensor, wanted: Tensor, share: float = 1e-5) -> None:
    assert float(wanted.abs().max()) > 0
    assert float((found - wanted).abs().max()) <= share * float(wanted.abs().max())


@pytest.mark.parametrize(
    ("method", "network"),
    [
        ("saliency", "efficientnet_lite0"),
        ("saliency", "resnet18"),
        ("input_x_gradient", "resnet18"),
        ("integrated_gradients", "resnet18"),
    ],
)
def test_equals_captum(method: str, network: str) -> None:
    classifier = resnet() if network == "resnet18" else xai.load(network)
    images = pictures(2, size=(64, 64))
    model = Classifier(classifier.module, mean=classifier.mean, std=classifier.std)
    given = images.clone().requires_grad_()
    forward: Callable[[Tensor], Tensor] = model.logits
    theirs = {
        "saliency": lambda: attr.Saliency(forward).attribute(given, target=[3, 7], abs=False),
        "input_x_gradient": lambda: attr.InputXGradient(forward).attribute(given, target=[3, 7]),
        "integrated_gradients": lambda: attr.IntegratedGradients(forward).attribute(given, target=[3, 7], n_steps=8),
    }[method]()
    assert_near(explain(model, images, method, target=[3, 7]).attribution, theirs.detach())


def test_smoothgrad_is_the_mean_of_saliency_on_the_noisy_pictures() -> None:
    model, images = GapCnn().double(), pictures(2).double()
    found = xai.explain(model, images, "smoothgrad", target=1, samples=3, std=0.1, seed=4)
    for k, image in enumerate(images):
        spread = 0.1 * (image.max() - image.min())
        noise = [noise_like(image[None], [image_key(image)], seed=4, draw=draw) for draw in range(3)]
        noisy = (image + spread * torch.cat(noise)).requires_grad_()
        (slopes,) = torch.autograd.grad(model(noisy)[:, 1].sum(), noisy)
        torch.testing.assert_close(found.attribution[k], slopes.mean(0))
        torch.testing.assert_close(found.details[k]["standard_error"], slopes.std(0) / 3**0.5)


def test_smoothgrad_without_noise_is_saliency() -> None:
    plain = explain(GapCnn(), pictures(2), "saliency").attribution
    torch.testing.assert_close(xai.explain(GapCnn(), pictures(2), "smoothgrad", std=0.0).attribution, plain)


# rows, memory, progress


class Counting(nn.Module):
    """Remembers how many rows each forward had."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.rows = net, list[int]()

    def forward(self, images: Tensor) -> Tensor:
        self.rows.append(len(images))
        return self.net(images)


@pytest.mark.parametrize("limit", [5, 64])
def test_two_hundred_steps_on_many_pictures_stay_within_the_rows(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = Counting(GapCnn()).double().eval(), pictures(2).double()
    wanted = xai.explain(model, images, "integrated_gradients", steps=200).attribution
    monkeypatch.setattr(Classifier, "row_limit", lambda *_: limit)
    model.rows.clear()
    found = xai.explain(model, images, "integrated_gradients", steps=200).attribution
    assert max(model.rows) <= limit
    assert sum(model.rows) == 2 * 202 + 2  # two to see what the outputs mean, once a model
    assert_near(found, wanted, 1e-6)


@pytest.mark.parametrize("method", ["smoothgrad", "gradient_shap", "integrated_gradients"])
def test_rows_do_not_grow_with_samples_or_pictures(method: str) -> None:
    model = Counting(GapCnn()).eval()
    xai.explain(model, pictures(4), method, **{"steps" if method.startswith("int") else "samples": 100})
    assert max(model.rows) <= 64
    large = Counting(LargeOnly()).eval()
    xai.explain(large, torch.rand(1, 3, 512, 512), method, **{"steps" if method.startswith("int") else "samples": 9})
    assert max(large.rows) <= 3  # on a CPU


class LargeOnly(nn.Module):
    """One convolution with a stride of 16."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 16, stride=16)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images).relu().mean((2, 3))


@pytest.mark.parametrize("method", FAST)
def test_when_memory_runs_out_fewer_rows_give_the_same(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = explain(GapCnn(), pictures(1), method).attribution
    inside, tight = Classifier.raw_logits, []

    def raw_logits(self: Classifier, rows: Tensor) -> Tensor:
        if len(rows) > 2 and rows.requires_grad:
            tight.append(len(rows))
            raise torch.OutOfMemoryError("out of memory")
        return inside(self, rows)

    monkeypatch.setattr(Classifier, "raw_logits", raw_logits)
    assert_near(explain(GapCnn(), pictures(1), method).attribution, wanted, 1e-6)
    assert tight


def test_progress_and_stop_inside_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Classifier, "row_limit", lambda *_: 2)
    seen: list[tuple[int, int]] = []
    xai.explain(GapCnn(), pictures(1), "integrated_gradients", steps=8, progress=lambda *told: seen.append(told))
    assert sorted({done for done, _ in seen}) == [25, 50, 75, 100]
    asked = iter([False, False, True])
    with pytest.raises(Stopped, match="2 of 8 rows"):
        xai.explain(GapCnn(), pictures(1), "integrated_gradients", steps=8, should_stop=lambda: next(asked))


# several classes, versus, other scores


@pytest.mark.parametrize("method", FAMILY)
def test_several_classes_of_one_picture_equal_single_calls(method: str) -> None:
    together = explain(GapCnn(), pictures(1), method, target=[0, 1, 2])
    for k in range(3):
        alone = explain(GapCnn(), pictures(1), method, target=k)
        assert_near(together.attribution[k : k + 1], alone.attribution)
        for name, value in alone.details[0].items() if alone.details else ():
            torch.testing.assert_close(together.details[k][name], value, atol=1e-5, rtol=1e-3)


def test_several_classes_share_the_forwards() -> None:
    model = Counting(GapCnn()).eval()
    xai.explain(model, pictures(1), "integrated_gradients", target=[0, 1, 2, 3], steps=20)
    assert sum(model.rows) <= 24 + 8  # and eight to see what the outputs mean and whether they stay


@pytest.mark.parametrize("method", [m for m in FAMILY if not m.startswith("guided")])
def test_versus_is_the_difference_of_two_maps(method: str) -> None:
    one, other, both = (
        explain(GapCnn(), pictures(2), method, **settings).attribution
        for settings in ({"target": 1}, {"target": 3}, {"target": 1, "versus": 3})
    )
    assert_near(both, one - other)


@pytest.mark.parametrize("score", ["probability", "margin"])
def test_other_scores_are_complete_too(score: str) -> None:
    model, images = GapCnn().double(), pictures(2).double()
    found = xai.explain(model, images, "integrated_gradients", target=1, score=score, steps=300)
    for k, detail in enumerate(found.details):
        table = model(torch.stack([images[k], torch.zeros_like(images[k])]))
        table = table.softmax(1) if score == "probability" else table
        others = table.clone()
        others[:, 1] = -torch.inf
        wanted = table[:, 1] if score == "probability" else table[:, 1] - others.amax(1)
        torch.testing.assert_close(detail["difference"], (wanted[0] - wanted[1]).detach())
        assert abs(float(detail["gap"])) < 0.02 * abs(float(detail["difference"])) + 1e-4


# notes, details, settings


@pytest.mark.parametrize("method", SUMS)
def test_what_is_missing_is_in_the_details(method: str) -> None:
    found = explain(GapCnn(relu=inplace_relu), pictures(3), method, target=1)
    for attribution, detail in zip(found.attribution, found.details, strict=True):
        torch.testing.assert_close(attribution.sum() + detail["gap"], detail["difference"], atol=1e-5, rtol=1e-4)


def test_too_few_steps_are_said() -> None:
    few, many = (xai.explain(GapCnn(), pictures(3), "integrated_gradients", target=1, steps=s).notes for s in (1, 200))
    assert any("raise `steps`" in note for note in few)
    assert not any("raise" in note for note in many)
    assert all("completeness gap" in note for note in many if "%" in note)


def test_details_are_saved_and_loaded(tmp_path: Path) -> None:
    for method in FAST:
        found = explain(GapCnn(), pictures(2), method)
        found.save(tmp_path / method)
        again = xai.Explanation.load(tmp_path / method)
        assert [sorted(detail) for detail in again.details] == [sorted(detail) for detail in found.details]
        for mine, other in zip(again.details, found.details, strict=True):
            assert mine
            assert all(torch.equal(mine[name], other[name]) for name in other)


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("integrated_gradients", {"steps": 0}, "`steps` as a whole number of at least 1, but got 0"),
        ("integrated_gradients", {"steps": 2.5}, "`steps` as a whole number of at least 1, but got 2.5"),
        ("smoothgrad", {"samples": True}, "`samples` as a whole number of at least 1, but got True"),
        ("smoothgrad", {"std": -1.0}, "`std` of at least 0"),
        ("smoothgrad", {"std": float("nan")}, "`std` of at least 0"),
        ("gradient_shap", {"samples": 2}, "`samples` of at least 3, one for each baseline"),
        ("integrated_gradients", {"baseline": 1.5}, r"values in \[0, 1\]"),
    ],
)
def test_settings_out_of_range_are_refused(method: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RangeError, match=message):
        xai.explain(GapCnn(), pictures(1), method, **settings)


@pytest.mark.parametrize("method", ["integrated_gradients", "gradient_shap", "deeplift"])
def test_an_unknown_baseline_suggests_the_known(method: str) -> None:
    with pytest.raises(NameLookupError, match="blur"):
        xai.explain(GapCnn(), pictures(1), method, baseline="blurr")


def test_costs_are_what_is_sent() -> None:
    for method in (*FAST, "saliency", "input_x_gradient", "guided_backprop", "deeplift"):
        model = Counting(GapCnn()).eval()
        classifier = Classifier(model, class_names=list("abcd"))
        classifier.predict(pictures(1))  # what the outputs mean is seen once a model
        model.rows.clear()
        explain(classifier, pictures(1), method)
        explainer = xai.explanations.methods.base.EXPLAINERS[method](**FAST.get(method, {}))
        assert sum(model.rows) == explainer.cost.forward
    listed = {info.name: info for info in xai.methods()}
    assert {name: (listed[name].family, listed[name].stochastic) for name in FAMILY} == {
        name: ("gradient", name in {"smoothgrad", "gradient_shap"}) for name in FAMILY
    }


# planted evidence


@pytest.mark.parametrize(("top", "left"), [(0, 0), (0, 12), (6, 6), (12, 0), (12, 12)])
@pytest.mark.parametrize("method", FAMILY)
def test_finds_the_planted_square(method: str, top: int, left: int) -> None:
    found = xai.explain(PlantedCnn(), red_square(top, left), method, target=1)
    values = found.heatmaps[0] if method in LOCAL else found.attribution[0].abs().sum(0).numpy()
    row, column = divmod(int(np.argmax(values)), 16)
    assert top <= row < top + 4
    assert left <= column < left + 4


@pytest.mark.parametrize("kind", [PlantedViT, PlantedAttention])
@pytest.mark.parametrize("method", LOCAL)
def test_finds_the_planted_token(method: str, kind: type[nn.Module]) -> None:
    for place in range(0, GRID * GRID, 3):
        found = explain(kind(place), pictures(1), method, target=1)
        row, column = divmod(int(found.heatmaps[0].argmax()), 16)
        assert patch_of(row, column) == place
