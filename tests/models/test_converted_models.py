"""A network of TensorFlow through Keras, SavedModel and TensorFlow Lite: its own answers, and the same maps."""

import itertools
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

import xai

FOLDER = Path(__file__).parent / "converted"
NEEDS = {"tensorflow.keras": "keras", "savedmodel.onnx": "onnx", "tflite.onnx": "onnx"}


@pytest.fixture(scope="module")
def answers():
    with np.load(FOLDER / "answers.npz", allow_pickle=False) as arrays:
        return torch.from_numpy(arrays["p"]).permute(0, 3, 1, 2).contiguous(), arrays["y"]


def opened(name):
    if find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    return xai.load(FOLDER / name)


@pytest.mark.parametrize("name", NEEDS)
def test_the_answers_are_those_of_tensorflow(name, answers):
    images, wanted = answers
    found = opened(name)
    np.testing.assert_allclose(found.logits_of(images).softmax(1), wanted, atol=1e-5)
    assert (found.input_size, found.channels, found.num_classes) == ((32, 32), 3, 5)
    assert any("ends in a softmax, which is taken off" in note for note in found.notes)


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(NEEDS, 2)))
@pytest.mark.parametrize("method", ["gradcam", "saliency"])
def test_the_maps_are_the_same_whatever_the_way(method, first, second, answers):
    maps = [xai.explain(opened(name), answers[0], method, 1).attribution for name in (first, second)]
    scale = float(maps[0].abs().max())
    assert scale > 0
    assert float((maps[0] - maps[1]).abs().max()) <= 1e-3 * scale
