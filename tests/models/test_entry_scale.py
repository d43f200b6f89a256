"""Files that expect pixels from 0 to 255, augmentation inside a Keras model, and sizes left open in ONNX."""

import os

import numpy as np
import pytest
import torch
from torch import nn

import xai
from xai.core.model.predictions import to_probabilities
from xai.errors import CheckpointError
from xai.models.inspection import NO_SCALE, SCALED, scale_settings

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
layers, ops = keras.layers, keras.ops
H, T, from_array = onnx.helper, onnx.TensorProto, onnx.numpy_helper.from_array
IMAGES = torch.rand(3, 3, 11, 14, generator=torch.Generator().manual_seed(0))
MEANS = np.array([123.68, 116.8, 103.9], "float32")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def functional(entry):
    """Return a model with an entry and a head behind it."""
    keras.utils.set_random_seed(0)
    given = keras.Input((11, 14, 3))
    x = layers.Flatten()(layers.Conv2D(5, 3, activation="relu")(entry(given)))
    return keras.Model(given, layers.Dense(4, activation="softmax")(x))


def dense(entry):
    """Return a model of another kind."""
    keras.utils.set_random_seed(1)
    x = layers.Dense(6, activation="tanh")(layers.Flatten()(entry(given := keras.Input((11, 14, 3)))))
    return keras.Model(given, layers.Dense(4, activation="softmax")(x))


def nested(*inner):
    return keras.Sequential([keras.Input((11, 14, 3)), *inner])


ENTRIES = {
    "divided": (lambda x: x / 255.0, 255),
    "shifted": (lambda x: ops.subtract(x, 127.5) / 127.5, 255),
    "multiplied": (lambda x: ops.multiply(x, 1 / 255), 255),
    "means": (lambda x: x - MEANS, 255),
    "normalised": (lambda x: layers.Normalization(mean=MEANS, variance=[3300.0] * 3)(x), 255),
    "both": (lambda x: layers.Normalization(mean=[0.48] * 3, variance=[0.05] * 3)(layers.Rescaling(1 / 255)(x)), 255),
    "nested": (lambda x: nested(layers.RandomFlip(), nested(layers.Rescaling(1 / 127.5, offset=-1)))(x), 255),
    "of its own": (lambda x: layers.Normalization(mean=[0.48, 0.45, 0.4], variance=[0.05] * 3)(x), 1),
    "half": (lambda x: (x - 0.5) / 0.5, 1),
    "up and down": (lambda x: layers.Rescaling(255.0)(x) - MEANS, 1),
    "none": (lambda x: x, 1),
}


def agrees(tmp_path, model, scale):
    """Compare with what Keras predicts for the pixels that the model was made for, and return the notes."""
    model.save(tmp_path / "m.keras")
    found = xai.load(tmp_path / "m.keras")
    wanted = model.predict((IMAGES.permute(0, 2, 3, 1) * scale).numpy(), verbose=0)
    mine = to_probabilities(found.logits(IMAGES).detach(), found.head)
    torch.testing.assert_close(mine, torch.tensor(wanted), atol=1e-5, rtol=1e-4)
    assert torch.equal(found.logits(IMAGES), found.logits(IMAGES))
    return found.notes


@pytest.mark.parametrize("name", ENTRIES)
def test_a_keras_model_gets_the_pixels_that_it_expects(tmp_path, name):
    entry, scale = ENTRIES[name]
    for kind in (functional, dense):
        notes = agrees(tmp_path, kind(entry), scale)
        assert (SCALED in notes) == (scale == 255)
        assert (NO_SCALE in notes) == (name == "none")


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.RandomFlip(),
        lambda: layers.RandomRotation(0.3),
        lambda: layers.RandomZoom(0.5),
        lambda: layers.RandomTranslation(0.3, 0.3),
        lambda: layers.RandomBrightness(0.5),
        lambda: layers.RandomContrast(0.5),
        lambda: layers.RandomInvert(1.0),
        lambda: layers.GaussianNoise(0.5),
        lambda: nested(layers.RandomFlip(), layers.RandomRotation(0.3)),
    ],
)
def test_augmentation_is_not_active(tmp_path, layer):
    agrees(tmp_path, functional(lambda x: layers.Rescaling(1 / 255)(layer()(x))), 255)


def test_a_scale_that_is_not_sure_is_noted_with_the_cure(tmp_path):
    notes = agrees(tmp_path, functional(lambda x: layers.Normalization(mean=[0.0] * 3, variance=[1000.0] * 3)(x)), 1)
    assert any(
        "divide pixels by 31.6: if it was trained on pixels from 0 to 255, pass std=[0.003922" in n for n in notes
    )


def test_only_lines_are_read():
    for entry in (nn.Sigmoid(), nn.Identity()):
        notes: list[str] = []
        net = nn.Sequential(entry, nn.Flatten(), nn.Linear(3 * 11 * 14, 2))
        assert scale_settings(net, (1, 3, 11, 14), notes) == {}
        assert notes == [NO_SCALE]
    assert scale_settings(nn.Conv2d(4, 2, 3), (1, 3, 11, 14), []) == {}


def graph(path, *first, size=(11, 14), shape=True, constants=()):
    """Write an ONNX file: some first nodes, from "x" to "x0", then a dense layer behind a flattened image."""
    weights = np.random.default_rng(0).normal(size=(3 * 11 * 14, 5)).astype("float32") / 50
    start = "x0" if first else "x"
    nodes = [*first, H.make_node("Flatten", [start], ["f"]), H.make_node("MatMul", ["f", "w"], ["z"])]
    given = H.make_tensor_value_info("x", T.FLOAT, ["n", 3, *size])
    out = H.make_tensor_value_info("z", T.FLOAT, ["n", 5] if shape else None)
    parts = [from_array(weights, "w"), *constants]
    made = H.make_model(H.make_graph(nodes, "g", [given], [out], parts), opset_imports=[H.make_opsetid("", 17)])
    made.ir_version = 8
    path.write_bytes(made.SerializeToString())
    return path


def by_runtime(path, scale):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.tensor(session.run(None, {"x": (IMAGES * scale).numpy()})[0])


NODES = {
    "div": ([("Div", ["x", "d"])], 255),
    "mul": ([("Mul", ["x", "m"])], 255),
    "sub": ([("Sub", ["x", "means"])], 255),
    "sub and div": ([("Sub", ["x", "h"]), ("Div", ["x1", "h"])], 255),
    "of its own": ([("Sub", ["x", "half"])], 1),
    "none": ([], 1),
}


@pytest.mark.parametrize("name", NODES)
def test_an_onnx_model_gets_the_pixels_that_it_expects(tmp_path, name):
    steps, scale = NODES[name]
    names = ["x0"] if len(steps) == 1 else ["x1", "x0"]
    first = [H.make_node(kind, inputs, [end]) for (kind, inputs), end in zip(steps, names, strict=False)]
    values = {"d": np.float32(255), "m": np.float32(1 / 255), "means": MEANS.reshape(1, 3, 1, 1)}
    values |= {"h": np.float32(127.5), "half": np.float32(0.5)}
    path = graph(tmp_path / "m.onnx", *first, constants=[from_array(np.array(v), k) for k, v in values.items()])
    found = xai.load(path)
    torch.testing.assert_close(found.logits(IMAGES), by_runtime(path, scale), atol=1e-3, rtol=1e-4)
    assert (SCALED in found.notes) == (scale == 255)
    assert (NO_SCALE in found.notes) == (name == "none")
    said = xai.load(path, std=[1.0] * 3)
    torch.testing.assert_close(said.logits(IMAGES), by_runtime(path, 1), atol=1e-3, rtol=1e-4)


def test_a_size_that_the_file_leaves_open_is_taken_from_the_caller(tmp_path):
    path = graph(tmp_path / "m.onnx", size=("h", "w"))
    found = xai.load(path, input_size=(11, 14))
    torch.testing.assert_close(found.logits(IMAGES), by_runtime(path, 1), atol=1e-5, rtol=1e-4)
    assert found.input_size == (11, 14)
    for asked in ({}, {"input_size": (12, 14)}):
        with pytest.raises(CheckpointError, match=r"cannot run on an image .*give input_size=\(H, W\)") as said:
            xai.load(path, **asked)
        assert "\n" not in str(said.value)


def test_an_output_without_a_shape_is_not_damaged(tmp_path):
    path = graph(tmp_path / "m.onnx", shape=False)
    torch.testing.assert_close(xai.load(path).logits(IMAGES), by_runtime(path, 1), atol=1e-5, rtol=1e-4)
