"""`xai.drift`: quiet between halves of one data set, loud after planted changes, honest about small samples."""

import json

import numpy as np
import pytest
import torch
from model_state import snapshot
from small_models import GapCnn, LinearModel, pictures

import xai
from xai.core.model.features import Outputs
from xai.errors import InputError, NonFiniteError, RangeError, RecordError, Stopped, UnsupportedModelError
from xai.stats.intervals import holm

QUICK = {"rows": 500, "draws": 199}


@pytest.fixture(scope="session", params=["example:fashion", "example:fashion-robust"])
def model(request):
    return xai.load(request.param)


@pytest.fixture(scope="session")
def robust():
    return xai.load("example:fashion-robust")


@pytest.fixture(scope="session")
def halves():
    test = xai.load_data("example:fashion-test")
    return test.part("calibration").subset(700), test.part("test").subset(700)


def names_of(found):
    return {one.id for one in found.findings}


def test_halves_of_one_data_set_are_alike(model, halves):
    found = xai.drift(model, *halves, **QUICK)
    assert found.verdict == "no evidence"
    assert found.findings == ()
    assert "would have been detected 8 times out of 10" in found.reasons[0]
    assert found.detectable_shift < 0.5
    assert [test.name for test in found.tests] == ["classifier", "kernel", "classes", "confidence"]
    assert found.table["adjusted"].min() > 0.05
    np.testing.assert_allclose(found.table["adjusted"], holm(found.table["p_value"]))
    np.testing.assert_allclose(found.per_class["adjusted"], holm(found.per_class["p_value"]))
    assert len(found.per_class) == 10


def test_worse_pictures_are_found(model, halves):
    worse = xai.corrupt(halves[1].images[:400], "gaussian_noise", severity=2)
    found = xai.drift(model, halves[0], worse, **QUICK)
    assert found.verdict == "drift"
    assert {"classifier", "kernel"} <= names_of(found)
    told = found.tests[0]
    assert told.low < told.value < told.high
    assert told.value > 0.75
    assert "AUROC" in found.reasons[0]


def test_a_missing_class_is_named(robust, halves):
    rows = [k for k in range(700) if int(halves[1].labels[k]) != 7]
    found = xai.drift(robust, halves[0], halves[1].take(rows), **QUICK)
    assert {"classes", f"class: {robust.class_names[7]}"} <= names_of(found)
    gone = found.class_shares[7]
    assert gone.share_b < 0.03 < gone.share_a
    assert gone.difference < 0
    assert gone.high < 0
    assert gone.estimated_b == pytest.approx(0, abs=0.02)
    assert gone.true_a == pytest.approx(float((halves[0].labels == 7).double().mean()))
    said = {one.id: one.sentence for one in found.findings}[f"class: {robust.class_names[7]}"]
    assert f"{robust.class_names[7]!r} is predicted for" in said


def test_a_model_that_is_less_sure_is_noticed(robust):
    source = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(800, 10, generator=source)
    features = torch.randn(800, 5, generator=source)
    first = Outputs(logits[:400], features[:400], None, "head")
    found = xai.drift(robust, first, Outputs(logits[400:] / 2, features[400:], None, "head"), **QUICK)
    assert names_of(found) == {"confidence"}
    assert found.tests[3].high < 0
    assert found.class_shares[0].estimated_b is None


def test_few_pictures_tell_nothing(robust, halves):
    found = xai.drift(robust, halves[0].take(range(30)), halves[1].take(range(30)), **QUICK)
    assert found.verdict == "too small to tell"
    assert "with so few images" in found.reasons[0]
    assert found.findings == ()
    few = xai.drift(robust, halves[0].take(range(30)), halves[1].take(range(30)), relevant=50, **QUICK)
    assert few.verdict == "no evidence"


@pytest.mark.slow
def test_false_alarms_are_as_rare_as_they_should_be(robust):
    outputs = robust.outputs(xai.load_data("example:fashion-test"))
    alarms = 0
    for seed in range(200):
        rows = torch.randperm(10_000, generator=torch.Generator().manual_seed(seed))[:400]
        parts = (
            Outputs(outputs.logits[some], outputs.features[some], None, outputs.layer)
            for some in rows.split([150, 250])
        )
        alarms += xai.drift(robust, *parts, draws=199, seed=seed).verdict == "drift"
    assert alarms <= 10 + 3 * (200 * 0.05 * 0.95) ** 0.5


def test_the_order_of_the_pictures_changes_nothing(robust, halves):
    one, two = halves[0].take(range(150)), halves[1].take(range(150))
    turned = two.take(np.random.default_rng(0).permutation(150))
    first, second = xai.drift(robust, one, two, **QUICK), xai.drift(robust, one, turned, **QUICK)
    for test, other in zip(first.tests, second.tests, strict=True):
        assert (test.value, test.p_value) == pytest.approx((other.value, other.p_value), abs=1e-5)
    assert xai.drift(robust, one, two, seed=1, **QUICK).tests[0].p_value != first.tests[0].p_value


def test_only_so_many_rows_are_used_and_that_is_said(robust, halves):
    found = xai.drift(robust, *halves, rows=100, draws=19)
    assert (len(found.scores_a), len(found.scores_b)) == (100, 100)
    assert len(found.confidence_a) == 700
    assert "the tests of features use 100 and 100 images" in found.notes
    assert any("principal components" in note for note in found.notes)


def test_pictures_in_both_are_noticed(robust, halves):
    found = xai.drift(robust, halves[0], halves[0].take(range(300)), **QUICK)
    assert "300 images are in both data sets, which hides differences" in found.notes
    assert found.verdict != "drift"


def test_without_a_linear_layer_the_logits_are_the_features():
    class Squared(GapCnn):
        def forward(self, images):
            return super().forward(images).square()

    found = xai.drift(Squared(), pictures(40), pictures(40, seed=1), draws=19)
    assert found.data["components"] == 4
    assert any("no features" in note for note in found.notes)


def test_the_model_comes_back_as_it_was():
    net = GapCnn().train()
    before = snapshot(net)
    xai.drift(net, pictures(20), pictures(25, seed=1), draws=19)
    assert snapshot(net) == before


def test_it_is_saved_read_back_and_drawn(robust, halves, tmp_path):
    rows = [k for k in range(700) if int(halves[1].labels[k]) != 7]
    found = xai.drift(robust, halves[0], halves[1].take(rows), **QUICK)
    json.dumps(found.to_dict(), allow_nan=False)
    again = xai.results.Drift.load(found.save(tmp_path / "kept"))
    assert again.to_dict() == found.to_dict()
    assert again.findings == found.findings
    assert again.tests == found.tests
    np.testing.assert_array_equal(again.scores_b, found.scores_b)
    assert len(again.plot().axes) == 3
    assert "Drift('drift'" in repr(again)
    text = (tmp_path / "kept" / "manifest.json").read_text()
    (tmp_path / "kept" / "manifest.json").write_text(text.replace('"findings"', '"other"'))
    with pytest.raises(RecordError, match="damaged"):
        xai.results.Drift.load(tmp_path / "kept")


def test_it_reports_progress_and_stops(robust, halves):
    seen = []
    xai.drift(robust, *halves, **QUICK, progress=lambda done, total: seen.append(done / total))
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert len({round(600 * share) for share in seen}) > 6  # within the steps, too
    asked = []
    xai.drift(robust, *halves, **QUICK, should_stop=lambda: asked.append(1))  # append gives None: go on
    assert len(asked) > 3
    for patience in range(len(asked)):
        calls = []
        with pytest.raises(Stopped):
            xai.drift(
                robust,
                *halves,
                **QUICK,
                should_stop=lambda calls=calls, to=patience: calls.append(1) or len(calls) > to,
            )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"alpha": 5}, "0.05"),
        ({"relevant": 0}, "relevant"),
        ({"rows": 3}, "rows"),
        ({"draws": 5}, "draws"),
        ({"draws": 99.5}, "draws"),
        ({"seed": "a"}, "seed"),
    ],
)
def test_bad_settings(robust, halves, settings, words):
    with pytest.raises(RangeError, match=words):
        xai.drift(robust, *halves, **settings)


def test_bad_data(robust, halves):
    with pytest.raises(InputError, match="at least 10 images in each"):
        xai.drift(robust, halves[0].take(range(9)), halves[1])
    many = xai.Classifier(LinearModel().eval(), task="multilabel")
    with pytest.raises(UnsupportedModelError, match="one right class"):
        xai.drift(many, pictures(12), pictures(12))
    bad = Outputs(torch.zeros(20, 10), torch.full((20, 3), torch.nan), None, "head")
    with pytest.raises(NonFiniteError):
        xai.drift(robust, bad, bad)
