"""The figures of `xai doctor --self-test` are those of pytorch-ood's detectors on the same five networks."""

import copy
import dataclasses
import json
import warnings
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision_cpu import import_torchvision

from xai.cli import main
from xai.errors import Stopped
from xai.ood.digits import EXPECTED, REFERENCE, SEEDS, SETS, DigitsTest, _load, digits_test, noise_like, train
from xai.stats.auroc import auroc


@pytest.fixture(scope="module")
def peer() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import_torchvision()
        except ImportError:
            pytest.skip("torchvision is not installed")
        return pytest.importorskip("pytorch_ood.detector", reason="pytorch-ood is not installed (extra: bench)")


@pytest.fixture(scope="module")
def made() -> DigitsTest:
    return digits_test()


def as_maps(features: Tensor) -> Tensor:
    return features[:, :, None, None]


def fitted(peer: ModuleType, network: nn.Sequential, fit: Tensor, labels: Tensor) -> dict:
    """Return pytorch-ood's scores (n,) of features (n, 64) by the names of the self-test."""
    head, read = network[-1], lambda maps: network[-1](maps.flatten(1))
    unit = lambda features: F.normalize(features, dim=1)  # noqa: E731
    gauss, unit_gauss, background = peer.Mahalanobis(None), peer.Mahalanobis(None), peer.RMD(None)
    gauss.fit_features(fit, labels)
    unit_gauss.fit_features(unit(fit), labels)
    background.fit_features(fit, labels)
    for each in (gauss, unit_gauss, background):  # their own inverse is float32
        each.mu, each.precision = each.mu.double(), torch.linalg.inv(each.cov.double())
    background.background_precision = torch.linalg.inv(background.background_cov.double())
    near = {k: peer.KNN(None, k=k) for k in (10, 50)}
    for each in near.values():
        each.fit_features(fit, labels)
    vim = peer.ViM(None, d=32, w=head.weight, b=head.bias)
    vim.fit_features(fit, labels)
    react = peer.ReAct(None, read, percentile=0.9)
    react.fit_feature_maps(as_maps(fit), labels)
    scale, ash = peer.SCALE(None, read, percentile=0.65), peer.ASH(None, read, variant="ash-s", percentile=0.65)
    fdbd = peer.fDBD(None, copy.deepcopy(head).float())  # it knows float32 alone
    fdbd.fit_features(fit.float())
    return {
        "msp": lambda f: peer.MaxSoftmax.score(head(f)),
        "energy": lambda f: peer.EnergyBased.score(head(f)),
        "gen": lambda f: peer.GEN.score(head(f)),
        "mahalanobis": gauss.predict_features,
        "mahalanobis++": lambda f: unit_gauss.predict_features(unit(f)),
        "rmd": background.predict_features,
        **{f"knn (k={k})": lambda f, k=k: torch.as_tensor(near[k].predict_features(f)) for k in near},
        "vim (dim=32)": vim.predict_features,
        "react": lambda f: react.predict_feature_maps(as_maps(f)),
        "scale (65)": lambda f: scale.predict_feature_maps(as_maps(f)),
        "ash (65)": lambda f: ash.predict_feature_maps(as_maps(f)),
        "fdbd": fdbd.predict_features,
    }


def test_the_expected_figures_are_those_of_pytorch_ood(peer: ModuleType) -> None:
    areas: dict[str, list[list[float]]] = {}
    for seed in range(SEEDS):
        fit, inside, outside = _load(seed)
        network = train(fit.images, fit.labels, seed)
        sets = (outside, noise_like(inside.images, seed), 1 - inside.images)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            known, ordinary, *foreign = (network[:-1](images) for images in (fit.images, inside.images, *sets))
            for name, score in fitted(peer, network, known, fit.labels).items():
                found = [auroc(score(ordinary).double(), score(features).double()) for features in foreign]
                areas.setdefault(name, []).append(found)
    assert set(EXPECTED) - set(areas) == {"odin"}  # its figures are held against it in tests/detectors
    for name, found in areas.items():
        np.testing.assert_allclose(np.mean(found, 0), EXPECTED[name], atol=2e-3, err_msg=name)


def test_the_self_test_passes(made: DigitsTest) -> None:
    assert made.passed
    assert made.largest_gap < 2e-3
    assert made.accuracy > 0.985
    assert len(made.table) == len(EXPECTED) * len(SETS)
    assert list(EXPECTED) == list(REFERENCE)
    assert "self-test passed" in str(made)
    json.dumps(made.to_dict(), allow_nan=False)


def test_a_wrong_detector_fails(made: DigitsTest) -> None:
    broken = dataclasses.replace(made, areas=dict(made.areas) | {"knn (k=10)": (0.95, 0.98, 0.9)})
    assert not broken.passed
    assert "FAILED" in str(broken)


def test_near_the_published_table(made: DigitsTest) -> None:
    """Of networks trained in a way that is not told; their spread over seeds is up to 0.12."""
    table = made.table
    gap = (table["auroc"] - table["pytorch-ood"]).abs()
    assert gap.mean() < 0.02
    assert gap[table["sd"] < 0.01].max() < 0.012


@pytest.mark.slow
def test_doctor(capsys: pytest.CaptureFixture) -> None:
    assert main(["doctor", "--self-test"]) == 0
    assert "self-test passed" in capsys.readouterr().out


def test_it_can_be_stopped() -> None:
    with pytest.raises(Stopped, match="0 of 5"):
        digits_test(should_stop=lambda: True)
