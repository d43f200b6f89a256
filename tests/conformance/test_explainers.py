"""What every explanation method must do, on every small network; methods added later join by themselves."""

import io
import json
import pickle
import random
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_state import assert_same, lived_in, snapshot, switches
from PIL import Image
from small_models import (
    CASES,
    BatchNormNet,
    GapCnn,
    InjectedError,
    InplaceFirst,
    PlantedAttention,
    PlantedViT,
    ReusedModule,
    float64_twin,
    inplace_relu,
    leaves,
    pictures,
    relu_twins,
    with_raiser,
)
from torch import Tensor, nn

import xai
from xai.core.model.classifier import Classifier
from xai.errors import Stopped, UnsupportedModelError
from xai.explanations.explanation import Explanation
from xai.explanations.methods.base import EXPLAINERS

METHODS = EXPLAINERS.names()
SETTINGS: dict[str, dict[str, Any]] = {  # cheaper settings for methods whose defaults are slow
    "gradient_shap": {"samples": 6},
    "integrated_gradients": {"steps": 6},
    "occlusion": {"window": 4, "stride": 2},
    "lime": {"samples": 60, "segments": "grid", "regions": 16},
    "kernelshap": {"samples": 60, "segments": "grid", "regions": 16},
    "rise": {"samples": 40},
    "smoothgrad": {"samples": 4},
}
TOLERANCE = 1e-5  # of the largest value of a map


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Run on one thread: these networks are so small that a second one only waits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def works(method: str, case: str) -> bool:
    """Whether the network has what the method needs."""
    return set(EXPLAINERS[method].needs) <= CASES[case].has


def classifier_of(case: str, module: nn.Module | None = None) -> Classifier:
    return Classifier(module or CASES[case].build(), **CASES[case].settings)


def run(model: Classifier | nn.Module, images: Any, method: str, **settings: Any) -> Explanation:
    return xai.explain(model, images, method, **{**SETTINGS.get(method, {}), **settings})


@cache
def plain(method: str, case: str) -> tuple[Explanation, Any, Any]:
    """Return what several tests look at, made once, and the state of the model before and after it."""
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    classifier = classifier_of(case)
    before = snapshot(lived_in(classifier.module))
    found = run(classifier, pictures(3), method, seed=11)
    return found, before, snapshot(classifier.module)


def home_of(method: str) -> nn.Module:
    """Return a network that has all that any method needs; not all have tokens or attention."""
    if "attention" in EXPLAINERS[method].needs:
        return PlantedAttention()
    return PlantedViT() if "tokens" in EXPLAINERS[method].needs else BatchNormNet()


def assert_close(found: Tensor, wanted: Tensor, tolerance: float = TOLERANCE, absolute: float = 1e-12) -> None:
    """Compare maps image by image, relative to the largest value of each."""
    assert found.shape == wanted.shape
    for mine, other in zip(found.double(), wanted.double(), strict=True):
        assert float((mine - other).abs().max()) <= tolerance * float(other.abs().max()) + absolute


pairs = [(method, case) for method in METHODS for case in CASES]
working = [pair for pair in pairs if works(*pair)]
refused = [pair for pair in pairs if not works(*pair)]


def half(of: int) -> list[Any]:
    """Return all working pairs, every other one slow, so that by default each method and each network is among them."""
    places = {pair: k for k, pair in enumerate(pairs)}
    width = len(CASES)
    return [
        pytest.param(*pair, marks=[pytest.mark.slow] if (sum(divmod(places[pair], width)) + of) % 2 else [])
        for pair in working
    ]


def test_every_method_works_somewhere() -> None:
    assert {method for method, _ in working} == set(METHODS)


@pytest.mark.parametrize(("method", "case"), working)
def test_a_map_of_the_right_shape_and_type(method: str, case: str) -> None:
    found, _, _ = plain(method, case)
    assert found.attribution.shape[0] == 3
    assert found.attribution.shape[1] in {1, 3}
    assert found.attribution.shape[2:] == pictures(3).shape[2:]
    assert bool(torch.isfinite(found.attribution).all())
    assert found.targets.dtype == torch.int64
    assert found.method == method
    assert [heatmap.shape for heatmap in found.heatmaps] == [(16, 16)] * 3
    assert all(heatmap.dtype == np.float32 for heatmap in found.heatmaps)


@pytest.mark.parametrize(("method", "case"), refused)
def test_refuses_a_network_that_lacks_what_it_needs_and_leaves_it_alone(method: str, case: str) -> None:
    classifier = classifier_of(case)
    before = snapshot(lived_in(classifier.module))
    with pytest.raises(UnsupportedModelError, match=r"(?i)name (a|another) `layer`|use occlusion") as caught:
        run(classifier, pictures(2), method)
    assert "\n" not in str(caught.value)
    assert_same(before, snapshot(classifier.module))


MANY_ROWS = {"kernelshap", "lime", "occlusion", "rise"}
SEVERAL = ("gap", "batch norm", "sigmoid", "planted vit", "planted attention", "planted swin")


@pytest.mark.parametrize(
    ("method", "case"),
    [
        pytest.param(method, case, marks=[pytest.mark.slow] if method in MANY_ROWS and case != "gap" else [])
        for method in METHODS
        for case in SEVERAL
    ],
)
def test_batch_size_and_order_change_nothing(method: str, case: str) -> None:
    if not works(method, case):
        pytest.skip("the network lacks what the method needs")
    count = 12  # more than are run without asking for the memory of a row
    images, classifier = pictures(count), classifier_of(case)
    together = run(classifier, images, method).attribution
    threes = torch.cat([run(classifier, images[k : k + 3], method).attribution for k in range(0, count, 3)])
    assert_close(threes, together)
    every = range(count) if case == "gap" else range(0, count, 4)
    alone = torch.cat([run(classifier, images[k : k + 1], method).attribution for k in every])
    assert_close(alone, together[list(every)])
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    assert_close(run(classifier, images[order], method).attribution, together[order])


@cache
def map_at_home(method: str, count: int) -> Tensor:
    """Return the map of some images, with which several tests compare."""
    return run(home_of(method), pictures(count), method).attribution


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("limit", [1, 3, 64])
def test_rows_at_a_time_change_nothing(method: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = map_at_home(method, 7)
    monkeypatch.setattr(Classifier, "row_limit", lambda *_: limit)
    assert_close(run(home_of(method), pictures(7), method).attribution, wanted)


@pytest.mark.parametrize(("method", "case"), half(1))
def test_same_seed_same_bits(method: str, case: str) -> None:
    first, _, _ = plain(method, case)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    random.seed(2)
    second = run(classifier_of(case), pictures(3), method, seed=11)
    assert torch.equal(first.attribution, second.attribution)
    assert torch.equal(first.logits, second.logits)


@pytest.mark.parametrize("method", METHODS)
def test_only_stochastic_methods_use_the_seed(method: str) -> None:
    first, second = (run(home_of(method), pictures(2), method, seed=seed) for seed in (0, 1))
    assert torch.equal(first.attribution, second.attribution) != EXPLAINERS[method].stochastic


@pytest.mark.parametrize(("method", "case"), working)
def test_the_model_comes_back_as_it_was(method: str, case: str) -> None:
    _, before, after = plain(method, case)
    assert_same(before, after)


def _raising_moments(model: nn.Module, layer: str, method: str) -> list[int]:
    """Return after how many calls the layer may raise: at the first, in the middle, at the last."""
    broken, raiser = with_raiser(model, layer, after=10**9)
    run(broken, pictures(9), method)
    last = raiser.counter.calls - 1
    return sorted({0, last // 2, last})


@pytest.mark.parametrize(
    ("k", "method"),
    [
        pytest.param(k, method, marks=[pytest.mark.slow] if (k + place) % 2 else [])
        for k in range(8)
        for place, method in enumerate(METHODS)
    ],
)
def test_the_model_comes_back_after_an_error_in_layer(k: int, method: str) -> None:
    names = leaves(home_of(method))
    if k >= len(names):
        pytest.skip("the network has fewer layers")
    raised = 0
    for moment in _raising_moments(home_of(method), names[k], method):
        broken, raiser = with_raiser(home_of(method), names[k], after=moment)
        broken.register_buffer("other_model", torch.tensor(float(moment)))  # not the model of the cached copy
        before = snapshot(lived_in(broken))
        try:
            run(broken, pictures(9), method)
        except InjectedError:
            raised += 1
        assert raiser.counter.calls > moment
        assert_same(before, snapshot(broken))
    assert raised


@pytest.mark.parametrize("method", METHODS)
def test_the_model_comes_back_after_a_stop(method: str) -> None:
    model = home_of(method)
    before = snapshot(lived_in(model))
    with pytest.raises(Stopped, match="as asked"):
        xai.explain(model, pictures(3), method, should_stop=lambda: True, **SETTINGS.get(method, {}))
    assert_same(before, snapshot(model))


@pytest.mark.parametrize("method", METHODS)
def test_progress_ends_at_the_number_of_images(method: str) -> None:
    seen: list[tuple[int, int]] = []
    run(home_of(method), pictures(5), method, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_callers_grad_mode_changes_nothing(method: str, around: Any) -> None:
    model = home_of(method)
    wanted = map_at_home(method, 9)
    with around():
        before = switches()
        found = run(model, pictures(9), method)  # the images are made inside as well
        assert_same(before, switches())
    assert torch.equal(found.attribution, wanted)
    assert not found.attribution.requires_grad
    assert not found.attribution.is_inference()


@pytest.mark.parametrize(("method", "case"), half(0))
def test_a_frozen_model_gives_the_same_map(method: str, case: str) -> None:
    wanted, _, _ = plain(method, case)
    frozen = classifier_of(case)
    frozen.module.requires_grad_(False)
    assert_close(run(frozen, pictures(3), method, seed=11).attribution, wanted.attribution)


@pytest.mark.parametrize("method", METHODS)
def test_training_mode_gives_the_map_of_evaluation_mode_and_says_so(method: str) -> None:
    wanted = run(home_of(method).eval(), pictures(2), method)
    found = run(home_of(method).train(), pictures(2), method)
    assert_close(found.attribution, wanted.attribution)
    assert any("training mode" in note for note in found.notes)
    assert not any("training mode" in note for note in wanted.notes)


def _same_layer(method: str) -> dict[str, Any]:
    """Return settings that look at the convolution, which all the twins have as a module."""
    return {"layer": "conv2"} if "layer" in [f.name for f in fields(EXPLAINERS[method])] else {}


@pytest.mark.parametrize("method", METHODS)
def test_relu_as_module_in_place_or_function_gives_the_same_map(method: str) -> None:
    if not works(method, "gap"):
        pytest.skip("needs tokens")
    maps = {
        kind: run(net, pictures(3), method, **_same_layer(method)).attribution for kind, net in relu_twins().items()
    }
    assert_close(maps["in place"], maps["module"], 1e-6)
    assert_close(maps["functional"], maps["module"], 1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_the_layer_found_by_itself_is_the_same_with_relu_in_place(method: str) -> None:
    if not works(method, "gap"):
        pytest.skip("needs tokens")
    plain, inplace = (run(GapCnn(relu=relu), pictures(3), method) for relu in (nn.ReLU, inplace_relu))
    assert plain.layer == inplace.layer
    assert_close(inplace.attribution, plain.attribution, 1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_reused_module_counts_as_its_copies_do(method: str) -> None:
    if not works(method, "reused"):
        pytest.skip("needs tokens")
    shared, apart = ReusedModule(), _unshared(ReusedModule())
    settings = {"layer": "last"} if _same_layer(method) else {}
    found, wanted = (run(net, pictures(3), method, **settings).attribution for net in (shared, apart))
    assert_close(found, wanted, 1e-6)


def _unshared(net: ReusedModule) -> nn.Module:
    """Return the same function with one module for each call."""

    class Apart(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.last, self.head = net.stem, net.last, net.head
            self.one, self.two = nn.Conv2d(5, 5, 3, padding=1), nn.Conv2d(5, 5, 3, padding=1)
            self.one.load_state_dict(net.twice.state_dict())
            self.two.load_state_dict(net.twice.state_dict())
            self.relus = nn.ModuleList(nn.ReLU() for _ in range(3))

        def forward(self, images: Tensor) -> Tensor:
            maps = self.relus[0](self.stem(images))
            maps = self.relus[1](self.one(maps)) + self.two(maps)
            return self.head(self.relus[2](self.last(maps)).mean((2, 3)))

    return Apart().eval()


@pytest.mark.parametrize(("method", "case"), half(1))
def test_float64_agrees_and_stays_float64(method: str, case: str) -> None:
    classifier = classifier_of(case)
    exact = classifier_of(case, float64_twin(classifier.module))
    found = run(exact, pictures(3).double(), method, seed=11)
    assert found.logits.dtype == torch.float64
    assert found.attribution.dtype == torch.float64
    single, _, _ = plain(method, case)
    rounding = float((found.logits - single.logits).abs().max())  # no map agrees better than its logits do
    assert_close(found.attribution, single.attribution, 1e-3, 4 * rounding)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["tensor", "one tensor", "array", "uint8", "image", "list"])
def test_the_input_is_not_written_to(method: str, kind: str) -> None:
    model = InplaceFirst() if works(method, "first in place") else home_of(method)
    image = {
        "tensor": pictures(9),  # so many that the memory of one row is measured first
        "one tensor": pictures(1)[0],
        "array": pictures(1)[0].permute(1, 2, 0).numpy(),
        "uint8": (pictures(1)[0].permute(1, 2, 0) * 255).byte().numpy(),
        "image": Image.fromarray((pictures(1)[0].permute(1, 2, 0) * 255).byte().numpy()),
        "list": [pictures(1)[0], pictures(2)[1]],
    }[kind]
    before = _bytes_of(image)
    run(model, image, method)
    assert _bytes_of(image) == before


def _bytes_of(image: Any) -> Any:
    if isinstance(image, list):
        return [_bytes_of(item) for item in image]
    if isinstance(image, Tensor):
        return image.numpy().tobytes(), image.requires_grad, image._version
    return image.tobytes()


@pytest.mark.parametrize(("method", "case"), half(0))
def test_finite_on_constant_pictures(method: str, case: str) -> None:
    values = torch.tensor([0.0, 0.0, 0.5, 0.5, 1.0, 1.0])
    found = run(classifier_of(case), values.reshape(6, 1, 1, 1).expand(6, 3, 16, 16).clone(), method)
    assert bool(torch.isfinite(found.attribution).all())
    assert all(np.isfinite(heatmap).all() for heatmap in found.heatmaps)


@pytest.mark.parametrize("method", METHODS)
def test_target_by_name_index_and_list(method: str) -> None:
    classifier = Classifier(home_of(method), input_size=(16, 16))  # where a network takes one size only
    labels = [f"class {k}" for k in range(classifier.num_classes)]
    classifier = Classifier(home_of(method), class_names=labels)
    by_name, by_index = (run(classifier, pictures(2), method, target=target) for target in ("class 1", 1))
    assert torch.equal(by_name.attribution, by_index.attribution)
    assert by_name.targets.tolist() == [1, 1]
    mixed = run(classifier, pictures(2), method, target=["class 1", 0])
    assert mixed.targets.tolist() == [1, 0]
    assert mixed.target_names == ("class 1", "class 0")
    assert_close(mixed.attribution[:1], by_name.attribution[:1])
    predicted = run(classifier, pictures(2), method)
    assert predicted.targets.tolist() == predicted.logits.argmax(1).tolist()


@pytest.mark.parametrize("method", METHODS)
def test_the_result_is_frozen(method: str) -> None:
    found = run(home_of(method), pictures(1), method)
    for field in fields(found):
        with pytest.raises(FrozenInstanceError, match="cannot assign"):
            setattr(found, field.name, None)


@pytest.mark.parametrize("method", METHODS)
def test_to_dict_is_json(method: str) -> None:
    found = run(home_of(method), pictures(2), method, seed=np.int64(3)).to_dict()
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text)["seed"] == 3
    assert {"method", "settings", "seed", "versions", "model"} <= set(found)
    assert len(found["model"]["fingerprint"]) == 64


DRAWN = {EXPLAINERS[method].family: method for method in METHODS}.values()  # the drawing knows no methods


@pytest.mark.parametrize(
    ("method", "drawn"),
    [(method, method in DRAWN) for method in METHODS]
    + [pytest.param(method, True, marks=pytest.mark.slow) for method in METHODS if method not in DRAWN],
)
def test_saved_and_loaded_exactly_and_without_pickle(
    method: str, drawn: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not drawn:
        monkeypatch.setattr("xai.plots.explanations.render_explanation", lambda *_: b"an image")
    given = [Image.new("RGB", (30, 20), "red"), Image.fromarray((np.eye(24) * 255).astype(np.uint8))]
    found = run(Classifier(home_of(method), input_size=(16, 16)), given, method, seed=5)
    found.save(tmp_path / "out")
    for forbidden in ("load", "loads", "Unpickler"):
        monkeypatch.delattr(pickle, forbidden)
    again = Explanation.load(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"manifest.json", "values.npz", "overlay.png"}
    _assert_plain_arrays((tmp_path / "out" / "values.npz").read_bytes())
    assert again.to_dict() == found.to_dict()
    for name in ("attribution", "coarse", "targets", "logits", "probabilities"):
        _assert_equal(getattr(again, name), getattr(found, name))
    for mine, other in zip(again.heatmaps, found.heatmaps, strict=True):
        np.testing.assert_array_equal(mine, other)
    for mine, other in zip(again.images, found.images, strict=True):
        np.testing.assert_array_equal(mine, other)
    assert again.geometries == found.geometries


def _assert_equal(found: Tensor | None, wanted: Tensor | None) -> None:
    assert (found is None) == (wanted is None)
    if found is not None and wanted is not None:
        assert found.dtype == wanted.dtype
        assert torch.equal(found, wanted)


def _assert_plain_arrays(content: bytes) -> None:
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        assert archive.files
        assert all(archive[name].dtype.kind in "fiu" for name in archive.files)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
def test_heatmaps_come_back_in_each_pictures_own_size(method: str, resize: str) -> None:
    sizes = [(40, 30), (16, 16), (9, 31), (64, 17), (1, 1)]
    given = [np.random.default_rng(k).random((*size, 3)) for k, size in enumerate(sizes)]
    found = run(Classifier(home_of(method), input_size=(16, 16), resize=resize), given, method)
    assert [heatmap.shape for heatmap in found.heatmaps] == sizes
    assert all(np.isfinite(heatmap).all() for heatmap in found.heatmaps)
    assert [picture.shape[:2] for picture in found.images] == sizes
    assert found.attribution.shape[2:] == (16, 16)
