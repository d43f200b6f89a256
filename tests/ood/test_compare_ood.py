"""`compare_ood`: its figures are those of the scores, groups, tests, records, figures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from small_models import GapCnn, pictures
from torch import nn

import xai
from xai import compare_ood
from xai.errors import DataError, InputError, NameLookupError, RecordError, Stopped
from xai.ood.detectors.base import DETECTORS


@pytest.fixture(scope="module")
def found(wardrobe: Any) -> xai.results.OODComparison:
    noise = torch.rand(40, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    worse = xai.corrupt(wardrobe.test.images[:60], "gaussian_noise", 2)
    outside = {"near": wardrobe.digits, "far": {"noise": noise, "inverted": 1 - noise}, "covariate": {"noisy": worse}}
    return compare_ood(wardrobe.classifier, wardrobe.fit, wardrobe.calibration, wardrobe.test, outside)


def test_every_method_meets_every_set(found: xai.results.OODComparison) -> None:
    assert list(found.labels) == DETECTORS.names()
    assert [held["label"] for held in found.sets] == ["near", "far: noise", "far: inverted", "covariate: noisy"]
    assert len(found.table) == 15 * 4
    assert found.areas.shape == (15, 4)
    assert found.table.groupby("set", sort=False)["auroc"].apply(lambda a: a.is_monotonic_decreasing).all()


def test_figures_are_those_of_the_scores(found: xai.results.OODComparison) -> None:
    for row in found.rows:
        inside, sets = found.scores_of(row["method"])
        outside = sets[row["set"]]
        truth = np.r_[np.zeros(len(inside)), np.ones(len(outside))]
        wanted = roc_auc_score(truth, torch.cat([inside, outside]).numpy())
        assert row["auroc"] == pytest.approx(wanted, abs=1e-12)
        assert row["auroc_low"] <= row["auroc"] <= row["auroc_high"]
        assert row["rejected_out_low"] <= row["rejected_out"] <= row["rejected_out_high"]
        assert row["images"] == len(outside)
        limit = inside.sort().values[int(np.ceil(0.95 * len(inside))) - 1]
        assert row["fpr_ood_accepted@95id"] == pytest.approx(float((outside <= limit).double().mean()))


def test_full_spectrum_counts_covariate_shift_as_ordinary(found: xai.results.OODComparison) -> None:
    row = next(row for row in found.rows if row["method"] == "vim" and row["set"] == "near")
    inside, sets = found.scores_of("vim")
    full = torch.cat([inside, sets["covariate: noisy"]])
    truth = np.r_[np.zeros(len(full)), np.ones(len(sets["near"]))]
    wanted = roc_auc_score(truth, torch.cat([full, sets["near"]]).numpy())
    assert row["auroc_full_spectrum"] == pytest.approx(wanted, abs=1e-12)
    assert row["auroc_full_spectrum"] < row["auroc"]
    assert "auroc_full_spectrum" not in next(row for row in found.rows if row["group"] == "covariate")


def test_words_follow_from_the_adjusted_test(found: xai.results.OODComparison) -> None:
    table = found.table
    own = table[table["method"] == "msp"]
    assert set(own["against_msp"]) == {"the baseline"}
    assert (own["gap_to_msp"] == 0).all()
    rest = table[table["method"] != "msp"]
    assert (rest["p_holm"] >= rest["p_value"]).all()
    told = rest["p_holm"] <= 0.05
    assert set(rest[~told]["against_msp"]) <= {"no evidence of a difference from msp"}
    assert (rest[told & (rest["gap_to_msp"] > 0)]["against_msp"] == "better than msp").all()
    assert told.any()


def test_realised_rejection_is_near_what_was_promised(found: xai.results.OODComparison) -> None:
    for row in found.rows:
        assert row["rejected_in"] < 0.13, row["method"]
    assert "of 100 in-distribution images to be rejected" in found.guarantee.sentence


def test_scores_are_those_of_fit_ood(found: xai.results.OODComparison, vim: xai.OODDetector, wardrobe: Any) -> None:
    inside, sets = found.scores_of("vim")
    torch.testing.assert_close(vim.score(wardrobe.test), inside, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(vim.score(wardrobe.digits), sets["near"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        vim.calibration_scores, found.calibration[found.labels.index("vim")], rtol=1e-5, atol=1e-5
    )


def test_it_is_kept_and_read_back(found: xai.results.OODComparison, tmp_path: Path) -> None:
    json.dumps(found.to_dict())
    found.save(tmp_path)
    again = xai.results.OODComparison.load(tmp_path)
    assert again.table.equals(found.table)
    assert torch.equal(again.inside, found.inside)
    assert again.to_dict() == found.to_dict()
    (tmp_path / "values.npz").write_bytes(b"no")
    with pytest.raises(RecordError, match="damaged"):
        xai.results.OODComparison.load(tmp_path)


def test_figures_are_drawn(
    found: xai.results.OODComparison, vim: xai.OODDetector, wardrobe: Any, tmp_path: Path
) -> None:
    drawn = found.plot(["msp", "vim", "knn", "odin"])
    assert [axis.get_title() for axis in drawn.axes if axis.axison] == ["msp", "vim", "knn", "odin"]
    drawn.savefig(tmp_path / "comparison.png")
    alone = vim.plot(wardrobe.digits)
    assert "Virtual-logit matching" in alone.axes[0].get_title()
    assert len(alone.axes[0].get_legend().get_texts()) == 3
    with pytest.raises(NameLookupError, match="in this comparison 'knnn'"):
        found.plot(["knnn"])


def test_small_samples_say_that_they_are_small() -> None:
    made = pictures(60, seed=2)
    found = compare_ood(GapCnn().eval(), made[:40], made[40:55], made[55:], pictures(5, seed=3), ["gen", "knn"])
    assert [row["method"] for row in found.rows] == ["msp", "gen", "knn"]
    assert all(row["against_msp"] == "no evidence of a difference from msp" for row in found.rows[1:])
    assert all(row["auroc_high"] - row["auroc_low"] > 0.3 for row in found.rows)
    assert "Nothing can be rejected at alpha 0.05 with 15 calibration images" in found.guarantee.sentence
    assert all(row["rejected_out"] == 0 for row in found.rows)


def test_settings_make_rows_of_their_own() -> None:
    made = pictures(60, seed=2)
    knn = DETECTORS["knn"]
    found = compare_ood(GapCnn().eval(), made[:40], made[40:50], made[50:], pictures(9, seed=3), [knn(k=1), knn(k=5)])
    assert found.labels == ("msp", "knn(k=1)", "knn(k=5)")
    assert found.settings["knn(k=5)"]["k"] == 5
    assert found.sets[0]["label"] == "out-of-distribution"


def test_what_a_model_lacks_is_left_out_and_said() -> None:
    made = pictures(60, seed=2)
    net = nn.Sequential(GapCnn(), nn.LogSoftmax(1)).eval()
    found = compare_ood(net, made[:40], made[40:50], made[50:], pictures(9, seed=3))
    assert set(found.labels) == {"msp", "maxlogit", "energy", "gen", "odin"}
    assert any("knn needs the features" in note for note in found.notes)


def test_what_cannot_be_compared_is_refused() -> None:
    net, made = GapCnn().eval(), pictures(60, seed=2)
    fit, calibration, inside, foreign = made[:40], made[40:50], made[50:], pictures(9, seed=3)
    with pytest.raises(DataError, match="10 of 10 in images are among the fit images"):
        compare_ood(net, fit, calibration, fit[:10], foreign, ["msp"])
    with pytest.raises(DataError, match="image in 'digits', but the data set is empty"):
        compare_ood(net, fit, calibration, inside, {"digits": foreign[:0]}, ["msp"])
    with pytest.raises(InputError, match="among near, far, covariate, but got 'nearby'"):
        compare_ood(net, fit, calibration, inside, {"nearby": {"x": foreign}}, ["msp"])
    with pytest.raises(NameLookupError, match="Near: msp"):
        compare_ood(net, fit, calibration, inside, foreign, ["mspp"])
    with pytest.raises(InputError, match="at least one method"):
        compare_ood(net, fit, calibration, inside, foreign, [])
    with pytest.raises(Stopped):
        compare_ood(net, fit, calibration, inside, foreign, should_stop=lambda: True)
    same = compare_ood(net, fit, calibration, calibration, foreign, ["msp"])
    assert any("10 test images also calibrate" in note for note in same.notes)
