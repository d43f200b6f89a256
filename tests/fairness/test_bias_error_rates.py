"""How often the whole report cries wolf, and how often it misses one: simulated data sets, the public function."""

import numpy as np
import pytest

from xai.fairness.groups.bias import bias_of_predictions

UNEQUAL = (5000, 3000, 1500, 450, 40, 10)


def simulate(sizes, accuracies, classes, seed):
    """Return a report of a data set in which only the accuracy may depend on the group."""
    chance = np.random.default_rng(seed)
    codes = np.repeat(np.arange(len(sizes)), sizes)
    labels = chance.integers(0, classes, len(codes))
    right = chance.random(len(codes)) < np.array(accuracies)[codes]
    predictions = np.where(right, labels, (labels + chance.integers(1, classes, len(codes))) % classes)
    confidence = np.maximum(chance.beta(9, 1, len(codes)), 1 / classes)
    return bias_of_predictions(labels, predictions, {"group": codes}, confidence, seed=seed, replicates=1000)


@pytest.mark.parametrize(
    ("classes", "count"),
    [(2, 40), pytest.param(2, 1000, marks=pytest.mark.slow), pytest.param(10, 300, marks=pytest.mark.slow)],
)
def test_no_false_alarms(classes, count):
    alarms = [bool(simulate(UNEQUAL, [0.9] * 6, classes, seed).findings) for seed in range(count)]
    most = {40: 5, 300: 23, 1000: 60}[count]  # 6 % of 1,000; three standard errors above 5 % of fewer
    assert sum(alarms) <= most


@pytest.mark.parametrize(("high", "low"), [(0.9, 0.8), (0.85, 0.75), (0.8, 0.7)])
@pytest.mark.parametrize("count", [30, pytest.param(300, marks=pytest.mark.slow)])
def test_ten_points_are_found_in_groups_of_500(high, low, count):
    found = [
        any(gap.metric == "accuracy" for gap in simulate((500, 500), (high, low), 2, seed).findings)
        for seed in range(count)
    ]
    assert np.mean(found) >= (0.9 if count > 100 else 0.8)


def test_the_group_that_is_worse_is_named_among_others():
    found = [simulate((500,) * 6, (0.9, 0.9, 0.8, 0.9, 0.9, 0.9), 2, seed) for seed in range(15)]
    first = [report.findings[0] for report in found if report.findings]
    assert len(first) >= 14
    assert sum(gap.stands_out == "2" for gap in first) >= 14
