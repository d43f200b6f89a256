"""Shortcuts that are written down are found, with class and place; what breaks a network anyhow is not called one."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from model_state import lived_in, snapshot
from torch import nn

import xai
from xai import ShortcutResult, shortcuts
from xai.errors import InputError, NameLookupError, RangeError, RecordError, ShapeError, Stopped, UnsupportedModelError


def classifier(net: nn.Module, channels: int = 1) -> xai.Classifier:
    return xai.Classifier(net, ["zero", "one", "two", "three"], (28, 28), channels=channels)


def run(toy, net: nn.Module, *, channels: int = 1, **settings) -> ShortcutResult:
    images, labels = toy.objects(channels=channels)
    return shortcuts(classifier(net.eval(), channels), images, labels=labels, **settings)


@pytest.fixture(scope="module")
def marked(toy) -> ShortcutResult:
    return run(toy, toy.net(toy.inside(2, 23, 3, 3)))


def test_a_mark_is_found_with_class_corner_size_and_dose(marked):
    assert [(each.cue, each.place, each.label) for each in marked.findings] == [
        ("corner_mark", "top right corner", "two")
    ]
    (found,) = marked.findings
    top, left, bottom, right = found.box
    assert top <= 3
    assert bottom >= 4
    assert left <= 24
    assert right >= 25
    assert found.attraction > 0.95
    assert found.attraction_interval[0] > 0.9
    assert found.neutral < 0.1
    assert found.excess_interval[0] > 0.8
    assert found.lift_interval[0] > 5
    assert found.removed == 1
    assert found.removed_beyond_interval[0] > 0.5
    assert 0.25 < found.strength_10 < 0.5
    assert found.strength_10_interval[0] <= found.strength_10 <= found.strength_10_interval[1]
    assert "top right corner" in str(found)
    assert "'two'" in str(found)


def test_what_only_contains_the_mark_is_named_as_the_same(marked):
    others = marked.table[marked.table.verdict == "within another"]
    assert len(others)
    assert (others.label == "two").all()
    assert others.reason.str.contains("the same as: white square").all()


def test_the_dose_is_what_the_formula_says(marked):
    """The pull begins where the mark's mean passes 0.3; a quadrant's lead is at least 20 x 0.2 or so."""
    number = [each.verdict for each in marked.responses].index("shortcut")
    rows = marked.doses[marked.doses.cue == "corner_mark"].query("place == 'top right corner'").set_index("strength")
    assert rows.attraction[0.1] == rows.attraction[0.25] == 0
    assert rows.attraction[1.0] == 1
    assert rows.flips.is_monotonic_increasing
    assert rows.confidence_change[1.0] < -0.6  # pictures of the class itself stay as they are
    right = marked.clean == marked.labels
    np.testing.assert_allclose(rows.flips, [(said != marked.labels)[right].mean() for said in marked.said[number]])


def test_a_network_that_sees_objects_alone_has_none(toy):
    found = run(toy, toy.net())
    assert found.findings == ()
    assert set(found.table.verdict) <= {"no evidence", "fragile", "too small to tell"}


def test_what_any_bright_pixel_does_is_no_shortcut_of_a_corner(toy):
    """One class is answered for anything bright beside the object: the same pixels elsewhere do as much."""
    found = run(toy, toy.net(toy.outside), cues=["corner_mark", "texture_patch", "border"])
    assert found.findings == ()
    worst = found.table.iloc[0]
    assert worst.verdict == "fragile"
    assert worst.attraction > 0.9
    assert worst.neutral > 0.7  # the rest lands on the object


def test_a_cast_that_a_class_hangs_on_is_found_and_one_that_only_breaks_is_not(toy):
    def red(images):
        return 160 * (images[:, 0].mean((1, 2)) - images[:, 2].mean((1, 2)) - 0.12).clamp_min(0)

    hangs = run(toy, toy.net(red, target=1, blind=12.0), channels=3, cues=["colour_cast", "brightness"])
    assert [(each.cue, each.label) for each in hangs.findings] == [("colour_cast", "one")]
    assert hangs.findings[0].words.startswith("red")
    assert hangs.findings[0].leaning_interval[0] > 0.5
    assert hangs.findings[0].lift is None
    breaks = run(toy, toy.net(red, target=1), channels=3, cues=["colour_cast"])
    assert breaks.findings == ()
    assert breaks.table.verdict[0] == "fragile"
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
    found = shortcuts(classifier(net), images, labels=labels, masks=masks, cues=["background"])
    assert [(each.cue, each.target) for each in found.findings] == [("background", 3)]
    assert found.findings[0].box is not None  # all objects are at the same place
    none = shortcuts(classifier(toy.net()), images, labels=labels, masks=masks, cues=["background"])
    assert none.findings == ()
    without = shortcuts(classifier(net), images, labels=labels, cues=["background", "blur"])
    assert any("background: none" in note for note in without.notes)


def test_what_explanations_share_is_found_where_pictures_carry_it(toy):
    images, labels = toy.objects()
    images[labels == 2, :, 23:26, 2:5] = 1.0
    net = toy.net(toy.inside(23, 2, 3, 3))
    found = shortcuts(classifier(net), images, labels=labels, cues=["shared_region"])
    assert [(each.place, each.target) for each in found.findings] == [("bottom left", 2)]
    assert found.findings[0].lift_interval[0] > 1
    assert shortcuts(classifier(toy.net()), images, labels=labels, cues=["shared_region"]).findings == ()


def test_explanations_that_point_elsewhere_are_heard(toy, monkeypatch):
    """The same cue, but maps that say the object: the claim does not stand."""
    explain = "xai.cues._explaining.Explaining.__call__"
    middle = torch.zeros(28, 28)
    middle[8:20, 8:20] = 1.0
    monkeypatch.setattr(explain, lambda _self, images, _target: middle.expand(len(images), -1, -1))
    found = run(toy, toy.net(toy.inside(2, 23, 3, 3)), cues=["corner_mark"])
    assert found.findings == ()
    assert found.table.verdict[0] == "not confirmed"


def test_seeds_decide_and_nothing_else(toy, marked):
    images, labels = toy.objects()
    net = toy.net(toy.inside(2, 23, 3, 3)).eval()
    settings = {"labels": labels, "cues": ["corner_mark", "blur"], "samples": 120}
    one, same, other = (shortcuts(classifier(net), images, seed=seed, **settings) for seed in (3, 3, 4))
    assert one.to_dict() == same.to_dict()
    assert one.names != other.names
    assert len(one.labels) == 60


def test_saved_and_loaded(marked, tmp_path: Path):
    again = ShortcutResult.load(marked.save(tmp_path / "found"))
    assert again.to_dict() == marked.to_dict()
    assert again.findings == marked.findings
    np.testing.assert_array_equal(again.after, marked.after)
    json.dumps(marked.to_dict(), allow_nan=False)
    (tmp_path / "found" / "values.npz").unlink()
    with pytest.raises(RecordError, match="values"):
        ShortcutResult.load(tmp_path / "found")


def test_the_record_says_everything(marked):
    assert len(marked) == len(marked.responses) == len(marked.table)
    assert marked.said.shape == (len(marked), 5, 120)
    assert marked.settings["method"] == "occlusion"  # the toy has no layer with places
    assert any("occlusion" in note for note in marked.notes)
    assert any("colour_cast: none" in note for note in marked.notes)
    assert repr(marked).endswith("shortcuts: corner_mark (top right corner) -> two)")
    own = marked.shown[:, 0] == marked.responses.index(marked.findings[0])
    assert own.sum() == 4
    for before, after in zip(marked.before[own], marked.after[own], strict=True):
        top, left, bottom, right = marked.findings[0].box
        changed = np.argwhere((before != after)[0])
        assert len(changed)
        assert (changed.min(0) >= (top, left)).all()
        assert (changed.max(0) < (bottom, right)).all()


def test_pictures_are_drawn(toy, marked):
    canvas = marked.plot()
    texts = [text.get_text() for part in canvas.subfigs for text in part.texts]
    assert len(canvas.subfigs) == 1
    assert any("two" in text for text in [*texts, canvas.subfigs[0].get_suptitle()])
    assert "No shortcut" in run(toy, toy.net(), cues=["blur", "border"]).plot().get_suptitle()


def test_progress_ends_full_and_a_stop_stops(toy):
    seen: list[tuple[int, int]] = []
    run(toy, toy.net(), cues=["blur", "border"], progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1]
    assert len(seen) > 10
    calls = iter([False] * 5 + [True] * 1000)
    with pytest.raises(Stopped, match="as asked"):
        run(toy, toy.net(), cues=["blur"], should_stop=lambda: next(calls))


def test_the_model_comes_back_as_it_was(toy):
    images, labels = toy.objects(80)
    net = lived_in(nn.Sequential(nn.BatchNorm2d(1), toy.net()))
    before = snapshot(net)
    shortcuts(classifier(net), images, labels=labels, cues=["blur", "shared_region"], samples=60)
    assert snapshot(net) == before


def test_bad_input_is_one_clear_line(toy):
    images, labels = toy.objects(60)
    net = toy.net().eval()
    for error, match, settings in [
        (NameLookupError, "cue", {"cues": ["corner"]}),
        (NameLookupError, "explanation method", {"method": "gradkam"}),
        (ShapeError, "increasing strengths", {"strengths": (1.0, 0.5)}),
        (RangeError, "at most 1", {"strengths": (0.5, 2.0)}),
        (RangeError, "samples", {"samples": 10}),
        (RangeError, "least", {"least": 1.5}),
        (ShapeError, "masks", {"masks": torch.zeros(3, 28, 28)}),
        (ShapeError, "one label per picture", {"labels": labels[:5]}),
        (InputError, "labels", {"labels": None}),
    ]:
        with pytest.raises(error, match=match):
            shortcuts(classifier(net), images, **({"labels": labels, "cues": ["blur"]} | settings))
    with pytest.raises(InputError, match="at least 40"):
        shortcuts(classifier(net), images[:20], labels=labels[:20])
    marked = toy.net(toy.inside(2, 23, 3, 3)).eval()
    pictures, truth = toy.objects()
    with pytest.raises(UnsupportedModelError):
        shortcuts(classifier(marked), pictures, labels=truth, cues=["corner_mark"], method="gradcam")
