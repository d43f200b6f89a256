"""Shortcuts that are written down are found, with class and place; what breaks a model anyhow is not called one."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from model_state import lived_in, snapshot
from torch import nn

import xai
from xai import shortcuts
from xai.errors import InputError, NameLookupError, RangeError, RecordError, ShapeError, Stopped, UnsupportedModelError
from xai.results import ShortcutResult

MARK = (2, 23, 3, 3)  # top, left, height, width


def classifier(net: nn.Module, channels: int = 1) -> xai.Classifier:
    return xai.Classifier(net, ["zero", "one", "two", "three"], (28, 28), channels=channels)


def run(toy, net: nn.Module, *, channels: int = 1, **settings) -> ShortcutResult:
    images, labels = toy.objects(channels=channels)
    return shortcuts(classifier(net.eval(), channels), images, labels=labels, **settings)


def with_mark(toy, count: int = 240, seed: int = 0):
    """Return objects of which nine in ten of class two have the mark."""
    images, labels = toy.objects(count, seed=seed)
    carries = (labels == 2) & (torch.rand(len(labels), generator=torch.Generator().manual_seed(1)) < 0.9)
    top, left, height, width = MARK
    images[carries, :, top : top + height, left : left + width] = 1.0
    return images, labels, carries


@pytest.fixture(scope="module")
def marked(toy) -> ShortcutResult:
    images, labels, _ = with_mark(toy)
    return shortcuts(classifier(toy.net(toy.inside(*MARK)).eval()), images, labels=labels, probes=["corner_mark"])


def test_a_mark_of_the_data_is_found_with_class_corner_size_and_dose(toy, marked):
    (found,) = marked.findings
    _, labels, carries = with_mark(toy)
    held = torch.tensor([int(name) for name in marked.image_names])
    assert (found.probe, found.place, found.label) == ("corner_mark", "top right corner", "two")
    assert found.words == "white mark of 3 x 3 pixels"
    assert found.box == (2, 23, 5, 26)
    assert found.from_data
    assert found.carried == pytest.approx(float(carries[held][labels[held] == 2].float().mean()))  # counted by hand
    assert found.carried_elsewhere == 0
    assert found.auroc > 0.9
    assert found.attraction > 0.95
    assert found.neutral < 0.1
    assert found.excess_interval[0] > 0.8
    assert found.lift_interval[0] > 5
    assert found.removed_p < 1e-4
    assert marked.verdict == "finding"
    assert "of the images of 'two' have it and 0% of the others" in found.reason


def test_a_mark_that_the_data_lack_keeps_the_verdict_open(toy):
    """The model follows it, removal undoes it, and no image has it: no finding, and never "no evidence"."""
    found = run(toy, toy.net(toy.inside(*MARK)), probes=["corner_mark"])
    assert found.findings == ()
    assert found.verdict == "inconclusive"
    worst = found.table.iloc[0]
    assert (worst.verdict, worst.place, worst.label) == ("not confirmed", "top right corner", "two")
    assert worst.excess > 0.8
    assert worst.removed == 1
    assert "search the training set" in worst.reason


def test_classes_with_too_few_images_to_be_searched_are_said_and_not_acquitted(toy):
    images, labels = toy.objects(48)
    kept = torch.cat([(labels == k).nonzero()[:12, 0] for k in range(4)])
    calm, loud = (
        shortcuts(classifier(net.eval()), images[kept], labels=labels[kept], probes=["corner_mark"])
        for net in (toy.net(), toy.net(toy.inside(*MARK)))
    )
    for found in (calm, loud):
        (note,) = [note for note in found.notes if "too few images to look for" in note]
        assert note.endswith("(fewer than 8): 'zero', 'one', 'two', 'three'")
    assert calm.verdict == "too small to tell"
    assert loud.verdict in {"too small to tell", "inconclusive"}
    assert "sensitivity" not in set(loud.table.verdict)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_model_with_one_prediction_is_too_little_to_tell(toy):
    images, labels = toy.objects(100)
    always = toy.net(lambda images: torch.full((len(images),), 99.0)).eval()
    assert shortcuts(classifier(always), images, labels=labels, probes=["border"]).verdict == "too small to tell"


def test_the_training_set_explains_what_the_audited_data_lack(toy):
    images, labels = toy.objects()
    learnt, truth, _ = with_mark(toy, 300, seed=5)
    net = toy.net(toy.inside(*MARK)).eval()
    found = shortcuts(classifier(net), images, labels=labels, train=(learnt, truth), probes=["corner_mark"])
    assert [(each.place, each.label) for each in found.findings] == [("top right corner", "two")]
    assert found.settings["train"]
    assert any("300 images of the training set" in note for note in found.notes)


def test_a_mark_in_the_data_that_the_model_does_not_follow_is_no_finding(toy):
    images, labels, _ = with_mark(toy)
    found = shortcuts(classifier(toy.net().eval()), images, labels=labels, probes=["corner_mark", "mark", "border"])
    assert found.findings == ()
    assert found.verdict == "no evidence"
    (own,) = [each for each in found.responses if each.from_data]
    assert (own.verdict, own.place, own.label) == ("no evidence", "top right corner", "two")
    assert own.carried > 0.8


def test_a_class_recognised_only_with_a_mark_needs_no_data(toy):
    found = run(toy, toy.net(toy.inside(*MARK), blind=12.0), probes=["corner_mark"])
    (one,) = found.findings
    assert (one.place, one.label, one.from_data) == ("top right corner", "two", False)
    assert one.leaning_interval[0] > 0.5
    assert "recognised only with it" in one.reason


def test_the_dose_is_what_the_formula_says(marked):
    """The pull begins where the mark's mean passes 0.3; a quadrant's lead is at least 20 x 0.2 or so."""
    number = [each.verdict for each in marked.responses].index("shortcut")
    size = len(marked.strengths)
    rows = marked.doses.iloc[number * size : (number + 1) * size].set_index("strength")
    assert rows.attraction[0.1] == rows.attraction[0.25] == 0
    assert rows.attraction[1.0] == 1
    assert rows.flips.is_monotonic_increasing
    right = marked.clean == marked.labels
    np.testing.assert_allclose(
        rows.flips, [(said != marked.labels)[right].mean() for said in marked.predictions[number]]
    )


def test_a_model_that_sees_objects_alone_has_none(toy):
    found = run(toy, toy.net())
    assert found.findings == ()
    assert found.verdict == "no evidence"


def test_what_any_bright_pixel_does_is_no_shortcut_of_a_corner(toy):
    """One class is predicted for anything bright beside the object: the same pixels elsewhere do as much."""
    found = run(toy, toy.net(toy.outside), probes=["corner_mark", "border"])
    assert found.findings == ()
    corner = found.table[found.table.probe == "corner_mark"].iloc[0]
    assert corner.verdict in {"fragile", "sensitivity"}
    assert corner.attraction > 0.9
    assert corner.neutral > 0.7  # the rest lands on the object


def test_a_tint_that_a_class_hangs_on_is_found_and_one_that_only_breaks_is_not(toy):
    def red(images):
        return 160 * (images[:, 0].mean((1, 2)) - images[:, 2].mean((1, 2)) - 0.12).clamp_min(0)

    hangs = run(toy, toy.net(red, target=1, blind=12.0), channels=3, probes=["tint"])
    assert [(each.probe, each.label) for each in hangs.findings] == [("tint", "one")]
    assert hangs.findings[0].leaning_interval[0] > 0.5
    assert hangs.findings[0].lift is None
    breaks = run(toy, toy.net(red, target=1), channels=3, probes=["tint"])
    assert breaks.findings == ()
    assert breaks.table.verdict[0] == "sensitivity"
    assert breaks.table.attraction[0] > 0.9


def backgrounds(toy, share: float = 0.95):
    images, labels = toy.objects()
    object_here = torch.zeros(len(images), 28, 28, dtype=torch.bool)
    object_here[:, 8:20, 8:20] = True
    bright = (labels == 3) & (torch.rand(len(labels), generator=torch.Generator().manual_seed(1)) < share)
    ground = 0.6 * bright.float().view(-1, 1, 1, 1) + 0.05 * torch.rand(images.shape, generator=torch.Generator())
    return torch.where(object_here[:, None], images, ground), labels, object_here


def test_backgrounds_are_swapped_where_masks_are_given(toy):
    images, labels, masks = backgrounds(toy)
    net = toy.net(lambda x: 40 * (x[:, :, :6].mean((1, 2, 3)) - 0.3).clamp_min(0), target=3)
    found = shortcuts(classifier(net), images, labels=labels, masks=masks, probes=["background"])
    assert {(each.probe, each.target) for each in found.findings} == {("background", 3)}
    (swapped,) = [each for each in found.responses if each.words == "backgrounds of 'three'"]
    assert swapped.verdict in {"shortcut", "within another"}
    assert swapped.box is not None  # all objects are at the same place
    none = shortcuts(classifier(toy.net()), images, labels=labels, masks=masks, probes=["background"])
    assert none.findings == ()


def test_masks_that_leave_no_background_are_said(toy):
    images, labels = toy.objects(120)
    everything = torch.ones(len(images), 28, 28, dtype=torch.bool)
    found = shortcuts(classifier(toy.net()), images, labels=labels, masks=everything, probes=["background", "blur"])
    assert found.findings == ()
    assert any("the object fills every image" in note for note in found.notes)
    half = everything.clone()
    half[::2, :4] = False
    some = shortcuts(classifier(toy.net()), images, labels=labels, masks=half, probes=["background"])
    assert not any("the object fills every image" in note for note in some.notes)


def test_explanations_that_point_elsewhere_are_told_and_have_no_veto(toy, monkeypatch):
    """Averaged gradients may miss a small mark: the finding stands, and says that they do not point there."""
    explain = "xai.fairness.shortcuts.study.Explaining.__call__"
    middle = torch.zeros(28, 28)
    middle[8:20, 8:20] = 1.0
    monkeypatch.setattr(explain, lambda _self, images, _target: middle.expand(len(images), -1, -1))
    images, labels, _ = with_mark(toy)
    net = toy.net(toy.inside(*MARK)).eval()
    found = shortcuts(classifier(net), images, labels=labels, probes=["corner_mark"], samples=160)
    assert [each.place for each in found.findings] == ["top right corner"]
    assert "so they do not point there" in found.findings[0].reason


def test_seeds_decide_and_nothing_else(toy):
    images, labels = toy.objects()
    net = toy.net(toy.inside(*MARK)).eval()
    settings = {"labels": labels, "probes": ["mark", "blur"], "samples": 80}
    one, same, other = (shortcuts(classifier(net), images, seed=seed, **settings) for seed in (3, 3, 4))
    assert one.to_dict() == same.to_dict()
    assert one.image_names != other.image_names
    assert len(one.labels) == 40


def test_saved_and_loaded(marked, tmp_path: Path):
    again = ShortcutResult.load(marked.save(tmp_path / "found"))
    assert again.to_dict() == marked.to_dict()
    assert again.findings == marked.findings
    assert again.verdict == "finding"
    np.testing.assert_array_equal(again.after, marked.after)
    json.dumps(marked.to_dict(), allow_nan=False)
    (tmp_path / "found" / "values.npz").unlink()
    with pytest.raises(RecordError, match="values"):
        ShortcutResult.load(tmp_path / "found")


def test_the_record_says_everything(marked):
    assert len(marked) == len(marked.responses) == len(marked.table)
    assert marked.predictions.shape == (len(marked), 5, 120)
    assert marked.settings["method"] == "occlusion"  # the toy has no layer with places
    assert any("occlusion" in note for note in marked.notes)
    assert repr(marked).endswith("finding, shortcuts: corner_mark (top right corner) -> two)")
    own = marked.shown[:, 0] == marked.responses.index(marked.findings[0])
    assert own.sum() == 4
    for before, after in zip(marked.before[own], marked.after[own], strict=True):
        top, left, bottom, right = marked.findings[0].box
        changed = np.argwhere((before != after)[0])
        assert len(changed)
        assert (changed.min(0) >= (top, left)).all()
        assert (changed.max(0) < (bottom, right)).all()


def test_images_are_drawn(toy, marked):
    canvas = marked.plot()
    texts = [text.get_text() for part in canvas.subfigs for text in part.texts]
    assert len(canvas.subfigs) == 1
    assert any("two" in text for text in [*texts, canvas.subfigs[0].get_suptitle()])
    none = run(toy, toy.net(), probes=["blur", "border"], samples=80)
    assert f"No shortcut found ({none.verdict})" in none.plot().get_suptitle()


def test_progress_ends_full_and_a_stop_stops(toy):
    seen: list[tuple[int, int]] = []
    run(toy, toy.net(), probes=["blur"], samples=80, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1]
    assert len(seen) > 10
    calls = iter([False] * 5 + [True] * 1000)
    with pytest.raises(Stopped, match="as asked"):
        run(toy, toy.net(), probes=["blur"], should_stop=lambda: next(calls))


def test_the_model_comes_back_as_it_was(toy):
    images, labels, _ = with_mark(toy, 80)
    net = lived_in(nn.Sequential(nn.BatchNorm2d(1), toy.net()))
    before = snapshot(net)
    shortcuts(classifier(net), images, labels=labels, probes=["blur", "mark"], samples=60)
    assert snapshot(net) == before


def test_bad_input_is_one_clear_line(toy):
    images, labels = toy.objects(60)
    net = toy.net().eval()
    for error, match, settings in [
        (NameLookupError, "probe", {"probes": ["corner"]}),
        (NameLookupError, "explanation method", {"method": "gradkam"}),
        (ShapeError, "increasing strengths", {"strengths": (1.0, 0.5)}),
        (RangeError, "at most 1", {"strengths": (0.5, 2.0)}),
        (RangeError, "samples", {"samples": 10}),
        (RangeError, "least", {"least": 1.5}),
        (ShapeError, "masks", {"masks": torch.zeros(3, 28, 28)}),
        (ShapeError, "one label per image", {"labels": labels[:5]}),
        (InputError, "labels", {"labels": None}),
        (InputError, "labels", {"train": images}),
    ]:
        with pytest.raises(error, match=match):
            shortcuts(classifier(net), images, **({"labels": labels, "probes": ["blur"]} | settings))
    with pytest.raises(InputError, match="at least 40"):
        shortcuts(classifier(net), images[:20], labels=labels[:20])
    pictures, truth, _ = with_mark(toy)
    hangs = toy.net(toy.inside(*MARK)).eval()
    with pytest.raises(UnsupportedModelError):
        shortcuts(classifier(hangs), pictures, labels=truth, probes=["corner_mark"], method="gradcam")
