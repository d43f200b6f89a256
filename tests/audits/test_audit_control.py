"""Every gate can fail: it is put before something broken so that it must, and one that cannot is told."""

import numpy as np
import pytest
import torch

import xai
from xai.audits.checks import CHECKS
from xai.audits.sabotage import BREAKERS, Blind

GATES = {
    "accuracy": {"at_least": 0.5, "worst_class_at_least": 0.1},
    "calibration": {"at_most": 0.1},
    "generalisation_gap": {"at_most": 0.1},
    "robust_accuracy": {"at_least": 0.2, "eps": "1/255", "attack": "fgsm", "trust": 0},
    "certified_accuracy": {"at_least": 0.2, "eps": "0.01/255", "pictures": 60},
    "corruption_accuracy": {"at_least": 0.3, "pictures": 40, "corruptions": ["brightness"], "severities": [1]},
    "ood_detection": {"at_least": 0.8},
    "group_gap": {"at_most": 0},
    "shortcuts": {"at_most": 0, "samples": 240, "cues": ["corner_mark"]},
    "slices": {"at_most": 0},
    "data_faults": {"at_most": 0.05},
    "faithfulness": {"at_least": 0.5, "method": "saliency", "pictures": 12},
    "stability": {"at_least": 0.5, "pictures": 12},
    "speed": {"at_least": 200.0, "repeats": 5},
}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Pictures of two sites, as many as the smallest of these gates need."""
    place = tmp_path_factory.mktemp("sites")
    drawn = xai.load_data("example:fashion-test", part="test").subset(600, seed=0)
    images = np.stack([np.asarray(drawn.images[k]).squeeze() for k in range(len(drawn))])
    site = np.array(["north", "south"])[np.arange(len(images)) % 2]
    np.savez(place / "data.npz", images=images, labels=drawn.labels.numpy(), classes=np.array(drawn.classes), site=site)
    return {
        "model": "example:fashion",
        "data": str(place / "data.npz"),
        "train": {"source": "example:fashion-train", "n": 400},
        "calibration": {"source": "example:fashion-test", "part": "calibration", "n": 300},
        "ood": {"digits": {"source": "example:digits", "n": 200}},
    }


def test_every_check_has_a_gate_here():
    assert set(GATES) == set(CHECKS) - {"explanation_drift"}  # which needs a baseline: below
    assert set(BREAKERS) == set(CHECKS)


@pytest.mark.parametrize("metric", GATES)
def test_a_gate_fails_what_is_broken_for_it(given, metric):
    assert xai.positive_control(**given, checks=[{"metric": metric, **GATES[metric]}]) == {metric: "fail"}


@pytest.mark.parametrize("method", ["msp", "vim"])
def test_the_broken_model_is_below_every_threshold_above_chance(given, method):
    asked = [{"metric": "ood_detection", "at_least": 0.65, "method": method}]
    assert xai.positive_control(**given, checks=asked) == {"ood_detection": "fail"}


def test_the_noise_is_as_strong_for_dark_images_as_for_bright_ones():
    blind = Blind(torch.nn.Flatten(), 0.7)
    noise = torch.rand(20, 1, 17, 23, generator=torch.Generator().manual_seed(0))
    seen = [blind(strength * noise) for strength in (0.02, 1.0)]
    assert seen[0].std() == pytest.approx(float(seen[1].std()), rel=0.05)
    assert seen[0].std() == pytest.approx(0.7 * 3.5 / 12**0.5, rel=0.05)
    assert not torch.equal(seen[0][0], seen[0][1])


def test_images_are_repeated_as_often_as_the_threshold_asks(given):
    few = {"model": given["model"], "data": xai.load_data(given["data"]).subset(60)}
    asked = [{"metric": "data_faults", "at_most": 0.6}]
    assert xai.positive_control(**few, checks=asked) == {"data_faults": "fail"}


def test_drops_and_moved_maps_against_a_baseline(given, tmp_path):
    model, data = xai.load(given["model"]), xai.load_data(given["data"]).subset(200)
    checks = [{"metric": "accuracy", "max_drop_vs_baseline": 0.02}, {"metric": "explanation_drift", "at_least": 0.5}]
    xai.audit(model=model, data=data, checks=["accuracy", "explanation_drift"], out=tmp_path / "before")
    found = xai.positive_control(model=model, data=data, checks=checks, baseline=tmp_path / "before")
    assert found == {"accuracy": "fail", "explanation_drift": "fail"}


def test_a_gate_that_cannot_fail_is_told(given):
    asked = [{"metric": "accuracy", "at_least": 0.0}]
    assert xai.positive_control(**given, checks=asked) == {"accuracy": "pass"}


@pytest.mark.slow
def test_the_model_and_its_audit_stay_as_they_are(given):
    model, data = xai.load(given["model"]), xai.load_data(given["data"]).subset(60)
    before = model.fingerprint
    asked = [{"metric": "accuracy", "at_least": 0.5}, {"metric": "speed", "at_least": 1.0, "repeats": 2}]
    assert set(xai.positive_control(model=model, data=data, checks=asked)) == {"accuracy", "speed"}
    assert model.fingerprint == before
    assert xai.audit(model=model, data=data, checks=asked[:1]).verdict == "pass"


def test_what_the_audit_cannot_ask_is_not_run(given):
    rest = {name: given[name] for name in ("model", "data")}
    asked = [{"metric": "ood_detection", "at_least": 0.8}]
    assert xai.positive_control(**rest, checks=asked) == {"ood_detection": "not run"}
