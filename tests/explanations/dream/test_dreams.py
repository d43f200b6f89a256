"""Deep dreams: what is raised, where the forward ends, what the network is shown, and the model left as it was."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_state import assert_same, lived_in, snapshot
from PIL import Image
from small_models import (
    SIZE,
    BatchNormNet,
    GapCnn,
    InjectedError,
    LinearModel,
    PlantedCnn,
    PlantedViT,
    Quadratic,
    ReusedModule,
    pictures,
    with_raiser,
)
from torch import Tensor, nn

import xai

PLAIN = {
    "laplacian": False,
    "decorrelated": False,
    "fourier": False,
    "tv": 0.0,
    "jitter": 0,
    "octaves": 1,
    "least_confidence": 0.0,
}
QUICK = {"octaves": 2, "steps": 3, "size": SIZE, "octave_scale": 1.5, "least_confidence": 0.0}


def photo(height: int = 30, width: int = 40) -> np.ndarray:
    """Return an image with shapes and grain (height, width, 3) in [0, 1]."""
    rows, columns = np.mgrid[:height, :width]
    grain = np.random.default_rng(0).uniform(-0.1, 0.1, (height, width, 3))
    waves = np.stack([np.sin(rows / 3), np.cos(columns / 4), np.sin((rows + columns) / 5)], -1)
    return np.clip(0.5 + 0.3 * waves + grain, 0, 1).astype(np.float32)


def rises(found: xai.results.DeepDream) -> float:
    """Return by how much a step raised the objective on average, within octaves."""
    steps = np.diff(found.objective)[np.diff(found.octave) == 0]
    return float(steps.mean())


class Sizes:
    """Keeps the sizes of all images that a network is shown, and how often its layers run."""

    def __init__(self, module: nn.Module) -> None:
        self.sizes: list[tuple[int, int]] = []
        self.calls = dict.fromkeys((name for name, _ in module.named_modules() if name), 0)
        module.register_forward_pre_hook(lambda _, inputs: self.sizes.append(tuple(inputs[0].shape[2:])))
        for name, part in module.named_modules():
            if name:
                part.register_forward_hook(lambda *_, name=name: self._count(name))

    def _count(self, name: str) -> None:
        self.calls[name] += 1


# what is raised


@pytest.mark.parametrize("channel", [None, 2])
def test_the_objective_of_a_layer_is_its_mean_square_or_a_channels_mean(channel: int | None) -> None:
    net, image = GapCnn(), pictures(1)
    found = xai.deep_dream(net, layer="conv1", channel=channel, image=image, steps=1, **PLAIN)
    output = net.conv1(image)
    wanted = output.square().mean() if channel is None else output[:, channel].mean()
    assert found.objective.tolist() == pytest.approx([wanted.item()], rel=1e-6)


def test_a_channel_of_tokens_is_the_mean_over_the_places() -> None:
    net, image = PlantedViT(), pictures(1)
    found = xai.deep_dream(net, layer="block", channel=1, image=image, steps=1, **PLAIN)
    assert found.objective[0] == pytest.approx(net.embed(image).relu()[:, :, 1].mean().item(), rel=1e-6)


def test_a_channel_of_a_linear_layer_is_a_feature() -> None:
    net, image = GapCnn(), pictures(1)
    found = xai.deep_dream(net, layer="head", channel=3, image=image, steps=1, **PLAIN)
    assert found.objective[0] == pytest.approx(net(image)[0, 3].item(), rel=1e-5)


@pytest.mark.parametrize("kind", [LinearModel, Quadratic])
def test_a_plain_step_goes_along_the_gradient(kind: type[nn.Module]) -> None:
    net, image = kind(), 0.25 + 0.5 * pictures(1)
    found = xai.deep_dream(net, target=1, image=image, steps=1, step_size=0.01, **PLAIN)
    leaf = image.clone().requires_grad_()
    slope = torch.autograd.grad(net(leaf)[0, 1], leaf)[0]
    wanted = image + 0.01 * slope / slope.square().mean().sqrt()
    np.testing.assert_allclose(found.image, wanted[0].permute(1, 2, 0).clamp(0, 1), atol=1e-5)
    assert found.objective[0] == pytest.approx(net(image)[0, 1].item(), rel=1e-5)


def test_a_planted_class_turns_the_picture_red() -> None:
    dull = torch.tensor([0.5, 0.2, 0.2]).view(3, 1, 1).expand(3, SIZE, SIZE)
    found = xai.deep_dream(PlantedCnn(), target=1, image=dull, octaves=2, steps=40)
    red, green, blue = found.image.mean((0, 1))
    assert red > 0.75
    assert max(green, blue) < 0.1
    assert found.prediction == "1"


def test_preprocessing_is_inside() -> None:
    net, image = GapCnn(), pictures(1)
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]
    found = xai.deep_dream(xai.Classifier(net, mean=mean, std=std), target=2, image=image, steps=1, **PLAIN)
    normalised = (image - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    assert found.objective[0] == pytest.approx(net(normalised)[0, 2].item(), rel=1e-5)


# every step raises its objective on average


WISHES: dict[str, dict[str, Any]] = {
    "layer": {"layer": "relu1"},
    "channel": {"layer": "conv2", "channel": 1},
    "class": {"target": 2},
}


@pytest.mark.parametrize("start", ["noise", "image"])
@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("kind", [GapCnn, BatchNormNet])
def test_steps_rise(kind: type[nn.Module], wish: str, start: str) -> None:
    asked = WISHES[wish]
    if kind is BatchNormNet and "layer" in asked:
        asked = asked | {"layer": "body.4"}
    image = {"size": 32} if start == "noise" else {"image": photo(32, 32)}
    found = xai.deep_dream(kind(), **asked, **image, octaves=2, steps=12)
    assert rises(found) > 0
    assert found.objective[-1] > found.objective[0] + 0.2 * abs(found.objective[0])


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"laplacian": False},
    "smooth": {"tv": 0.2},
    "colours": {"decorrelated": True},
    "fourier": {"fourier": True},
    "all": {"decorrelated": True, "fourier": True, "tv": 0.1},
    "tiles": {"tile": 32},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_steps_rise_with_every_setting(name: str) -> None:
    asked = {"decorrelated": False, "fourier": False, "tv": 0.0} | SETTINGS[name]
    found = xai.deep_dream(GapCnn(), layer="conv2", channel=1, image=photo(48, 40), octaves=2, steps=10, **asked)
    assert rises(found) > 0
    assert found.objective[-1] > found.objective[0]


def test_the_pretrained_network_dreams_upwards() -> None:
    classifier = xai.load("efficientnet_lite0")
    for asked in ({}, {"layer": "_blocks.8", "channel": 20}, {"target": "goldfish"}):
        found = xai.deep_dream(classifier, **asked, size=96, octaves=2, steps=6, least_confidence=0.0)
        assert rises(found) > 0, asked
        assert found.objective[-1] > found.objective[0] + 0.2 * abs(found.objective[0]), asked


# a class image is of its class


@pytest.mark.parametrize("model", ["example:fashion", "example:fashion-robust"])
def test_class_pictures_are_of_their_class(model: str, tmp_path: Path) -> None:
    classifier = xai.load(model)
    for target, label in enumerate(classifier.class_names):
        found = xai.deep_dream(classifier, target=target)
        with Image.open(found.save(tmp_path / "dream.png")) as saved:
            seen = classifier.predict(saved)
        assert seen.label == label
        assert float(seen.probability) > 0.9, label
        assert found.probability == pytest.approx(float(seen.probability), abs=1e-5)
        assert found.prediction == found.target_name == label
        assert rises(found) > 0, label
        assert found.objective[-1] > found.objective[0], label


@pytest.mark.slow
def test_a_class_picture_of_the_pretrained_network(tmp_path: Path) -> None:
    classifier = xai.load("efficientnet_lite0")
    found = xai.deep_dream(classifier, target="zebra")
    seen = classifier.predict(found.save(tmp_path / "zebra.png"))
    assert (seen.label, found.target_name) == ("zebra", "zebra")
    assert float(seen.probability) > 0.9
    assert rises(found) > 0
    assert found.image.shape == (224, 224, 3)


def test_further_steps_are_told() -> None:
    classifier = xai.load("example:fashion-robust")
    few = xai.deep_dream(classifier, target="Shirt", steps=2, octaves=1, least_confidence=0.0)
    more = xai.deep_dream(classifier, target="Shirt", steps=2, octaves=1)
    assert few.probability is not None
    assert more.probability is not None
    assert few.probability < 0.9 < more.probability
    assert any("further step(s)" in note for note in more.notes)
    assert len(more.objective) == 2


def test_a_class_out_of_reach_is_told() -> None:
    found = xai.deep_dream(DoubtfulNet(), target=0, size=SIZE, steps=2, octaves=1)
    assert found.probability == pytest.approx(0.5, abs=0.05)
    assert any("only 0." in note for note in found.notes)


class DoubtfulNet(nn.Module):
    """Two classes whose scores hardly ever differ."""

    def forward(self, images: Tensor) -> Tensor:
        brightness = images.mean((1, 2, 3))
        return torch.stack([brightness, 0.99 * brightness], 1)


# the forward ends at the layer


def test_layers_behind_do_not_run() -> None:
    net = GapCnn()
    seen = Sizes(net)
    xai.deep_dream(net, layer="conv2", **QUICK)
    assert min(seen.calls["conv1"], seen.calls["pool"], seen.calls["conv2"]) >= 6
    assert (seen.calls["relu2"], seen.calls["head"]) == (0, 0)


def test_a_network_that_fails_behind_the_layer_can_dream() -> None:
    broken, raiser = with_raiser(GapCnn(), "relu2")
    whole = xai.deep_dream(GapCnn(), layer="conv2", **QUICK)
    found = xai.deep_dream(broken, layer="conv2", **QUICK)
    np.testing.assert_array_equal(found.image, whole.image)
    # The code of a raiser sets attributes, so that its fingerprint tries a forward, in vain; the dream runs none.
    assert raiser.counter.calls == _tries_of_a_fingerprint()


def _tries_of_a_fingerprint() -> int:
    broken, raiser = with_raiser(GapCnn(), "relu2")
    assert len(xai.Classifier(broken).fingerprint) == 64
    return raiser.counter.calls


def test_a_layer_called_twice_is_looked_at_in_its_first_call() -> None:
    net, image = ReusedModule(), pictures(1)
    found = xai.deep_dream(net, layer="twice", image=image, steps=1, **PLAIN)
    wanted = net.twice(net.relu(net.stem(image))).square().mean()
    assert found.objective[0] == pytest.approx(wanted.item(), rel=1e-5)


def test_a_network_that_catches_errors_is_stopped_too() -> None:
    found = xai.deep_dream(Catching(), layer="net.conv1", **QUICK)
    assert len(found.objective) == 6


class Catching(nn.Module):
    """Hides every error of the network inside."""

    def __init__(self) -> None:
        super().__init__()
        self.net = GapCnn()

    def forward(self, images: Tensor) -> Tensor:
        try:
            return self.net(images)
        except Exception:  # noqa: BLE001  (as some networks do)
            return images.mean((2, 3))


# the model comes back as it was


@pytest.mark.parametrize("wish", [{"layer": "body.3"}, {"target": 1}, {}])
def test_the_model_is_left_alone(wish: dict[str, Any]) -> None:
    net = lived_in(BatchNormNet())
    before = snapshot(net)
    xai.deep_dream(net, **wish, **QUICK)
    assert_same(before, snapshot(net))


@pytest.mark.parametrize("after", [0, 1, 4])
@pytest.mark.parametrize("wish", [{"layer": "body.3"}, {"target": 1}])
def test_the_model_is_left_alone_after_an_error(wish: dict[str, Any], after: int) -> None:
    net, _ = with_raiser(BatchNormNet(), "body.2", after)
    lived_in(net)
    before = snapshot(net)
    with pytest.raises(InjectedError, match="injected"):
        xai.deep_dream(net, **wish, **(QUICK | {"octaves": 1, "steps": 8}))
    assert_same(before, snapshot(net))


def test_the_model_is_left_alone_after_a_stop() -> None:
    net = lived_in(BatchNormNet())
    before, asked = snapshot(net), []
    with pytest.raises(xai.Stopped, match="Stopped after 4 of 6 steps"):
        xai.deep_dream(net, layer="body.3", should_stop=lambda: asked.append(1) or len(asked) > 4, **QUICK)
    assert_same(before, snapshot(net))


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_works_without_gradients_around(guard: Any) -> None:
    net, image = GapCnn(), pictures(1)
    with guard():
        found = xai.deep_dream(net, target=1, image=image.clone(), **QUICK)
    np.testing.assert_array_equal(found.image, xai.deep_dream(net, target=1, image=image, **QUICK).image)


def test_the_picture_given_is_not_written_to() -> None:
    image = pictures(1)
    kept = image.clone()
    xai.deep_dream(GapCnn(), layer="conv1", image=image, octaves=1, steps=2)
    assert torch.equal(image, kept)


# seeds


@pytest.mark.parametrize("wish", [{"layer": "conv2"}, {"target": 1}])
@pytest.mark.parametrize("start", [None, photo(SIZE, SIZE)])
def test_the_seed_fixes_everything(wish: dict[str, Any], start: np.ndarray | None) -> None:
    net = GapCnn()
    first = xai.deep_dream(net, **wish, image=start, seed=3, **QUICK)
    torch.rand(5)
    again = xai.deep_dream(net, **wish, image=start, seed=3, **QUICK)
    other = xai.deep_dream(net, **wish, image=start, seed=4, **QUICK)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.objective, again.objective)
    assert not np.array_equal(first.image, other.image)


# sizes, octaves, tiles


def test_a_photograph_keeps_its_detail_through_the_octaves() -> None:
    given = photo(60, 80)
    found = xai.deep_dream(GapCnn(), layer="conv1", image=given, octaves=3, steps=1, step_size=1e-6)
    assert found.sizes == ((31, 41), (43, 57), (60, 80))
    np.testing.assert_allclose(found.image, given, atol=1e-3)


def test_tiles_bound_what_the_network_is_shown() -> None:
    net = GapCnn()
    seen = Sizes(net)
    found = xai.deep_dream(net, layer="conv1", image=photo(150, 100), octaves=2, steps=2, tile=40)
    assert found.image.shape == (150, 100, 3)
    assert max(max(size) for size in seen.sizes) <= 40
    assert min(min(size) for size in seen.sizes) >= 24  # no slivers
    assert len(seen.sizes) > 30


def test_tiles_change_nothing_where_places_are_independent() -> None:
    net = GapCnn()
    net.conv1 = nn.Conv2d(3, 5, 1)
    settings = PLAIN | {"image": photo(90, 70), "layer": "conv1", "steps": 3}
    whole, tiled = xai.deep_dream(net, **settings), xai.deep_dream(net, **settings, tile=32)
    np.testing.assert_allclose(tiled.image, whole.image, atol=1e-5)
    np.testing.assert_allclose(tiled.objective, whole.objective, rtol=1e-5)


def test_a_head_of_fixed_size_is_shown_its_size_alone() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * SIZE * SIZE, 3))
    seen = Sizes(net)
    found = xai.deep_dream(xai.Classifier(net, input_size=(SIZE, SIZE)), target=1, octaves=2, steps=3)
    assert found.sizes == ((11, 11), (SIZE, SIZE))
    assert set(seen.sizes) == {(SIZE, SIZE)}


def test_a_layer_of_fixed_size_is_shown_its_size_alone() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * SIZE * SIZE, 3))
    found = xai.deep_dream(xai.Classifier(net, input_size=(SIZE, SIZE)), layer="2", image=photo(), octaves=2, steps=8)
    assert found.image.shape == (30, 40, 3)
    assert any("the model takes one size only" in note for note in found.notes)
    assert rises(found) > 0


def test_a_transformer_is_shown_its_size_alone() -> None:
    net = PlantedViT()
    seen = Sizes(net)
    found = xai.deep_dream(xai.Classifier(net, input_size=(SIZE, SIZE)), layer="mix", octaves=2, steps=3)
    assert found.sizes == ((11, 11), (SIZE, SIZE))
    assert seen.sizes.count((SIZE, SIZE)) >= 6
    assert any("it is shown every octave at 16 x 16" in note for note in found.notes)


def test_what_ends_in_a_norm_is_not_chosen() -> None:
    body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.GroupNorm(2, 4))
    net = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    assert xai.deep_dream(net, **QUICK).layer == "0.1"


def test_octaves_that_the_network_refuses_are_left_out() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 12), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    found = xai.deep_dream(net, layer="0", size=(18, 20), octaves=3, steps=2)
    assert found.sizes == ((13, 14), (18, 20))
    assert any("2 octave(s) and not 3" in note for note in found.notes)
    with pytest.raises(xai.InputError, match="cannot take images of"):
        xai.deep_dream(net, layer="0", size=(8, 8), octaves=1, steps=2)


@pytest.mark.parametrize(("size", "wanted"), [(None, (30, 40)), (20, (15, 20)), ((24, 18), (24, 18))])
def test_sizes_of_a_photograph(size: Any, wanted: tuple[int, int]) -> None:
    found = xai.deep_dream(GapCnn(), layer="conv1", image=photo(), size=size, octaves=1, steps=1)
    assert found.image.shape == (*wanted, 3)


def test_a_class_is_dreamt_into_what_the_model_sees() -> None:
    classifier = xai.Classifier(GapCnn(), input_size=(SIZE, SIZE))
    found = xai.deep_dream(
        classifier, target=1, image=photo(), octaves=1, steps=1, step_size=1e-6, least_confidence=0.0
    )
    np.testing.assert_allclose(found.image, classifier.prepare(photo()).inputs[0].permute(1, 2, 0), atol=1e-4)
    assert any("what the model sees" in note for note in found.notes)


def test_grey_classifiers_dream_in_grey() -> None:
    found = xai.deep_dream(xai.load("example:fashion"), layer="features.6", channel=3, octaves=2, steps=3)
    assert found.image.shape == (28, 28, 3)
    assert float(np.ptp(found.image, axis=2).max()) == 0
    assert found.settings["decorrelated"] is False


def test_a_double_network_dreams_in_double() -> None:
    single = xai.deep_dream(GapCnn(), target=1, **QUICK)
    double = xai.deep_dream(GapCnn().double(), target=1, **QUICK)
    assert double.image.dtype == np.float32
    np.testing.assert_allclose(double.image, single.image, atol=1e-3)


def test_without_a_layer_a_late_block_is_taken_and_said() -> None:
    found = xai.deep_dream(xai.load("efficientnet_lite0"), size=64, octaves=1, steps=1)
    assert found.layer == "_blocks.10"
    assert any("_blocks.10" in note for note in found.notes)
