"""Bad input through the public doors: one line that says what was expected, what came and what to do."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bad_files import BAD_CHECKPOINTS, BAD_PICTURES, GOOD_PICTURES, marker_of, photo
from model_state import assert_same, snapshot
from small_models import BatchNormNet, DetachModel, GapCnn, LinearModel, NaNModel, Raiser, pictures
from torch import nn

import xai
from xai.cli import main
from xai.errors import (
    CheckpointError,
    DataError,
    ImageError,
    InputError,
    NameLookupError,
    NonFiniteError,
    RangeError,
    ShapeError,
    TargetError,
    UnsupportedModelError,
)

ARCH = "xai.models.networks:SmallNet"
NAN, INFINITY = float("nan"), float("inf")
LABELS = ["ant", "bee", "cat", "bee"]


def refused(kind: type[xai.XaiError], words: str, call: Callable[[], object]) -> str:
    """Expect an error of exactly this kind, on one line; return the line."""
    with pytest.raises(kind, match=words) as caught:
        call()
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


def spoilt(value: float, *, array: bool = False) -> Any:
    """Return a batch with one pixel of this value."""
    images = pictures(2)
    images[1, 2, 3, 4] = value
    return images.permute(0, 2, 3, 1).numpy() if array else images


BAD_IMAGES: dict[str, tuple[Any, type[xai.XaiError], str]] = {
    "NaN tensor": (spoilt(NAN), RangeError, r"in \[0, 1\], but some pixels are NaN or infinite\. Clean"),
    "NaN array": (spoilt(NAN, array=True), RangeError, r"in \[0, 1\], but some pixels are NaN or infinite\. Clean"),
    "infinite": (spoilt(INFINITY), RangeError, r"in \[0, 1\], but some pixels are NaN or infinite\. Clean"),
    "0..255 tensor": (pictures(1) * 255, RangeError, r"in \[0, 1\], but got values in \[.*25\d\]\. Divide by 255"),
    "0..255 array": (np.ones((16, 16, 3)) * 255, RangeError, r"got values in \[255, 255\]\. Divide by 255"),
    "normalised tensor": ((pictures(1) - 0.45) / 0.22, RangeError, r"values in \[-2.*the classifier normalises them"),
    "normalised array": (np.full((16, 16), -0.5), RangeError, r"values in \[-0\.5.*the classifier normalises them"),
    "whole numbers": (torch.ones(3, 16, 16, dtype=torch.int64), RangeError, r"float .* got torch\.int64\. Convert it"),
    "four channels": (pictures(1, channels=4), ShapeError, r"Expected 3 channels, .* has 4, .* set `channels`"),
    "two channels": (pictures(1, channels=2), ShapeError, r"Expected 3 channels, .* has 2, .* set `channels`"),
    "array of two": (
        np.zeros((16, 16, 2)),  # two bands, which this model does not take
        ShapeError,
        r"Expected 3 channels, .* has 2, which cannot be converted\. Give the bands that the model was trained on",
    ),
    "channels first": (np.zeros((3, 16, 16)), ShapeError, r"looks like \(C, H, W\): pass `torch\.from_numpy\(array\)`"),
    "rank 2": (pictures(1)[0, 0], ShapeError, r"\(C, H, W\) .* got shape \(16, 16\)\. Give one image, or a batch"),
    "rank 5": (pictures(1)[None], ShapeError, r"\(N, C, H, W\), but got shape \(1, 1, 3, 16, 16\)\. Give one image"),
    "empty batch": (pictures(2)[:0], ShapeError, r"got shape \(0, 3, 16, 16\)\. .* give at least one image"),
    "empty array": (np.zeros((0, 16, 16, 3)), ShapeError, r"got shape \(0, 16, 16, 3\)\. .* give at least one image"),
    "empty list": ([], ShapeError, "Expected at least one image, but got an empty list"),
    "None": (None, ShapeError, "an image as a path, PIL.Image, numpy array or tensor, but got NoneType"),
    "two sizes": ([np.zeros((9, 8)), np.zeros((8, 9))], ShapeError, r"one size, but got .* Set `input_size`"),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_images(case: str) -> None:
    images, kind, words = BAD_IMAGES[case]
    net = GapCnn()
    before = snapshot(net)
    said = refused(kind, words, lambda: xai.explain(net, images))
    assert refused(kind, words, lambda: xai.Classifier(net).predict(images)) == said
    assert_same(before, snapshot(net))


BAD_REQUESTS: dict[str, tuple[dict[str, Any], type[xai.XaiError], str]] = {
    "index": ({"target": 4}, TargetError, "index from 0 to 3, or a class name, but got 4"),
    "negative index": ({"target": -1}, TargetError, "index from 0 to 3, or a class name, but got -1"),
    "no index": ({"target": 1.5}, TargetError, "index from 0 to 3, or a class name, but got 1.5"),
    "name": ({"target": "ants"}, TargetError, r"no class 'ants'\. Near: ant"),
    "ambiguous name": ({"target": "bee"}, TargetError, r"2 classes are called 'bee': \[1, 3\]\. Give the index"),
    "one of several": ({"target": ["ant", "dog"]}, TargetError, r"no class 'dog'\. Known: ant, bee, cat"),
    "too few targets": ({"target": ["ant"]}, TargetError, "one for each of 2 images, but got 1"),
    "versus": ({"versus": "cats"}, TargetError, r"no class 'cats'\. Near: cat"),
    "method": ({"method": "gradcma"}, NameLookupError, "no explanation method 'gradcma'. Near: gradcam"),
    "method of another kind": ({"method": None}, NameLookupError, "no explanation method None. Known: "),
    "setting": ({"layr": "conv2"}, NameLookupError, "no setting of gradcam 'layr'. Near: layer"),
    "setting of another method": ({"window": 3}, NameLookupError, "no setting of gradcam 'window'. Known: .*layer"),
    "layer": ({"layer": "con2"}, NameLookupError, "no layer 'con2'. Near: conv2"),
    "layer that is no map": ({"layer": "head"}, UnsupportedModelError, "'head' is no map .* Layers that are: relu2"),
    "score": ({"score": "logits"}, NameLookupError, "no score 'logits'. Near: logit"),
    "seed": ({"seed": "a"}, RangeError, "`seed` as a whole number .* got 'a'"),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_requests(case: str) -> None:
    settings, kind, words = BAD_REQUESTS[case]
    classifier = xai.Classifier(GapCnn(), class_names=LABELS)
    before = snapshot(classifier.module)
    refused(kind, words, lambda: xai.explain(classifier, pictures(2), **settings))
    assert_same(before, snapshot(classifier.module))


BAD_MODELS: dict[str, tuple[Callable[[], Any], type[xai.XaiError], str]] = {
    "NaN from a layer": (NaNModel, NonFiniteError, r"first in the output of layer 'net\.relu1\.1'\. Check its weights"),
    "NaN in a weight": (
        lambda: NaNModel(weight=True),
        NonFiniteError,
        "first in the weights 'net.conv2.weight'. Check",
    ),
    "a name": (lambda: "example:fashion", UnsupportedModelError, r"torch\.nn\.Module, but got str\. .*`xai\.load"),
    "a function": (lambda: torch.relu, UnsupportedModelError, r"torch\.nn\.Module, but got .* in a module"),
    "too few labels": (
        lambda: xai.Classifier(GapCnn(), class_names=LABELS[:3]),
        UnsupportedModelError,
        "has 3 class names, but the model returns 4 classes. Give one name for each output",
    ),
    "too many labels": (
        lambda: xai.Classifier(GapCnn(), class_names=[*LABELS, "dog"]),
        UnsupportedModelError,
        "has 5 class names, but the model returns 4 classes. Give one name for each output",
    ),
    "no classifier": (lambda: nn.Conv2d(3, 2, 3), UnsupportedModelError, "one row of class scores per image, .* Only"),
    "no gradient": (
        DetachModel,
        UnsupportedModelError,
        "No gradient reaches any layer of 'DetachModel' .* Use occlusion",
    ),
    "no map": (LinearModel, UnsupportedModelError, "No layer of 'LinearModel' is a map .* Name a `layer`"),
}


@pytest.mark.parametrize("case", BAD_MODELS)
def test_models(case: str) -> None:
    make, kind, words = BAD_MODELS[case]
    model = make()
    refused(kind, words, lambda: xai.explain(model, pictures(2)))


def test_a_models_own_error_is_not_ours() -> None:
    net = GapCnn()
    net.relu2 = Raiser(net.relu2)
    with pytest.raises(RuntimeError, match=r"^injected$"):
        xai.explain(net, pictures(1))


def test_a_model_in_training_mode_works_and_says_so() -> None:
    net, images = BatchNormNet(), pictures(2)
    wanted = xai.explain(net, images)
    net.train()
    before = snapshot(net)
    found = xai.explain(net, images)
    assert_same(before, snapshot(net))
    assert net.training
    np.testing.assert_array_equal(found.heatmaps, wanted.heatmaps)
    assert "the model was in training mode: it is explained in evaluation mode and restored" in found.notes
    assert not any("training mode" in note for note in wanted.notes)


def run(*arguments: object) -> int:
    """Run the command line in this process and return its exit code."""
    return main([str(argument) for argument in arguments])


def said_by(capfd: pytest.CaptureFixture[str]) -> str:
    """Return the one line on standard error; nothing is on standard output, and nothing looks like a traceback."""
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert shown.err.startswith("xai: ")
    assert "Traceback" not in shown.err
    return shown.err.removeprefix("xai: ").removesuffix("\n")


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_picture_files(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write, words = BAD_PICTURES[name]
    path, out = tmp_path / name, tmp_path / "out"
    write(path)
    model = xai.load("example:fashion")
    said = refused(ImageError, re.escape(words), lambda: xai.explain(model, path))
    assert said.startswith(f"{path}: ")
    good = photo(tmp_path / "good.png")
    for images in ([path], [good, path]):
        assert run("explain", *images, "--model", "example:fashion", "--out", out) == 2
        assert said_by(capfd) == said
        assert not out.exists()


@pytest.mark.parametrize("name", GOOD_PICTURES)
def test_unusual_picture_files_are_explained(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write, size, note = GOOD_PICTURES[name]
    path = tmp_path / name
    write(path)
    found = xai.explain(xai.load("example:fashion"), path)
    assert found.heatmap.shape == size
    assert np.isfinite(found.heatmap).all()
    assert any(note in text for text in found.notes)
    extreme = min(size) < 10  # drawing takes its time, so only these are drawn
    out = ("--out", tmp_path / "out") if extreme else ()
    assert run("explain", path, "--model", "example:fashion", *out) == 0
    assert capfd.readouterr().err == ""
    if extreme:
        assert xai.Explanation.load(tmp_path / "out").heatmap.shape == size


@pytest.mark.parametrize("name", BAD_CHECKPOINTS)
def test_checkpoints(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write, words = BAD_CHECKPOINTS[name]
    path, out = tmp_path / name, tmp_path / "out"
    write(path)
    image = photo(tmp_path / "photo.png")
    said = refused(
        CheckpointError, words, lambda: xai.explain(xai.load(path, ARCH, channels=1, input_size=(28, 28)), image)
    )
    assert path.stem in said
    size = ("--input-size", 28, 28)
    assert run("explain", image, "--model", path, "--arch", ARCH, "--channels", 1, *size, "--out", out) == 2
    assert said_by(capfd) == said
    assert not out.exists()
    assert not marker_of(path).exists()


def test_the_code_would_have_run(tmp_path: Path) -> None:
    for name in ("code.pt", "old-code.pt"):
        path = tmp_path / name
        BAD_CHECKPOINTS[name][0](path)
        torch.load(path, weights_only=False)
        assert marker_of(path).read_text() == "ran"


def folder_of(root: Path, *names: str) -> Path:
    """Return a folder with these files; a name that ends in a slash is a folder."""
    for name in names:
        place = root / "data" / name
        (place if name.endswith("/") else place.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            photo(place)
    return root / "data"


def table_of(root: Path) -> Path:
    """Return a table of one image, of the class "bird"."""
    folder_of(root, "0.png")
    (root / "data" / "table.csv").write_text("path,label\n0.png,bird\n")
    return root / "data" / "table.csv"


def arrays_of(root: Path, labels: list[int]) -> Path:
    """Return an .npz file of grey images with these labels."""
    np.savez(root / "a.npz", images=np.zeros((len(labels), 4, 4), np.uint8), labels=np.array(labels))
    return root / "a.npz"


BAD_DATA: dict[str, tuple[Callable[[Path], Path], list[str] | None, str]] = {
    "missing": (lambda root: root / "data", None, "no such file or folder. Give a folder"),
    "empty folder": (lambda root: folder_of(root, "./"), None, "the folder is empty. Expected one folder per class"),
    "no class": (lambda root: folder_of(root, "a.png"), None, "no class folders in it. Expected one folder per class"),
    "one class": (
        lambda root: folder_of(root, "cat/a.png"),
        None,
        r"only one class folder \('cat'\)\. .* as `class_names`",
    ),
    "no image": (lambda root: folder_of(root, "cat/", "dog/"), None, "no image in any class folder. Expected"),
    "folder of another class": (
        lambda root: folder_of(root, "cat/a.png", "bird/a.png"),
        ["cat", "dog"],
        r"\['bird'\] are not among the 2 `class_names` given\. Check",
    ),
    "label of another class": (table_of, ["cat", "dog"], "'bird'.*`class_names`"),
    "label too large": (lambda root: arrays_of(root, [0, 2]), ["cat", "dog"], "labels from 0 to 2 for 2 classes"),
    "label below 0": (lambda root: arrays_of(root, [0, -1]), ["cat", "dog"], "labels from -1 to 0 for 2 classes"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_data_sets(case: str, tmp_path: Path) -> None:
    make, classes, words = BAD_DATA[case]
    path = make(tmp_path)
    said = refused(DataError, words, lambda: xai.load_data(path, classes))
    assert said.startswith(f"{path}: ")


@pytest.mark.parametrize(("content", "words"), [(b"hello", "not an image"), (None, "truncated or damaged")])
def test_a_bad_picture_of_a_data_set_is_named(content: bytes | None, words: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "cat/a.png", "dog/b.png")
    bad = folder / "dog" / "b.png"
    bad.write_bytes(content or bad.read_bytes()[:2000])
    data = xai.load_data(folder)
    assert "b.png: " in refused(ImageError, words, lambda: data.images[1])
    assert "b.png: " in refused(ImageError, words, lambda: xai.Classifier(GapCnn()).outputs(data))


BAD_OPTIONS: dict[str, tuple[tuple[object, ...], str]] = {
    "mean": (("--mean", 0.5, 0.5), r"`mean` as 1 number\(s\), one per channel, but got \[0\.5, 0\.5\]\. Write mean="),
    "std": (("--std", 0), r"`std` above 0, but got \(0\.0,\)\. Give"),
    "input size": (("--input-size", 0, 28), r"`input_size` as \(height, width\) .* \(0, 28\)\. Write input_size="),
    "device": (("--device", "tpu"), "`device` as .* but got 'tpu'"),
    "labels": (
        ("--class-names", "labels.txt"),
        "has 1 class names, but the model returns 10 ",
    ),
    "no labels": (("--class-names", "empty.txt"), r"`class_names` as a list .* but got \[\]\. Write class_names="),
    "missing labels": (
        ("--class-names", "missing.txt"),
        r"missing\.txt: cannot be read as a list of class names.* Check",
    ),
    "labels that are no text": (("--class-names", "photo.png"), r"photo\.png: cannot be read as a list of class names"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_options_of_the_command_line(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    options, words = BAD_OPTIONS[case]
    monkeypatch.chdir(tmp_path)
    photo(tmp_path / "photo.png")
    Path("labels.txt").write_text("cat\n")
    Path("empty.txt").write_text("\n")
    assert run("explain", "photo.png", "--model", "example:fashion", *options, "--out", "out") == 2
    assert re.search(words, said_by(capfd))
    assert not Path("out").exists()


def test_settings_of_load_are_checked_too() -> None:
    refused(ShapeError, r"got 28\. Write input_size=\(28, 28\)", lambda: xai.load("example:fashion", input_size=28))
    refused(InputError, "class_names` .* got 'abc'", lambda: xai.load("example:fashion", class_names="abc"))
    refused(NameLookupError, "no model 'example:fashoin'. Near: example:fashion", lambda: xai.load("example:fashoin"))
