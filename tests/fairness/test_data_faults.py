"""`xai.data_faults`: planted duplicates, wrong labels, broken images, unequal classes, and what they do."""

import io
import json

import numpy as np
import pytest
import torch
from model_state import assert_same, snapshot
from PIL import Image
from scipy import ndimage
from small_models import GapCnn
from torch import nn

import xai
from xai.cli import main
from xai.core.model.classifier import Classifier
from xai.datasets.arrays import from_arrays
from xai.errors import InputError, NameLookupError, RecordError, ShapeError, Stopped
from xai.fairness.data_faults import data_faults
from xai.fairness.duplicate_verification import aligned_distances, verify
from xai.fairness.duplicates import TURNS, candidates, cosines
from xai.fairness.label_errors import effect_of_balance, effect_of_leaving_out, out_of_fold, suspects_of

IMAGES, PLANTED = 1200, 12


def jpeg(pixels, quality=50):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def resized(pixels, share=0.6):
    side = pixels.shape[0]
    small = Image.fromarray(pixels).resize((int(share * side), int(share * side)), Image.Resampling.BILINEAR)
    return np.asarray(small.resize((side, side), Image.Resampling.BILINEAR))


CHANGES = {
    "copy": lambda pixels: pixels.copy(),
    "jpeg": jpeg,
    "resize": resized,
    "mirror": lambda pixels: pixels[:, ::-1],
    "turn": np.rot90,
    "mirror and jpeg": lambda pixels: jpeg(np.ascontiguousarray(pixels[::-1])),
    "darker": lambda pixels: (0.7 * pixels).astype(np.uint8),
}


def fashion(count=IMAGES, name="test"):
    data = xai.load_data(f"example:fashion-{name}").subset(count)
    return (data.images[:][:, 0].numpy() * 255).round().astype(np.uint8), data.labels.numpy().copy(), data.class_names


def digits():
    data = xai.load_data("example:digits")
    return (data.images[:][:, 0].numpy() * 255).round().astype(np.uint8)


def planted(pixels, changes, count=PLANTED, seed=0):
    """Return images with changed copies at the end, and the row that each is a copy of."""
    chance = np.random.default_rng(seed)
    source = np.concatenate([chance.choice(len(pixels), count, replace=False) for _ in changes])
    copies = [change(pixels[row]) for row, change in zip(source, np.repeat(list(changes.values()), count), strict=True)]
    return np.concatenate([pixels, np.stack(copies)]), source


def families(found, source, size):
    """Return for each planted copy whether its pair was found, and pairs that nobody planted."""
    origin = np.concatenate([np.arange(size), source])
    pairs = {(pair.first_row, pair.second_row) for pair in found.pairs}
    hit = np.array([(row, size + k) in pairs for k, row in enumerate(source)])
    return hit, [pair for pair in found.pairs if origin[pair.first_row] != origin[pair.second_row]]


def test_duplicates_are_found_after_jpeg_resize_and_flip():
    pixels, _, classes = fashion()
    every, source = planted(pixels, CHANGES)
    found = data_faults(None, from_arrays("planted", every, None, classes), checks="duplicates")
    hit, strangers = families(found, source, len(pixels))
    assert hit.reshape(len(CHANGES), -1).mean(1).tolist() == [1.0] * len(CHANGES)
    assert strangers == []
    turns = {pair.turn for pair in found.pairs}
    assert {"", "mirrored left to right", "turned by 90 degrees"} <= turns
    assert found.findings[0].kind == "duplicates"
    assert found.findings[0].count == len(source)


def shifted(pixels, by=3):
    return np.pad(pixels, ((by, 0), (by, 0)) + ((0, 0),) * (pixels.ndim - 2), mode="edge")[
        : len(pixels), : pixels.shape[1]
    ]


def contrasted(pixels):
    return ((pixels / 255 - 0.5) * 0.7 * 255 + 127.5).round().astype(np.uint8)


def cropped(pixels, share=0.95):
    kept = Image.fromarray(pixels).crop((0, 0, share * pixels.shape[1], share * pixels.shape[0]))
    return np.asarray(kept.resize(pixels.shape[1::-1], Image.Resampling.BILINEAR))


def rotated(pixels, degrees=3):
    return np.asarray(Image.fromarray(pixels).rotate(degrees, Image.Resampling.BILINEAR))


def grey(pixels):
    return np.repeat(np.asarray(Image.fromarray(pixels).convert("L"))[..., None], 3, 2)


MOVED = {"contrast": contrasted, "shift": shifted, "crop": cropped, "rotation": rotated}


def test_moved_copies_of_clothes_are_found_and_no_other_pair():
    pixels, _, classes = fashion(600)
    every, source = planted(pixels, MOVED, count=20)
    found = data_faults(None, from_arrays("moved", every, None, classes), checks="duplicates")
    hit, strangers = families(found, source, len(pixels))
    shares = dict(zip(MOVED, hit.reshape(len(MOVED), -1).mean(1), strict=True))
    assert shares["contrast"] == 1
    assert min(shares.values()) >= 0.6  # the small ones among look-alikes stay in doubt
    assert strangers == []


def test_moved_copies_of_photographs_are_found():
    photos = [np.asarray(Image.open(photo.path).convert("RGB").resize((210, 150))) for photo in xai.sample_photos()]
    changes = {**MOVED, "grey": grey, "mirrored, then shifted": lambda pixels: shifted(pixels[:, ::-1], 5)}
    for name, change in changes.items():
        found = data_faults(None, [*photos, *(change(photo) for photo in photos)], checks="duplicates")
        pairs = {(pair.first_row, pair.second_row) for pair in found.pairs}
        wanted = {(k, len(photos) + k) for k in range(len(photos))}
        assert pairs <= wanted, name
        assert len(pairs) >= len(photos) - (name == "rotation"), name  # whose corners are filled with black


@pytest.mark.parametrize(("degrees", "size", "by"), [(0, 1.0, (3, -2)), (5, 1.0, (0, 0)), (-4, 1.1, (1, 1))])
def test_images_laid_over_each_other_are_the_same(degrees, size, by):
    rng = np.random.default_rng(0)
    whole = ndimage.gaussian_filter(rng.random((6, 60, 60)), (0, 2, 2))
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * size
    centre = np.array([30, 30])
    moved = np.stack([ndimage.affine_transform(one, turn, centre - turn @ centre + by) for one in whole])
    inner = slice(14, 46)
    first, second = whole[:, inner, inner], moved[:, inner, inner]
    assert aligned_distances(first, second).max() < 0.1
    assert aligned_distances(first, np.roll(second, 1, 0)).min() > 0.5  # others are not made the same


def test_small_digits_do_not_explode():
    pixels = digits()
    alone = data_faults(None, from_arrays("digits", pixels, None, None), checks="duplicates")
    assert alone.pairs == ()
    kinds = {name: CHANGES[name] for name in ("copy", "mirror", "turn", "darker")} | {"jpeg": lambda p: jpeg(p, 75)}
    every, source = planted(pixels, kinds)
    hit, strangers = families(data_faults(None, from_arrays("d", every, None, None)), source, len(pixels))
    assert hit.all()
    assert strangers == []


def test_photographs_of_other_sizes():
    photos = [np.asarray(Image.open(photo.path).convert("RGB")) for photo in xai.sample_photos()]
    small = [np.asarray(Image.open(io.BytesIO(_jpeg_bytes(photo))).resize((200, 150))) for photo in photos]
    found = data_faults(None, [*photos, *small, photos[0][:, ::-1].copy(), 255 - photos[1]])
    count = len(photos)
    assert {(pair.first_row, pair.second_row) for pair in found.pairs} == {
        *((k, count + k) for k in range(count)),
        (0, 2 * count),
        (count, 2 * count),
    }


def _jpeg_bytes(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=40)
    return stream.getvalue()


def test_turns_are_those_of_numpy_in_pixels_and_in_cosines():
    pixels = np.random.default_rng(0).random((3, 9, 9)).astype(np.float32)
    wanted = {
        "": pixels,
        "mirrored left to right": pixels[:, :, ::-1],
        "mirrored top to bottom": pixels[:, ::-1],
        "turned by 180 degrees": np.rot90(pixels, 2, (1, 2)),
        "mirrored along the diagonal": pixels.transpose(0, 2, 1),
        "turned by 90 degrees": np.rot90(pixels, -1, (1, 2)),
        "turned by 270 degrees": np.rot90(pixels, 1, (1, 2)),
        "mirrored along the other diagonal": np.rot90(pixels, 2, (1, 2)).transpose(0, 2, 1),
    }
    assert list(wanted) == [turn.name for turn in TURNS]
    for turn in TURNS:
        assert np.array_equal(turn(pixels), wanted[turn.name]), turn.name
        assert turn.of_coefficients(cosines(pixels)) == pytest.approx(cosines(turn(pixels)), abs=1e-5)


def test_the_distance_is_what_one_picture_does_not_explain_of_the_other():
    small = np.random.default_rng(0).random((30, 12, 12)).astype(np.float32)

    def matches(*more):
        every = np.concatenate([small, *(picture[None] for picture in more)])
        return verify(every, np.zeros((len(every), 3)), candidates(every))

    assert matches().first.tolist() == []
    fainter = matches(0.5 * small[0] + 0.2)
    assert (fainter.first.tolist(), fainter.second.tolist()) == ([0], [30])
    assert fainter.distance[0] == pytest.approx(0, abs=2e-3)
    softer = matches(ndimage.gaussian_filter(small[3], 0.8))  # one of the blurs that are tried
    assert (softer.first.tolist(), softer.second.tolist()) == ([3], [30])
    assert softer.distance[0] < 0.03
    noise = 0.02 * np.random.default_rng(1).standard_normal((12, 12)).astype(np.float32)
    noisy = matches(small[5] + noise)
    seen = [ndimage.gaussian_filter(picture, 1.0).ravel() for picture in (small[5], small[5] + noise)]
    wanted = np.sqrt(1 - np.corrcoef(*seen)[0, 1] ** 2)
    assert noisy.distance[0] == pytest.approx(wanted, rel=0.05)


def test_other_colours_are_other_pictures():
    red, chance = np.zeros((40, 32, 32, 3), dtype=np.uint8), np.random.default_rng(0)
    red[..., 0] = chance.integers(0, 255, (40, 32, 32))
    grey = red[:1].astype(float) @ np.array([0.299, 0.587, 0.114])
    blue = np.zeros((1, 32, 32, 3), dtype=np.uint8)
    blue[..., 1] = np.clip(grey / 0.587, 0, 255)  # the same grey image in another colour
    found = data_faults(None, [*red, blue[0], red[1].copy()])
    assert [(pair.first_row, pair.second_row) for pair in found.pairs] == [(1, 41)]


def test_leaks_and_their_effect():
    pixels, labels, classes = fashion(600)
    train, train_labels, _ = fashion(600, "train")
    pixels[:30] = [jpeg(picture) for picture in train[:30]]
    labels[:30] = train_labels[:30]
    pixels[40] = pixels[41][:, ::-1]
    classifier = xai.load("example:fashion")
    data = from_arrays("test", pixels, labels, classes)
    before = snapshot(classifier.module)
    found = data_faults(classifier, data, from_arrays("train", train, train_labels, classes), checks=["duplicates"])
    assert_same(before, snapshot(classifier.module))
    leak, again = found.findings
    assert (leak.kind, leak.count, again.kind, again.count) == ("leak", 30, "duplicates", 1)
    right = classifier.outputs(data).logits.argmax(1).numpy() == labels
    assert leak.effect.accuracy == pytest.approx(right.mean())
    assert leak.effect.without == pytest.approx(right[30:].mean())
    assert leak.effect.interval[0] <= leak.effect.change <= leak.effect.interval[1]
    first = next(pair for pair in found.pairs if pair.across)
    assert (first.first_split, first.second_split, first.first_row) == ("data", "train", first.second_row)
    assert first.labels[0] == first.labels[1] == classes[labels[first.first_row]]
    assert first.first_name == data.ids[first.first_row]
    with_labels = again.headline
    assert ("different labels" in with_labels) == (labels[40] != labels[41])


def test_planted_label_errors_are_ranked_first():
    pixels, labels, classes = fashion(2000)
    chance = np.random.default_rng(1)
    wrong = chance.choice(2000, 100, replace=False)
    truth = labels.copy()
    labels[wrong] = (labels[wrong] + chance.integers(1, 10, 100)) % 10
    found = data_faults(xai.load("example:fashion"), from_arrays("noisy", pixels, labels, classes), checks="labels")
    first = [suspect.row for suspect in found.suspects[:100]]
    assert np.isin(first, wrong).mean() >= 0.8
    told = [suspect for suspect in found.suspects[:100] if suspect.row in set(wrong)]
    assert np.mean([suspect.suggested == classes[truth[suspect.row]] for suspect in told]) >= 0.8
    assert [s.confidence for s in found.suspects] == sorted(s.confidence for s in found.suspects)
    fault = found.findings[0]
    assert fault.kind == "labels"
    assert fault.effect.change > 0.03
    assert fault.effect.interval[0] > 0


def test_the_order_of_pictures_changes_no_suspect():
    pixels, labels, classes = fashion(400)
    labels[:20] = (labels[:20] + 3) % 10
    order = np.random.default_rng(0).permutation(400)
    classifier = xai.load("example:fashion")
    found, turned = (
        data_faults(classifier, from_arrays("noisy", pixels[rows], labels[rows], classes), checks="labels")
        for rows in (np.arange(400), order)
    )
    assert [order[suspect.row] for suspect in turned.suspects] == [suspect.row for suspect in found.suspects]


def test_suspects_agree_with_cleanlab():
    count = pytest.importorskip("cleanlab.count")
    rank = pytest.importorskip("cleanlab.rank")
    chance = np.random.default_rng(0)
    labels = chance.integers(0, 4, 500)
    probabilities = chance.dirichlet(np.ones(4), 500)
    probabilities[np.arange(500), labels] += 1.5 * chance.random(500)
    probabilities /= probabilities.sum(1, keepdims=True)
    _, wanted = count.compute_confident_joint(
        labels, probabilities, calibrate=False, return_indices_of_off_diagonals=True
    )
    rows, guess = suspects_of(probabilities, labels)
    assert len(rows) == len(wanted) > 20
    scores = rank.get_self_confidence_for_each_label(labels, probabilities)
    assert rows.tolist() == np.argsort(scores, kind="stable")[: len(rows)].tolist()
    assert (guess != labels[rows]).all()


def test_probabilities_never_saw_their_picture():
    chance = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], (60, 60, 3))
    features = chance.normal(0, 1, (123, 8)) + 3 * (labels == 1)[:, None]
    pictures = chance.random((123, 4))
    found = out_of_fold(features, labels, pictures, 3)
    assert np.isnan(found[120:]).all()  # three images cannot be spread over five folds
    assert found[:120].sum(1) == pytest.approx(1)
    assert (found[:120].argmax(1) == labels[:120]).mean() > 0.95
    labels = chance.integers(0, 2, 300)
    noise = out_of_fold(chance.normal(0, 1, (300, 100)), labels, chance.random((300, 2)), 2)
    assert noise[np.arange(300), labels].mean() < 0.55  # fitted ones know nearly all


def test_broken_pictures(tmp_path):
    chance = np.random.default_rng(0)
    for k in range(8):
        Image.fromarray(chance.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(tmp_path / f"{k}.png")
    Image.fromarray(np.full((16, 16, 3), 90, dtype=np.uint8)).save(tmp_path / "8.png")
    (tmp_path / "9.png").write_bytes(b"no image")
    rows = "\n".join(f"{k}.png,{k % 3}" for k in range(10))
    (tmp_path / "table.csv").write_text(f"path,label\n{rows}\n")
    found = data_faults(Classifier(GapCnn(), input_size=(16, 16)), xai.load_data(tmp_path / "table.csv"))
    assert [(broken.row, broken.reason[:14]) for broken in found.broken] == [(8, "constant"), (9, "cannot be read")]
    fault = next(fault for fault in found.findings if fault.kind == "broken")
    assert fault.headline == "1 constant images, 1 that cannot be read"
    assert fault.effect.accuracy >= 0


def test_effects():
    chance = np.random.default_rng(0)
    right, affected = np.repeat([True, False, True, False], (60, 20, 5, 15)), np.repeat([False, True], (80, 20))
    effect = effect_of_leaving_out(right, affected, chance)
    assert (effect.accuracy, effect.without) == (pytest.approx(0.65), pytest.approx(0.75))
    assert effect.interval[0] < effect.change < effect.interval[1]
    assert effect.interval[0] > 0
    assert effect_of_leaving_out(right, np.zeros(100, dtype=bool), chance) is None
    inside = []
    for _ in range(300):
        rows = chance.integers(0, 100, 100)
        found = effect_of_leaving_out(right[rows], affected[rows], chance)
        inside.append(found.interval[0] <= 0.1 <= found.interval[1])
    assert np.mean(inside) >= 0.9
    balance = effect_of_balance(np.repeat([True, False], (90, 10)), np.repeat([0, 1], (90, 10)), chance)
    assert (balance.accuracy, balance.without) == (pytest.approx(0.9), pytest.approx(0.5))
    same = effect_of_balance(np.tile([True, False], 50), np.repeat([0, 1], 50), chance)
    assert same.interval[0] < 0 < same.interval[1]


def test_unequal_classes():
    pixels, labels, classes = fashion(800)
    kept = (labels != 0) | (np.arange(800) % 8 == 0)
    found = data_faults(
        xai.load("example:fashion"), from_arrays("few", pixels[kept], labels[kept], classes), checks="imbalance"
    )
    assert found.findings[0].kind == "imbalance"
    assert "'T-shirt/top' has" in found.findings[0].headline
    equal = data_faults(None, from_arrays("even", pixels, labels, classes), checks="imbalance")
    assert equal.findings == ()
    assert sum(equal.counts) == 800


def test_saved_read_back_and_drawn(tmp_path):
    pixels, labels, classes = fashion(300)
    pixels[7], pixels[9] = pixels[8], 5
    labels[:20] = (labels[:20] + 3) % 10
    found = data_faults(xai.load("example:fashion"), from_arrays("few", pixels, labels, classes))
    again = xai.results.DataFaults.load(found.save(tmp_path / "run"))
    assert again.to_dict() == found.to_dict() == json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert np.array_equal(again.pair_images, found.pair_images)
    assert again.findings == found.findings
    assert list(found.table["kind"]) == [fault.kind for fault in found.findings]
    assert len(found.rows) == len(found.pairs) + len(found.suspects) + len(found.broken)
    canvas = found.plot()
    assert "300 images" in canvas._suptitle.get_text()
    (tmp_path / "run" / "values.npz").write_bytes(b"no")
    with pytest.raises(RecordError, match="damaged"):
        xai.results.DataFaults.load(tmp_path / "run")


def test_progress_stop_and_refusals():
    pixels, labels, classes = fashion(130)
    data, seen = from_arrays("few", pixels, labels, classes), []
    data_faults(xai.load("example:fashion"), data, progress=lambda *done: seen.append(done), checks="broken")
    assert seen[-1] == (260, 260)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    with pytest.raises(Stopped, match="64 of 130 images"):
        data_faults(None, data, should_stop=iter([False, True]).__next__)
    with pytest.raises(NameLookupError, match="duplicates"):
        data_faults(None, data, checks="duplicate")
    with pytest.raises(InputError, match="Expected images as a path"):
        data_faults(None, 7)
    with pytest.raises(ShapeError, match="one label per image"):
        data_faults(nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)), torch.rand(5, 3, 32, 32), labels=[1, 2])


def test_command_line(tmp_path, capsys):
    asked = ["bias", "--model", "example:fashion", "--data", "example:fashion-test", "--count", "200"]
    assert main([*asked, "--faults", "--out", str(tmp_path / "run")]) == 0
    assert "labels look wrong, to be checked" in capsys.readouterr().out
    assert {"manifest.json", "faults.csv", "faults.png"} <= {path.name for path in (tmp_path / "run").iterdir()}
    assert main([*asked, "--faults", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["faults"]["size"] == 200
    assert main([*asked, "--train", "example:fashion-train"]) == 2
    assert "--faults" in capsys.readouterr().err
