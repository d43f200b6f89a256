"""Maps that know no model, or are not what they claim to be, are never trusted; verdicts do not hang on the seed."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.datasets import load_digits
from small_models import PlantedCnn, red_square
from torch import Tensor, nn

import xai
from xai.core.model.classifier import Classifier, as_classifier
from xai.explanations.explanation import Explanation
from xai.explanations.metrics import blurred, model_free_maps, moved_copies
from xai.explanations.rating import checks
from xai.explanations.rating.checks import Subject
from xai.explanations.rating.rate import chance

WINDOW: dict[str, Any] = {"window": 5, "stride": 3}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def blurred_sobel(image: Tensor, _own: Tensor, _other: Tensor) -> Tensor:
    """Edges as scipy finds them, not as the rating's own rival does."""
    grey = image[0].mean(0).numpy()
    edges = np.hypot(ndimage.sobel(grey, 0), ndimage.sobel(grey, 1))
    return torch.from_numpy(ndimage.gaussian_filter(edges, min(grey.shape) / 20)).float()


def centred_blob(image: Tensor, _own: Tensor, _other: Tensor) -> Tensor:
    rows, columns = (torch.linspace(-1, 1, side).square() for side in image.shape[2:])
    return torch.exp(-4 * (rows[:, None] + columns))


FORGERIES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "blurred Sobel": blurred_sobel,
    "the image": lambda image, _own, _other: image[0].mean(0),
    "a centred blob": centred_blob,
    "another class's map": lambda _image, _own, other: other,
    "a map shifted by a pixel": lambda _image, own, _other: own.roll(1, 1),
    "a map shifted far": lambda _image, own, _other: own.roll(own.shape[1] // 3, 1),
    "its negative": lambda _image, own, _other: -own,
    "Sobel with a scale": lambda image, own, other: 7 * blurred_sobel(image, own, other) - 1,
}


def forged(name: str, model: Any, image: Tensor, explain: Callable[..., Explanation]) -> Explanation:
    """Return an explanation with the record of a method and another map."""
    right = explain()
    other = explain(target=int(right.logits[0].topk(2).indices[1]))
    pixels = as_classifier(model).prepare(image).inputs
    made = FORGERIES[name](pixels, right.attribution[0].sum(0), other.attribution[0].sum(0))
    return replace(right, attribution=made[None, None])


def origin_of(model: Any, image: Tensor, explanation: Explanation) -> xai.results.MapCheck:
    classifier = as_classifier(model)
    return checks.reproduction(Subject(classifier, classifier.prepare(image).inputs, explanation, 0, 0))


@pytest.fixture(scope="module")
def clothes() -> tuple[Classifier, list[Tensor]]:
    data = xai.load_data("example:fashion-test").subset(100, seed=5)
    return xai.load("example:fashion"), [data.images[k] for k in range(100)]


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_map_that_wears_a_record_is_exposed_by_running_it_again(name: str, clothes: Any) -> None:
    model, images = clothes
    square = red_square(2, 9)
    for method, settings in (("gradcam", dict[str, Any]()), ("occlusion", WINDOW)):
        wrong = forged(name, model, images[0], partial(xai.explain, model, images[0], method, **settings))
        assert origin_of(model, images[0], wrong).verdict != "trust", method
    net = PlantedCnn()
    wrong = forged(name, net, square, partial(xai.explain, net, square, "occlusion", **WINDOW))
    assert origin_of(net, square, wrong).verdict != "trust"


@pytest.mark.parametrize("name", ["blurred Sobel", "the image", "another class's map"])
def test_a_map_that_cannot_be_made_again_is_doubted_at_best(name: str, clothes: Any) -> None:
    model, images = clothes
    made = forged(name, model, images[1], partial(xai.explain, model, images[1], "gradcam"))
    rating = xai.rate_explanation(model, images[1], replace(made, method="saliency of my own"))
    assert rating.verdict in {"doubt", "reject"}
    assert any("cannot be run again, so the map's origin cannot be checked" in reason for reason in rating.reasons)
    assert rating.meaning != xai.explanations.rating.rating.MEANINGS["trust"]


def test_the_right_map_of_unknown_origin_is_doubted_and_with_its_record_trusted(clothes: Any) -> None:
    model, images = clothes
    found = xai.explain(model, images[0], "occlusion")
    rating = xai.rate_explanation(model, images[0], found)
    assert (rating.verdict, rating.meaning) == ("trust", xai.explanations.rating.rating.MEANINGS["trust"])
    assert rating.to_dict()["meaning"].startswith("the map is faithful to this model")
    stranger = xai.rate_explanation(model, images[0], replace(found, method="mine"))
    assert stranger.verdict == "doubt"
    settings = {**found.settings, "baseline": {"shape": [1, 1, 28, 28]}}
    array = replace(found, provenance=replace(found.provenance, settings=settings))
    assert origin_of(model, images[0], array).verdict == "doubt"


def test_a_scaled_map_is_the_same_map_and_an_offset_is_not() -> None:
    image, net = red_square(2, 9), PlantedCnn()
    found = xai.explain(net, image, "occlusion", 1, **WINDOW)
    assert origin_of(net, image, replace(found, attribution=found.attribution * 3)).verdict == "trust"
    moved = replace(found, attribution=found.attribution + found.attribution.max())
    assert origin_of(net, image, moved).verdict == "doubt"
    assert origin_of(net, image, replace(found, attribution=-found.attribution)).verdict == "reject"


def test_rivals_that_know_no_model_must_be_beaten() -> None:
    """The model looks at edges: of unknown origin, edges are no better than the edge detector among the rivals."""

    class Edges(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            down = (images[..., 1:, :] - images[..., :-1, :]).abs().mean((1, 2, 3))
            across = (images[..., 1:] - images[..., :-1]).abs().mean((1, 2, 3))
            return torch.stack([down + across, images.mean((1, 2, 3))], 1)

    image = xai.load_data("example:fashion-test").images[2].expand(3, -1, -1)[None, ..., 2:25].contiguous()
    right = xai.explain(Edges(), image, "saliency", 0)
    edges = model_free_maps(image)["an edge detector"]
    rating = xai.rate_explanation(Edges(), image, replace(right, attribution=edges[None, None], method="mine"))
    controls = next(check for check in rating.checks[0] if check.name == "controls")
    assert controls.verdict == "doubt"
    assert controls.values["an edge detector"] == pytest.approx(controls.values["gap"], abs=0.02)  # ties at random


def test_moved_copies_are_a_closed_set() -> None:
    """The copies of a copy are the map and the other copies: what makes the test exact."""
    heatmap = torch.arange(8 * 12).float().view(8, 12)
    plain, mirrored = moved_copies(heatmap), moved_copies(heatmap, mirrored=True)

    def as_set(maps: Tensor) -> set[bytes]:
        return {row.numpy().tobytes() for row in maps}

    every = as_set(torch.cat([heatmap[None], plain, mirrored]))
    assert (len(plain), len(mirrored), len(every)) == (31, 32, 64)
    for copy in (plain[4], plain[20], mirrored[0], mirrored[31]):
        again = torch.cat([copy[None], moved_copies(copy), moved_copies(copy, mirrored=True)])
        assert as_set(again) == every
    assert len(moved_copies(torch.rand(2, 3))) == 2 * 2 * 3 - 1


def test_chance_is_the_rank_among_all() -> None:
    assert chance(3.0, torch.tensor([1.0, 2.0, 2.5])) == 1 / 4
    assert chance(2.0, torch.tensor([1.0, 2.0, 2.5])) == 3 / 4


def test_maps_that_know_no_model() -> None:
    image = torch.full((1, 3, 9, 14), 0.25)
    image[:, 0, :, 7:] = 0.75
    maps = model_free_maps(image)
    assert {tuple(one.shape) for one in maps.values()} == {(9, 14)}
    torch.testing.assert_close(maps["brightness"] + maps["darkness"], torch.ones(9, 14))
    torch.testing.assert_close(maps["contrast with the mean colour"], torch.full((9, 14), 0.25))
    assert float(maps["an edge detector"][:, 3].max()) == 0
    flat = torch.full((9, 14), 0.4)
    torch.testing.assert_close(blurred(flat), flat)


def test_near_a_border_more_is_drawn_and_what_stays_near_is_doubted() -> None:
    assert checks.is_near(torch.tensor([0.70, 0.80]), 0.75, least=0.01)
    assert not checks.is_near(torch.tensor([0.90, 0.91]), 0.75, least=0.01)
    assert not checks.is_near(torch.full((400,), 0.78), 0.75, least=0.1)
    near = checks._depends([0.69, 0.72] * 5)
    assert (near.verdict, "near the limit" in near.reason) == ("doubt", True)
    assert checks._depends([0.1, 0.2]).verdict == "trust"
    assert checks._depends([1.0, 1.0]).verdict == "doubt"  # two draws are too few to reject
    assert checks._depends([1.0] * 10).verdict == "reject"


def same_verdicts(model: Any, images: list[Tensor], seeds: int, method: str) -> tuple[int, Counter[str]]:
    """Return how many images have one verdict at all seeds, and all verdicts."""
    same, every = 0, Counter[str]()
    for image in images:
        found = xai.explain(model, image, method)
        verdicts = [xai.rate_explanation(model, image, found, seed=seed).verdict for seed in range(seeds)]
        same += len(set(verdicts)) == 1
        every.update(verdicts)
    return same, every


def test_the_verdict_does_not_hang_on_the_seed(clothes: Any) -> None:
    model, images = clothes
    same, verdicts = same_verdicts(model, images[:2], 3, "occlusion")
    assert (same, verdicts["reject"]) == (2, 0)


def trained_linear(images: Tensor, labels: Tensor) -> nn.Module:
    """Return weights that are rough, as they are after a few steps from a random start."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), layer := nn.Linear(images[0].numel(), 10))
    layer.weight.data.mul_(4)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
    return net


def test_the_right_map_of_a_linear_model_is_never_rejected_whatever_its_own_fill() -> None:
    """With black shown instead, the map of a linear model is exact; imputed pixels ask another question."""
    pixels, labels = (torch.from_numpy(part) for part in load_digits(return_X_y=True))
    images = (pixels.float() / 16).view(-1, 1, 8, 8).repeat_interleave(3, 2).repeat_interleave(2, 3)
    model = Classifier(trained_linear(images[:1500], labels[:1500]), input_size=(24, 16), channels=1)
    found = []
    for image in images[1505:1510].split(1):
        made = xai.explain(model, image, "occlusion", baseline="zero")
        found.append({check.name: check for check in xai.rate_explanation(model, image, made).checks[0]})
    asked = [check for check in (one["faithfulness"] for one in found) if "the method's own fill" in check.reason]
    assert [check.values["p with the method's own fill"] for check in asked] == [1 / 32]  # of all 32 moves the best
    assert not any(check.verdict == "reject" for one in found for check in one.values())


@pytest.mark.slow
def test_genuine_occlusion_maps_of_clothes_are_never_rejected_and_keep_their_verdict(clothes: Any) -> None:
    model, images = clothes
    same, verdicts = same_verdicts(model, images, 10, "occlusion")
    assert same >= 95
    assert verdicts["reject"] == 0


@pytest.mark.slow
def test_grad_cam_keeps_its_verdict(clothes: Any) -> None:
    model, images = clothes
    moving = [image for image in images if float(xai.explain(model, image).attribution.std()) > 0]
    same, _ = same_verdicts(model, moving, 10, "gradcam")
    assert same >= 0.95 * len(moving)


def photographs() -> list[Tensor]:
    """Return 100 crops of scikit-image's photographs, some mirrored, as (3, H, W) in [0, 1]."""
    from skimage import data

    names = ("astronaut", "coffee", "chelsea", "rocket")
    photos = [torch.from_numpy(getattr(data, name)()).permute(2, 0, 1) for name in names]
    source, found = np.random.default_rng(0), []
    for k in range(100):
        photo = photos[k % len(photos)]
        height, width = (int(source.integers(side // 2, side)) for side in photo.shape[1:])
        top = int(source.integers(photo.shape[1] - height + 1))
        left = int(source.integers(photo.shape[2] - width + 1))
        crop = photo[:, top : top + height, left : left + width].float() / 255
        found.append(crop.flip(2) if k % 2 else crop)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("of", ["photographs", "clothes"])
def test_no_forged_map_is_trusted_of_100_images(of: str, clothes: Any) -> None:
    """The verdict is the worst of all checks, so the origin alone settles it."""
    model, images = (xai.load("efficientnet_lite0"), photographs()) if of == "photographs" else clothes
    trusted = Counter[str]()
    for image in images:
        for name in FORGERIES:
            made = forged(name, model, image, partial(xai.explain, model, image, "gradcam"))
            if float(made.attribution.std()) > 0:
                trusted[name] += origin_of(model, image, made).verdict == "trust"
                trusted[name] += origin_of(model, image, replace(made, method="mine")).verdict == "trust"
    assert trusted.total() == 0, trusted
