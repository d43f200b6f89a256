"""Keras archives: the same answers and maps as the network that was saved, and archives that are refused."""

import io
import json
import os
import sys
import zipfile

import numpy as np
import pytest
import torch
from checkpoint_bytes import check_line
from small_models import GapCnn, pictures

import xai
from xai.errors import CheckpointError, MissingExtraError, UnsupportedModelError
from xai.models.loading import load

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
h5py = pytest.importorskip("h5py")


@pytest.fixture(autouse=True)
def _seeded():
    """Keras draws weights from everywhere: a small network may come out with no living unit."""
    keras.utils.set_random_seed(0)


pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own saving


def cnn(head=None, scale=None):
    """Return the Keras form of GapCnn, with its weights."""
    layers = keras.layers
    x = given = keras.Input((16, 16, 3))
    x = layers.Rescaling(scale)(x) if scale else x
    x = layers.ReLU(name="relu1")(layers.Conv2D(5, 3, padding="same", name="conv1")(x))
    x = layers.MaxPooling2D(2)(x)
    x = layers.ReLU(name="relu2")(layers.Conv2D(6, 3, padding="same", name="conv2")(x))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(4, activation=head, name="head")(x)
    model, net = keras.Model(given, x), GapCnn()
    for name in ("conv1", "conv2"):
        part = getattr(net, name)
        model.get_layer(name).set_weights(
            [part.weight.detach().permute(2, 3, 1, 0).numpy(), part.bias.detach().numpy()]
        )
    model.get_layer("head").set_weights([net.head.weight.detach().T.numpy(), net.head.bias.detach().numpy()])
    return model, net


def vit():
    """Return a small transformer in Keras."""
    layers = keras.layers
    given = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 4, strides=4)(given)
    x = layers.Reshape((16, 8))(x)
    y = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(y, y)])
    x = layers.Add()([x, layers.Dense(8, activation="gelu")(layers.LayerNormalization()(x))])
    x = layers.LayerNormalization(name="last")(x)
    return keras.Model(given, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def saved(tmp_path, model, name="model.keras"):
    path = tmp_path / "model.keras"
    model.save(path)
    return path.rename(tmp_path / name)


def same(found, net):
    images, twin = pictures(3), xai.Classifier(net)
    torch.testing.assert_close(found.logits_of(images), twin.logits_of(images), atol=1e-4, rtol=1e-4)
    for method in ("gradcam", "saliency"):
        mine, other = (xai.explain(model, images, method, 1).attribution for model in (found, twin))
        assert float((mine - other).abs().max()) <= 1e-3 * float(other.abs().max())


@pytest.mark.parametrize("name", ["model.keras", "model.bin"])
def test_the_same_answers_and_maps(tmp_path, name):
    model, net = cnn()
    found = load(saved(tmp_path, model, name))
    same(found, net)
    assert (found.input_size, found.channels, found.name) == ((16, 16), 3, "model")
    assert any("Keras archive of version" in note for note in found.notes)
    assert any("nothing of mean and std" in note for note in found.notes)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_a_head_is_taken_off(tmp_path, head):
    model, net = cnn(head)
    found = load(saved(tmp_path, model))
    same(found, net)
    assert (found.head, found.output) == (head, "logits")
    assert any(f"ends in a {head}, which is taken off" in note for note in found.notes)


def test_a_softmax_layer_is_taken_off(tmp_path):
    model, net = cnn()
    whole = keras.Model(model.inputs, keras.layers.Softmax()(model.output))
    same(load(saved(tmp_path, whole)), net)


def test_a_network_that_scales_itself_gets_bytes(tmp_path):
    model, net = cnn(scale=1 / 255)
    found = load(saved(tmp_path, model))
    same(found, net)
    assert found.std == pytest.approx((1 / 255,) * 3)
    assert any("gets pixels from 0 to 255" in note for note in found.notes)


def test_a_sequential_network(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.GlobalMaxPooling2D(),
            keras.layers.Dense(2),
        ]
    )
    found = load(saved(tmp_path, model))
    wanted = model(pictures(2).permute(0, 2, 3, 1).numpy()).detach()
    torch.testing.assert_close(found.logits_of(pictures(2)), wanted, atol=1e-5, rtol=1e-4)
    assert "steps" in (xai.explain(found, pictures(1)).layer or "")


def test_a_network_in_a_network(tmp_path):
    inner, net = cnn()
    given = keras.Input((16, 16, 3))
    same(load(saved(tmp_path, keras.Model(given, inner(given)))), net)


def test_a_transformer(tmp_path):
    model = vit()
    found = load(saved(tmp_path, model))
    wanted = model(pictures(2).permute(0, 2, 3, 1).numpy()).detach()
    torch.testing.assert_close(found.logits_of(pictures(2)), wanted, atol=1e-5, rtol=1e-4)
    map_ = xai.explain(found, pictures(1))
    assert np.isfinite(map_.heatmap).all()


def changed(tmp_path, change, members=None):
    """Return an archive whose configuration was changed."""
    path = saved(tmp_path, cnn()[0])
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    change(config)
    parts |= {"config.json": json.dumps(config).encode(), **(members or {})}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def relayer(**values):
    def change(config):
        config["config"]["layers"][1].update(values)

    return change


def h5(fill):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        fill(file)
    return buffer.getvalue()


LAMBDA = {"class_name": "__lambda__", "config": {"value": "4wEAAAAAAAAAAAAAAAA=", "defaults": None, "closure": None}}
HOSTILE = {
    "a Lambda": (relayer(class_name="Lambda"), None, "does, in 'Lambda'"),
    "a lambda": (relayer(config=LAMBDA), None, "does, in '__lambda__'"),
    "TFSMLayer": (relayer(class_name="TFSMLayer"), None, "does, in 'TFSMLayer'"),
    "a torch module": (relayer(class_name="TorchModuleWrapper"), None, "does, in 'TorchModuleWrapper'"),
    "another module": (relayer(module="os"), None, "needs 'os'"),
    "a module that begins as one of ours": (relayer(module="keras.layers_evil"), None, "needs 'keras.layers_evil'"),
    "its utilities": (relayer(module="keras.utils", class_name="get_file"), None, "needs 'keras.utils'"),
    "a function": (relayer(class_name="function", module="builtins"), None, "does, in 'function'"),
    "registered by others": (relayer(registered_name="evil>Layer"), None, "needs 'evil>Layer'"),
    "no class name": (relayer(class_name=["Lambda"]), None, "does, in"),
    "another member": (lambda config: None, {"assets/run.py": b"x"}, "members that no plain network needs"),
    "a way out": (lambda config: None, {"../x": b"x"}, "leads out of it"),
    "links": (
        lambda config: None,
        {"model.weights.h5": h5(lambda f: f.__setitem__("a", h5py.ExternalLink("/etc/passwd", "x")))},
        "point to other places",
    ),
    "soft links": (
        lambda config: None,
        {"model.weights.h5": h5(lambda f: f.__setitem__("a", h5py.SoftLink("/b")))},
        "point to other places",
    ),
    "weights elsewhere": (
        lambda config: None,
        {"model.weights.h5": h5(lambda f: f.create_dataset("a", (8,), "u1", external=[("/etc/passwd", 0, 8)]))},
        "in other files",
    ),
    "claims": (
        lambda config: None,
        {"model.weights.h5": h5(lambda f: f.create_dataset("a", (1 << 40,), "u1", chunks=(1 << 20,)))},
        "more bytes than the file has",
    ),
    "no weights": (lambda config: None, {"model.weights.h5": b"nothing"}, "damaged|cannot"),
    "other weights": (
        lambda config: None,
        {"model.weights.h5": h5(lambda f: f.create_dataset("a", (8,), "f4"))},
        "cannot read it",
    ),
    "no configuration": (lambda config: config.clear(), None, "cannot read it|damaged"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_refused_in_one_line(tmp_path, case):
    change, members, words = HOSTILE[case]
    path = changed(tmp_path, change, members)
    with pytest.raises(CheckpointError, match=words) as caught:
        load(path)
    check_line(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < 400


def test_a_lambda_never_runs(tmp_path):
    marker = tmp_path / "marker"
    place = str(marker)
    given = keras.Input((16, 16, 3))
    x = keras.layers.Lambda(lambda t: (open(place, "w").close(), t)[1])(given)  # noqa: PTH123
    path = saved(tmp_path, keras.Model(given, keras.layers.GlobalAveragePooling2D()(x)))
    marker.unlink(missing_ok=True)
    for trust in (False, True):
        with pytest.raises(CheckpointError, match="so it is refused"):
            load(path, trust=trust)
    assert not marker.exists()


def test_the_old_form_is_refused(tmp_path):
    path = tmp_path / "model.h5"
    path.write_bytes(h5(lambda f: f.create_dataset("a", (8,), "f4")))
    with pytest.raises(CheckpointError, match=r"Save the model in the \.keras form"):
        load(path)


@pytest.mark.parametrize("shape", [(16,), (16, 16, 3, 2)])
def test_only_pictures_are_taken(tmp_path, shape):
    given = keras.Input(shape)
    path = saved(tmp_path, keras.Model(given, keras.layers.Dense(3)(keras.layers.Flatten()(given))))
    with pytest.raises(CheckpointError, match="expected one input of images"):
        load(path)


def test_only_classifiers_are_read(tmp_path):
    given = keras.Input((16, 16, 3))
    path = saved(tmp_path, keras.Model(given, keras.layers.Conv2D(3, 1)(given)))
    with pytest.raises(CheckpointError, match="one row of class scores"):
        load(path)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    path = saved(tmp_path, cnn()[0])
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(MissingExtraError, match=r"xai-toolkit\[keras\]"):
        load(path)


def test_another_backend_is_said(tmp_path, monkeypatch):
    path = saved(tmp_path, cnn()[0])
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(UnsupportedModelError, match="Keras runs on 'jax' here"):
        load(path)


def test_how_it_was_trained_does_not_matter_but_inside_a_network_it_does(tmp_path):
    net, twin = cnn()
    net.compile(optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    same(load(saved(tmp_path, net)), twin)
    outer = keras.Sequential([keras.layers.Input((16, 16, 3)), net])
    outer.compile(loss=keras.losses.CategoricalCrossentropy())
    with pytest.raises(CheckpointError, match="refused"):
        load(saved(tmp_path, outer, "outer.keras"))
