"""`xai.calibration`: two networks against scikit-learn, planted temperatures, honest halves, records, refusals."""

import json

import numpy as np
import pytest
import torch
from model_state import snapshot
from planted_outputs import planted
from sklearn.metrics import brier_score_loss, log_loss
from small_models import GapCnn, OneLogit, SigmoidHead, pictures

import xai
from xai.core.model.features import Outputs
from xai.errors import (
    DataError,
    InputError,
    RangeError,
    RecordError,
    ShapeError,
    Stopped,
    TargetError,
    UnsupportedModelError,
)
from xai.uncertainty.calibration_scores import fit_temperature


def test_two_networks_against_scikit_learn(pair):
    classifier, outputs = pair
    found = xai.calibration(classifier, outputs)
    probabilities = outputs.logits.double().softmax(1).numpy()
    truth, classes = outputs.labels.numpy(), list(range(10))
    measures = found.measures
    assert measures.brier.value == pytest.approx(
        brier_score_loss(truth, probabilities, labels=classes, scale_by_half=False)
    )
    assert measures.nll == pytest.approx(log_loss(truth, probabilities, labels=classes))
    assert measures.accuracy == pytest.approx((probabilities.argmax(1) == truth).mean())
    said, right = probabilities.max(1), probabilities.argmax(1) == truth
    place = np.searchsorted(np.linspace(0, 1, 16)[1:-1], said)
    assert found.ece == pytest.approx(np.abs(np.bincount(place, said - right)).sum() / len(said))
    np.testing.assert_allclose(found.confidence, said)
    assert found.ece_interval[0] <= found.measures.ece.debiased <= found.ece_interval[1]
    assert int(found.curve["count"].sum()) == len(found) == 1200
    assert found.per_class["count"].sum() == 1200
    assert list(found.risk_coverage)[:2] == ["coverage", "risk"]


def test_the_temperature_is_judged_on_other_pictures(pair):
    classifier, outputs = pair
    found = xai.calibration(classifier, outputs)
    judged = torch.from_numpy(found.is_evaluation)
    assert int(judged.sum()) == 600
    assert found.temperature == fit_temperature(outputs.logits[~judged], outputs.labels[~judged])
    warm = (outputs.logits[judged].double() / found.temperature.value).softmax(1).numpy()
    assert found.after.nll == pytest.approx(log_loss(outputs.labels[judged], warm, labels=list(range(10))))
    np.testing.assert_allclose(found.calibrated[found.is_evaluation], warm.max(1))
    assert np.isnan(found.calibrated[~found.is_evaluation]).all()
    assert found.before.count == found.after.count == int(judged.sum()) == found.data["judged"]
    assert found.data["fitted"] + found.data["judged"] == 1200
    assert found.before.accuracy == found.after.accuracy


def test_the_adversarially_trained_network_is_underconfident(robust):
    found = xai.calibration(robust, xai.load_data("example:fashion-test").subset(2500))
    assert found.verdict == "underconfident"
    assert found.ece_interval[0] > 0.005
    assert found.temperature.high < 1
    nll = {one.measure: one for one in found.comparisons}["nll"]
    assert nll.high < 0
    assert nll.adjusted < 0.05
    assert "improves" in found.reasons[-1]


@pytest.mark.parametrize(("temperature", "verdict"), [(2.0, "overconfident"), (0.5, "underconfident")])
def test_a_planted_temperature_is_found(robust, temperature, verdict):
    found = xai.calibration(robust, planted(3000, temperature))
    assert found.verdict == verdict
    assert found.temperature.low < temperature < found.temperature.high
    assert found.after.ece.p_value > 0.01
    assert all(one.difference < 0 and one.adjusted < 0.01 for one in found.comparisons)
    assert f"temperature {found.temperature.value:.3f}" in found.reasons[-1]


def test_a_calibrated_model_gives_no_evidence(robust):
    found = xai.calibration(robust, planted(3000))
    assert found.verdict == "no evidence"
    assert found.ece_interval[0] == 0
    assert found.ece == pytest.approx(found.measures.ece.chance, abs=0.015)
    assert "would have been detected" in found.reasons[1]


def test_too_few_pictures_tell_nothing(robust):
    found = xai.calibration(robust, planted(60))
    assert found.verdict == "too small to tell"
    assert "60 images are too few to detect" in found.reasons[1]
    assert xai.calibration(robust, planted(60), tolerance=0.5).verdict == "no evidence"


def test_different_directions_are_no_overconfidence(robust):
    """Nine of ten right where the model says 0.97, eight of ten where it says 0.73: right on average."""
    logits, labels = torch.zeros(2000, 10), torch.zeros(2000).long()
    logits[:1000, 0], logits[1000:, 0] = np.log(0.97 / 0.03 * 9), np.log(0.73 / 0.27 * 9)
    labels[:100], labels[1000:1200] = 1, 1
    found = xai.calibration(robust, Outputs(logits, None, labels, None))
    assert (found.measures.accuracy, found.measures.confidence) == pytest.approx((0.85, 0.85))
    assert found.verdict == "miscalibrated"
    assert found.ece == pytest.approx(0.07)


def test_the_order_of_the_pictures_changes_nothing(robust, data):
    few = data.subset(200)
    turned = few.take(np.random.default_rng(0).permutation(200))
    one, two = xai.calibration(robust, few), xai.calibration(robust, turned)
    assert one.temperature.value == pytest.approx(two.temperature.value, rel=1e-5)
    assert one.ece_interval == pytest.approx(two.ece_interval, abs=1e-6)
    assert [c.p_value for c in one.comparisons] == pytest.approx([c.p_value for c in two.comparisons])
    assert not np.array_equal(one.is_evaluation, two.is_evaluation)
    assert one.is_evaluation.sum() == two.is_evaluation.sum()
    assert xai.calibration(robust, few, seed=1).temperature.value != one.temperature.value


def test_equal_pictures_are_on_one_side(robust, data):
    images = torch.cat([data.images[:40], data.images[:40]])
    found = xai.calibration(robust, images, labels=torch.cat([data.labels[:40]] * 2))
    assert np.array_equal(found.is_evaluation[:40], found.is_evaluation[40:])


def test_given_pictures_fit_the_temperature(robust, data):
    half, other = data.take(range(300)), data.take(range(300, 600))
    found = xai.calibration(robust, half, fit_data=other)
    assert found.is_evaluation.all()
    assert found.before == found.measures
    outputs = robust.outputs(other)
    assert found.temperature.value == pytest.approx(fit_temperature(outputs.logits, outputs.labels).value)
    with pytest.raises(DataError, match="100 are in both"):
        xai.calibration(robust, half, fit_data=data.take(range(200, 500)))


def test_labels_follow_their_names(robust, data):
    """A folder counts its classes in the order of their names, the network in another."""
    few = data.take(range(150))
    names = sorted(robust.class_names)

    class Folder:
        images, classes, name = few.images, tuple(names), "a folder"
        labels = torch.tensor([names.index(robust.class_names[int(label)]) for label in few.labels])

    found = xai.calibration(robust, Folder())
    assert np.array_equal(found.labels, few.labels.numpy())
    assert "by name" in found.notes[0]
    assert found.data["name"] == "a folder"


def test_stored_outputs_say_how_many_classes_there_are():
    class Never(torch.nn.Module):
        def forward(self, images):
            raise AssertionError("asked")

    assert len(xai.calibration(Never(), planted(60, classes=7)).per_class) == 7


def test_labels_may_be_names(robust, data):
    few = data.take(range(60))
    named = [robust.class_names[int(label)] for label in few.labels]
    assert xai.calibration(robust, few, named).ece == pytest.approx(xai.calibration(robust, few).ece)


def test_one_logit_is_two_classes():
    images, labels = pictures(40), torch.arange(40) % 2
    nets = [OneLogit().eval(), xai.Classifier(OneLogit().eval(), task="multilabel")]
    one, two = (xai.calibration(net, images, labels) for net in nets)
    np.testing.assert_allclose(one.confidence, two.confidence, rtol=1e-6)


def test_several_right_classes_are_refused():
    classifier = xai.Classifier(SigmoidHead().eval(), task="multilabel", output="probabilities")
    with pytest.raises(UnsupportedModelError, match="one right class per image"):
        xai.calibration(classifier, pictures(30), torch.zeros(30).long())


def test_probabilities_in_place_of_logits_are_said():
    class Softmax(GapCnn):
        def forward(self, images):
            return super().forward(images).softmax(1)

    found = xai.calibration(Softmax(), pictures(40), torch.arange(40) % 4)
    assert "ends in a softmax: its logarithm is used as the logits" in found.notes


def test_the_model_comes_back_as_it_was():
    net = GapCnn().train()
    before = snapshot(net)
    xai.calibration(net, pictures(40), torch.arange(40) % 4)
    assert snapshot(net) == before


def test_it_is_saved_and_read_back(robust, tmp_path):
    found = xai.calibration(robust, planted(300, 1.5))
    printed = json.dumps(found.to_dict(), allow_nan=False)
    assert json.loads(printed)["ece"] == found.ece
    again = xai.results.Calibration.load(found.save(tmp_path / "kept"))
    assert again.to_dict() == found.to_dict()
    assert again.measures == found.measures
    assert again.comparisons == found.comparisons
    for name in ("labels", "predictions", "confidence", "calibrated", "is_evaluation"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    assert again.model["fingerprint"] == robust.fingerprint
    (tmp_path / "kept" / "manifest.json").write_text(
        (tmp_path / "kept" / "manifest.json").read_text().replace('"comparisons"', '"other"')
    )
    with pytest.raises(RecordError, match="damaged"):
        xai.results.Calibration.load(tmp_path / "kept")


def test_it_is_drawn_and_tabled(robust):
    found = xai.calibration(robust, planted(300, 1.5))
    figure = found.plot()
    assert len(figure.axes) == 3
    assert "overconfident" in figure.get_suptitle()
    table = found.table.set_index("measure")
    assert table.loc["ece", "value"] == found.ece
    assert table.loc["nll", "difference"] == pytest.approx(table.loc["nll", "after"] - table.loc["nll", "before"])
    assert "Calibration('overconfident', 300 images" in repr(found)
    assert len(found.per_class) == 10


def test_it_reports_progress_and_stops(robust, data):
    seen = []
    xai.calibration(robust, data.take(range(130)), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (130, 130)
    with pytest.raises(Stopped):
        xai.calibration(robust, data, should_stop=lambda: True)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"bins": 0}, RangeError, "bins"),
        ({"bins": 2.5}, RangeError, "bins"),
        ({"level": 95}, RangeError, "0.95"),
        ({"tolerance": 5}, RangeError, "0.05"),
        ({"seed": 0.5}, RangeError, "seed"),
        ({"labels": [0] * 3}, ShapeError, "one label per image"),
        ({"labels": [99] * 120}, TargetError, "class index"),
    ],
)
def test_bad_settings(robust, settings, error, words):
    with pytest.raises(error, match=words):
        xai.calibration(robust, planted(120), **settings)


def test_bad_data(robust, data):
    with pytest.raises(ShapeError, match="10 classes, but got 7 logits"):
        xai.calibration(robust, planted(50, classes=7))
    with pytest.raises(InputError, match="Expected labels"):
        xai.calibration(robust, data.images[:30])
    with pytest.raises(InputError, match="at least 20"):
        xai.calibration(robust, data.take(range(19)))
    with pytest.raises(DataError, match="are equal"):
        xai.calibration(robust, data.images[:1].repeat(30, 1, 1, 1), labels=[0] * 30)
    with pytest.raises(InputError, match="at least 20"):
        xai.calibration(robust, data, fit_data=planted(10))
