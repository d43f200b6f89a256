"""One door for images and data: every verb takes them in every form, and says what became of their channels."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import xai
from xai.core.images.border import open_data
from xai.errors import DataError, InputError, ShapeError

SIZE, COUNT = (9, 14), 24
LUMA = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
Verb = Callable[[xai.Classifier, Any, Any], Any]


def net(kind: str, channels: int) -> nn.Module:
    torch.manual_seed(3)
    if kind == "linear":
        return nn.Sequential(nn.Flatten(), nn.Linear(channels * SIZE[0] * SIZE[1], 3)).eval()
    parts = [nn.Conv2d(channels, 5, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d((2, 3)), nn.Flatten()]
    return nn.Sequential(*parts, nn.Linear(30, 3)).eval()


def shown(channels: int) -> np.ndarray:
    """Return (N, H, W) or (N, H, W, 3) uint8."""
    size = (COUNT, *SIZE) if channels == 1 else (COUNT, *SIZE, 3)
    return np.random.default_rng(channels).integers(0, 256, size, dtype=np.uint8)


def pixels(channels: int) -> Tensor:
    values = torch.from_numpy(shown(channels).astype(np.float32) / 255)
    return values[:, None] if channels == 1 else values.movedim(-1, 1)


def forms(channels: int, folder: Path) -> dict[str, Any]:
    """Return the same images in every form."""
    array, labels = shown(channels), np.arange(COUNT) % 3
    np.savez(folder / "d.npz", images=array, labels=labels, classes=np.array(["a", "b", "c"]))
    for k, image in enumerate(array):
        place = folder / "images" / "abc"[k % 3]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{k:02d}.png")
    data = xai.load_data(folder / "d.npz")
    last = array if channels == 3 else array[..., None]
    return {
        "data set": data,
        "its images": data.images,
        "a slice": data.images[:],
        "an index": data.images[list(range(COUNT))],
        "a list of them": [data.images[k] for k in range(COUNT)],
        "taken": xai.load_data(folder / "d.npz").take(np.arange(COUNT)),
        "uint8": last,
        "float": last.astype(np.float64) / 255,
        "a list of arrays": list(array),
        "PIL": [Image.fromarray(image) for image in array],
        "files": [folder / "images" / "abc"[k % 3] / f"{k:02d}.png" for k in range(COUNT)],
        "a path": str(folder / "d.npz"),
        "any object": SimpleNamespace(images=pixels(channels), labels=labels),
    }


VERBS: dict[str, Verb] = {
    "predict": lambda clf, x, y: clf.predict(x),
    "explain": lambda clf, x, y: xai.explain(clf, x, "saliency"),
    "attack": lambda clf, x, y: xai.attack(clf, x, y, "fgsm", eps=0.05),
    "certify": lambda clf, x, y: xai.certify(clf, x, y, eps=0.001, method="ibp"),
    "robustness": lambda clf, x, y: xai.robustness(
        clf, x, y, eps=[0.01], attacks=["fgsm"], certificates=(), trust=False
    ),
    "corruptions": lambda clf, x, y: xai.corruption_robustness(clf, x, y, ["brightness"], [1]),
    "outputs": lambda clf, x, y: clf.outputs(x),
    "calibration": lambda clf, x, y: xai.calibration(clf, x, labels=y),
    "drift": lambda clf, x, y: xai.drift(clf, x, x, draws=19),
    "bias": lambda clf, x, y: xai.bias(clf, x, {"site": ["n", "s"] * (COUNT // 2)}, labels=y),
    "faults": lambda clf, x, y: xai.data_faults(clf, x, labels=y),
}


@pytest.mark.parametrize(("kind", "have", "want"), [("linear", 1, 3), ("network", 3, 1), ("network", 1, 1)])
def test_every_form_gives_the_same_logits_and_conversions_are_said(
    kind: str, have: int, want: int, tmp_path: Path
) -> None:
    clf = xai.Classifier(net(kind, want), ["a", "b", "c"], SIZE, channels=want)
    given = pixels(have)
    inputs = (
        given.expand(-1, 3, -1, -1) if want > have else (given * LUMA).sum(1, keepdim=True) if have > want else given
    )
    with torch.no_grad():
        right = clf.module(inputs)
    for name, form in forms(have, tmp_path).items():
        found = clf.predict(form)
        assert torch.allclose(found.logits, right, atol=1e-5), name
        assert torch.allclose(clf.outputs(form).logits, right, atol=1e-5), name
        said = [note for note in found.notes if "as the model takes" in note]
        assert len(said) == (have != want), name


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_takes_every_form(verb: str, tmp_path: Path) -> None:
    clf = xai.Classifier(net("network", 3), ["a", "b", "c"], SIZE)
    labels = (torch.arange(COUNT) % 3).numpy()
    for name, form in forms(1, tmp_path).items():
        found = VERBS[verb](clf, form, labels)
        said = [note for note in found.notes if "grey images were repeated" in note]
        assert len(said) == 1, name


@pytest.mark.parametrize("verb", ["attack", "certify", "robustness", "corruptions"])
def test_labels_of_a_data_set_are_taken_and_matched_by_name(verb: str, tmp_path: Path) -> None:
    data = forms(3, tmp_path)["data set"]
    clf = xai.Classifier(net("network", 3), ["c", "a", "b"], SIZE)  # another order than that of the data
    named = [("c", "a", "b").index("abc"[k % 3]) for k in range(COUNT)]
    own, given = VERBS[verb](clf, data, None), VERBS[verb](clf, data.images[:], named)
    assert own.labels.tolist() == given.labels.tolist() == named
    assert any("by name" in note for note in own.notes)
    with pytest.raises(InputError, match="`labels`"):
        VERBS[verb](clf, data.images[:], None)


def test_ratings_dreams_corruptions_and_detectors_take_them_too(tmp_path: Path) -> None:
    every = forms(1, tmp_path)
    clf = xai.Classifier(net("network", 3), ["a", "b", "c"], SIZE)
    one = every["data set"].take([0])
    why = xai.explain(clf, one, "saliency")
    assert xai.rate_explanation(clf, one, why).verdict == xai.rate_explanation(clf, one.images[0], why).verdict
    dream = xai.deep_dream(clf, "0", image=one, octaves=1, steps=1, size=SIZE)
    same = xai.deep_dream(clf, "0", image=one.images[0], octaves=1, steps=1, size=SIZE)
    assert np.array_equal(dream.image, same.image)
    worse = [
        np.stack([np.asarray(row).squeeze() for row in xai.corrupt(every[k], "brightness")])
        for k in every
        if k not in {"PIL", "files"}  # come back as PIL images of 8 bits
    ]
    assert all(np.allclose(worse[0], found, atol=0.5 / 255 + 1e-6) for found in worse)
    detector = xai.fit_ood(clf, every["data set"].take(range(6)), every["uint8"][6:], "msp")
    scores = [detector.score(form) for form in every.values()]
    assert all(torch.allclose(scores[0], found, atol=1e-5) for found in scores)


def test_what_is_no_image_is_refused_in_one_line(tmp_path: Path) -> None:
    clf = xai.Classifier(net("network", 3), ["a", "b", "c"], SIZE)
    for wrong in (3, {"a": 1}, None, object()):
        with pytest.raises(ShapeError, match="Expected"):
            clf.outputs(wrong)
    with pytest.raises(DataError, match="no such file"):
        clf.predict(str(tmp_path / "none.npz"))
    assert open_data(pixels(3)[0]).single
    assert not open_data(pixels(3)).single
    one = clf.outputs(pixels(3)[0])  # a single image, not as many rows
    assert one.logits.shape == (1, 3)
