"""Networks of TensorFlow, Caffe, MXNet and Theano, converted as the docs say: their own answers, and the same maps."""

import itertools
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

import xai

FOLDER = Path(__file__).parent / "converted"
TENSORFLOW = ("tensorflow.keras", "savedmodel.onnx", "tflite.onnx")  # one network, three ways
ANSWERS = {**dict.fromkeys(TENSORFLOW, "y"), "caffe.onnx": "caffe", "mxnet.onnx": "mxnet", "theano.keras": "theano"}


@pytest.fixture(scope="module")
def answers():
    with np.load(FOLDER / "answers.npz", allow_pickle=False) as arrays:
        return torch.from_numpy(arrays["p"]).permute(0, 3, 1, 2).contiguous(), dict(arrays)


def opened(name):
    needed = name.rpartition(".")[2]
    if find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    return xai.load(FOLDER / name)


@pytest.mark.parametrize("name", ANSWERS)
def test_the_answers_are_those_of_the_framework(name, answers):
    images, wanted = answers[0], answers[1][ANSWERS[name]]
    assert wanted.max() < 0.99  # no saturated head that would agree with anything
    found = opened(name)
    np.testing.assert_allclose(found.logits_of(images).softmax(1), wanted, atol=1e-5)
    assert (found.input_size, found.channels, found.num_classes) == ((32, 32), 3, 5)
    assert any("ends in a softmax, which is taken off" in note for note in found.notes) == (name != "mxnet.onnx")


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(TENSORFLOW, 2)))
@pytest.mark.parametrize("method", ["gradcam", "saliency"])
def test_the_maps_are_the_same_whatever_the_way(method, first, second, answers):
    maps = [xai.explain(opened(name), answers[0], method, 1).attribution for name in (first, second)]
    scale = float(maps[0].abs().max())
    assert scale > 0
    assert float((maps[0] - maps[1]).abs().max()) <= 1e-3 * scale


@pytest.mark.parametrize("name", ["caffe.onnx", "mxnet.onnx", "theano.keras"])
def test_they_can_be_explained(name, answers):
    found = opened(name)
    assert bool(xai.explain(found, answers[0], "saliency").attribution.any())
    assert any(bool(xai.explain(found, answers[0], "gradcam", target).attribution.any()) for target in range(5))
