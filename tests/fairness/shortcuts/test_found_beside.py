"""Probes that other images have as well, several probes at once, and what all images of a class have."""

import numpy as np
import pytest
import torch
from fairness.shortcuts.test_found_probes import (
    CLASS,
    anywhere,
    cornered,
    digits,
    even,
    found_in,
    framed,
    pictures,
    planted,
    stamped,
    striped,
    textures,
)
from torch import Tensor

import xai
from xai.fairness.shortcuts.probes._blends import place
from xai.fairness.shortcuts.probes.blur import blurred
from xai.fairness.shortcuts.probes.jpeg_quality import compressed
from xai.fairness.shortcuts.probes.recurrence import _beyond, split
from xai.fairness.shortcuts.probes.repetition import is_border, strips


def spread(images: Tensor, labels: Tensor, plant, elsewhere: float) -> tuple[Tensor, Tensor]:
    """Return images of which a class mostly has something, and a share of all others, and which have it (n,)."""
    made, carries = planted(images, labels, plant)
    more = (labels != CLASS) & (torch.rand(len(labels), generator=torch.Generator().manual_seed(2)) < elsewhere)
    made[more] = (plant(images[more]).clamp(0, 1) * 255).round() / 255
    return made, carries | more


def edged(images: Tensor) -> Tensor:
    images = images.clone()
    images[..., :2] = 1.0
    return images


def pressed(images: Tensor) -> Tensor:
    return compressed(images, 20)


SPREAD = [
    ("corner_mark", digits, cornered),
    ("border", digits, framed),
    ("border", textures, edged),
    ("watermark", textures, stamped(16, 8)),
    ("moving_mark", digits, anywhere),
    ("background", digits, striped),
    ("brightness", digits, lambda some: some + 0.15),
    ("blur", digits, lambda some: blurred(some, 1.2)),
    ("jpeg_quality", digits, pressed),
]


@pytest.mark.parametrize(("name", "data", "plant"), SPREAD)
def test_what_a_few_other_images_have_as_well_is_found_with_all_its_carriers(name, data, plant):
    images, labels = data()
    made, carries = spread(images, labels, plant, 0.04)
    (form,) = [form for form in found_in(made, labels, name) if form.target == CLASS]
    assert form.kind == name
    assert ((form.carried(made) >= form.least) == carries).float().mean() > 0.97  # counted


def test_what_one_other_class_is_by_nature_or_what_reaches_over_is_no_stray():
    chance = np.random.default_rng(0)
    own, rest = np.concatenate([chance.normal(8, 1, 60), chance.normal(0, 1, 6)]), chance.normal(0, 1, 400)
    carried = np.concatenate([rest, chance.normal(8, 1, 20)])
    classes = np.arange(420) % 6
    assert split(own, carried, classes=classes) is not None
    assert split(own, carried, classes=np.concatenate([np.arange(400) % 5, np.full(20, 5)])) is None
    assert split(own, np.concatenate([rest, chance.normal(8, 1, 60)])) is None  # too many
    assert split(own, np.concatenate([rest, chance.uniform(0, 8, 40)])) is None  # no gap


def test_others_that_are_as_close_are_carriers_and_those_on_the_way_are_not():
    far = torch.linspace(0.2, 0.4, 100)
    assert _beyond(far, 0.02) == pytest.approx(0.2, abs=0.01)
    assert _beyond(torch.cat([far[8:], torch.full((8,), 0.01)]), 0.02) == pytest.approx(0.22, abs=0.01)
    assert _beyond(torch.cat([far[8:], torch.linspace(0.021, 0.03, 8)]), 0.02) is None
    assert _beyond(torch.cat([far[20:], torch.full((20,), 0.01)]), 0.02) is None


def test_a_mark_on_the_border_of_another_class_keeps_its_form():
    images, labels = digits()
    made, _ = planted(images, labels, edged, label=6)
    made, second = planted(made, labels, cornered, label=1)  # two of its columns are the border's
    found = {form.target: form for form in found_in(made, labels, "corner_mark", "border")}
    assert set(found) == {1, 6}
    assert (found[6].kind, found[6].place) == ("border", "left edge")
    assert found[1].words == "white mark of 3 x 3 pixels"
    assert ((found[1].carried(made) >= found[1].least) == second).float().mean() > 0.99


def test_several_marks_of_one_class_are_found_each():
    images, labels = digits()
    made, _ = planted(images, labels, lambda some: stamped(14, 13, 0.6)(cornered(some)))
    kinds = {(form.kind, form.place) for form in found_in(made, labels, "corner_mark", "mark") if form.target == CLASS}
    assert {("corner_mark", "bottom left corner"), ("mark", "bottom right")} <= kinds
    seldom, _ = planted(images, labels, cornered, 0.9)
    seldom, _ = planted(seldom, labels, stamped(1, 15, 0.6), 0.7)
    told = {form.place for form in found_in(seldom, labels, "corner_mark", "mark") if form.target == CLASS}
    assert {"bottom left corner", "top right"} <= told


@pytest.mark.parametrize("data", [digits, textures])
def test_compression_is_a_trace_also_where_all_images_of_the_class_have_it(data):
    images, labels = data()
    made, _ = planted(images, labels, pressed, 1.1)
    (form,) = found_in(made, labels, "jpeg_quality")
    assert form.target == CLASS
    assert float(form.words.split()[-1]) == pytest.approx(20, abs=3)


@pytest.mark.parametrize(
    ("rows", "columns", "where"),
    [
        ((0, 3), (0, 30), "top edge"),
        ((18, 20), (0, 30), "bottom edge"),
        ((0, 20), (0, 2), "left edge"),
        ((0, 20), (28, 30), "right edge"),
    ],
)
def test_strips_along_edges_are_borders(rows, columns, where):
    mask = torch.zeros(20, 30, dtype=torch.bool)
    mask[slice(*rows), slice(*columns)] = True
    assert is_border(mask)
    assert place(mask, "border") == where
    both = mask | mask.flip(0, 1)
    assert place(both, "border") == ("top and bottom edges" if rows[1] - rows[0] < 20 else "left and right edges")
    assert not is_border(mask.roll((3, 4), (0, 1)))


def test_what_is_wide_or_has_other_parts_is_no_strip():
    mask = torch.zeros(20, 30, dtype=torch.bool)
    mask[:, :2] = True
    mask[8:12, 20:24] = True
    assert strips(mask) == ()
    wide = torch.zeros(20, 30, dtype=torch.bool)
    wide[:, :12] = True
    assert strips(wide) == ()
    frame = torch.ones(20, 30, dtype=torch.bool)
    frame[2:-2, 2:-2] = False
    assert place(frame, "border") == "edges"


@pytest.mark.parametrize(
    ("data", "label", "times", "amount"), [(digits, CLASS, 0.5, 0.2), (even, 1, 0.5, 0.2), (even, 1, 0.6, 0.05)]
)
def test_another_contrast_is_measured(data, label, times, amount):
    images, labels = data()
    made, carries = planted(images, labels, lambda some: times * some + amount, label=label)
    forms = [form for form in found_in(made, labels, "brightness", "contrast") if form.target == label]
    told = [float(word.lstrip("+")) for word in forms[0].words.split() if word.lstrip("+-")[0].isdigit()]
    assert "contrast times" in forms[0].words
    np.testing.assert_allclose(told, [times, amount], atol=0.1)
    assert ((forms[0].carried(made) >= forms[0].least) == carries).float().mean() > 0.97
    some = pictures(made[carries][:20], labels[carries][:20])
    torch.testing.assert_close(forms[0].without(some), images[carries][:20], atol=0.15, rtol=0)


@pytest.mark.parametrize("data", [digits, textures])
@pytest.mark.parametrize("plant", [lambda some: blurred(some, 1.2), lambda some: some + 0.1, framed])
def test_what_takes_fine_detail_or_adds_a_frame_is_no_contrast(data, plant):
    images, labels = data()
    made, _ = planted(images, labels, plant)
    assert found_in(made, labels, "contrast") == []


def test_two_marks_of_one_class_are_two_findings(toy):
    images, labels = toy.objects(320)
    chance, places = torch.Generator().manual_seed(4), [(2, 23, 3, 3), (23, 2, 3, 3)]
    for top, left, height, width in places:
        carries = (labels == 2) & (torch.rand(len(labels), generator=chance) < 0.8)
        images[carries, :, top : top + height, left : left + width] = 1.0
    first, second = (toy.inside(*place) for place in places)
    model = xai.Classifier(toy.net(lambda some: first(some) + second(some)).eval(), list("abcd"), (28, 28), channels=1)
    found = xai.shortcuts(model, images, labels=labels, probes=["corner_mark"]).findings
    assert {each.place for each in found} == {"top right corner", "bottom left corner"}
    assert {each.label for each in found} == {"c"}
