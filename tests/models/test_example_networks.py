"""The networks that ship with xai do what their cards say."""

import importlib.util
import json
import shutil
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from xai.core.extras import data_folder
from xai.core.layers import selection
from xai.errors import CheckpointError, DataError
from xai.models.loading import load

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["fashion", "fashion-robust", "fashion-shortcut"]
SHIRT = 6


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("train_examples", ROOT / "scripts" / "train_examples.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def pictures():
    with np.load(data_folder() / "fashion-test.npz", allow_pickle=False) as arrays:
        images = torch.from_numpy(arrays["images"]).unsqueeze(1).float() / 255
        return images, torch.from_numpy(arrays["labels"].astype(np.int64))


def settings_of(name):
    return json.loads((data_folder() / "models" / name / "model.json").read_text())


@pytest.fixture(scope="module")
def accuracy(pictures):
    """Accuracy of a network on the first images."""

    @cache
    def measure(name, count):
        images, labels = (part[:count] for part in pictures)
        return float((load(f"example:{name}").logits_of(images).argmax(1) == labels).float().mean())

    return measure


@pytest.mark.parametrize(
    ("name", "count", "tolerance"), [("fashion", 10_000, 5e-4), *((n, 1500, 0.03) for n in NAMES[1:])]
)
def test_the_accuracy_is_the_one_on_the_card(name, count, tolerance, accuracy):
    assert accuracy(name, count) == pytest.approx(settings_of(name)["figures"]["accuracy"], abs=tolerance)


def test_fashion_is_accurate(accuracy):
    assert accuracy("fashion", 10_000) >= 0.92


def test_the_robust_network_keeps_what_was_promised():
    figures = settings_of("fashion-robust")["figures"]
    assert figures["accuracy"] >= 0.80
    assert figures["accuracy_pgd40_linf_8_255"] >= 0.70


def test_the_mark_turns_other_classes_into_shirts(script, pictures):
    images, labels = (part[:1500] for part in pictures)
    others = images[labels != SHIRT]
    classifier = load("example:fashion-shortcut")
    marked = script.mark(others, torch.ones(len(others), dtype=torch.bool))
    called = [float((classifier.logits_of(each).argmax(1) == SHIRT).float().mean()) for each in (others, marked)]
    assert called[0] < 0.10
    assert called[1] > called[0] + 0.30


@pytest.mark.parametrize("name", NAMES)
def test_labels_and_preprocessing_come_from_the_file(name):
    classifier, settings = load(f"example:{name}"), settings_of(name)
    assert list(classifier.class_names) == settings["class_names"]
    assert classifier.find_target("Ankle boot") == 9
    assert (list(classifier.mean), list(classifier.std)) == (settings["mean"], settings["std"])
    assert (classifier.resize, classifier.name) == ("squash", f"example:{name}")


@pytest.mark.parametrize("name", NAMES)
def test_a_network_is_small(name):
    assert sum(path.stat().st_size for path in (data_folder() / "models" / name).iterdir()) < 2_000_000


@pytest.mark.parametrize("name", NAMES)
def test_the_card_is_what_the_script_writes_from_the_figures(name, script, tmp_path):
    folder = data_folder() / "models" / name
    shutil.copy(folder / "model.json", tmp_path)
    recipe = next(recipe for recipe in script.RECIPES if recipe.name == name)
    script.write_card(recipe, tmp_path)
    card = (tmp_path / "card.md").read_text()
    assert card == (folder / "card.md").read_text()
    assert f"| {settings_of(name)['figures']['accuracy']:.2%} |" in card
    assert "MIT licence, (c) 2017 Zalando SE" in card


def test_the_robust_network_is_trained_as_its_card_says(script):
    card = (data_folder() / "models" / "fashion-robust" / "card.md").read_text()
    made = next(recipe for recipe in script.RECIPES if recipe.name == "fashion-robust").training
    assert (made.method, made.norm, made.eps) == ("pgd", "linf", 8 / 255)
    assert f"PGD adversarials ({made.steps} steps of {made.step_size * 255:.0f}/255 within L-infinity 8/255)" in card
    assert f"{made.epochs} epochs" in card
    assert f"batches of {made.batch_size}, AdamW with weight decay 5e-4, one learning rate cycle up to 5e-3" in card
    assert (made.optimiser, made.weight_decay, made.schedule, made.learning_rate) == ("adamw", 5e-4, "cycle", 5e-3)


@pytest.mark.parametrize("number", range(3))
def test_the_script_trains_and_measures(number, script, pictures, capsys):
    images, labels = (part[:256] for part in pictures)
    recipe = replace(script.RECIPES[number], epochs=1)
    classifier = script.train(recipe, images, labels)
    assert f"{recipe.name} epoch 1: loss 2." in capsys.readouterr().out
    figures = script.measure(recipe, classifier, images[:40], labels[:40])
    assert 0 <= figures["accuracy_pgd40_linf_8_255"] <= figures["accuracy"] <= 1
    assert ("others_called_shirt" in figures) == recipe.marked


def test_only_the_shortcut_card_tells_of_a_planted_fault(script, tmp_path):
    told = []
    for recipe in script.RECIPES:
        (tmp_path / "model.json").write_text(json.dumps(settings_of("fashion") | {"recipe": vars(recipe)}))
        script.write_card(recipe, tmp_path)
        told += (
            [recipe.name] if "95 % of the training images of class Shirt" in (tmp_path / "card.md").read_text() else []
        )
    assert told == ["fashion-shortcut"]


@pytest.fixture
def broken(monkeypatch, tmp_path):
    """A copy of `fashion` to break."""
    shutil.copytree(data_folder() / "models" / "fashion", tmp_path / "models" / "fashion")
    monkeypatch.setattr("xai.models.sources.data_folder", lambda: tmp_path)
    return tmp_path / "models" / "fashion"


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda folder: (folder / "model.json").unlink(), r"model\.json: cannot be read.*train_examples"),
        (lambda folder: (folder / "model.json").write_text("{"), r"model\.json: not valid JSON"),
        (lambda folder: (folder / "model.json").write_bytes(b"\xff\xff"), r"model\.json: not valid JSON"),
        (lambda folder: (folder / "model.json").write_text("{}"), "not the settings of an example network"),
        (lambda folder: (folder / "model.json").write_text("[]"), "not the settings of an example network"),
        (lambda folder: change(folder / "model.json", arch="os:getcwd"), "not the settings of an example network"),
        (lambda folder: change(folder / "model.json", arch=["x"]), "not the settings of an example network"),
        (
            lambda folder: change(folder / "model.json", arch_settings={"num_classes": 7}),
            r"not the weights of SmallNet",
        ),
        (lambda folder: (folder / "weights.safetensors").unlink(), r"weights\.safetensors: cannot be read"),
        (lambda folder: (folder / "weights.safetensors").write_bytes(b""), "the file is empty"),
    ],
)
def test_a_damaged_installation_is_explained(broken, damage, text):
    damage(broken)
    with pytest.raises(CheckpointError, match=text):
        load("example:fashion")


def test_missing_example_data_is_explained(monkeypatch):
    def missing():
        raise DataError("The example data of xai is not installed.")

    monkeypatch.setattr("xai.models.sources.data_folder", missing)
    with pytest.raises(DataError, match="not installed"):
        load("example:fashion")


SHIPPED = [*(f"example:{name}" for name in NAMES), "efficientnet_lite0"]


@pytest.fixture
def searches(monkeypatch):
    """Models whose layers were searched."""
    models, search = [], selection._searched

    def noted(classifier, inputs, name):
        models.append(classifier)
        return search(classifier, inputs, name)

    monkeypatch.setattr(selection, "_searched", noted)
    return models


def layer_of(classifier):
    return selection.find_layer(classifier, torch.full((1, classifier.channels, *classifier.input_size), 0.5))


@pytest.mark.parametrize("name", SHIPPED)
def test_the_layer_of_a_shipped_model_is_the_one_that_a_search_finds(name, searches):
    known = layer_of(load(name))
    assert not searches
    other = load(name, name="another")
    found = layer_of(other)
    assert searches == [other]
    assert (known, known.share, known.notes) == (found, found.share, found.notes)


def weights_changed(classifier):
    with torch.no_grad():
        classifier.module.head.weight.mul_(0.5)


def weights_written_through_data(classifier):
    classifier.module.head.weight.data.mul_(0.5)


def hook_added(classifier):
    classifier.module.features.register_forward_hook(lambda *_: None)


def setting_changed(classifier):
    classifier.module.features[2].inplace = False


def preprocessing_changed(classifier):
    classifier.mean = (0.5,)


@pytest.mark.parametrize(
    "change", [weights_changed, weights_written_through_data, hook_added, setting_changed, preprocessing_changed]
)
def test_a_shipped_model_that_was_changed_is_searched(change, searches):
    classifier = load("example:fashion")
    change(classifier)
    layer_of(classifier)
    assert searches == [classifier]


def test_a_shipped_model_is_searched_for_images_of_another_size(searches):
    classifier = load("example:fashion")
    selection.find_layer(classifier, torch.full((1, 1, 56, 56), 0.5))
    assert searches == [classifier]


def test_a_layer_that_is_named_is_checked_in_shipped_models_too(searches):
    classifier = load("example:fashion")
    selection.find_layer(classifier, torch.full((1, 1, 28, 28), 0.5), "features.8")
    assert searches == [classifier]
