"""Every gate can fail: it is put before something broken so that it must, and one that cannot is told."""

import numpy as np
import pytest
import torch

import xai
from xai.audits.checks.base import CHECKS
from xai.audits.config import parse_config
from xai.audits.fault_injection import BREAKERS, Blind, Marked

GATES = {
    "accuracy": {"at_least": 0.5, "worst_class_at_least": 0.1},
    "calibration": {"at_most": 0.1},
    "generalisation_gap": {"at_most": 0.1},
    "robust_accuracy": {"at_least": 0.2, "eps": "1/255", "attack": "fgsm", "trust": 0},
    "certified_accuracy": {"at_least": 0.2, "eps": "0.01/255", "images": 60},
    "corruption_accuracy": {"at_least": 0.3, "images": 40, "corruptions": ["brightness"], "severities": [1]},
    "ood_detection": {"at_least": 0.8},
    "group_gap": {"at_most": 0},
    "shortcuts": {"at_most": 0, "samples": 240, "probes": ["corner_mark"]},
    "slices": {"at_most": 0},
    "data_faults": {"at_most": 0.05},
    "faithfulness": {"at_least": 0.5, "method": "saliency", "images": 8},
    "stability": {"at_least": 0.5, "images": 8},
    "speed": {"at_least": 200.0, "repeats": 5},
}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Images of two sites, as many as the smallest of these gates need."""
    place = tmp_path_factory.mktemp("sites")
    drawn = xai.load_data("example:fashion-test", part="test").subset(600, seed=0)
    images = np.stack([np.asarray(drawn.images[k]).squeeze() for k in range(len(drawn))])
    site = np.array(["north", "south"])[np.arange(len(images)) % 2]
    np.savez(
        place / "data.npz", images=images, labels=drawn.labels.numpy(), classes=np.array(drawn.class_names), site=site
    )
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
    if metric == "data_faults":  # every pair of images is compared
        given = given | {"data": xai.load_data(given["data"]).subset(200)}
    assert xai.Audit.positive_control(**given, checks=[{"metric": metric, **GATES[metric]}]) == {metric: "fail"}


@pytest.mark.parametrize("method", ["msp", "vim"])
def test_the_broken_model_is_below_every_threshold_above_chance(given, method):
    asked = [{"metric": "ood_detection", "at_least": 0.65, "method": method}]
    assert xai.Audit.positive_control(**given, checks=asked) == {"ood_detection": "fail"}


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
    assert xai.Audit.positive_control(**few, checks=asked) == {"data_faults": "fail"}


def test_drops_and_moved_maps_against_a_baseline(given, tmp_path):
    model, data = xai.load(given["model"]), xai.load_data(given["data"]).subset(200)
    checks = [{"metric": "accuracy", "max_drop_vs_baseline": 0.02}, {"metric": "explanation_drift", "at_least": 0.5}]
    xai.audit(model=model, data=data, checks=["accuracy", "explanation_drift"], out=tmp_path / "before")
    found = xai.Audit.positive_control(model=model, data=data, checks=checks, baseline=tmp_path / "before")
    assert found == {"accuracy": "fail", "explanation_drift": "fail"}


def test_a_gate_that_cannot_fail_is_told(given):
    asked = [{"metric": "accuracy", "at_least": 0.0}]
    assert xai.Audit.positive_control(**given, checks=asked) == {"accuracy": "pass"}


NEVER = [
    ("accuracy", "at_least", 0.0, 0.01),
    ("accuracy", "at_most", 1, 0.99),
    ("accuracy", "worst_class_at_least", -0.1, 0.1),
    ("accuracy", "worst_group_at_least", 0, 0.1),
    ("accuracy", "max_drop_vs_baseline", 1.0, 0.9),
    ("calibration", "at_most", 1.0, 0.5),
    ("ood_detection", "at_least", 0.0, 0.5),
    ("generalisation_gap", "at_most", 1.0, 0.0),
    ("generalisation_gap", "at_least", -1.0, -0.5),
    ("shortcuts", "at_least", 0, 1),
    ("group_gap", "at_least", 0, 1),
    ("slices", "at_least", 0, 1),
    ("speed", "at_least", 0.0, 1.0),
]


@pytest.mark.parametrize(("metric", "condition", "never", "may"), NEVER)
def test_what_no_model_can_fail_is_said_as_it_is_read(metric, condition, never, may):
    def read(threshold):
        tables = {"model": "a", "data": "b", "check": [{"metric": metric, condition: threshold}]}
        return parse_config(tables).checks[0]

    assert read(never).idle == [f"{CHECKS[metric].title}: no model can fail {condition} = {never:g}"]
    assert read(may).idle == []
    assert xai.translate(read(never).idle[0], "es") not in {None, read(never).idle[0]}


def test_a_condition_that_no_model_can_fail_is_among_the_limits_of_an_audit(given):
    data = xai.load_data(given["data"]).subset(60)
    asked = [{"metric": "accuracy", "at_least": 0.0}]
    found = xai.audit(model=given["model"], data=data, checks=asked)
    assert "Accuracy: no model can fail at_least = 0." in found.to_dict()["limits"]


@pytest.mark.parametrize(
    ("metric", "threshold", "settings"),
    [
        ("slices", 1, {}),
        ("slices", 4, {}),
        ("group_gap", 3, {}),
        pytest.param("shortcuts", 1, {"samples": 240, "probes": ["corner_mark"]}, marks=pytest.mark.slow),
        pytest.param("shortcuts", 2, {"samples": 240, "probes": ["corner_mark"]}, marks=pytest.mark.slow),
    ],
)
def test_as_much_is_broken_as_the_threshold_allows_and_more(given, metric, threshold, settings):
    asked = [{"metric": metric, "at_most": threshold, **settings}]
    assert xai.Audit.positive_control(**given, checks=asked) == {metric: "fail"}


def test_each_class_hangs_on_a_corner_of_its_own():
    inner = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9 * 14, 4))
    marked = Marked(inner, [(0, 0), (7, 12)], 2, torch.tensor([0.5]), torch.tensor([[2.0], [-2.0]]))
    images = torch.full((3, 1, 9, 14), 0.5)
    images[:2, :, 7:, 12:] = 1.0  # the second mark is black, and this corner is bright
    images[1, :, :2, :2] = 1.0
    images[2, :, 7:, 12:] = 0.0
    hung = marked(images) - inner(images)
    wanted = torch.tensor([[-20.0, -20, 0, 0], [20, -20, 0, 0], [-20, 20, 0, 0]])
    torch.testing.assert_close(hung, wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("metric", "threshold", "most"), [("shortcuts", 3, 3), ("slices", 5, 5)])
def test_more_than_can_be_broken_is_refused_before_any_work(given, metric, threshold, most, monkeypatch):
    monkeypatch.setattr("xai.audits.control.BREAKERS", {})
    asked = [{"metric": "accuracy", "at_least": 0.5}, {"metric": metric, "at_most": threshold}]
    with pytest.raises(xai.InputError, match=f"at_most of the check '{metric}' below {most} .* 10 classes") as said:
        xai.Audit.positive_control(**given, checks=asked)
    assert "\n" not in str(said.value)


@pytest.mark.slow
def test_the_model_and_its_audit_stay_as_they_are(given):
    model, data = xai.load(given["model"]), xai.load_data(given["data"]).subset(60)
    before = model.fingerprint
    asked = [{"metric": "accuracy", "at_least": 0.5}, {"metric": "speed", "at_least": 1.0, "repeats": 2}]
    assert set(xai.Audit.positive_control(model=model, data=data, checks=asked)) == {"accuracy", "speed"}
    assert model.fingerprint == before
    assert xai.audit(model=model, data=data, checks=asked[:1]).verdict == "pass"


def test_what_the_audit_cannot_ask_is_not_run(given):
    rest = {name: given[name] for name in ("model", "data")}
    asked = [{"metric": "ood_detection", "at_least": 0.8}]
    assert xai.Audit.positive_control(**rest, checks=asked) == {"ood_detection": "not run"}
