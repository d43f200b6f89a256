"""Planted weak slices come back on the other half, noise does not, and each test is that of a book."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from model_state import lived_in, snapshot
from scipy import stats
from small_models import GapCnn, pictures

import xai
from xai.errors import InputError, RangeError, RecordError, ShapeError, Stopped
from xai.fairness.slice_inference import detectable, gap, stratified
from xai.fairness.slice_search import CLASS, Candidate, Facts, SliceCondition, Space, describe, fisher, search
from xai.fairness.slices import slices_of_predictions
from xai.results import SliceResult

NAMES = ("brightness", "contrast", "sharpness", "texture", "object size")


def noise(seed: int, count: int = 1000, classes: int = 5, wide: int = 16, error: float = 0.2) -> dict:
    """Return what `slices_of_predictions` takes, with errors that depend on nothing."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    features = rng.normal(size=(count, wide))
    features[:, :classes] += 3 * np.eye(classes)[labels]
    said = np.where(rng.random(count) < error, (labels + 1) % classes, labels)
    properties = {name: rng.normal(size=count) for name in NAMES}
    return {"labels": labels, "predictions": said, "features": features, "properties": properties}


def planted(seed: int, count: int = 2000, **settings) -> tuple[dict, np.ndarray]:
    """Return the same with a slice that is mostly wrong: the darker third of class 2."""
    made = noise(seed, count, error=0.05, **settings)
    weak = (made["labels"] == 2) & (made["properties"]["brightness"] < -0.43)
    hit = weak & (np.random.default_rng(seed + 1).random(count) < 0.6)
    made["predictions"] = np.where(hit, 0, made["predictions"])
    return made, weak


def overlap(one, other) -> float:
    return (one & other).sum() / (one | other).sum()


@pytest.mark.parametrize("seed", range(6))
def test_a_planted_slice_comes_back_on_the_other_half(seed):
    made, weak = planted(seed)
    found = slices_of_predictions(**made, seed=seed)
    first = found.findings[0]
    assert first.words == "dark images of class '2'"
    assert overlap(found.members[found.slices.index(first)], weak[found.rows]) > 0.75
    assert first.rule.startswith("class is '2' and brightness <= -0.")
    assert first.confused == "0"
    assert first.accuracy_interval[0] - 0.05 < 0.38 < first.accuracy_interval[1] + 0.05
    assert first.gap_interval[0] > 0.3
    assert len(found.findings) == 1, str(found)
    merged = found.table[found.table.verdict == "within another"]
    assert (merged.within == first.words).all()


@pytest.mark.parametrize("seed", range(4))
def test_a_planted_cluster_comes_back_on_the_other_half(seed):
    made = noise(seed, 2000, error=0.05)
    rng = np.random.default_rng(seed)
    weak = rng.random(2000) < 0.08
    made["features"][weak] += 6 * np.eye(16)[9]
    made["predictions"] = np.where(weak & (rng.random(2000) < 0.5), (made["labels"] + 2) % 5, made["predictions"])
    found = slices_of_predictions(**made, seed=seed)
    assert found.findings
    assert all(each.kind == "cluster" for each in found.findings)
    inside = found.members[[found.slices.index(each) for each in found.findings]].any(0)
    assert overlap(inside, weak[found.rows]) > 0.8


def test_slices_of_several_sizes_are_told_apart():
    """A weak class, and a far weaker part of another one: two findings, not one and not twenty."""
    made, _ = planted(3, 4000)
    rng = np.random.default_rng(9)
    made["predictions"] = np.where((made["labels"] == 4) & (rng.random(4000) < 0.3), 1, made["predictions"])
    found = slices_of_predictions(**made)
    assert {each.words for each in found.findings} == {"dark images of class '2'", "images of class '4'"}


def discoveries(sets: int, count: int) -> int:
    return sum(bool(slices_of_predictions(**noise(seed, count), seed=seed).findings) for seed in range(sets))


def test_noise_is_quiet():
    assert discoveries(60, 500) <= stats.binom.ppf(0.999, 60, 0.05)


@pytest.mark.slow
def test_noise_is_quiet_in_a_thousand_data_sets():
    assert discoveries(1000, 1000) <= 50


def test_fisher_is_scipys():
    rng = np.random.default_rng(0)
    wrong, inside, around = rng.random(300) < 0.3, rng.random(300) < 0.2, rng.random(300) < 0.8
    inside &= around
    table = [[(w & i).sum() for w in (wrong, ~wrong)] for i in (inside, around & ~inside)]
    assert fisher(wrong, inside, around) == pytest.approx(stats.fisher_exact(table, alternative="greater").pvalue)


def test_mantel_haenszel_is_that_of_the_berkeley_admissions():
    """Agresti 2002, section 2.3: 1973 admissions to six departments; R's mantelhaen.test gives 1.4269 for them."""
    admitted = [(512, 313, 89, 19), (353, 207, 17, 8), (120, 205, 202, 391), (138, 279, 131, 244), (53, 138, 94, 299)]
    rows = [
        (department, sex == 0, answer == 0)
        for department, counts in enumerate([*admitted, (22, 351, 24, 317)])
        for (sex, answer), number in zip([(0, 0), (0, 1), (1, 0), (1, 1)], counts, strict=True)
        for _ in range(number)
    ]
    department, man, yes = (np.array(column) for column in zip(*rows, strict=True))
    strata = np.stack([department == k for k in range(6)])
    assert stratified(yes, ~man, strata) == pytest.approx(float(stats.norm.sf(np.sqrt(1.4269))), rel=1e-3)


def test_gaps_have_newcombes_interval():
    """Newcombe 1998, table II, method 10: 56 / 70 against 48 / 80."""
    wrong = np.repeat([True, False, True, False], [56, 14, 48, 32])
    inside = np.repeat([True, False], [70, 80])
    middle, span = gap(wrong, inside)
    assert middle == pytest.approx(0.2)
    assert span == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_what_is_detectable_is_detected_four_times_in_five():
    rng, size, base = np.random.default_rng(0), 100, 0.1
    wrong = rng.random((400, 2000)) < base
    inside = np.arange(2000) < size
    least = detectable(wrong[0], size, 0.05)
    wrong[:, inside] = rng.random((400, size)) < base + least
    hits = np.mean([fisher(row, inside, np.ones(2000, dtype=bool)) <= 0.05 for row in wrong])
    assert 0.7 < hits < 0.9


def test_each_condition_must_matter():
    """A weak class: its dark images are weak too, but being dark adds nothing."""
    made = noise(0, 4000)
    wrong = np.random.default_rng(1).random(4000) < np.where(made["labels"] == 2, 0.5, 0.05)
    facts = Facts(wrong, made["properties"], {CLASS: made["labels"]}, "abcde")
    both = (SliceCondition(CLASS, value=2), SliceCondition("brightness", high=0.0))
    assert Candidate("rule", "", both[:1]).p_value(facts) < 1e-9
    assert fisher(wrong, both[0].holds(facts) & both[1].holds(facts), np.ones(4000, dtype=bool)) < 1e-9
    assert Candidate("rule", "", both).p_value(facts) > 0.01


def test_the_search_is_blind_to_the_half_that_judges():
    made, _ = planted(0)
    wrong = made["labels"] != made["predictions"]
    facts = Facts(wrong, made["properties"], {CLASS: made["labels"]}, "01234")
    half = np.arange(1000)
    before = search(facts.take(half), 0)
    wrong[1000:] = ~wrong[1000:]
    assert search(Facts(wrong, facts.properties, facts.codes, "01234").take(half), 0) == before


def test_words():
    names = ("Shirt", "Bag")
    for conditions, wanted in [
        ([SliceCondition(CLASS, value=0)], "images of class 'Shirt'"),
        (
            [
                SliceCondition("brightness", high=0.2),
                SliceCondition(CLASS, value=0),
                SliceCondition("contrast", high=0.1),
            ],
            "dark and low-contrast images of class 'Shirt'",
        ),
        (
            [
                SliceCondition("nearest class", value=1),
                SliceCondition("object size", low=0.5),
                SliceCondition("sharpness", low=1),
            ],
            "sharp images that look like 'Bag' with a large object",
        ),
        ([SliceCondition("age", low=4.0)], "images with high age"),
    ]:
        assert describe(conditions, names) == wanted
    assert SliceCondition("age", low=4.0).rule(names) == "age > 4"
    assert SliceCondition("nearest class", value=1).rule(names) == "nearest class is 'Bag'"


def test_the_nearest_class_is_another_one():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    features = np.array([[0.0, 0], [1, 0], [5, 0]])[labels] + 0.01 * rng.normal(size=(300, 2))
    codes = Space(features, labels, 0).codes(features, labels)
    np.testing.assert_array_equal(codes["nearest class"], np.array([1, 0, 1])[labels])


def darkened(count: int = 1600) -> SimpleNamespace:
    """Return clothes of which some bags are very dark."""
    data = xai.load_data("example:fashion-test").subset(count, seed=1)
    images, labels = data.images[:], data.labels
    chosen = (labels == 8) & (torch.rand(count, generator=torch.Generator().manual_seed(0)) < 0.5)
    images[chosen] *= 0.1
    return SimpleNamespace(
        images=images, labels=labels, classes=data.class_names, name="darkened", chosen=chosen.numpy()
    )


@pytest.fixture(scope="module")
def real() -> tuple[SliceResult, SimpleNamespace]:
    data = darkened()
    return xai.slices(xai.load("example:fashion"), data), data


def test_dark_bags_are_found_with_a_real_network(real):
    found, data = real
    dark = data.chosen[found.rows]
    best = max(found.findings, key=lambda each: overlap(found.members[found.slices.index(each)], dark))
    inside = found.members[found.slices.index(best)]
    assert (inside & dark).sum() / dark.sum() > 0.7
    assert (inside & dark).sum() / inside.sum() > 0.7
    assert {"dark", "low-contrast"} & set(best.words.split())
    assert set(found.members_of(best)) == set(found.rows[inside])
    assert any("last linear layer" in note for note in found.notes)


def test_pictures_shown_are_wrong_ones_of_their_slice(real):
    found, data = real
    assert len(found.images) == len(found.shown) == len(found.image_names)
    assert set(found.shown[:, 0]) == {found.slices.index(each) for each in found.findings}
    for picture, (number, row) in zip(found.images, found.shown, strict=True):
        assert found.members[number, row]
        assert found.predictions[row] != found.labels[row]
        np.testing.assert_array_equal(picture, data.images[found.rows[row]])


def test_drawn(real):
    found, _ = real
    titles = [axis.get_title("left") for axis in found.plot().axes]
    assert any(found.findings[0].words[:20] in title for title in titles)
    nothing = slices_of_predictions(**noise(0))
    assert "no weak slice" in nothing.plot().texts[0].get_text()


def test_saved_and_loaded(real, tmp_path: Path):
    found, _ = real
    again = SliceResult.load(found.save(tmp_path / "found"))
    assert again.to_dict() == found.to_dict()
    assert again.findings == found.findings
    np.testing.assert_array_equal(again.members, found.members)
    json.dumps(found.to_dict(), allow_nan=False)
    (tmp_path / "found" / "values.npz").unlink()
    with pytest.raises(RecordError, match="values"):
        SliceResult.load(tmp_path / "found")


def test_seeds_decide_and_the_table_has_everything(real):
    made, _ = planted(0)
    one, same, other = (slices_of_predictions(**made, seed=seed) for seed in (1, 1, 2))
    assert one.to_dict() == same.to_dict()
    assert not np.array_equal(one.rows, other.rows)
    assert len(one.table) == len(one) == len(one.slices)
    assert one.table.verdict[0] == "weak"
    assert {"accuracy_low", "gap_high", "p_adjusted", "detectable", "words"} <= set(one.table)
    for label in range(5):
        assert abs((one.labels == label).sum() * 2 - (made["labels"] == label).sum()) <= 1


def test_nothing_to_find_is_said():
    made = noise(0)
    for said, note in [(made["labels"], "correct"), ((made["labels"] + 1) % 5, "wrong")]:
        found = slices_of_predictions(**(made | {"predictions": said}))
        assert found.findings == ()
        assert f"all predictions are {note}" in found.notes
    few = slices_of_predictions(**noise(0, 90, classes=2, wide=3))
    assert set(few.table.verdict) <= {"too small to tell"}


def test_progress_stop_and_the_model(real):
    net = lived_in(GapCnn())
    images, labels = pictures(90), torch.arange(90) % 4
    before = snapshot(net)
    seen: list[tuple[int, int]] = []
    xai.slices(net, images, labels=labels, progress=lambda done, total: seen.append((done, total)))
    assert snapshot(net) == before
    assert seen[-1] == (180, 180)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    asked: list[int] = []
    xai.slices(net, images, labels=labels, should_stop=lambda: asked.append(1) is not None)
    assert len(asked) > 30  # for each kind of images, and not only while they go through the network
    for after in (0, 3, len(asked) // 2, len(asked) - 1):
        calls = iter([False] * after + [True] * 99)
        with pytest.raises(Stopped, match="as asked"):
            xai.slices(net, images, labels=labels, should_stop=lambda calls=calls: next(calls))


def test_bad_input_is_one_clear_line():
    made = noise(0)
    nan = made["properties"] | {"contrast": np.full(1000, np.nan)}
    for error, match, change in [
        (RangeError, "alpha", {"alpha": 0.0}),
        (InputError, "at least 80", {"predictions": made["predictions"][:50]}),
        (InputError, "features", {"features": made["features"][:50]}),
        (InputError, "not finite", {"properties": nan}),
    ]:
        with pytest.raises(error, match=match):
            slices_of_predictions(**(made | change))
    images = pictures(90)
    with pytest.raises(InputError, match="labels"):
        xai.slices(GapCnn(), images)
    with pytest.raises(ShapeError, match="one label per image"):
        xai.slices(GapCnn(), images, labels=[0, 1])
