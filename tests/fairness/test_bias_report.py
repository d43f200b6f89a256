"""`xai.bias` and `bias_of_predictions`: columns, verdicts, words, records, refusals."""

import json

import numpy as np
import pandas as pd
import pytest
from model_state import assert_same, snapshot
from small_models import GapCnn, LinearModel, pictures

import xai
from xai.cli import main
from xai.core.model.classifier import Classifier
from xai.errors import DataError, InputError, NameLookupError, RangeError, RecordError, ShapeError, Stopped, TargetError
from xai.fairness.groups.bias import bias, bias_of_predictions
from xai.fairness.groups.tables import Cube, amplification, divide

FAST = {"replicates": 200}


def planted(gap=0.2, size=400, classes=3, seed=0):
    """Return labels, predictions, groups and confidence; group "b" is answered worse."""
    chance = np.random.default_rng(seed)
    side = np.repeat(["a", "b"], size)
    labels = chance.integers(0, classes, 2 * size)
    wrong = chance.random(2 * size) < np.where(side == "b", 0.08 + gap, 0.08)
    predictions = np.where(wrong, (labels + chance.integers(1, classes, 2 * size)) % classes, labels)
    return labels, predictions, {"side": side}, chance.beta(9, 1, 2 * size)


def test_a_planted_gap_is_found_and_told():
    labels, predictions, groups, confidence = planted()
    found = bias_of_predictions(labels, predictions, groups, confidence, class_names=["cat", "dog", "cow"])
    first = found.findings[0]
    assert (first.metric, first.lowest, first.verdict, found.verdict) == ("accuracy", "b", "unfair", "unfair")
    assert first.gap == pytest.approx(
        abs(np.diff([(labels == predictions)[groups["side"] == s].mean() for s in "ab"])[0])
    )
    assert first.interval[0] < first.gap < first.interval[1]
    assert first.expected < 0.03
    assert first.p_adjusted >= first.p
    assert "share of images predicted correctly" in str(found)
    assert "of which chance alone makes" in first.reason
    assert len({(gap.metric, gap.label) for gap in found.findings}) == len(found.findings)
    assert not any(gap.repeats for gap in found.findings)
    worst = next(p for p in found.parities if p.measure == "worst group")
    assert (worst.where, worst.value) == ("b", first.low_value)
    assert worst.interval[0] < worst.value < worst.interval[1]
    assert (
        repr(found) == f"BiasResult(800 images by side: unfair, {len(found.findings)} of {len(found.gaps)} gaps unfair)"
    )


def test_verdicts_tell_no_evidence_from_too_few():
    labels, predictions, groups, _ = planted(gap=0.0, size=2000)
    many = bias_of_predictions(labels, predictions, groups, metrics="accuracy", **FAST)
    assert (many.verdict, many.findings) == ("no evidence", ())
    assert "would have been detected in any group" in many.gaps[0].reason
    rows = np.r_[:30, 2000:2030]
    few = bias_of_predictions(
        labels[rows], predictions[rows], {"side": groups["side"][rows]}, metrics="accuracy", **FAST
    )
    assert few.verdict == "too small to tell"
    assert few.gaps[0].detectable > 0.1
    three = bias_of_predictions(labels[:2003], predictions[:2003], {"side": groups["side"][:2003]}, **FAST)
    line = three.gaps[0]
    assert (line.gap, line.left_out, line.verdict) == (None, ("b",), "too small to tell")
    assert three.groups.query("group == 'b'")["verdict"].eq("too small to tell").all()
    assert "fewer than two groups with at least 10" in line.reason
    strict = bias_of_predictions(*planted()[:3], tolerance=0.5, **FAST)
    assert strict.findings == ()


def test_columns_are_crossed_named_and_divided():
    chance = np.random.default_rng(0)
    columns = {
        "sex": ["f", "m"] * 50,
        "old": np.arange(100) % 3 == 0,
        "age": [1.0, 2.0, None, 4.0] * 25,
        "light": np.r_[np.nan, chance.random(99)],
    }
    found = {division.name: division for division in divide(columns, 100, 2)}
    assert list(found)[:5] == ["sex", "old", "age", "light", "sex & old"]
    assert len(found) == 4 + 6
    assert found["old"].groups == ("False", "True")
    assert found["age"].groups == ("(missing)", "1", "2", "4")
    assert len(found["light"].groups) == 5
    assert "divided at" in found["light"].note
    both = found["sex & old"]
    assert both.groups == ("f & False", "f & True", "m & False", "m & True")
    assert both.groups[both.codes[3]] == "m & True"
    assert len(divide(columns, 100, 4)) == 4 + 6 + 4 + 1
    assert len(divide(columns, 100, 1)) == 4


def test_extra_numbers_are_compared_as_shares_or_means():
    labels, predictions, groups, _ = planted(gap=0.0)
    side = groups["side"]
    chance = np.random.default_rng(1)
    robust = (chance.random(800) < np.where(side == "b", 0.3, 0.6)).astype(float)
    robust[labels != predictions] = np.nan  # wrong to begin with
    score = chance.normal(0, 1, 800) + (side == "b")
    found = bias_of_predictions(
        labels, predictions, groups, extra={"robust accuracy": robust, "sharpness": score}, metrics="accuracy", **FAST
    )
    assert {gap.metric for gap in found.findings} == {"robust accuracy", "sharpness"}
    rows = found.groups.set_index(["metric", "group"])
    assert rows.loc[("robust accuracy", "b"), "value"] == pytest.approx(np.nanmean(robust[side == "b"]))
    assert rows.loc[("robust accuracy", "b"), "n"] == np.isfinite(robust[side == "b"]).sum()
    assert rows.loc[("sharpness", "a"), "value"] == pytest.approx(score[side == "a"].mean())


def test_amplification():
    labels, _, groups, _ = planted()
    same = bias_of_predictions(labels, labels, groups, **FAST).amplifications[0]
    assert (same.value, same.interval, same.where) == (0, (0, 0), "")
    codes = np.repeat([0, 1], 100)
    truth = np.r_[np.repeat([0, 1], (60, 40)), np.repeat([0, 1], (40, 60))]
    said = np.r_[np.repeat([0, 1], (80, 20)), np.repeat([0, 1], (25, 75))]  # further in the direction of the labels
    found = amplification(Cube.of(codes, truth, said, 2, 2), "side", ("a", "b"), ("x", "y"))
    assert found.value == pytest.approx((0.2 + 0.2 + 0.15 + 0.15) / 4)
    assert found.interval[0] > 0
    assert (found.where, found.change) == ("a / x", pytest.approx(0.2))
    chance = np.random.default_rng(0)
    values = []
    for _ in range(400):
        p = np.array([0.6, 0.4])[codes]
        truth, said = (np.where(chance.random(200) < share, 0, 1) for share in (p, p))
        one = amplification(Cube.of(codes, truth, said, 2, 2), "side", ("a", "b"), ("x", "y"))
        values.append(one.interval[0] <= 0 <= one.interval[1])
    assert np.mean(values) >= 0.9


@pytest.mark.parametrize("make", [LinearModel, GapCnn])
def test_a_model_is_run_once_and_given_back(make, tmp_path):
    classifier, images = Classifier(make(), input_size=(16, 16)), pictures(60)
    module = classifier.module
    before = snapshot(module)
    labels = classifier.predict(images).index.clone()
    labels[::4] = (labels[::4] + 1) % classifier.num_classes
    side = np.arange(60) % 2
    found = bias(classifier, images, {"side": side}, labels=labels, **FAST)
    assert_same(before, snapshot(module))
    stored = bias_of_predictions(
        labels,
        classifier.predict(images).index,
        {"side": side},
        classifier.predict(images).probability.double(),
        class_names=classifier.class_names,
        **FAST,
    )
    pd.testing.assert_frame_equal(found.table, stored.table, atol=1e-6)
    assert found.model["fingerprint"] == classifier.fingerprint
    values = (images.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
    np.savez(tmp_path / "a.npz", images=values, labels=labels.numpy(), side=side, unique=np.arange(60))
    data = xai.load_data(tmp_path / "a.npz")
    assert bias(classifier, data, **FAST).columns == ("side",)
    assert bias(classifier, data, ["side", "unique"], depth=1, **FAST).columns == ("side", "unique")


def test_labels_are_matched_by_name(tmp_path):
    classifier, images = Classifier(GapCnn(), class_names=list("abcd"), input_size=(16, 16)), pictures(40)
    said = classifier.predict(images).index.numpy()
    values = (images.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
    np.savez(tmp_path / "a.npz", images=values, labels=3 - said, classes=np.array(list("dcba")), side=np.arange(40) % 2)
    found = bias(classifier, xai.load_data(tmp_path / "a.npz"), **FAST)
    assert "matched to the model's classes by name" in found.notes[0]
    assert found.gaps[0].low_value >= 0.9  # eight bits turn hardly an answer


def test_everything_random_follows_the_seed():
    labels, predictions, groups, confidence = planted(gap=0.03)
    one, two, three = (
        bias_of_predictions(labels, predictions, groups, confidence, seed=seed, **FAST).table["p"] for seed in (0, 0, 1)
    )
    assert one.equals(two)
    assert not one.equals(three)
    alone = bias_of_predictions(labels, predictions, groups, metrics=["recall"], **FAST).table["p"]
    whole = bias_of_predictions(labels, predictions, groups, confidence, **FAST)
    assert alone.tolist() == whole.table.query("metric == 'recall'")["p"].tolist()


def test_saved_and_read_back(tmp_path):
    labels, predictions, groups, confidence = planted()
    found = bias_of_predictions(labels, predictions, {**groups, "odd": np.arange(800) % 2}, confidence, **FAST)
    again = xai.results.BiasResult.load(found.save(tmp_path / "run"))
    assert again.to_dict() == found.to_dict() == json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert np.array_equal(again.cube("side"), found.cube("side"))
    assert again.findings == found.findings
    pd.testing.assert_frame_equal(again.groups, found.groups)
    (tmp_path / "run" / "values.npz").write_bytes(b"no")
    with pytest.raises(RecordError, match="damaged"):
        xai.results.BiasResult.load(tmp_path / "run")


def test_plots():
    labels, predictions, groups, confidence = planted(size=1500)
    found = bias_of_predictions(labels, predictions, {**groups, "odd": np.arange(3000) % 2}, confidence, **FAST)
    left, right = found.plot().axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["b  (n = 1500)", "a  (n = 1500)"]
    assert right.get_yticklabels()[0].get_text() == "accuracy"
    assert "Share of images predicted correctly" in found.plot()._suptitle.get_text()
    assert "no evidence" in found.plot("odd")._suptitle.get_text()
    with pytest.raises(NameLookupError, match="side"):
        found.plot("sid")


def test_progress_and_stop():
    labels, predictions, groups, _ = planted()
    seen = []
    found = bias_of_predictions(labels, predictions, groups, progress=lambda *done: seen.append(done), **FAST)
    assert seen[-1] == (len(found.gaps), len(found.gaps))
    with pytest.raises(Stopped, match="2 of"):
        bias_of_predictions(labels, predictions, groups, should_stop=iter([False, False, True]).__next__, **FAST)


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"groups": {}}, InputError, "at least one group column"),
        ({"groups": {"side": ["a"]}}, ShapeError, "one value per image in 'side', 800, but got 1"),
        (
            {"groups": {"id": list(range(1500))}, "labels": [0] * 1500, "predictions": [0] * 1500},
            DataError,
            "1500 diff",
        ),
        ({"groups": ["side"]}, InputError, "mapping from names"),
        ({"predictions": [0, 1]}, ShapeError, "`predictions` for 800"),
        ({"labels": [-1] * 800}, DataError, "whole numbers from 0"),
        ({"labels": ["cat"] * 800, "class_names": ["dog"]}, DataError, "among 1 classes, but got .'cat'"),
        ({"confidence": [2.0] * 800}, RangeError, "`confidence` in"),
        ({"metrics": ["acuracy"]}, NameLookupError, "accuracy"),
        ({"metrics": ["calibration"]}, InputError, "Expected `confidence`"),
        ({"alpha": 2}, RangeError, "`alpha` above 0"),
        ({"correction": "bonferoni"}, NameLookupError, "holm"),
        ({"tolerence": 0.1}, NameLookupError, "tolerance"),
        ({"extra": {"accuracy": [0.0] * 800}}, NameLookupError, "free name"),
        ({"extra": {"mine": [np.inf] * 800}}, RangeError, "finite"),
        ({"labels": [], "predictions": [], "groups": {"side": []}}, DataError, "at least one image"),
    ],
)
def test_bad_requests(change, kind, words):
    labels, predictions, groups, _ = planted()
    asked = {"labels": labels, "predictions": predictions, "groups": groups} | change
    with pytest.raises(kind, match=words) as caught:
        bias_of_predictions(**asked)
    assert "\n" not in str(caught.value)


def test_bad_requests_of_a_model():
    images = pictures(12)
    with pytest.raises(InputError, match="Expected `labels`"):
        bias(GapCnn(), images, {"side": [0] * 12})
    with pytest.raises(InputError, match="Expected `groups`"):
        bias(GapCnn(), images, labels=[0] * 12)
    with pytest.raises(NameLookupError, match="part"):
        bias(xai.load("example:fashion"), xai.load_data("example:fashion-test").subset(10), ["prt"])
    with pytest.raises(TargetError):
        bias(GapCnn(), images, {"side": [0] * 12}, labels=[9] * 12)


def test_command_line(tmp_path, capsys):
    asked = ["bias", "--model", "example:fashion", "--data", "example:fashion-test", "--count", "300"]
    assert main([*asked, "--out", str(tmp_path / "run"), "--metrics", "accuracy,recall"]) == 0
    said = capsys.readouterr().out
    assert "(300 images)" in said
    assert "part: worst group" in said
    assert {"manifest.json", "table.csv", "groups.csv", "groups_1.png"} <= {
        p.name for p in (tmp_path / "run").iterdir()
    }
    assert main([*asked, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)["bias"]
    assert printed["count"] == 300
    for extra, words in (
        (["--groups", "prt"], "Near: part"),
        (["--metrics", "acuracy"], "Near: accuracy"),
        (["--alpha", "7"], "alpha"),
    ):
        assert main([*asked, *extra]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1
