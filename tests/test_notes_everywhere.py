"""What is noted of a model's outputs is in the result of every public verb that takes a model."""

import copy
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import GapCnn, pictures
from torch import nn

import xai

IMAGES = pictures(160)
SITES = np.array(["north", "south"])[np.arange(80) % 2]


class OneLogit(nn.Module):
    """Predicts each of two classes for half of the images."""

    def __init__(self) -> None:
        super().__init__()
        self.net = GapCnn(classes=1).eval()
        with torch.no_grad():
            self.net.head.bias -= self.net(IMAGES).median()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images)


class Pair(nn.Module):
    """Returns an auxiliary head's scores behind its own."""

    def __init__(self) -> None:
        super().__init__()
        self.net = GapCnn()

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = self.net(images)
        return scores, scores * 0.5


HEADS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "one logit": (OneLogit, "one output is read as the logit of two classes"),
    "softmax": (lambda: nn.Sequential(GapCnn(), nn.Softmax(1)), "ends in a softmax: its logarithm is used"),
    "several outputs": (Pair, "the model returns 2 things: the first is read as the class scores"),
}


class Half:
    """Part of the images, with labels."""

    def __init__(self, clf: xai.Classifier, rows: slice) -> None:
        self.images, self.name = IMAGES[rows], "half"
        self.labels = (torch.arange(160) % clf.num_classes)[rows]


VERBS: dict[str, Callable[..., Any]] = {
    "attack": lambda clf, one, *_: xai.attack(clf, one.images[:4], one.labels[:4], "fgsm"),
    "bias": lambda clf, one, *_: xai.bias(clf, one, {"site": SITES}),
    "broken_copy": lambda clf, one, *_: xai.Audit.broken_copy(clf).predict(one.images[:2]),
    "calibration": lambda clf, one, *_: xai.calibration(clf, one),
    "certify": lambda clf, one, *_: xai.certify(clf, one.images[:2], one.labels[:2], method="ibp"),
    "compare_baselines": lambda clf, one, *_: xai.compare_baselines(clf, one.images[0], "occlusion", ("mean", "zero")),
    "compare_ood": lambda clf, one, two: xai.compare_ood(
        clf, one, two, one.images[:9] * 0.9, one.images[:9] * 0.2, ["msp"]
    ),
    "compare_resizing": lambda clf, one, *_: xai.compare_resizing(clf, one),
    "corruption_robustness": lambda clf, one, *_: xai.corruption_robustness(
        clf, one.images[:8], one.labels[:8], ["brightness"], [1]
    ),
    "data_faults": lambda clf, one, *_: xai.data_faults(clf, one),
    "deep_dream": lambda clf, one, *_: xai.deep_dream(clf, image=one.images[0], target=1, octaves=1, steps=1),
    "drift": lambda clf, one, two: xai.drift(clf, one, two, draws=99),
    "explain": lambda clf, one, *_: xai.explain(clf, one.images[0], "saliency"),
    "fit_conformal": lambda clf, one, *_: xai.fit_conformal(clf, one),
    "fit_ood": lambda clf, one, two: xai.fit_ood(clf, one, two, "msp"),
    "load": lambda clf, *_: xai.load(clf.module, input_size=(16, 16)),
    "rate_explanation": lambda clf, one, *_: xai.rate_explanation(
        clf, one.images[0], xai.explain(clf, one.images[0], "saliency")
    ),
    "robustness": lambda clf, one, *_: xai.robustness(clf, one.images[:4], one.labels[:4], eps=[0.01]),
    "shortcuts": lambda clf, one, *_: xai.shortcuts(clf, one, probes=["border"]),
    "slices": lambda clf, one, *_: xai.slices(clf, one),
    "treatment": lambda clf, one, *_: xai.treatment(clf, one, attack="fgsm"),
}
BY_HEAD = {  # bounds of the logits are refused behind a softmax
    "output_bounds": lambda clf, one, *_: xai.output_bounds(clf, one.images[:2] * 0.9, one.images[:2], "ibp"),
}
WITHOUT = {  # return no result about what the model answers
    *("layers", "methods", "load_data"),
    "audit",  # has limits, see below
    "diagnose",  # says it in lines, see below
    "fit_probe",  # takes features, and not the outputs
}


FUNCTIONS = {name: getattr(xai, name) for name in xai.__all__ if inspect.isfunction(getattr(xai, name))}
FUNCTIONS |= {name: getattr(xai.Audit, name) for name in ("broken_copy",)}


def takes_a_model(name: str) -> bool:
    first = [*inspect.signature(FUNCTIONS[name]).parameters]
    return bool({"model", "classifier", "source"} & set(first))


def test_every_public_verb_that_takes_a_model_is_here() -> None:
    functions = {name for name in FUNCTIONS if takes_a_model(name)}
    assert functions == {*VERBS, *BY_HEAD, *(WITHOUT & functions)}


def made(net: nn.Module) -> tuple[xai.Classifier, Half, Half]:
    clf = xai.Classifier(net, input_size=(16, 16))
    return clf, Half(clf, slice(0, 30)), Half(clf, slice(30, 60))


@pytest.fixture(
    scope="module", params=["one logit", "several outputs", pytest.param("softmax", marks=pytest.mark.slow)]
)
def world(request: pytest.FixtureRequest) -> tuple[xai.Classifier, Half, Half, str]:
    make, said = HEADS[request.param]
    clf = xai.Classifier(make().eval(), input_size=(16, 16))
    return clf, Half(clf, slice(0, 80)), Half(clf, slice(80, 160)), said


@pytest.mark.parametrize("verb", VERBS)
def test_a_note_on_the_outputs_is_in_every_result(verb: str, world: Any) -> None:
    *given, said = world
    found = VERBS[verb](*given)
    assert any(said in note for note in found.notes)
    if hasattr(found, "to_dict"):
        assert any(said in note for note in found.to_dict()["notes"])


def test_what_results_are_used_for_has_it_too(world: Any) -> None:
    clf, one, two, said = world
    detector, predictor = xai.fit_ood(clf, one, two, "msp"), xai.fit_conformal(clf, one)
    results = {
        "predict": clf.predict(one.images[:2]),
        "outputs": clf.outputs(one),
        "judge": detector.judge(one.images[:2]),
        "sets": predictor.sets(one.images[:2]),
        "rejected": xai.treatment(clf, one, attack=None, detector=detector),
        "explained": xai.treatment(clf, one, attack=None, method="saliency", samples=1),
        "agreement": xai.agreement([xai.explain(clf, one.images[0], name) for name in ("saliency", "occlusion")]),
    }
    assert [name for name, found in results.items() if not any(said in note for note in found.notes)] == []


def test_the_doctor_says_it_of_a_model(world: Any) -> None:
    clf, _, _, said = world
    assert any(said in line for line in xai.diagnose(clf, imports=False).model)


def test_an_audit_has_it_among_its_limits(world: Any, tmp_path: Path) -> None:
    clf, one, _, said = world
    np.savez(tmp_path / "d.npz", images=one.images.permute(0, 2, 3, 1).numpy(), labels=one.labels.numpy())
    data = xai.load_data(tmp_path / "d.npz")
    made = xai.audit(model=clf, data=data, checks=[{"metric": "accuracy", "at_least": 0.1}], out=tmp_path / "out")
    assert any(said in limit for limit in made.to_dict()["limits"])


def test_bounds_of_a_binary_model_and_copies_of_them() -> None:
    clf = xai.Classifier(OneLogit(), input_size=(16, 16))
    found = BY_HEAD["output_bounds"](clf, Half(clf, slice(0, 80)))
    low, high = found
    assert low is found.lower
    assert high is found.upper
    for bounds in (found, copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert any("one output is read" in note for note in bounds.notes)
        assert torch.equal(bounds.lower, low)
