"""`fit_ood` and the detector: refusals, verdicts, choice, records, streams, and the model as it was."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detector_cases import STORED
from model_state import assert_same, lived_in, snapshot
from small_models import GapCnn, pictures
from torch import nn

import xai
from xai import fit_ood
from xai.errors import DataError, InputError, NameLookupError, RangeError, RecordError, Stopped, UnsupportedModelError
from xai.ood.detectors.base import DETECTORS
from xai.ood.detectors.passes import gather
from xai.ood.detectors.reference import RowSample
from xai.ood.selection import SHIFTS, by_kind, network_kind


def parts(count: int = 60) -> tuple[Any, Any]:
    """Return small images to fit on and others to calibrate on."""
    made = pictures(count + 40, seed=4)
    return made[:count], made[count:]


def test_foreign_pictures_are_found_and_ordinary_ones_kept(wardrobe: Any, vim: xai.OODDetector) -> None:
    ordinary, foreign = vim.judge(wardrobe.test), vim.judge(wardrobe.digits)
    rejected = ordinary.verdicts.count("out-of-distribution") / len(ordinary)
    assert rejected < 0.12
    assert foreign.verdicts.count("out-of-distribution") > 75
    assert "of 100 in-distribution images" in foreign.guarantee.sentence.lower()
    torch.testing.assert_close(sum(foreign.parts.values()), foreign.scores)  # type: ignore[arg-type]
    torch.testing.assert_close(vim.score(wardrobe.digits), foreign.scores)


def test_one_picture_has_plain_values(wardrobe: Any, vim: xai.OODDetector) -> None:
    found = vim.judge(wardrobe.digits[0])
    assert isinstance(found.score, float)
    assert isinstance(found.p_value, float)
    assert found.verdict == "out-of-distribution"
    assert 1 / 301 <= found.p_value <= 0.05
    assert found.fired[0] in ("residual", "energy")
    assert "higher than that of" in found.reasons[0]
    assert vim.score(wardrobe.digits[0]).shape == (1,)


def test_pictures_in_any_form_score_the_same(tmp_path: Path, vim: xai.OODDetector) -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (28, 28), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    forms = [str(tmp_path / "one.png"), Image.fromarray(pixels), pixels, torch.from_numpy(pixels)[None].float() / 255]
    scores = [float(vim.score(form)[0]) for form in forms]
    np.testing.assert_allclose(scores, scores[0], rtol=1e-5)
    assert vim.judge(str(tmp_path / "one.png")).image_names == ("one.png",)
    several = vim.judge([str(tmp_path / "one.png"), pixels])
    assert several.image_names == ("one.png", "image 1")
    assert not several.single


def test_calibrating_on_the_fit_pictures_is_refused(wardrobe: Any) -> None:
    both = wardrobe.fit.images[:30]
    with pytest.raises(DataError, match=r"30 of 30 calibration images are among the fit images \(numbers 0, 1, 2"):
        fit_ood(wardrobe.classifier, wardrobe.fit, both, "energy")
    one = torch.cat([wardrobe.calibration.images[:29], both[:1]])
    with pytest.raises(DataError, match=r"1 of 30 calibration images .* \(numbers 29\)"):
        fit_ood(wardrobe.classifier, wardrobe.fit, one, "energy")
    found = fit_ood(wardrobe.classifier, wardrobe.fit, one, "energy", duplicates="drop")
    assert len(found.calibration_keys) == 29
    assert any("1 calibration images are among the fit images and were left out" in note for note in found.notes)
    with pytest.raises(DataError, match="All calibration images are among the fit images"):
        fit_ood(wardrobe.classifier, wardrobe.fit, both, "energy", duplicates="drop")


def test_the_same_pictures_in_another_form_are_recognised(wardrobe: Any) -> None:
    pixels = (wardrobe.fit.images[:25] * 255).round().byte().permute(0, 2, 3, 1).numpy()
    with pytest.raises(DataError, match="25 of 25 calibration images"):
        fit_ood(wardrobe.classifier, wardrobe.fit, pixels, "msp")


def test_judging_pictures_that_were_learned_from_is_said(wardrobe: Any, vim: xai.OODDetector) -> None:
    found = vim.judge(torch.cat([wardrobe.fit.images[:2], wardrobe.calibration.images[:1], wardrobe.digits[:1]]))
    assert any("3 image(s) are among the fit or calibration images" in note for note in found.notes)
    assert not any("are among" in note for note in vim.judge(wardrobe.digits[:2]).notes)


def test_auto_tries_shifts_and_says_why(wardrobe: Any) -> None:
    found = fit_ood(wardrobe.classifier, wardrobe.fit, wardrobe.calibration)
    choice, table = found.choice, found.table
    assert choice is not None
    assert table is not None
    assert choice.kind == "convolutional"
    assert choice.images == 100
    assert len(found.calibration_keys) == 200  # those that it was tried on no longer calibrate
    assert set(SHIFTS) < set(table.columns)
    assert len(table) == len(STORED) + 1
    assert found.method == choice.chosen.partition("(")[0]
    best = table.iloc[0]
    chosen = table[table["method"] == choice.chosen].iloc[0]
    assert chosen["p_against_best"] > 0.05
    assert best["auroc"] >= chosen["auroc"] > 0.9
    assert choice.reason in found.notes
    assert found.judge(wardrobe.digits).verdicts.count("out-of-distribution") > 60


def test_methods_at_chance_are_named(wardrobe: Any) -> None:
    """A network whose features say nothing: all its weights are random, its logits are noise."""
    found = fit_ood(GapCnn().eval(), *parts(80))
    assert found.choice is not None
    assert len(found.choice.rows) == 0  # too few images to try
    assert "too few calibration images" in found.choice.reason
    flat = pictures(120, seed=8)
    dull = nn.Sequential(nn.Flatten(), nn.Linear(768, 3))
    nn.init.zeros_(dull[1].weight)
    tried = fit_ood(xai.Classifier(dull, input_size=(16, 16)), pictures(100, seed=9), flat)
    assert tried.choice is not None
    assert {"msp", "energy", "gen", "maxlogit"} <= set(tried.choice.at_chance)
    assert "at chance on this model: " in tried.choice.reason


def test_small_data_is_chosen_for_by_kind() -> None:
    class Attention(nn.Module):
        pass

    assert network_kind(nn.Sequential(nn.Conv2d(3, 3, 1), Attention())) == "transformer"
    assert network_kind(nn.Linear(3, 3)) == "other"
    assert by_kind(Attention(), ["ash", "rmd(normalise=True)", "msp"]).chosen == "rmd(normalise=True)"
    assert by_kind(nn.Conv2d(3, 3, 1), ["ash", "mahalanobis", "fdbd"]).chosen == "fdbd"


@pytest.mark.parametrize("method", DETECTORS.names())
def test_every_method_is_kept_and_read_back(method: str, tmp_path: Path) -> None:
    net = GapCnn().eval()
    fit, calibration = parts()
    found = fit_ood(net, fit, calibration, method, seed=3)
    json.dumps(found.to_dict())
    found.save(tmp_path / "kept")
    again = xai.OODDetector.load(tmp_path / "kept", net)
    fresh = pictures(5, seed=6)
    assert torch.equal(again.score(fresh), found.score(fresh))
    assert again.judge(fresh).to_dict() == found.judge(fresh).to_dict()
    assert again.to_dict() == found.to_dict()
    assert again.settings == found.settings
    assert found.layer == "head"
    assert any("features: the 6 inputs of the last linear layer 'head'" in note for note in found.notes)


def test_judgements_are_kept_and_read_back(wardrobe: Any, vim: xai.OODDetector, tmp_path: Path) -> None:
    found = vim.judge(wardrobe.digits[:4], alpha=0.1)
    found.save(tmp_path / "kept")
    again = xai.results.Judgement.load(tmp_path / "kept")
    assert again.to_dict() == found.to_dict()
    assert again.table.equals(found.table)
    assert list(found.table["verdict"]) == list(found.verdicts)
    (tmp_path / "kept" / "manifest.json").write_text("{}")
    with pytest.raises(RecordError, match="another kind"):
        xai.results.Judgement.load(tmp_path / "kept")


def test_a_detector_finds_its_model_by_name_or_asks_for_it(vim: xai.OODDetector, wardrobe: Any, tmp_path: Path) -> None:
    vim.save(tmp_path / "named")
    again = xai.OODDetector.load(tmp_path / "named")
    torch.testing.assert_close(again.score(wardrobe.digits), vim.score(wardrobe.digits))
    with pytest.raises(InputError, match="has other weights or preprocessing"):
        xai.OODDetector.load(tmp_path / "named", GapCnn())
    fit_ood(GapCnn().eval(), *parts(), "msp").save(tmp_path / "own")
    alone = xai.OODDetector.load(tmp_path / "own")
    assert len(alone.calibration_scores) == 40
    with pytest.raises(InputError, match="loaded without its model 'GapCnn'"):
        alone.judge(pictures(1))


def test_the_model_comes_back_as_it_was() -> None:
    net = lived_in(GapCnn())
    before = snapshot(net)
    found = fit_ood(net, *parts(), "odin")
    found.judge(pictures(2))
    found.explain(pictures(1), "saliency")
    assert_same(before, snapshot(net))
    with pytest.raises(Stopped):
        fit_ood(net, *parts(), should_stop=lambda: True)
    assert_same(before, snapshot(net))


def test_progress_never_falls_and_ends_full(wardrobe: Any) -> None:
    seen: list[tuple[int, int]] = []
    fit_ood(
        wardrobe.classifier, wardrobe.fit, wardrobe.calibration, progress=lambda done, total: seen.append((done, total))
    )
    shares = [done / total for done, total in seen]
    assert shares == sorted(shares)
    assert seen[-1] == (600 + 300 + 5 * 100,) * 2
    calls = iter([False] * 12 + [True] * 100)
    with pytest.raises(Stopped):
        fit_ood(wardrobe.classifier, wardrobe.fit, wardrobe.calibration, should_stop=lambda: next(calls))


def test_labels_are_classes_to_fit_by_and_predictions_stand_in() -> None:
    net = GapCnn().eval()
    fit, calibration = parts()

    class Labelled:
        images, labels = fit, torch.arange(60) % 2

    own = fit_ood(net, Labelled, calibration, "mahalanobis")
    said = fit_ood(net, fit, calibration, "mahalanobis")
    assert len(own.fitted.state["centres"]) == 2
    assert len(said.fitted.state["centres"]) == len(net(fit).argmax(1).unique())
    Labelled.labels = torch.arange(60) - 1
    with pytest.raises(DataError, match="one class number per image, 0 or more"):
        fit_ood(net, Labelled, calibration, "mahalanobis")


def test_a_model_without_a_linear_head_is_judged_by_its_logits() -> None:
    net = nn.Sequential(GapCnn().eval(), nn.LogSoftmax(1)).eval()
    fit, calibration = parts()
    with pytest.raises(UnsupportedModelError, match="no such layer"):
        fit_ood(net, fit, calibration, "knn")
    found = fit_ood(net, fit, calibration)
    assert found.method in ("msp", "gen", "energy", "maxlogit")
    assert found.bank is None
    assert found.layer is None
    with pytest.raises(InputError, match="no features to find neighbours by"):
        found.neighbours(pictures(1))


def test_two_classes_of_one_logit_have_a_head() -> None:
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.last = GapCnn(), nn.Linear(4, 1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.last(self.body(images))

    for said in ({"task": "binary"}, {"class_names": ["no", "yes"]}):
        classifier = xai.Classifier(One().eval(), input_size=(16, 16), **said)
        found = fit_ood(classifier, *parts(), "react", percentile=100.0)
        layer = found.fitted.view.head
        assert layer is not None
        assert layer.weight.shape == (2, 4)
        plain = fit_ood(classifier, *parts(), "energy")
        fit = parts()[0]  # cut at the largest activation of the fit images: nothing is cut of them
        torch.testing.assert_close(found.score(fit), plain.score(fit), atol=1e-5, rtol=1e-5)


def test_neighbours_are_fit_pictures(wardrobe: Any, vim: xai.OODDetector) -> None:
    table = vim.neighbours(wardrobe.fit.images[5], k=3)
    assert list(table.columns) == ["image", "rank", "number", "class", "distance"]
    assert table.iloc[0]["number"] == 5
    assert table.iloc[0]["distance"] < 1e-5
    assert table.iloc[0]["class"] == int(wardrobe.fit.labels[5])
    assert list(table["distance"]) == sorted(table["distance"])
    with pytest.raises(RangeError, match="`k` as a whole number"):
        vim.neighbours(wardrobe.digits, k=0)


def test_wide_flattened_maps_are_averaged_and_said(wardrobe: Any, vim: xai.OODDetector) -> None:
    assert vim.fitted.view.pool == 49
    assert any("means of their 96 channels over 49 places" in note for note in vim.notes)
    whole = fit_ood(wardrobe.classifier, wardrobe.fit, wardrobe.calibration, "knn", pool=False)
    assert whole.fitted.state["bank"].shape == (600, 4704)
    assert fit_ood(wardrobe.classifier, wardrobe.fit, wardrobe.calibration, "knn").fitted.state["bank"].shape[1] == 96


def test_a_sample_does_not_depend_on_batches_or_order() -> None:
    keys = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    rows = torch.arange(1000)
    kept = []
    for block, order in ((1000, rows), (7, rows), (64, rows.flip(0))):
        sample = RowSample(50)
        for start in range(0, 1000, block):
            part = order[start : start + block]
            sample.add(keys[part], part)
        numbers, held = sample.columns()
        assert len(numbers) == 50
        assert torch.equal(order[numbers], held)
        kept.append(set(held.tolist()))
    assert kept[0] == kept[1] == kept[2] == set(keys.argsort()[:50].tolist())


def test_many_pictures_are_sampled_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xai.ood.detectors.reference.BANK_BYTES", 20 * 4 * 6)
    net = xai.Classifier(GapCnn().eval())
    first, _ = gather(net, parts()[0], frozenset({"bank"}))
    other, _ = gather(net, parts()[0], frozenset({"bank"}), seed=1)
    assert first.bank is not None
    assert other.bank is not None
    assert len(first.bank) == len(other.bank) == 20
    assert first.bank.numbers.tolist() != other.bank.numbers.tolist()
    assert "a random sample of 20 of 60 images" in first.notes[1]


@pytest.mark.parametrize("name", list(SHIFTS))
def test_shifts_are_pictures_that_differ_and_do_not_depend_on_the_batch(name: str) -> None:
    images = pictures(6)
    made = SHIFTS[name](images, 0)
    assert made.shape == images.shape
    assert 0 <= float(made.min()) <= float(made.max()) <= 1
    assert float((made - images).abs().mean()) > 0.05
    torch.testing.assert_close(SHIFTS[name](images[2:3], 0), made[2:3])
    if name == "shuffled patches":
        torch.testing.assert_close(made.sort(-1).values.sum(), images.sort(-1).values.sum())


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"method": "mahalanobiss"}, NameLookupError, "Near: mahalanobis"),
        ({"method": "knn", "kk": 3}, NameLookupError, "setting of knn 'kk'"),
        ({"method": "auto", "k": 3}, NameLookupError, "setting of auto 'k'"),
        ({"method": "knn", "duplicates": "keep"}, NameLookupError, "way to treat duplicates"),
        ({"method": "knn", "seed": 0.5}, RangeError, "`seed`"),
        ({"method": "knn", "k": 0}, RangeError, "`k`"),
    ],
)
def test_what_cannot_be_used_is_refused_before_any_work(asked: dict[str, Any], error: type, words: str) -> None:
    net = GapCnn().eval()
    net.register_forward_hook(lambda *_: pytest.fail("the network ran"))
    with pytest.raises(error, match=words):
        fit_ood(net, *parts(), **asked)


def test_a_path_or_a_name_is_loaded(wardrobe: Any) -> None:
    found = fit_ood(wardrobe.classifier, "example:digits", wardrobe.calibration, "msp")
    assert len(found.fit_keys) == 1797
    with pytest.raises(DataError, match="no-such-folder: no such file"):
        fit_ood(wardrobe.classifier, "no-such-folder", wardrobe.calibration, "msp")
    with pytest.raises(DataError, match="Expected the calibration data as a data set"):
        fit_ood(wardrobe.classifier, wardrobe.fit, 3, "msp")


def test_labels_of_another_length_are_refused() -> None:
    fit, calibration = parts()

    class Short:
        images, labels = fit, torch.zeros(59, dtype=torch.int64)

    with pytest.raises(DataError, match="59 labels for 60 images"):
        fit_ood(GapCnn().eval(), Short, calibration, "mahalanobis")


def test_empty_data_is_refused() -> None:
    fit, calibration = parts()
    for pair in ((fit[:0], calibration), (fit, calibration[:0])):
        with pytest.raises(DataError, match="data set is empty"):
            fit_ood(GapCnn().eval(), *pair, "msp")


@pytest.mark.parametrize("shift", xai.OODDetector.SHIFTS)
def test_shifts_of_ordinary_pictures_are_foreign(shift: str, wardrobe: Any, vim: xai.OODDetector) -> None:
    some = wardrobe.test.take(range(20))
    made = vim.shifted(some, shift)
    wanted = SHIFTS[shift](some.images[:], vim.seed)
    assert len(made) == 20
    torch.testing.assert_close(made[4:6], wanted[4:6])
    torch.testing.assert_close(made[-1], wanted[-1])
    torch.testing.assert_close(made[:], vim.shifted(some.images[:], shift)[:])
    assert vim.score(made).mean() > vim.score(some).mean()


def test_another_shift_is_refused(wardrobe: Any, vim: xai.OODDetector) -> None:
    with pytest.raises(NameLookupError, match="Near: inversion"):
        vim.shifted(wardrobe.test, "inversoin")
