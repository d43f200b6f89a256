"""Mistakes that show in predictions and labels together: what is noted, in which verbs, and what raises no doubt."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import xai
from xai.core.model.usage_checks import data_doubts, reading_doubts
from xai.core.runtime.randomness import repeated

SIZE, CLASSES, COUNT = (10, 14), 4, 96
NAMES = ("red top", "red bottom", "blue top", "blue bottom")


def scenes(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return images whose upper or lower half is red or blue: the class."""
    source = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (COUNT,), generator=source)
    images = 0.3 * torch.rand(COUNT, 3, *SIZE, generator=source)
    for k, label in enumerate(labels.tolist()):
        rows = slice(0, SIZE[0] // 2) if label % 2 == 0 else slice(SIZE[0] // 2, None)
        images[k, 2 * (label // 2), rows] += 0.4
    return images, labels


def band(pixels: Tensor) -> Tensor:
    """Return 1 for pixels as bright as objects, 0 for darker and less for brighter ones: other scales do not pass."""
    return torch.exp(-(((pixels - 0.55) / 0.12) ** 2)) - 9 * (pixels - 0.8).clamp_min(0)


class Halves(nn.Module):
    """Scores classes by red and blue of the two halves; a convolution of size 1 undoes the normalisation."""

    def __init__(self, mean: float = 0.3, std: float = 0.2) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1)
        self.register_buffer("scale", torch.tensor(std))
        with torch.no_grad():
            self.first.weight.copy_(torch.eye(3).view(3, 3, 1, 1))
            self.first.bias.fill_(mean / std)  # pixels back from normalised ones, divided by std

    def forward(self, images: Tensor) -> Tensor:
        maps = band(self.first(images) * self.scale)
        middle = maps.shape[2] // 2
        parts = [maps[:, k, rows].mean((1, 2)) for k in (0, 2) for rows in (slice(0, middle), slice(middle, None))]
        return 20 * torch.stack(parts, 1)


class Flat(nn.Module):
    """One linear layer, after the same band."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * SIZE[0] * SIZE[1], CLASSES, bias=False)
        weight = torch.zeros(CLASSES, 3, *SIZE)
        for label in range(CLASSES):
            weight[label, 2 * (label // 2), slice(0, 5) if label % 2 == 0 else slice(5, None)] = 1
        with torch.no_grad():
            self.linear.weight.copy_(weight.flatten(1))

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(band(images * 0.2 + 0.3).flatten(1))


def model(make: Callable[[], nn.Module] = Halves, mean: float | None = 0.3, std: float | None = 0.2) -> xai.Classifier:
    numbers = [None if value is None else [value] * 3 for value in (mean, std)]
    return xai.Classifier(make().eval(), NAMES, SIZE, 3, *numbers, resize="squash")


VERBS: dict[str, Callable[[xai.Classifier, Tensor, Tensor], tuple[str, ...]]] = {
    "attack": lambda clf, images, labels: xai.attack(clf, images, labels, "noise").notes,
    "certify": lambda clf, images, labels: xai.certify(Linear(), images, labels, 0.001, method="ibp").notes,
    "robustness": lambda clf, images, labels: (
        xai.robustness(clf, images, labels, [0.01], attacks=["fgsm"], certificates=(), trust=False).notes
    ),
    "calibration": lambda clf, images, labels: xai.calibration(clf, images, labels).notes,
    "fit_conformal": lambda clf, images, labels: xai.fit_conformal(clf, images, labels).notes,
    "bias": lambda clf, images, labels: xai.bias(clf, images, {"half": [0, 1] * 48}, labels=labels).notes,
    "slices": lambda clf, images, labels: xai.slices(clf, images, labels=labels).notes,
}


class Linear(xai.Classifier):
    """The classes of `scenes` by one linear layer, which can be proven."""

    def __init__(self) -> None:
        flat = Flat()
        super().__init__(nn.Sequential(nn.Flatten(), flat.linear).eval(), NAMES, SIZE, 3)


def noted(notes: tuple[str, ...], *words: str) -> bool:
    return any(all(word in note for word in words) for note in notes)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_with_labels_notes_another_order_of_classes(verb: str):
    images, labels = scenes()
    shown = VERBS[verb](model(), images, (labels + 1) % CLASSES)
    assert noted(shown, "another order", "100% of the labels"), shown
    assert not noted(VERBS[verb](model(), images, labels), "another order")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_with_labels_notes_copies_and_labels_of_other_images(verb: str):
    images, labels = scenes()
    shuffled = labels[torch.randperm(COUNT, generator=torch.Generator().manual_seed(3))]
    assert noted(VERBS[verb](model(), images, shuffled), "by chance")
    if verb in ("bias", "slices"):
        return  # streamed; `xai.data_faults` finds copies
    again = torch.cat([images[:48], images[:48]])
    assert noted(VERBS[verb](model(), again, torch.cat([labels[:48], labels[:48]])), "48 of 96 images repeat")


@pytest.mark.parametrize("make", [Halves, Flat])
@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("none given", "mean"),
        ("twice", "pixels as they are"),
        ("BGR", "BGR"),
    ],
)
def test_other_ways_to_read_pixels_are_tried_where_predictions_are_wrong(make: type, mistake: str, words: str):
    images, labels = scenes(1)
    right = model(make)
    assert not noted(xai.calibration(right, images, labels).notes, "preprocessing")
    if mistake == "none given":
        half = nn.Sequential(make()).eval()
        with torch.no_grad():  # a model of pixels from -1 to 1
            wrapped = Wrapped(half)
        wrong = xai.Classifier(wrapped.eval(), NAMES, SIZE, 3, resize="squash")
    elif mistake == "twice":
        wrong = xai.Classifier(nn.Sequential(Scaled(), make()).eval(), NAMES, SIZE, 3, [0.3] * 3, [0.2] * 3)
    else:
        wrong, images = right, images.flip(1)
    notes = xai.calibration(wrong, images, labels).notes
    assert noted(notes, "preprocessing looks mistaken", words), notes


def test_negatives_are_noted():
    images, labels = scenes(2)
    assert noted(xai.calibration(Linear(), 1 - images, labels).notes, "preprocessing looks mistaken", "dark and bright")
    assert not noted(xai.calibration(Linear(), images, labels).notes, "mistaken")


class Scaled(nn.Module):
    """Normalises inside the module."""

    def forward(self, images: Tensor) -> Tensor:
        return (images - 0.3) / 0.2


class Wrapped(nn.Module):
    """Takes pixels from -1 to 1."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        return self.inner((images * 0.5 + 0.5 - 0.3) / 0.2)


def test_off_by_one_is_told_from_other_orders():
    said = torch.arange(4).repeat(30)
    clf = xai.Classifier(nn.Flatten(), list("abcde"))
    assert reading_doubts(clf, None, said, said) == ()
    assert "off by one: minus 1" in reading_doubts(clf, None, said, said + 1)[0]
    assert "off by one: plus 1" in reading_doubts(clf, None, said + 1, said)[0]
    assert "'a' is predicted as 'd'" in reading_doubts(clf, None, 3 - said, said)[0]


def test_chance_makes_no_other_order():
    """Of 300 sets whose labels and predictions have nothing to do with each other, hardly any is told an order."""
    chance = np.random.default_rng(0)
    told = 0
    for _ in range(300):
        count, classes = int(chance.integers(24, 200)), int(chance.integers(2, 20))
        said, truth = (torch.from_numpy(chance.integers(0, classes, count)) for _ in range(2))
        clf = xai.Classifier(nn.Flatten(), [str(k) for k in range(classes)])
        told += any("order" in note or "off by one" in note for note in reading_doubts(clf, None, said, truth))
    assert told <= 2


def test_copies_are_counted():
    assert repeated([b"a", b"b", b"c"]) == ()
    assert repeated([b"a", b"b", b"a", b"a"]) == (
        "2 of 4 images repeat others exactly: intervals take them for new ones",
    )


@pytest.mark.parametrize("count", [1, 3])
def test_pixels_that_are_no_image_are_noted_by_whatever_takes_images(count: int):
    images = scenes()[0][:count]
    clf = model()
    for notes in (clf.predict(images / 255).notes, xai.explain(clf, images / 255, "saliency").notes):
        assert noted(notes, "divided by 255 twice")
    flat = torch.full_like(images, 0.4)
    for notes in (clf.predict(flat).notes, xai.explain(clf, flat, "saliency").notes):
        assert noted(notes, "one value everywhere")
    for notes in (clf.predict(images).notes, xai.explain(clf, images, "saliency").notes):
        assert not noted(notes, "one value")
        assert not noted(notes, "255")


@pytest.mark.parametrize("sorted_by_class", [True, False])
def test_images_of_the_whole_are_read_in_other_ways_and_not_the_first(sorted_by_class):
    """Half of the labels are 1 and all images are dark: inverted, the first half would be right, the second wrong."""

    class Bright(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            mean = images.mean((1, 2, 3))
            return 9 * torch.stack([1 - mean, mean], 1)

    images = 0.2 * torch.rand(120, 3, 9, 13, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([1] * 60 + [0] * 60)
    labels = labels if sorted_by_class else labels.roll(30)
    classifier = xai.Classifier(Bright(), class_names=["dark", "bright"], input_size=(9, 13), task="multiclass")
    predictions = torch.zeros(120, dtype=torch.int64)
    assert (classifier.logits_of(images).argmax(1) == predictions).all()
    for noted in (
        reading_doubts(classifier, images, predictions, labels),
        data_doubts(classifier, images, predictions, labels),
    ):
        assert not any("preprocessing" in note.partition(":")[0] for note in noted), noted
