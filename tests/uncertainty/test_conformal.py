"""`xai.fit_conformal`: sets keep their promise, by class too; small samples say so; records and refusals."""

import json

import numpy as np
import pytest
import torch
from model_state import snapshot
from planted_outputs import planted
from scipy import stats
from small_models import GapCnn, pictures

import xai
from xai.errors import InputError, NameLookupError, RangeError, RecordError, Stopped


@pytest.fixture(scope="session")
def halves():
    test = xai.load_data("example:fashion-test")
    return test.part("calibration").subset(700), test.part("test").subset(900)


@pytest.mark.parametrize("method", ["lac", "aps", "raps"])
@pytest.mark.parametrize("name", ["example:fashion", "example:fashion-robust"])
def test_sets_keep_their_promise(name, method, halves):
    fit, new = halves
    made = xai.fit_conformal(xai.load(name), fit, method=method)
    sets = made.sets(new)
    assert sets.p_value > 0.001
    low, high = stats.betabinom(900, made.promises[0].rank, 701 - made.promises[0].rank).ppf([0.0005, 0.9995]) / 900
    assert low <= sets.coverage <= high
    assert sets.coverage == pytest.approx(np.mean([row[k] for row, k in zip(sets.members, new.labels, strict=True)]))
    assert sets.average_size == pytest.approx(np.mean([len(names) for names in sets.names]))
    assert sets.by_size["images"].sum() == 900
    assert sets.table["images"].sum() == 900


def test_a_smaller_alpha_gives_larger_sets(robust, halves):
    fit, new = (robust.outputs(half) for half in halves)
    sizes = [xai.fit_conformal(robust, fit, alpha=alpha).sets(new).average_size for alpha in (0.02, 0.1, 0.3)]
    assert sizes[0] > sizes[1] > sizes[2]


def test_names_come_by_likelihood(robust, halves):
    fit, new = halves
    sets = xai.fit_conformal(robust, fit, alpha=0.02).sets(new.take(range(50)))
    for k, names in enumerate(sets.names):
        chances = [sets.probabilities[k, robust.class_names.index(name)] for name in names]
        assert chances == sorted(chances, reverse=True)
    assert sets[0] == sets.names[0]


def test_by_class_the_promise_holds_for_each(robust):
    logits = planted(6000)
    logits.logits[:, 3] -= 1.5  # the model hardly ever answers class 3
    new = planted(6000, seed=1)
    new.logits[:, 3] -= 1.5
    plain, each = (xai.fit_conformal(robust, logits, by_class=by_class).sets(new) for by_class in (False, True))
    worst = robust.class_names[3]
    assert plain.table.set_index("class").loc[worst, "coverage"] < 0.8
    assert each.table.set_index("class").loc[worst, "coverage"] > 0.87
    assert each.p_value > 0.001
    assert each.table["adjusted"].notna().all()


def test_another_kind_of_pictures_is_noticed(robust, halves):
    fit, new = halves
    worse = xai.corrupt(new.images[:300], "gaussian_noise", severity=4)
    sets = xai.fit_conformal(robust, fit, method="lac").sets(worse, new.labels[:300])
    assert sets.p_value < 1e-4


def test_a_picture_has_its_set_alone_and_in_company(robust, halves):
    fit, new = halves
    made = xai.fit_conformal(robust, fit)
    many = made.sets(new.images[:20])
    for k in (0, 7, 19):
        alone = made.sets(new.images[k])
        assert len(alone) == 1
        assert alone[0] == many[k]
    assert many.labels is None
    assert "coverage" not in many.to_dict()
    with pytest.raises(InputError, match="labels"):
        _ = many.coverage


def test_too_small_says_so(robust, halves):
    made = xai.fit_conformal(robust, halves[0].take(range(8)))
    assert made.too_small
    assert made.sentence.startswith("Too small: 8 calibration images")
    assert made.sentence in made.notes
    sets = made.sets(halves[1].take(range(5)))
    assert (sets.sizes == 10).all()
    assert sets.notes[0].startswith("Too small")
    assert json.loads(json.dumps(made.to_dict(), allow_nan=False))["promises"][0]["threshold"] is None
    assert not xai.fit_conformal(robust, halves[0].take(range(9))).too_small


def test_too_small_classes_are_named(robust, halves):
    fit = halves[0]
    kept = [k for k in range(700) if int(fit.labels[k]) != 4] + np.flatnonzero(fit.labels.numpy() == 4)[:5].tolist()
    made = xai.fit_conformal(robust, fit.take(kept), by_class=True)
    assert made.too_small
    assert f"{robust.class_names[4]} (5)" in made.notes[0]
    assert made.sets(halves[1].take(range(20))).members[:, 4].all()


def test_calibration_pictures_are_noticed(robust, halves):
    made = xai.fit_conformal(robust, halves[0])
    assert any("25 of the images are calibration images" in note for note in made.sets(halves[0].take(range(25))).notes)
    assert not any("calibration images" in note for note in made.sets(halves[1].take(range(25))).notes)


def test_it_is_saved_and_read_back(robust, halves, tmp_path):
    fit, new = halves
    made = xai.fit_conformal(robust, fit, method="raps", by_class=True)
    again = xai.results.ConformalPredictor.load(made.save(tmp_path / "kept"), robust)
    assert again.to_dict() == made.to_dict()
    sets = made.sets(new.take(range(60)))
    np.testing.assert_array_equal(again.sets(new.take(range(60))).members, sets.members)
    kept = xai.results.PredictionSets.load(sets.save(tmp_path / "sets"))
    assert kept.to_dict() == sets.to_dict()
    json.dumps(sets.to_dict(), allow_nan=False)
    pd_table = kept.table
    assert list(pd_table["class"]) == list(sets.table["class"])
    with pytest.raises(InputError, match="load\\(path, model\\)"):
        xai.results.ConformalPredictor.load(tmp_path / "kept").sets(new)
    with pytest.raises(InputError, match="another model"):
        xai.results.ConformalPredictor.load(tmp_path / "kept", xai.load("example:fashion"))
    with pytest.raises(RecordError, match="another kind"):
        xai.results.PredictionSets.load(tmp_path / "kept")


def test_sets_are_drawn(robust, halves):
    made = xai.fit_conformal(robust, halves[0])
    assert len(made.sets(halves[1]).plot().axes) == 2
    assert len(made.sets(halves[1].images[:3]).plot().axes) == 1
    assert "classes on average" in repr(made.sets(halves[1].images[:3]))
    assert "Of 100 new images" in repr(made)


def test_the_model_comes_back_as_it_was():
    net = GapCnn().train()
    before = snapshot(net)
    xai.fit_conformal(net, pictures(40), torch.arange(40) % 4).sets(pictures(5, seed=2))
    assert snapshot(net) == before


def test_bad_input(robust, halves):
    with pytest.raises(NameLookupError, match="Near: aps"):
        xai.fit_conformal(robust, halves[0], method="apss")
    with pytest.raises(RangeError, match="alpha"):
        xai.fit_conformal(robust, halves[0], alpha=90)
    with pytest.raises(RangeError, match="level"):
        xai.fit_conformal(robust, halves[0], level=90)
    with pytest.raises(InputError, match="Expected labels"):
        xai.fit_conformal(robust, halves[0].images[:9])
    with pytest.raises(Stopped):
        xai.fit_conformal(robust, halves[0], should_stop=lambda: True)
