"""Labels of data go by the names of its classes where the model has them, in every verb, and are refused in parts."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import xai
from xai.core.labels import labels_of, match_names
from xai.core.model.usage_checks import data_fit
from xai.errors import TargetError

NAMES = ("T-shirt/top", "Cat", "dog", "ship")
LEVELS = (0, 85, 170, 255)


class Brightness(nn.Module):
    """Returns a logit for each of four levels of brightness, largest at the nearest."""

    def __init__(self, *, squared: bool) -> None:
        super().__init__()
        self.register_buffer("levels", torch.tensor(LEVELS) / 255)
        self.squared, self.scale = squared, nn.Parameter(torch.tensor(9.0))

    def forward(self, images: Tensor) -> Tensor:
        gap = images.mean((1, 2, 3))[:, None] - self.levels
        return -self.scale * (gap.square() if self.squared else gap.abs())


@pytest.fixture(params=[True, False], ids=["squared", "absolute"])
def clf(request: pytest.FixtureRequest) -> xai.Classifier:
    return xai.Classifier(Brightness(squared=request.param), NAMES, input_size=(5, 7), channels=1)


def write(folder: Path, named: dict[str, int], count: int = 6) -> xai.Dataset:
    """Return a folder with a class per name, whose images show the brightness of a class of the model."""
    for name, k in named.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            level = int(np.clip(LEVELS[k] + number % 3 - 1, 0, 255))
            Image.new("L", (7, 5), level).save(folder / name / f"{number}.png")
    return xai.load_data(folder)


RIGHT = {
    "some": {"ship": 3, "dog": 2},
    "one of two is first": {"Cat": 1, "dog": 2, "ship": 3},
    "case": {"cat": 1, "DOG": 2, "Ship": 3},
    "separators": {"t-shirt_top": 0, "ship": 3, "dog": 2},
    "spaces": {"T shirt top": 0, "cat ": 1},
}


@pytest.mark.parametrize("named", RIGHT.values(), ids=RIGHT)
def test_names_that_the_model_has_go_by_name(clf: xai.Classifier, named: dict[str, int], tmp_path: Path) -> None:
    data = write(tmp_path, named)
    truth, notes = labels_of(clf, data, None, len(data))
    assert torch.equal(truth, clf.predict(data).index)
    assert truth.tolist() == [k for name in sorted(named) for k in [named[name]] * 6]
    assert "labels were matched to the model's classes by name" in notes
    part = data.take([len(data) - 1])
    assert labels_of(clf, part, None, 1)[0].tolist() == truth.tolist()[-1:]


VERBS: dict[str, Callable[[xai.Classifier, xai.Dataset], float]] = {
    "attack": lambda clf, data: xai.attack(clf, data, None, "fgsm", eps=1e-4).clean_accuracy,
    "robustness": lambda clf, data: _share(
        xai.robustness(clf, data, eps=[1e-4], attacks=["fgsm"], certificates=(), trust=False).labels, clf, data
    ),
    "corruptions": lambda clf, data: _share(
        xai.corruption_robustness(clf, data, None, ["brightness"], [1]).labels, clf, data
    ),
    "calibration": lambda clf, data: xai.calibration(clf, data).measures.accuracy,
    "stored outputs": lambda clf, data: xai.calibration(clf, clf.outputs(data)).measures.accuracy,
    "data_fit": lambda clf, data: data_fit(clf, data).accuracy,
    "audit": lambda clf, data: audited(clf, data),
}


def _share(labels: Tensor, clf: xai.Classifier, data: xai.Dataset) -> float:
    return float((labels == clf.predict(data).index).double().mean())


def audited(clf: xai.Classifier, data: xai.Dataset) -> float:
    found = xai.audit(model=clf, data=data, checks=[{"metric": "accuracy", "at_least": 0.8}])
    return float(found.to_dict()["checks"][0]["measured"]["value"])


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_finds_the_model_right(verb: str, tmp_path: Path) -> None:
    clf = xai.Classifier(Brightness(squared=True), NAMES, input_size=(5, 7), channels=1)
    data = write(tmp_path, {"cat": 1, "dog": 2, "ship": 3}, count=8)
    assert VERBS[verb](clf, data) == 1.0  # by position it would be 0


def test_two_models_and_an_unnamed_one_agree_with_predictions(clf: xai.Classifier, tmp_path: Path) -> None:
    unnamed = xai.Classifier(clf.module, input_size=(5, 7), channels=1)
    data = write(tmp_path, {"a": 0, "b": 1, "c": 2, "d": 3})
    own, (said,) = labels_of(unnamed, data, None, 24)
    assert torch.equal(own, unnamed.predict(data).index)
    assert said == "the model's classes have no names: labels were matched by position, 'a' as '0'"
    truth, (note,) = labels_of(clf, data, None, 24)
    assert torch.equal(truth, clf.predict(data).index)
    assert "by position, 'a' as 'T-shirt/top'" in note


def test_some_known_and_some_unknown_is_refused_with_the_cure(clf: xai.Classifier, tmp_path: Path) -> None:
    data = write(tmp_path, {"Cat": 1, "dig": 2, "ship": 3})
    with pytest.raises(TargetError, match=r"'dig' is not, while others are\. Near: dog\. Rename or leave out") as told:
        xai.attack(clf, data, None, "fgsm", eps=1e-4)
    assert "\n" not in str(told.value)
    right = clf.predict(data).index
    assert xai.attack(clf, data, right, "fgsm", eps=1e-4).clean_accuracy == 1.0
    assert clf.outputs(data).labels.tolist() == data.labels.tolist()  # what asks for no truth goes on


def test_a_class_without_images_is_not_asked_for(clf: xai.Classifier, tmp_path: Path) -> None:
    (tmp_path / "background").mkdir()
    data = write(tmp_path, {"ship": 3, "dog": 2})
    assert labels_of(clf, data, None, 12)[0].tolist() == clf.predict(data).index.tolist()


def test_matching_is_unique_and_prefers_the_nearest_form() -> None:
    known = ("Cat", "cat", "T-shirt/top", "a b", "a-b", "1", "crane", "crane")
    found = match_names(["Cat", "cat", "CAT", "t shirt top", "A_B", "a b", "-1", "1", "crane"], known)
    assert found == {"Cat": 0, "cat": 1, "t shirt top": 2, "a b": 3, "1": 5}
