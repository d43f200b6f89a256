"""Rates per group against scikit-learn and fairlearn, and what must not change them."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from xai.fairness.groups.bias import bias_of_predictions
from xai.fairness.groups.tables import RATES, Cube

SIZES = (300, 150, 60, 25)
CLASSES = 4


def answers(classes=CLASSES, sizes=SIZES, seed=0):
    """Return labels, predictions and group codes in which groups differ."""
    chance = np.random.default_rng(seed)
    codes = chance.permutation(np.repeat(np.arange(len(sizes)), sizes))
    labels = chance.choice(classes, len(codes), p=np.arange(1, classes + 1) / (classes * (classes + 1) / 2))
    wrong = chance.random(len(codes)) < 0.1 + 0.1 * codes
    return labels, np.where(wrong, chance.integers(0, classes, len(codes)), labels), codes


def cube_of(labels, predictions, codes, classes=CLASSES):
    return Cube.of(codes, labels, predictions, len(np.unique(codes)), classes)


def by_sklearn(metric, truth, said, k):
    """Return a rate of class k."""
    if metric == "false_positive_rate":
        return np.mean(said[truth != k] == k)
    if metric == "selection_rate":
        return np.mean(said == k)
    recall = sk.recall_score(truth, said, labels=[k], average=None)[0]
    values = {"recall": recall, "false_negative_rate": 1 - recall}
    return values.get(metric, sk.precision_score(truth, said, labels=[k], average=None)[0])


@pytest.mark.parametrize("metric", [name for name in RATES if name != "confusion"])
def test_rates_are_those_of_sklearn(metric):
    labels, predictions, codes = answers()
    rates = RATES[metric](cube_of(labels, predictions, codes))
    for group in range(len(SIZES)):
        truth, said = labels[codes == group], predictions[codes == group]
        for k, hits, totals in zip(rates.classes, rates.hits[:, group], rates.totals[:, group], strict=True):
            wanted = sk.accuracy_score(truth, said) if k is None else by_sklearn(metric, truth, said, k)
            assert hits / totals == pytest.approx(wanted, abs=1e-12)


def test_confusions_are_those_of_sklearn():
    labels, predictions, codes = answers()
    cube = cube_of(labels, predictions, codes)
    rates = RATES["confusion"](cube)
    for group in range(len(SIZES)):
        matrix = sk.confusion_matrix(labels[codes == group], predictions[codes == group], labels=range(CLASSES))
        assert np.array_equal(cube.dense()[group], matrix)
        for (true, said), hits, totals in zip(rates.classes, rates.hits[:, group], rates.totals[:, group], strict=True):
            assert (hits, totals) == (matrix[true, said], matrix[true].sum())
    assert all(true != said for true, said in rates.classes)


@pytest.mark.parametrize("classes", [2, 4])
def test_gaps_are_those_of_fairlearn(classes):
    fair = pytest.importorskip("fairlearn.metrics")
    labels, predictions, codes = answers(classes)
    found = bias_of_predictions(labels, predictions, {"group": codes}, min_count=1, replicates=200)
    rows = found.table.set_index(["metric", "label"])
    frames = {
        "recall": fair.true_positive_rate,
        "false_negative_rate": fair.false_negative_rate,
        "false_positive_rate": fair.false_positive_rate,
        "selection_rate": fair.selection_rate,
        "precision": sk.precision_score,
    }
    for k in range(classes):  # each class against the rest: fairlearn's measures are for two classes
        truth, said = (labels == k).astype(int), (predictions == k).astype(int)
        frame = fair.MetricFrame(metrics=frames, y_true=truth, y_pred=said, sensitive_features=codes)
        for metric in frames:
            ours = rows.loc[(metric, str(k))]
            assert ours["gap"] == pytest.approx(frame.difference()[metric], abs=1e-12)
            assert ours["low_value"] == pytest.approx(frame.group_min()[metric], abs=1e-12)
            assert ours["high_value"] == pytest.approx(frame.group_max()[metric], abs=1e-12)
            assert ours["ratio"] == pytest.approx(frame.ratio()[metric], abs=1e-12)
    if classes == 2:
        parity = found.summary.set_index("measure")["value"]
        given = {"sensitive_features": codes}
        for name, call in (
            ("demographic parity", fair.demographic_parity_difference),
            ("equalised odds", fair.equalized_odds_difference),
            ("equalised odds, all predictions", fair.equalized_odds_difference),
        ):
            assert parity[name] == pytest.approx(call(labels, predictions, **given), abs=1e-12)
        recall = fair.MetricFrame(
            metrics=fair.true_positive_rate, y_true=labels, y_pred=predictions, sensitive_features=codes
        )
        assert rows.loc[("recall", "1"), "gap"] == pytest.approx(recall.difference(), abs=1e-12)


def test_to_metricframe_is_the_same_table():
    pytest.importorskip("fairlearn.metrics")
    labels, predictions, codes = answers()
    found = bias_of_predictions(labels, predictions, {"group": codes, "odd": codes % 2}, replicates=200)
    frame = found.to_metricframe()
    own = found.groups.query("column == 'group' and metric == 'accuracy'").set_index("group")
    assert frame.by_group["accuracy"].to_dict() == pytest.approx(own["value"].to_dict(), abs=1e-12)
    assert frame.by_group["count"].to_dict() == own["n"].to_dict()
    crossed = found.to_metricframe(sk.balanced_accuracy_score, "odd")
    wanted = sk.balanced_accuracy_score(labels[codes % 2 == 1], predictions[codes % 2 == 1])
    assert crossed.by_group.loc["1"] == pytest.approx(wanted, abs=1e-12)


def test_counts_add_up_and_order_changes_nothing():
    labels, predictions, codes = answers()
    cube = cube_of(labels, predictions, codes)
    assert cube.dense().sum() == len(labels)
    assert cube.by_class(cube.label).sum(0).tolist() == cube.by_group().tolist() == list(SIZES)
    order = np.random.default_rng(3).permutation(len(labels))
    confidence = np.random.default_rng(4).beta(8, 1, len(labels))
    found = bias_of_predictions(labels, predictions, {"group": codes}, confidence, replicates=300)
    again = bias_of_predictions(
        labels[order], predictions[order], {"group": codes[order]}, confidence[order], replicates=300
    )
    pd.testing.assert_frame_equal(found.table, again.table, atol=1e-9)


def test_merging_identical_groups_keeps_the_rates():
    labels, predictions, codes = answers(sizes=(80, 80))
    same = [np.tile(values[codes == 0], 2) for values in (labels, predictions)]
    split = np.repeat([0, 1], (codes == 0).sum())
    for metric, rate in RATES.items():
        apart, merged = rate(cube_of(*same, split)), rate(cube_of(*same, np.zeros_like(split)))
        assert np.array_equal(apart.hits[:, 0] * 2, merged.hits[:, 0]), metric
        assert np.array_equal(apart.totals.sum(1), merged.totals[:, 0]), metric
        assert np.array_equal(apart.hits[:, 0], apart.hits[:, 1]), metric
    found = bias_of_predictions(*same, {"half": split}, replicates=200)
    assert set(found.table["gap"].dropna()) == {0.0}


def test_a_perfect_predictor_has_no_gap_in_its_errors():
    labels, _, codes = answers()
    found = bias_of_predictions(labels, labels, {"group": codes}, np.ones(len(labels)))
    errors = found.table.query("metric != 'selection_rate'")
    assert errors["gap"].dropna().tolist() == [0.0] * len(errors["gap"].dropna())
    assert found.findings == ()
    accuracy = found.table.query("metric == 'accuracy'").iloc[0]
    assert (accuracy["p"], accuracy["expected"]) == (1, 0)
    assert accuracy["low"] <= 0  # of the pair that is named, whose gap may go the other way


def test_groups_of_other_classes_are_selected_otherwise_and_that_is_not_unfair():
    codes = np.repeat([0, 1], 500)
    labels = np.where(codes == 0, np.arange(1000) % 10 < 8, np.arange(1000) % 10 < 2).astype(int)
    right = bias_of_predictions(labels, labels, {"group": codes})
    rate = right.table.query("metric == 'selection_rate'").iloc[0]
    assert rate["gap"] == pytest.approx(0.6)
    assert right.findings == ()
    blind = bias_of_predictions(np.arange(1000) % 2, labels, {"group": codes})  # the same answers, labels alike
    assert "selection_rate" in {gap.metric for gap in blind.findings}
