"""`Classifier.preprocessing` are settings of a classifier: a second one made with them answers as the first does."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_output_meaning import Ends, Several, conv, dense
from torch import Tensor, nn

import xai

IMAGES = torch.rand(5, 3, 20, 31, generator=torch.Generator().manual_seed(0))
GREY = torch.rand(4, 1, 9, 15, generator=torch.Generator().manual_seed(1))


def grey() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(77, 4)).eval()


def less_mean(classes: int = 3) -> nn.Module:
    """Return a network whose answer to an image depends on the others of its batch."""
    return Ends(conv(classes), lambda z: z - 0.5 * z.mean(0))


SIZED = {"input_size": (17, 23)}
MODELS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "logits": (conv, {"mean": [0.2, 0.4, 0.6], "std": [0.3, 0.2, 0.1], **SIZED}),
    "squashed": (dense, {"resize": "squash", **SIZED}),
    "padded": (dense, {"resize": "pad", "mean": [0.5] * 3, **SIZED}),
    "another crop": (dense, {"crop_ratio": 0.6, **SIZED}),
    "grey": (grey, {"input_size": (7, 11), "channels": 1}),
    "one logit": (lambda: dense(1), SIZED),
    "one probability": (lambda: conv(1, nn.Sigmoid()), SIZED),
    "softmax": (lambda: conv(4, nn.Softmax(1)), SIZED),
    "log-softmax": (lambda: dense(4, nn.LogSoftmax(1)), SIZED),
    "several classes": (lambda: dense(4, nn.Sigmoid()), SIZED),
    "several classes, as said": (conv, {"task": "multilabel", **SIZED}),
    "one class of sigmoids": (lambda: conv(4, nn.Sigmoid()), {"task": "multiclass", **SIZED}),
    "a tuple, by class names": (lambda: Several(lambda f, z: (f, z)), {"class_names": list("abcd"), **SIZED}),
    "a dict, by its key": (lambda: Several(lambda f, z: {"a": f, "b": z}), {"output_key": "b", **SIZED}),
    "one by one": (less_mean, {"one_by_one": True, **SIZED}),
}


@pytest.mark.parametrize("used", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_a_classifier_made_with_the_preprocessing_of_another_answers_as_it_does(name: str, used: bool) -> None:
    make, settings = MODELS[name]
    images: Tensor = GREY if name == "grey" else IMAGES
    first = xai.Classifier(make(), **settings)
    if used:
        first.predict(images)
    kept = json.loads(json.dumps(first.preprocessing))
    assert kept == first.preprocessing
    second = xai.Classifier(make(), **kept)
    assert torch.equal(second.predict(images).probabilities, first.predict(images).probabilities)
    assert torch.equal(second.logits_of(second.prepare(images).inputs), first.logits_of(first.prepare(images).inputs))
    assert (second.task, second.head, second.output) == (first.task, first.head, first.output)
    assert second.preprocessing == first.preprocessing


def test_a_model_that_load_has_looked_at_comes_back_as_well() -> None:
    for make in (less_mean, lambda: conv(1)):
        first = xai.load(make(), input_size=(17, 23))
        second = xai.Classifier(make(), **first.preprocessing)
        assert torch.equal(second.predict(IMAGES).probabilities, first.predict(IMAGES).probabilities)
        assert second.one_by_one == first.one_by_one
