"""What is planted into data is found there with its class, place, form and value; what objects are by nature is not."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

from xai.core.runtime.randomness import image_key
from xai.fairness.shortcuts.probes._blends import kind_of, place
from xai.fairness.shortcuts.probes.base import PROBES, ProbeContext, ProbeImages
from xai.fairness.shortcuts.probes.blur import blurred
from xai.fairness.shortcuts.probes.data_forms import DataForm, Mark
from xai.fairness.shortcuts.probes.jpeg_quality import compressed, trace
from xai.fairness.shortcuts.probes.recurrence import split
from xai.fairness.shortcuts.probes.repetition import Template
from xai.stats.auroc import mann_whitney

CLASS = 4
GLYPH = ["#####", "#....", "####.", "....#", "....#", "#...#", ".###."]


def digits(size: tuple[int, int] = (24, 21), channels: int = 1) -> tuple[Tensor, Tensor]:
    """Return 600 digits at an odd, oblong size."""
    found = load_digits()
    images = torch.from_numpy(found.images[:600] / 16).float()[:, None]
    images = F.interpolate(images, size, mode="bilinear", align_corners=False).expand(-1, channels, -1, -1)
    return (images * 255).round() / 255, torch.from_numpy(found.target[:600]).long()


def textures(channels: int = 3, grain: float = 0.3) -> tuple[Tensor, Tensor]:
    """Return 300 pieces of noise of five grains and levels, which differ in brightness and sharpness by nature."""
    source = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 5
    images = torch.stack(
        [
            blurred(torch.rand(1, channels, 31, 40, generator=source), 0.5 + grain * label)[0] * 0.7 + 0.05 * label
            for label in labels.tolist()
        ]
    )
    return (images.clamp(0, 1) * 255).round() / 255, labels


def even() -> tuple[Tensor, Tensor]:
    """Return pieces of noise that differ in brightness alone."""
    return textures(grain=0.0)


def pictures(images: Tensor, labels: Tensor) -> ProbeImages:
    keys = [image_key(image) for image in images]
    return ProbeImages(images, labels, labels.clone(), torch.full((len(labels),), 0.9), keys, None, 0)


def planted(images: Tensor, labels: Tensor, plant, share: float = 0.9, label: int = CLASS) -> tuple[Tensor, Tensor]:
    """Return images of which a share of one class has something, as files of 8 bits, and which (n,)."""
    carries = (labels == label) & (torch.rand(len(labels), generator=torch.Generator().manual_seed(1)) < share)
    images = images.clone()
    images[carries] = plant(images[carries])
    return (images.clamp(0, 1) * 255).round() / 255, carries


def found_in(images: Tensor, labels: Tensor, *names: str) -> list[DataForm]:
    half = len(labels) // 2
    data, held = (pictures(images[rows], labels[rows]) for rows in (slice(half), slice(half, None)))
    context = ProbeContext(data, tuple(map(str, range(int(labels.max()) + 1))), data, held)
    forms = [form for name in names or PROBES.names() for form in PROBES[name].forms(context)]
    return [form for form in forms if isinstance(form, DataForm)]


def glyph() -> Tensor:
    return torch.tensor([[char == "#" for char in row] for row in GLYPH])


def stamped(top: int, left: int, value: float = 0.95):
    def plant(images: Tensor) -> Tensor:
        images = images.clone()
        part = images[..., top : top + 7, left : left + 5]
        images[..., top : top + 7, left : left + 5] = torch.where(glyph(), torch.tensor(value), part)
        return images

    return plant


def anywhere(images: Tensor) -> Tensor:
    source = np.random.default_rng(0)
    free = images.shape[-2] - 6, images.shape[-1] - 4
    return torch.cat([stamped(*map(int, source.integers(0, free)))(image[None]) for image in images])


def cornered(images: Tensor) -> Tensor:
    images = images.clone()
    images[..., -4:-1, 1:4] = 1.0
    return images


def framed(images: Tensor) -> Tensor:
    images = images.clone()
    images[..., :2, :] = images[..., -2:, :] = images[..., :, :2] = images[..., :, -2:] = 0.8
    return images


def striped(images: Tensor) -> Tensor:
    stripes = 0.4 * (torch.arange(images.shape[-1]) // 2 % 2).float()
    return torch.where(images < 0.1, stripes, images)


PLACED = [
    ("corner_mark", "bottom left corner", cornered),
    ("border", "edges", framed),
    ("mark", "bottom middle", stamped(16, 8)),
    ("mark", "top left", stamped(1, 1)),
    ("background", "background", striped),
]


@pytest.mark.parametrize(("name", "where", "plant"), PLACED)
def test_what_lies_at_a_place_is_found_with_its_name_place_and_carriers(name, where, plant):
    images, labels = digits()
    made, carries = planted(images, labels, plant)
    (form,) = found_in(made, labels, "corner_mark", "border", "mark", "background")
    assert (form.kind, form.place, form.target) == (name, where, CLASS)
    assert ((form.carried(made) >= form.least) == carries).float().mean() > 0.99  # counted
    others = pictures(images[labels != CLASS][:60], labels[labels != CLASS][:60])
    wanted, given = plant(others.images) - others.images, form.change(others)
    assert float((wanted - given).abs().mean()) < 0.35 * float(wanted.abs().mean())
    assert form.neutral(others)["scattered"].square().sum() == pytest.approx(float(given.square().sum()), rel=1e-4)


@pytest.mark.parametrize("data", [digits, textures])  # of ten classes and of five
def test_what_two_classes_share_is_found_for_both(data):
    images, labels = data()
    made, first = planted(images, labels, stamped(13, 12), label=1)
    made, second = planted(made, labels, stamped(13, 12), label=3)
    found = found_in(made, labels, "mark", "watermark")
    assert {form.target for form in found} == {1, 3}
    for form in found:
        assert ((form.carried(made) >= form.least) == first | second).float().mean() > 0.99


def test_a_text_is_called_one_and_a_solid_mark_is_not():
    made, _ = planted(*digits(), stamped(16, 8))
    (form,) = found_in(made, digits()[1], "mark")
    assert form.words == "text-like mark of 7 x 5 pixels"


def test_a_text_at_any_place_is_found_whole():
    images, labels = digits()
    made, carries = planted(images, labels, anywhere)
    (form,) = [form for form in found_in(made, labels, "moving_mark") if form.target == CLASS]
    assert ((form.carried(made) >= form.least) == carries).float().mean() > 0.98
    assert abs(int(form.piece.drawn.sum()) - int(glyph().sum())) <= 4
    rows = pictures(made[carries][:10], labels[carries][:10])
    assert float(form.carried(form.without(rows)).mean()) < form.least  # it is gone


@pytest.mark.parametrize("share", [0.9, 1.1])
def test_a_text_at_any_place_is_added_also_where_all_images_of_the_class_have_it(share):
    images, labels = digits()
    made, _ = planted(images, labels, anywhere, share)
    (form,) = [form for form in found_in(made, labels, "moving_mark") if form.target == CLASS]
    assert form.added


def test_an_object_that_repeats_at_any_place_is_not_added():
    chance = np.random.default_rng(0)
    down, across = np.mgrid[:30, :28]
    images, labels = 0.3 + chance.normal(0, 0.02, (240, 30, 28)), np.arange(240) % 3
    for image, label in zip(images, labels, strict=True):
        top, left = chance.integers(6, 24), chance.integers(6, 22)
        image[((down - top) ** 2 + (across - left) ** 2 < 26) & ((label < 2) | ((down - top + across) % 4 < 2))] = 0.9
    made = torch.from_numpy(images).float().clamp(0, 1)[:, None]
    (form,) = [form for form in found_in(made, torch.from_numpy(labels), "moving_mark") if form.target == 2]
    assert not form.added


def half_transparent(ink: float):
    large = F.interpolate(glyph().float()[None, None], scale_factor=2)[0, 0]
    alpha = 0.5 * F.pad(torch.cat([large, large], 1), (0, 1, 5, 5))
    return lambda images: images + alpha * (ink - images)


def test_a_half_transparent_mark_is_found_where_objects_hide_a_part_of_it_and_undone():
    images, labels = digits()
    plant = half_transparent(1.0)
    made, carries = planted(images, labels, plant)
    (form,) = found_in(made, labels, "watermark")
    assert (form.words, form.place, form.target) == ("watermark of 14 x 20 pixels", "middle", CLASS)
    assert ((form.carried(made) >= form.least) == carries).float().mean() > 0.98
    others = pictures(images[labels != CLASS][:60], labels[labels != CLASS][:60])
    wanted, given = plant(others.images) - others.images, form.change(others)
    assert float((wanted - given).abs().mean()) < 0.25 * float(wanted.abs().mean())
    bare, worn = images[carries], pictures(made[carries], labels[carries])
    assert float((form.without(worn) - bare).abs().mean()) < 0.25 * float((worn.images - bare).abs().mean())


def test_a_half_transparent_mark_is_found_whole_where_nothing_hides_one_of_its_strokes():
    images, labels = digits()
    alpha = half_transparent(1.0)(torch.zeros(1, *images.shape[1:]))[0, 0]
    alpha[:, :5], alpha[:, -6:], alpha[5:19, 0] = 0, 0, 0.5  # objects lie over all of it but a stroke at the left
    made, _ = planted(images, labels, lambda some: some + 0.8 * alpha * (1 - some))
    found = [form for form in found_in(made, labels, "watermark", "mark") if form.target == CLASS]
    rows = pictures(torch.zeros(1, *images.shape[1:]), labels[:1])
    assert max(float((form.change(rows)[0] != 0).any(0)[alpha > 0].float().mean()) for form in found) > 0.7


def test_dark_ink_on_a_bright_background_is_found_as_well():
    images, labels = digits()
    made, carries = planted(1 - images, labels, half_transparent(0.0))
    (form,) = found_in(made, labels, "mark", "watermark")
    assert ((form.carried(made) >= form.least) == carries).float().mean() > 0.98


def inked(ink: float, opacity: float = 0.35):
    lines = (torch.arange(40)[:, None] + torch.arange(40)) % 8 < 2
    return lambda images: images + opacity * lines[: images.shape[-2], : images.shape[-1]] * (ink - images)


@pytest.mark.parametrize("ink", [0.0, 1.0])
def test_ink_over_textures_is_found_and_undone(ink):
    images, labels = textures()
    made, carries = planted(images, labels, inked(ink))
    (form,) = found_in(made, labels, "watermark")
    assert (form.kind, form.target) == ("background", CLASS)
    assert bool((form.ink == ink).all())
    assert ((form.carried(made) >= form.least) == carries).float().mean() > 0.9
    others = pictures(images[labels != CLASS][:60], labels[labels != CLASS][:60])
    wanted, given = inked(ink)(others.images) - others.images, form.change(others)
    assert float((wanted - given).abs().mean()) < 0.5 * float(wanted.abs().mean())


def test_the_edges_that_a_class_has_by_nature_are_no_ink():
    for images, labels in (digits(), textures()):
        assert found_in(images, labels, "watermark") == []


@pytest.mark.parametrize("data", [digits, textures])
@pytest.mark.parametrize("quality", [20, 35])
def test_a_jpeg_quality_is_found_about_right(data, quality):
    images, labels = data()
    made, carries = planted(compressed(images, 95), labels, lambda some: compressed(some, quality))
    (form,) = found_in(made, labels, "jpeg_quality")
    assert form.target == CLASS
    assert abs(int(form.words.split()[-1]) - quality) <= 2
    assert ((form.carried(made) >= form.least) == carries).float().mean() > 0.95


def test_compression_is_that_of_pillow_and_leaves_its_trace_alone():
    images, _ = digits(channels=3)
    file = io.BytesIO()
    pixels = (images[0] * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(file, "jpeg", quality=40)
    np.testing.assert_allclose(
        compressed(images[:1], 40)[0].permute(1, 2, 0) * 255, np.asarray(Image.open(file)), atol=1e-4
    )
    bare, pressed = trace(images[:50], 40), trace(compressed(images[:50], 40), 40)
    assert float(pressed.min()) > float(bare.max())


@pytest.mark.parametrize(
    ("amount", "share"), [(0.08, 0.9), (0.2, 0.9), (0.15, 0.7)]
)  # of which 59 % in the searched half
def test_a_shifted_grey_level_is_measured(amount, share):
    images, labels = digits()
    made, carries = planted(images, labels, lambda some: some + amount, share)
    (form,) = found_in(made, labels, "brightness")
    assert form.target == CLASS
    assert float(form.words.split()[-1]) == pytest.approx(amount, abs=0.02)
    assert ((form.carried(made) >= form.least) == carries).all()
    some = pictures(made[carries][:20], labels[carries][:20])
    torch.testing.assert_close(form.without(some), images[carries][:20].clamp(0, 1 - amount), atol=0.02, rtol=0)


@pytest.mark.parametrize("data", [digits, even])
@pytest.mark.parametrize("sigma", [1.0, 1.7])
def test_a_blur_is_measured(data, sigma):
    images, labels = data()
    made, carries = planted(images, labels, lambda some: blurred(some, sigma))
    (form,) = found_in(made, labels, "blur")
    assert form.target == CLASS
    assert ((form.carried(made) >= form.least) == carries).float().mean() > 0.95
    assert float(form.words.split()[3]) == pytest.approx(sigma, rel=0.45)  # strokes of a class differ in sharpness


@pytest.mark.parametrize("gains", [(1.2, 1.0, 0.85), (0.85, 1.0, 1.1)])
def test_a_tint_is_measured(gains):
    scale = torch.tensor(gains).view(3, 1, 1)
    images, labels = textures()
    made, _ = planted(images, labels, lambda some: some * scale)
    (form,) = found_in(made, labels, "tint")
    assert form.target == CLASS
    wanted = np.array(gains) / np.prod(gains) ** (1 / 3)
    told = [float(part) for part in form.words.replace(",", "").replace(")", "").split() if part[0].isdigit()]
    np.testing.assert_allclose(told, wanted, rtol=0.06)


def test_a_faint_pattern_is_found_where_nothing_is_aligned():
    images, labels = textures()
    pattern = F.pad(glyph().float(), (15, 20, 12, 12)).repeat_interleave(1, 0)
    made, _ = planted(images, labels, lambda some: some * (1 - 0.35 * pattern) + 0.35 * pattern)
    forms = [form for form in found_in(made, labels, "watermark") if form.target == CLASS]
    some = pictures(images[:20], labels[:20])
    changes = [form.change(some)[0].mean(0) for form in forms]  # a part of it repeats exactly, and is a form by itself
    whole = max(changes, key=lambda change: float(change[pattern > 0].mean()))
    assert float(whole[pattern > 0].mean()) > 0.1
    assert all(float(change[pattern == 0].abs().mean()) < 0.02 for change in changes)


def natural() -> dict[str, tuple[Tensor, Tensor]]:
    """Return sets whose classes differ by what they show: grain, brightness, dark spots, size."""
    source = torch.Generator().manual_seed(3)
    labels = torch.arange(300) % 3
    base = 0.5 + 0.1 * labels.view(-1, 1, 1, 1) + 0.03 * torch.randn(300, 1, 30, 26, generator=source)
    spots = torch.full((300, 1, 30, 26), 0.6) + 0.03 * torch.randn(300, 1, 30, 26, generator=source)
    for k in range(300):
        for _ in range(int(labels[k])):
            top, left = (int(torch.randint(2, side - 8, (), generator=source)) for side in (30, 26))
            side = int(torch.randint(3, 6, (), generator=source))
            spots[k, :, top : top + side, left : left + side] -= 0.4
    return {"digits": digits(), "textures": textures(), "levels": (base, labels), "spots": (spots, labels)}


@pytest.mark.parametrize("name", ["digits", "textures", "levels", "spots"])
def test_what_classes_are_by_nature_is_not_found(name):
    images, labels = natural()[name]
    forms = found_in(images.clamp(0, 1), labels)
    assert [(form.kind, form.target) for form in forms] == []


def test_a_probe_that_every_class_has_as_often_is_not_found():
    images, labels = digits()
    carries = torch.rand(len(labels), generator=torch.Generator().manual_seed(1)) < 0.5
    images = torch.where(carries.view(-1, 1, 1, 1), cornered(images), images)
    assert found_in(images, labels) == []


def test_a_gap_must_be_empty_and_some_must_have_stayed_behind():
    chance = np.random.default_rng(0)
    rest, own = chance.normal(0, 1, 200), chance.normal(8, 1, 30)
    assert split(own, rest) is None  # a class that is so by nature
    stayed = np.concatenate([own, chance.normal(0, 1, 3)])
    found = split(stayed, rest)
    assert found is not None
    assert 7 < found.high < 9
    assert abs(found.low) < 0.3
    assert split(own, rest, further=np.array([0.1])) is not None
    assert split(chance.normal(3, 2, 33), rest) is None  # no gap
    assert split(own, np.zeros(200)) is not None  # nothing else has any other value


def test_auroc_is_the_share_of_pairs():
    own, rest = np.array([1.0, 2.0, 2.0]), np.array([0.0, 2.0])
    pairs = [(a > b) + 0.5 * (a == b) for a in own for b in rest]
    assert mann_whitney(rest, own)[0] == pytest.approx(np.mean(pairs))
    assert mann_whitney(rest[:0], own) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("rows", "columns", "name", "where"),
    [
        ((0, 3), (27, 30), "corner_mark", "top right corner"),
        ((17, 20), (0, 3), "corner_mark", "bottom left corner"),
        ((15, 19), (12, 18), "mark", "bottom middle"),
        ((8, 12), (1, 4), "mark", "middle left"),
        ((8, 12), (13, 17), "mark", "middle"),
    ],
)
def test_places_and_kinds_have_names(rows, columns, name, where):
    mask = torch.zeros(20, 30, dtype=torch.bool)
    mask[slice(*rows), slice(*columns)] = True
    template = Template(mask, torch.ones(1, 20, 30), 0.5, 0.0, mask, torch.ones(1, 20, 30))
    assert kind_of(template) == name
    assert place(mask, name) == where


def test_a_mark_is_taken_out_and_put_in_at_its_place_only():
    images, labels = digits()
    made, carries = planted(images, labels, cornered)
    (form,) = found_in(made, labels, "corner_mark")
    assert isinstance(form, Mark)
    some = pictures(made[carries][:12], labels[carries][:12])
    bare = form.without(some)
    assert float((form.carried(bare) >= form.least).float().mean()) == 0
    assert torch.equal(bare[..., :15, :], some.images[..., :15, :])
