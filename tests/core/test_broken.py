"""A copy that is wrong on purpose: wrong wherever the model is right, as sure, and the model untouched."""

import pytest
import torch
from small_models import LinearModel, pictures
from torch import nn

import xai
from xai.audits.fault_injection import broken_copy


@pytest.mark.parametrize("source", ["linear", "example:fashion"])
def test_it_answers_the_next_class_as_surely(source):
    model = xai.Classifier(LinearModel(seed=0), input_size=(16, 16)) if source == "linear" else xai.load(source)
    size, before = model.input_size, model.fingerprint
    images = pictures(8, seed=1) if source == "linear" else torch.rand(8, 1, *size)
    broken = broken_copy(model)
    assert torch.allclose(broken.logits(images), model.logits(images).roll(1, 1), atol=1e-6)
    assert model.fingerprint == before != broken.fingerprint
    assert broken.preprocessing == model.preprocessing
    assert broken.class_names == model.class_names


def test_one_output_is_turned_around():
    model = xai.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 1)), input_size=(4, 4))
    images = torch.rand(5, 3, 4, 4)
    assert (broken_copy(model).predict(images).index == 1 - model.predict(images).index).all()


def test_without_a_last_layer_of_classes_all_weights_are_drawn_anew():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.eye(3))

        def forward(self, x):
            return x.mean((2, 3)) @ self.weight

    model = xai.Classifier(Scaled(), input_size=(4, 4))
    one, two = broken_copy(model), broken_copy(model)
    assert one.fingerprint == two.fingerprint != model.fingerprint
