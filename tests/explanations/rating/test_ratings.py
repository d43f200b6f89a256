"""Ratings: what must be rejected is, what is right is not, and the reasons say why."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from model_state import assert_same, lived_in, snapshot
from small_models import GapCnn, LinearModel, PlantedCnn, pictures, red_square
from torch import Tensor, nn

import xai
from xai.core.model.classifier import Classifier, as_classifier
from xai.core.results.result import Provenance
from xai.errors import RangeError, ShapeError, Stopped
from xai.explanations.rating import checks
from xai.explanations.rating.checks import Subject, randomised


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def planted(k: int) -> Tensor:
    place = torch.randint(13, (2,), generator=torch.Generator().manual_seed(k))
    return red_square(int(place[0]), int(place[1]), seed=k)


def noise(like: Tensor, k: int) -> Tensor:
    return torch.rand(like.shape, generator=torch.Generator().manual_seed(k))


def by_name(rating: xai.results.Rating, name: str) -> xai.results.MapCheck:
    return next(check for check in rating.checks[0] if check.name == name)


@pytest.mark.slow
@pytest.mark.parametrize("origin", ["gradcam", "of unknown origin"])
def test_random_maps_and_maps_of_another_class_are_rejected_in_95_of_100(origin: str) -> None:
    model, kept = PlantedCnn(), []
    rejected = {"random": 0, "another class": 0}
    for k in range(100):
        image = planted(k)
        right = xai.explain(model, image, target=1)
        other = xai.explain(model, image, target=0)
        maps = {"random": noise(right.attribution, k), "another class": other.attribution}
        for name, attribution in maps.items():
            wrong = replace(right, attribution=attribution, method=origin)
            rejected[name] += xai.rate_explanation(model, image, wrong).verdict == "reject"
        if k < 20:
            kept.append(xai.rate_explanation(model, image, right).verdict)
    assert rejected["random"] >= 95
    assert rejected["another class"] >= 95
    assert kept.count("reject") == 0
    assert kept.count("trust") >= 15


def test_a_flat_map_is_rejected_at_once() -> None:
    image = planted(0)
    found = xai.explain(PlantedCnn(), image, target=1)
    rating = xai.rate_explanation(PlantedCnn(), image, replace(found, attribution=torch.ones_like(found.attribution)))
    assert rating.verdict == "reject"
    assert rating.reasons == ("the map is uniform, so it shows no evidence",)


def test_a_map_that_ignores_the_model_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """With random weights it is the same map, as that of an edge detector would be."""
    monkeypatch.setattr(checks, "randomised", lambda classifier, _draws: classifier)
    image = planted(1)
    rating = xai.rate_explanation(PlantedCnn(), image, xai.explain(PlantedCnn(), image, target=1))
    assert by_name(rating, "sanity").verdict == "reject"
    assert "it shows the image, not the model" in rating.reasons[0]


def test_random_weights_change_every_weight_and_leave_the_model_alone() -> None:
    classifier = Classifier(GapCnn())
    before = snapshot(lived_in(classifier.module))
    stranger = randomised(classifier, torch.Generator().manual_seed(0))
    assert_same(before, snapshot(classifier.module))
    for mine, other in zip(classifier.module.parameters(), stranger.module.parameters(), strict=True):
        assert not torch.equal(mine, other)
        assert float(other.detach().norm()) == pytest.approx(float(mine.detach().norm()), rel=0.9)


def test_an_unstable_map_is_doubted() -> None:
    class Jumpy(nn.Module):
        """The gradient flips its sign with every small change."""

        def forward(self, images: Tensor) -> Tensor:
            wave = torch.sin(4000 * images).mean((2, 3))
            return torch.stack([wave.sum(1), images.mean((1, 2, 3))], 1)

    image = planted(2)
    rating = xai.rate_explanation(Jumpy(), image, xai.explain(Jumpy(), image, "saliency", target=0))
    assert by_name(rating, "stability").verdict == "doubt"
    assert by_name(rating, "beyond noise").verdict == "doubt"
    assert by_name(rating, "stability").values["correlation"] < 0.3


def test_stochastic_methods_use_the_same_draws_on_noisy_copies() -> None:
    """SmoothGrad of a linear model is its weights, whatever the noise; other draws per copy would not matter here, but
    for LIME-like methods they would: the keys are handed on."""
    model, image = GapCnn(), pictures(1)
    found = xai.explain(model, image, "smoothgrad", samples=2)
    steady = xai.rate_explanation(model, image, found)
    assert by_name(steady, "stability").values["correlation"] > 0.5


def test_masks_are_judged() -> None:
    image = red_square(4, 8)
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[4:8, 8:12] = True
    found = xai.explain(PlantedCnn(), image, "occlusion", target=1, window=4, stride=2)
    inside = by_name(xai.rate_explanation(PlantedCnn(), image, found, masks=mask), "localisation")
    outside = by_name(xai.rate_explanation(PlantedCnn(), image, found, masks=~mask), "localisation")
    assert (inside.verdict, inside.values["hit"]) == ("trust", 1.0)
    assert outside.values["hit"] == 0.0
    assert outside.verdict == "doubt"
    with pytest.raises(ShapeError, match="Expected masks"):
        xai.rate_explanation(PlantedCnn(), image, found, masks=mask[:5])


def test_several_pictures_get_intervals() -> None:
    images = torch.cat([planted(k) for k in range(4)])
    model = PlantedCnn()
    rating = xai.rate_explanation(model, images, xai.explain(model, images, target=1))
    assert len(rating) == 4
    mean, low, high = rating.intervals["faithfulness: gap"]
    assert low < mean < high
    alone = xai.rate_explanation(model, images[1], xai.explain(model, images[1], target=1))
    assert by_name(alone, "faithfulness").values["gap"] == pytest.approx(
        next(c for c in rating.checks[1] if c.name == "faithfulness").values["gap"], abs=1e-4
    )
    assert alone.intervals["faithfulness: gap"][1:] == (-float("inf"), float("inf"))
    json.dumps(rating.to_dict(), allow_nan=False)
    json.dumps(alone.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("verdicts", "whole"),
    [("t", "trust"), ("tr", "reject"), ("ttr", "trust"), ("tdr", "doubt"), ("ddtt", "doubt"), ("trr", "reject")],
)
def test_the_verdict_of_several(verdicts: str, whole: str) -> None:
    words = {"t": "trust", "d": "doubt", "r": "reject"}
    source = Provenance({}, {})
    rating = xai.results.Rating((), tuple(words[v] for v in verdicts), "x", (), (), (), provenance=source)
    assert rating.verdict == whole


def test_same_seed_same_rating_and_the_model_comes_back() -> None:
    model, image = PlantedCnn(), planted(3)
    found = xai.explain(model, image, target=1)
    before = snapshot(lived_in(model))
    first, second = (xai.rate_explanation(model, image, found, seed=4).to_dict() for _ in (0, 1))
    assert first == second
    assert_same(before, snapshot(model))


def test_contrast_and_other_scores_are_rated_as_what_they_are() -> None:
    image = red_square(2, 3)
    model = PlantedCnn()
    found = xai.explain(model, image, "occlusion", target=1, versus=0, score="probability", window=4, stride=2)
    assert by_name(xai.rate_explanation(model, image, found), "reproduction").values["correlation"] > 0.999


def test_progress_and_stop() -> None:
    model, image = PlantedCnn(), planted(0)
    found = xai.explain(model, image, target=1)
    seen: list[tuple[int, int]] = []
    xai.rate_explanation(model, image, found, progress=lambda *pair: seen.append(pair))
    assert seen[-1] == (100, 100)
    assert seen == sorted(seen)
    with pytest.raises(Stopped, match="as asked"):
        xai.rate_explanation(model, image, found, should_stop=lambda: True)


def test_other_pictures_than_explained() -> None:
    found = xai.explain(PlantedCnn(), planted(0), target=1)
    with pytest.raises(ShapeError, match=r"Pass the image given to xai\.explain"):
        xai.rate_explanation(PlantedCnn(), pictures(1, size=(20, 20)), found)


def test_agreement_and_disagreement() -> None:
    model, image = PlantedCnn(), planted(5)
    cam = xai.explain(model, image, target=1)
    hidden = xai.explain(model, image, "occlusion", target=1, window=4, stride=2)
    found = xai.agreement([cam, hidden, replace(cam, attribution=-cam.attribution)])
    assert found.names == ("gradcam", "occlusion", "gradcam 2")
    assert np.allclose(np.diag(found.rank_correlation), 1)
    assert found.table.loc["gradcam", "gradcam 2"] == pytest.approx(-1)
    assert found.table.loc["gradcam", "occlusion"] > 0.3
    assert found.disagreements[0].shape == (16, 16)
    json.dumps(found.to_dict(), allow_nan=False)
    with pytest.raises(RangeError, match="two or more"):
        xai.agreement([cam])
    with pytest.raises(ShapeError, match="same images"):
        xai.agreement([cam, xai.explain(GapCnn(), pictures(2))])


def test_baselines_side_by_side(tmp_path: Any) -> None:
    model, image = PlantedCnn(), planted(6)
    found = xai.compare_baselines(model, image, target=1, window=4, stride=2, baselines=("mean", "zero", 0.5))
    assert found.names == ("mean", "zero", "0.5")
    assert found.explanations[1].settings["baseline"] == "zero"
    found.save(tmp_path / "panel.png")
    assert (tmp_path / "panel.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(RangeError, match="Expected a method that hides pixels"):
        xai.compare_baselines(model, image, "gradcam")


def test_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    model, image = PlantedCnn(), planted(7)
    found = xai.explain(model, image, target=1)
    titles = [axis.get_title() for axis in xai.rate_explanation(model, image, found).plot().axes]
    assert "Does the score follow the map?" in titles
    assert any("gradcam for 1" in title for title in titles)
    panel = xai.agreement([found, xai.explain(model, image, "eigencam")]).plot()
    assert [axis.get_title() for axis in panel.axes][-1] == "where they disagree"


def test_a_linear_model_is_rated_by_its_gradient() -> None:
    model, image = LinearModel(), pictures(1)
    rating = xai.rate_explanation(model, image, xai.explain(model, image, "input_x_gradient", target=0))
    assert by_name(rating, "reproduction").verdict == "trust"
    assert by_name(rating, "faithfulness").values["p"] <= 0.1


def test_captums_figures_on_a_linear_model() -> None:
    net, image = LinearModel().eval(), pictures(1, size=(16, 16)).clamp(0.2, 0.8)
    grey = image.mean(1, keepdim=True).expand_as(image)
    with torch.no_grad():  # all channels alike: the map, which has one, says everything
        shared = net.linear.weight.view(3, 3, 16, 16).mean(1, keepdim=True).expand(-1, 3, -1, -1)
        net.linear.weight.copy_(shared.flatten(1))
    right = xai.rate_explanation(net, grey, xai.explain(net, grey, "saliency", target=0))
    figures = {check.name: check.values for check in right.checks[0]}
    assert figures["faithfulness"]["infidelity"] < 1e-3
    assert figures["stability"]["max-sensitivity"] < 1e-5
    wrong = xai.rate_explanation(net, grey, xai.explain(net, grey, "occlusion", target=0, window=8, stride=8))
    assert by_name(wrong, "faithfulness").values["infidelity"] > 0.5


def test_max_sensitivity_is_the_largest_change_over_the_norm() -> None:
    model, image = PlantedCnn(), planted(0)
    subject = Subject(as_classifier(model), image, xai.explain(model, image, "saliency"), 0, seed=0)
    maps = subject.heatmap + torch.stack([noise(subject.heatmap, k) for k in range(4)])
    changes = (maps - subject.heatmap).flatten(1).norm(dim=1)
    found = checks.max_sensitivity(subject, image.repeat(4, 1, 1, 1), maps)
    assert found == pytest.approx(float(changes.max() / subject.heatmap.norm()), rel=1e-5)
