"""Agreement with pytorch-ood in AUROC to 1e-5 where the algorithm is the same, on a trained and on a random network."""

import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from detector_cases import blobs, head, reference, rows, view
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision_cpu import import_torchvision

import xai
from xai.core.model.features import LinearHead
from xai.ood.detectors.base import DETECTORS
from xai.ood.detectors.reference import FeatureRows, ModelView
from xai.stats.auroc import auroc

Scores = Callable[[Tensor], Tensor]


@pytest.fixture(scope="module")
def peer() -> ModuleType:
    """Return pytorch_ood.detector; skip where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import_torchvision()
        except ImportError:
            pytest.skip("torchvision is not installed")
        return pytest.importorskip("pytorch_ood.detector", reason="pytorch-ood is not installed (extra: bench)")


class Case:
    """Features of ordinary and foreign images, and the layer that reads them."""

    def __init__(self, layer: LinearHead, fit: Tensor, labels: Tensor, inside: Tensor, outside: Tensor) -> None:
        self.layer, self.fit, self.labels, self.inside, self.outside = layer, fit, labels, inside, outside
        self.linear = nn.Linear(layer.width, len(layer.weight))
        self.linear.load_state_dict({"weight": layer.weight, "bias": layer.bias})
        self.linear.requires_grad_(False)
        self.seen: ModelView = view(layer)

    def ours(self, name: str, **settings: Any) -> float:
        held = DETECTORS[name](**settings).fit(reference(self.fit, self.labels, self.seen))
        return auroc(*(held.score(self.rows(features)) for features in (self.inside, self.outside)))

    def rows(self, features: Tensor) -> FeatureRows:
        return rows(features, self.seen)

    def theirs(self, score: Scores) -> float:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return auroc(*(score(features).double() for features in (self.inside, self.outside)))


@pytest.fixture(scope="module", params=["trained", "random"])
def case(request: pytest.FixtureRequest) -> Case:
    if request.param == "random":
        # in float32 a pair of images may change places, on some processors: of 300,000 pairs three are 1e-5
        return Case(head(), *blobs(), blobs(600, seed=5)[0], blobs(500, seed=6)[0] + 0.4 * torch.rand(500, 12))
    classifier, data = xai.load("example:fashion"), xai.load_data("example:fashion-train").subset(600)
    layer = classifier.module.head
    digits = F.interpolate(xai.load_data("example:digits").images[:500], (28, 28), mode="bilinear").clamp(0, 1)
    tests = xai.load_data("example:fashion-test").subset(1000)
    found = [classifier.outputs(images) for images in (data, tests, digits)]
    fit, inside, outside = (outputs.features.view(-1, 96, 49).mean(2) for outputs in found)  # a small covariance
    small = layer.weight.detach().view(10, 96, 49).sum(2)
    return Case(LinearHead("head", small, layer.bias.detach()), fit, data.labels, inside, outside)


def as_maps(features: Tensor) -> Tensor:
    return features[:, :, None, None]


def test_logit_scores(case: Case, peer: ModuleType) -> None:
    linear = lambda features: case.linear(features).double()  # noqa: E731  (float32 saturates)
    assert case.ours("msp") == pytest.approx(case.theirs(lambda f: peer.MaxSoftmax.score(linear(f))), abs=1e-5)
    assert case.ours("maxlogit") == pytest.approx(case.theirs(lambda f: peer.MaxLogit.score(linear(f))), abs=1e-5)
    assert case.ours("energy") == pytest.approx(case.theirs(lambda f: peer.EnergyBased.score(linear(f))), abs=1e-5)
    assert case.ours("gen", floor=1e-7) == pytest.approx(case.theirs(lambda f: peer.GEN.score(linear(f))), abs=1e-5)


@pytest.mark.parametrize("name", ["mahalanobis", "mahalanobis++", "rmd"])
def test_gaussians(name: str, case: Case, peer: ModuleType) -> None:
    unit = (lambda f: F.normalize(f, dim=1)) if name == "mahalanobis++" else (lambda f: f)
    made = peer.RMD(None) if name == "rmd" else peer.Mahalanobis(None)
    made.fit_features(unit(case.fit).double(), case.labels)  # its own inverse is float32 where features are
    made.mu, made.precision = made.mu.double(), torch.linalg.inv(made.cov.double())
    if name == "rmd":
        made.background_precision = torch.linalg.inv(made.background_cov.double())
    found = case.ours(name, shrinkage=0.0)
    assert found == pytest.approx(case.theirs(lambda f: made.predict_features(unit(f).double())), abs=1e-5)


@pytest.mark.parametrize("k", [1, 10, 50])
def test_neighbours(k: int, case: Case, peer: ModuleType) -> None:
    made = peer.KNN(None, k=k)
    made.fit_features(case.fit, case.labels)
    wanted = case.theirs(lambda f: torch.as_tensor(made.predict_features(f)))
    assert case.ours("knn", k=k) == pytest.approx(wanted, abs=1e-5)


def test_vim(case: Case, peer: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "float", Tensor.double)  # its rounding changes more pairs than that
    dim = case.layer.width // 2
    made = peer.ViM(None, d=dim, w=case.linear.weight, b=case.linear.bias)
    made.fit_features(case.fit, case.labels)
    assert made.w.dtype == torch.float64
    found = case.theirs(made.predict_features)
    monkeypatch.undo()
    assert case.ours("vim", dim=dim) == pytest.approx(found, abs=1e-5)


@pytest.mark.parametrize("percentile", [65.0, 90.0])
@pytest.mark.parametrize("variant", ["s", "b", "p"])
def test_ash(variant: str, percentile: float, case: Case, peer: ModuleType) -> None:
    read = lambda maps: case.linear(maps.flatten(1))  # noqa: E731
    made = peer.ASH(None, read, variant=f"ash-{variant}", percentile=percentile / 100)
    found = case.ours("ash", variant=variant, percentile=percentile)
    assert found == pytest.approx(case.theirs(lambda f: made.predict_feature_maps(as_maps(f))), abs=1e-5)


def test_scale_and_react(case: Case, peer: ModuleType) -> None:
    read = lambda maps: case.linear(maps.flatten(1))  # noqa: E731
    scale = peer.SCALE(None, read, percentile=0.65)
    found = case.ours("scale", percentile=65.0)
    assert found == pytest.approx(case.theirs(lambda f: scale.predict_feature_maps(as_maps(f))), abs=1e-5)
    react = peer.ReAct(None, read, percentile=0.9)
    react.fit_feature_maps(as_maps(case.fit), case.labels)
    assert case.ours("react") == pytest.approx(case.theirs(lambda f: react.predict_feature_maps(as_maps(f))), abs=1e-5)


def test_fdbd(case: Case, peer: ModuleType) -> None:
    made = peer.fDBD(None, case.linear)
    made.fit_features(case.fit)
    assert case.ours("fdbd") == pytest.approx(case.theirs(made.predict_features), abs=1e-5)


def test_odin(peer: ModuleType) -> None:
    classifier = xai.load("example:fashion")
    tests = xai.load_data("example:fashion-test")
    digits = F.interpolate(xai.load_data("example:digits").images[:60], (28, 28), mode="bilinear").clamp(0, 1)
    inside = tests.images[:80]
    found = xai.fit_ood(classifier, tests.images[100:140], tests.images[140:160], "odin")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = peer.ODIN(classifier.module.eval().double())
        wanted = [made.predict(classifier.normalise(images).double()).detach() for images in (inside, digits)]
        classifier.module.float()
    ours = auroc(found.score(inside), found.score(digits))
    assert ours == pytest.approx(auroc(*wanted), abs=2e-4)  # its step depends on the signs of slopes near 0
