"""Each check's figure is that of the public function it is made of, on an example network."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

import xai
from xai.audits.check_result import CheckResult
from xai.audits.checks.base import CHECKS
from xai.audits.conditions import NAMES
from xai.stats.auroc import auroc_interval
from xai.stats.gates import judge_interval

N = 240
ASKED = [
    "accuracy",
    "calibration",
    "generalisation_gap",
    {"metric": "robust_accuracy", "attack": "pgd", "steps": 5, "eps": "4/255", "images": 64, "trust": 16},
    {"metric": "certified_accuracy", "eps": "0.1/255", "method": "crown_ibp", "images": 8},
    {"metric": "corruption_accuracy", "corruptions": ["fog", "gaussian_noise"], "severities": [2, 4], "images": 40},
    {"metric": "ood_detection", "method": "knn"},
    "group_gap",
    {"metric": "shortcuts", "probes": ["corner_mark"], "samples": 120},
    "slices",
    "data_faults",
    {"metric": "faithfulness", "images": 4},
    {"metric": "stability", "images": 4},
    {"metric": "explanation_drift", "images": 6},
    {"metric": "speed", "repeats": 5},
]
MODEL = "example:fashion-shortcut"


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    given = {
        "model": {"source": MODEL, "device": "cpu"},
        "data": {"source": "example:fashion-test", "part": "test", "n": N},
        "train": {"source": "example:fashion-train", "n": 300},
        "calibration": {"source": "example:fashion-test", "part": "calibration", "n": 200},
        "ood": {"digits": {"source": "example:digits", "n": 100}},
        "audit": {"shard": 100, "micro_batch": 40},
        "check": ASKED,
    }
    return xai.audit(given, out=tmp_path_factory.mktemp("everything"))


@pytest.fixture(scope="module")
def model():
    return xai.load(MODEL)


@pytest.fixture(scope="module")
def pictures():
    return xai.load_data("example:fashion-test", part="test").subset(N)


def measured(everything, metric):
    return CheckResult.from_dict(everything[metric]["measured"])


def rows_of(everything, metric):
    return measured(everything, metric).rows


def test_every_registered_check_is_asked_here(everything):
    assert {check["metric"] for check in everything} == set(CHECKS)
    assert [check["id"] for check in everything if check["verdict"] == "error"] == []


def test_not_run_says_why(everything):
    assert everything["group_gap"]["why"] == "Not run: the data has no column with 2 to 20 groups."
    assert "group_gap" in [one["metric"] for one in everything.document["not_tested"]]


def test_calibration(everything, model, pictures):
    found = xai.calibration(model, pictures)
    own = measured(everything, "calibration")
    assert own.value == pytest.approx(found.measures.ece.debiased, abs=1e-6)
    assert own.facts["ece_as_reported"] == pytest.approx(found.ece, abs=1e-6)


def test_generalisation_gap(everything, model, pictures):
    train = xai.load_data("example:fashion-train").subset(300)
    shares = [np.mean(np.asarray(model.predict(d.images[:]).index) == d.labels.numpy()) for d in (train, pictures)]
    own = measured(everything, "generalisation_gap")
    assert own.value == pytest.approx(shares[0] - shares[1])
    assert own.low < own.value < own.high


def test_robust_accuracy_and_its_credibility(everything, model, pictures):
    own = measured(everything, "robust_accuracy")
    chosen = pictures.take(own.rows)
    found = xai.attack(model, chosen.images[:], chosen.labels, "pgd", eps=4 / 255, steps=5)
    assert own.hits == int(found.robust.sum())
    assert np.array_equal(own.outcomes, found.robust.numpy())
    assert own.facts["trust"]["checks"]
    assert everything["robust_accuracy"]["work"]["stages"][1]["planned"] == 16


def test_certified_accuracy(everything, model, pictures):
    own = measured(everything, "certified_accuracy")
    chosen = pictures.take(own.rows)
    found = xai.certify(model, chosen.images[:], chosen.labels, eps=0.1 / 255, method="crown_ibp")
    assert own.value == pytest.approx(found.certified_accuracy)


def test_corruption_accuracy(everything, model, pictures):
    own = measured(everything, "corruption_accuracy")
    chosen = pictures.take(own.rows)
    found = xai.corruption_robustness(model, chosen, names=["fog", "gaussian_noise"], severities=[2, 4])
    assert own.value == pytest.approx(found.accuracy.mean())
    table = {(r["corruption"], r["severity"]): r["accuracy"] for r in own.tables["corruptions"]}
    assert table["fog", 4.0] == pytest.approx(found.accuracy[0, 1])
    per_picture = found.correct.mean((0, 1))
    half = stats.t.ppf(0.975, 39) * per_picture.std(ddof=1) / 40**0.5
    assert own.high - own.value == pytest.approx(half)


def test_ood_detection(everything, model, pictures):
    train, held = (
        xai.load_data("example:fashion-train").subset(300),
        xai.load_data("example:fashion-test", part="calibration"),
    )
    foreign = xai.load_data("example:digits").subset(100)
    found = xai.compare_ood(model, train, held.subset(200), pictures, {"digits": foreign}, ["knn"])
    row = found.table[found.table["method"] == "knn"].iloc[0]
    own = measured(everything, "ood_detection")
    assert own.value == pytest.approx(row["auroc"], abs=1e-6)
    assert own.tables["sets"][0]["rejected_out"] == pytest.approx(row["rejected_out"])


def test_shortcuts_find_the_planted_one(everything):
    own = everything["shortcuts"]
    assert own["verdict"] == "fail"
    assert own["conditions"][0]["threshold"] == 0
    assert own["measured"]["facts"]["shortcuts"][0]["label"] == "Shirt"
    assert own["measured"]["evidence"][0]["images"][2]["file"].endswith(".npy")


def test_a_heatmap_of_the_evidence_has_its_exact_values(everything, model, pictures):
    found = xai.shortcuts(model, pictures, probes=["corner_mark"], samples=120)
    image = everything["shortcuts"]["measured"]["evidence"][0]["images"][2]
    import io

    held = np.load(io.BytesIO(everything.files[image["file"].removeprefix("evidence/")]), allow_pickle=False)
    assert any(np.allclose(held, one, atol=1e-6) for one in found.heatmaps)
    assert (image["low"], image["high"]) == (pytest.approx(float(held.min())), pytest.approx(float(held.max())))


def test_slices_and_faults(everything, model, pictures):
    found = xai.slices(model, pictures)
    assert measured(everything, "slices").value == len(found.findings)
    faults = xai.data_faults(model, pictures, xai.load_data("example:fashion-train").subset(300))
    assert len(measured(everything, "data_faults").tables["suspects"]) == min(200, len(faults.suspects))


def test_explanations(everything, model, pictures):
    own = measured(everything, "faithfulness")
    chosen = pictures.take(own.rows).images[:]
    rating = xai.rate_explanation(model, chosen, xai.explain(model, chosen))
    verdicts = [{c.name: c.verdict for c in checks} for checks in rating.checks]
    assert own.outcomes.tolist() == [v.get("faithfulness") == "trust" for v in verdicts]
    assert measured(everything, "stability").outcomes.tolist() == [v.get("stability") == "trust" for v in verdicts]
    titles = [exhibit["title"] for exhibit in own.evidence]
    assert titles[0] == "most typical map"
    assert titles[-1] == "least stable map"
    assert [image["role"] for image in own.evidence[0]["images"]] == ["image", "heatmap", "control"]


def test_group_gaps_are_those_of_bias(model):
    data = xai.load_data("example:fashion-test").subset(400)
    found = xai.audit(model=model, data=data, checks=["group_gap", "accuracy"])
    own, direct = found["group_gap"]["measured"], xai.bias(model, data, groups=["part"])
    assert own["value"] == len(direct.findings)
    assert own["detectable"] == pytest.approx(direct.gaps[0].detectable)
    assert own["undecided"] == "" or direct.verdict == "too small to tell"
    assert {group["name"] for group in found["accuracy"]["measured"]["groups"]} == {"calibration", "test"}


def test_a_doubtful_attack_does_not_pass(monkeypatch, tmp_path):
    """A model whose gradients are masked looks robust; the checks of the evaluation see it: the gate does not pass."""
    import torch

    from xai import Classifier

    class Masked(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = xai.load("example:fashion").module

        def forward(self, images):
            return self.inner((images * 8).round() / 8)

    clf = xai.load("example:fashion")
    masked = Classifier(Masked(), class_names=clf.class_names, **clf.preprocessing)
    asked = [{"metric": "robust_accuracy", "attack": "pgd", "steps": 5, "eps": "8/255", "trust": 16, "at_least": 0.5}]
    data = {"source": "example:fashion-test", "part": "test", "n": 60}
    found = xai.audit(model=masked, data=data, checks=asked)
    own = found["robust_accuracy"]
    assert own["measured"]["value"] > 0.8
    assert own["measured"]["doubts"]
    assert own["verdict"] == "inconclusive"
    assert "in doubt" in own["why"]


def test_speed_says_that_another_run_does_not_repeat_it(everything):
    assert not everything["speed"]["repeatable"]
    assert all(check["repeatable"] for check in everything if check["metric"] != "speed")


def test_every_check_states_what_the_report_needs(everything):
    for check in everything:
        assert check["question"].endswith("?")
        assert check["limits"]
        assert check["title"]
        kind = CHECKS[check["metric"]]
        assert set(kind.conditions) <= set(NAMES)
        json.dumps(check)
        if check["measured"]:
            assert check["measured"]["claim"].endswith(".")


def test_the_gate_keeps_its_level_on_the_hardest_of_several_sets():
    truth, n, wrong = 0.98, 300, 0
    check, sets = CHECKS["ood_detection"](), {f"set {k}": None for k in range(6)}
    rng = np.random.default_rng(0)
    for _ in range(120):
        scores = {f"score {name}": rng.normal(stats.norm.ppf(truth) * 2**0.5, 1, 80) for name in sets}
        scores["score "] = rng.normal(size=n)
        context = SimpleNamespace(results=[scores], ood_roles=lambda: sets, level=0.95)
        low, high = check._hardest(context, [auroc_interval(scores["score "], scores[f"score {k}"])[0] for k in sets])
        wrong += judge_interval(0.0, low, high, n, truth).verdict != "inconclusive"
    assert wrong / 120 <= 0.06  # both errors together
