"""Ordinary mistakes, and what each verb is to do about them: refuse, note, or handle.

`tests/test_misuse.py` tries them, and holds the table of docs/howto/mistakes.md against them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import xai

SIZE, COUNT, NAMES = (10, 14), 96, ("red top", "red bottom", "blue top", "blue bottom")
REFUSED, NOTED, HANDLED = "refused", "noted", "handled"


def scenes(seed: int = 0, count: int = COUNT) -> tuple[Tensor, Tensor]:
    """Return images (N, 3, 10, 14) whose upper or lower half is red or blue: the class (N,)."""
    source = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (count,), generator=source)
    images = 0.3 * torch.rand(count, 3, *SIZE, generator=source)
    for k, label in enumerate(labels.tolist()):
        rows = slice(0, 5) if label % 2 == 0 else slice(5, None)
        images[k, 2 * (label // 2), rows] += 0.4
    return images, labels


def net() -> nn.Sequential:
    """Return a linear model that is right on all of them; its logits have no softmax."""
    linear = nn.Linear(3 * SIZE[0] * SIZE[1], 4)
    weight = torch.zeros(4, 3, *SIZE)
    for label in range(4):
        weight[label, 2 * (label // 2), slice(0, 5) if label % 2 == 0 else slice(5, None)] = 0.1
    with torch.no_grad():
        linear.weight.copy_(weight.flatten(1))
        linear.bias.fill_(-1.0)
    return nn.Sequential(nn.Flatten(), linear).eval()


def conv() -> nn.Sequential:
    """Return a convolution before a linear layer, as right as `net`."""
    first = nn.Conv2d(3, 4, (5, 14), stride=(5, 14))
    second = nn.Linear(8, 4)
    with torch.no_grad():
        first.weight.zero_()
        first.bias.zero_()
        first.weight[0, 0], first.weight[1, 2] = 0.1, 0.1
        second.weight.zero_()
        second.bias.fill_(-1.0)
        for label in range(4):
            second.weight[label, 2 * (label // 2) + label % 2] = 1.0
    return nn.Sequential(first, nn.ReLU(), nn.Flatten(), second).eval()


@dataclass
class Call:
    """What a user hands over."""

    module: nn.Module
    images: Any
    labels: Any
    about: dict[str, Any] = field(default_factory=lambda: {"input_size": SIZE, "channels": 3})
    names: Any = NAMES
    eps: Any = 0.02
    target: Any = 1

    def model(self) -> xai.Classifier:
        """Return the classifier."""
        return xai.Classifier(self.module, self.names, **self.about)


def right(make: Callable[[], nn.Module] = net) -> Call:
    """Return a call without a mistake."""
    return Call(make(), *scenes())


def some(images: Any, count: int) -> Any:
    """Return the first images, in the form they have."""
    return images[:count] if isinstance(images, list | Tensor | np.ndarray) and len(images) > count else images


def told(result: Any) -> tuple[str, ...]:
    """Return the notes of a result."""
    return tuple(result.notes)


VERBS: dict[str, Callable[[Call], tuple[str, ...]]] = {
    "predict": lambda c: told(c.model().predict(c.images)),
    "explain": lambda c: told(xai.explain(c.model(), some(c.images, 3), "saliency", target=c.target)),
    "attack": lambda c: told(xai.attack(c.model(), c.images, c.labels, "fgsm", eps=c.eps)),
    "certify": lambda c: told(xai.certify(c.model(), c.images, c.labels, eps=c.eps, method="ibp")),
    "robustness": lambda c: told(
        xai.robustness(c.model(), c.images, c.labels, [c.eps], attacks=["fgsm"], certificates=(), trust=False)
    ),
    "calibration": lambda c: told(xai.calibration(c.model(), c.images, c.labels)),
    "fit_conformal": lambda c: told(xai.fit_conformal(c.model(), c.images, c.labels)),
    "bias": lambda c: told(xai.bias(c.model(), c.images, {"half": [0, 1] * 48}, labels=c.labels, replicates=200)),
    "slices": lambda c: told(xai.slices(c.model(), c.images, labels=c.labels)),
    "fit_ood": lambda c: told(xai.fit_ood(c.model(), c.images, scenes(1)[0], "energy")),
    "drift": lambda c: told(xai.drift(c.model(), c.images, scenes(1)[0])),
    "deep_dream": lambda c: told(
        xai.deep_dream(c.model(), target=c.target, image=some(c.images, 1), octaves=1, steps=1, least_confidence=0)
    ),
}
LABELLED = ("attack", "certify", "robustness", "calibration", "fit_conformal", "bias", "slices")
RADII, TARGETS = ("attack", "certify", "robustness"), ("explain", "deep_dream")
QUICK = ("predict", "explain", "attack", "calibration")


@dataclass(frozen=True)
class Mistake:
    """One mistake.

    Attributes:
        words: as the docs name it.
        make: a right call -> the call with the mistake.
        outcome: what the verbs do.
        match: in the error, or in a note.
        verbs: that can meet it; all by default.
        other: outcome and match of single verbs that do otherwise.
    """

    words: str
    make: Callable[[Call], Call]
    outcome: str
    match: str = ""
    verbs: tuple[str, ...] = tuple(VERBS)
    other: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def _images(change: Callable[[Tensor], Any]) -> Callable[[Call], Call]:
    return lambda call: replace(call, images=change(call.images))


def _labels(change: Callable[[Tensor], Any]) -> Callable[[Call], Call]:
    return lambda call: replace(call, labels=change(call.labels))


def _about(**more: Any) -> Callable[[Call], Call]:
    return lambda call: replace(call, about=call.about | more)


def _arrays(images: Tensor) -> np.ndarray:
    return (images.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)


def _ending(layer: nn.Module) -> Callable[[Call], Call]:
    return lambda call: replace(call, module=nn.Sequential(*call.module, layer).eval())


class _Banded(nn.Module):
    """Lets pass normalised pixels that are as bright as the objects: those of other scales are taken for darker."""

    def forward(self, images: Tensor) -> Tensor:
        pixels = images * 0.2 + 0.3
        return torch.exp(-(((pixels - 0.55) / 0.12) ** 2)) - 9 * (pixels - 0.8).clamp_min(0)


class _Scaled(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return (images - 0.3) / 0.2


def _twice(call: Call) -> Call:
    module = nn.Sequential(_Scaled(), _Banded(), *call.module).eval()
    return replace(call, module=module, about=call.about | {"mean": [0.3] * 3, "std": [0.2] * 3})


def _shuffled(labels: Tensor) -> Tensor:
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(3))]


def _with_nan(images: Tensor) -> Tensor:
    images = images.clone()
    images[0, 0, 0, 0] = torch.nan
    return images


def _mixed(images: Tensor) -> list[Any]:
    return [(_arrays(images[k : k + 1])[0] if k % 2 else images[k]) for k in range(len(images))]


MISTAKES: dict[str, Mistake] = {
    "scale_255": Mistake("pixels from 0 to 255 as floats", _images(lambda x: x * 255), REFUSED, "Divide by 255"),
    "scale_symmetric": Mistake("pixels from -1 to 1", _images(lambda x: 2 * x - 1), REFUSED, r"in \[0, 1\]"),
    "normalised": Mistake(
        "images normalised beforehand", _images(lambda x: (x - 0.485) / 0.229), REFUSED, "the classifier normalises"
    ),
    "divided_twice": Mistake("images divided by 255 twice", _images(lambda x: x / 255), NOTED, "255 twice"),
    "nan": Mistake("NaN in pixels", _images(_with_nan), REFUSED, "NaN"),
    "whole_numbers": Mistake("an int64 tensor", _images(lambda x: (x * 255).long()), REFUSED, r"\.float\(\) / 255"),
    "eps_8": Mistake("eps=8 for 8 grey levels", lambda call: replace(call, eps=8), REFUSED, "Write 8/255", verbs=RADII),
    "eps_large": Mistake(
        "eps=0.6, more than half of the range",
        lambda call: replace(call, eps=0.6),
        NOTED,
        "black to white",
        verbs=RADII,
    ),
    "eps_divided_twice": Mistake(
        "eps=8/255/255", lambda call: replace(call, eps=8 / 255 / 255), NOTED, "255 twice", verbs=RADII
    ),
    "eps_text": Mistake('eps="8/255"', lambda call: replace(call, eps="8/255"), REFUSED, "number", verbs=RADII),
    "hwc_tensor": Mistake("a tensor (N, H, W, C)", _images(lambda x: x.permute(0, 2, 3, 1)), REFUSED, "channels last"),
    "chw_array": Mistake("an array (N, C, H, W)", _images(lambda x: x.numpy()), REFUSED, r"from_numpy|\(C, H, W\)"),
    "off_by_one": Mistake("labels from 1 to K", _labels(lambda y: y + 1), REFUSED, "Subtract 1", verbs=LABELLED),
    "class_order": Mistake(
        "labels in another order of classes", _labels(lambda y: 3 - y), NOTED, "another order", verbs=LABELLED
    ),
    "labels_of_others": Mistake("labels of other images", _labels(_shuffled), NOTED, "by chance", verbs=LABELLED),
    "one_hot": Mistake(
        "one-hot labels", _labels(lambda y: nn.functional.one_hot(y, 4)), REFUSED, "argmax", verbs=LABELLED
    ),
    "no_labels": Mistake("no labels", _labels(lambda _: None), REFUSED, "labels", verbs=LABELLED),
    "float_labels": Mistake(
        "labels as floats", _labels(lambda y: y.float()), REFUSED, r"class index|whole number|long", verbs=LABELLED
    ),
    "too_few_labels": Mistake("fewer labels than images", _labels(lambda y: y[:-1]), REFUSED, "label", verbs=LABELLED),
    "misspelt_label": Mistake(
        "a class name misspelt in labels",
        _labels(lambda y: ["red tpo" if k == 0 else NAMES[k] for k in y.tolist()]),
        REFUSED,
        "red top",
        verbs=LABELLED,
    ),
    "one_class": Mistake(
        "labels of one class only",
        lambda call: replace(call, images=call.images[call.labels == 1].repeat(8, 1, 1, 1)[:96], labels=[1] * 96),
        NOTED,
        "one class|repeat",
        verbs=LABELLED,
    ),
    "target_out_of_range": Mistake(
        "target=4 of four classes", lambda call: replace(call, target=4), REFUSED, "0 to 3", verbs=TARGETS
    ),
    "target_misspelt": Mistake(
        "a target misspelt", lambda call: replace(call, target="red topp"), REFUSED, "red top", verbs=TARGETS
    ),
    "names_too_few": Mistake(
        "fewer class names than outputs",
        lambda call: replace(call, names=NAMES[:3], target=1),
        REFUSED,
        "3 labels|3 class|0 to 2",
    ),
    "mean_255": Mistake(
        "mean and std in grey levels", _about(mean=[123.7, 116.3, 103.5], std=[58.4, 57.1, 57.4]), REFUSED, "255"
    ),
    "normalised_twice": Mistake(
        "mean and std given, and applied in the model too",
        _twice,
        NOTED,
        "preprocessing looks mistaken",
        verbs=LABELLED,
        other={"certify": (REFUSED, "No bounds")},
    ),
    "bgr": Mistake(
        "channels in the order BGR", _images(lambda x: x.flip(1)), NOTED, r"BGR|another order", verbs=LABELLED
    ),
    "negative": Mistake(
        "dark and bright exchanged", _images(lambda x: 1 - x), NOTED, "dark and bright", verbs=LABELLED
    ),
    "grey": Mistake(
        "grey images for a colour model", _images(lambda x: list(_arrays(x).mean(-1).astype(np.uint8))), HANDLED
    ),
    "rgba": Mistake(
        "RGBA images",
        _images(lambda x: [np.dstack([one, np.full(SIZE, 255, np.uint8)]) for one in _arrays(x)]),
        NOTED,
        "transparent",
    ),
    "two_channels": Mistake("two channels for a model of three", _images(lambda x: x[:, :2]), REFUSED, "channels"),
    "other_size": Mistake(
        "images of another shape than the model's",
        _images(lambda x: nn.functional.interpolate(x, (20, 20))),
        NOTED,
        "middle of the image|middle of the image",
    ),
    "transposed": Mistake(
        "height and width exchanged", _images(lambda x: x.transpose(2, 3).contiguous()), NOTED, "middle of the"
    ),
    "bytes": Mistake("uint8 arrays", _images(_arrays), HANDLED),
    "mixed": Mistake("uint8 arrays and float tensors in one list", _images(_mixed), HANDLED),
    "float64_images": Mistake("float64 images", _images(lambda x: x.double()), HANDLED),
    "float64_model": Mistake("a float64 model", lambda call: replace(call, module=call.module.double()), HANDLED),
    "train_mode": Mistake(
        "a model in train mode",
        lambda call: replace(call, module=nn.Sequential(*call.module, nn.Dropout(0.5)).train()),
        HANDLED,
    ),
    "empty": Mistake(
        "no image at all",
        lambda call: replace(call, images=call.images[:0], labels=call.labels[:0]),
        REFUSED,
        "at least|no pixel|empty",
    ),
    "constant": Mistake(
        "images of one value",
        _images(lambda x: torch.full_like(x, 0.3)),
        NOTED,
        "one value",
        other={"calibration": (REFUSED, "different")},
    ),
    "copies": Mistake(
        "images given twice",
        lambda call: replace(call, images=call.images[:48].repeat(2, 1, 1, 1), labels=call.labels[:48].repeat(2)),
        NOTED,
        "repeat",
        verbs=LABELLED,
    ),
    "fit_is_calibration": Mistake(
        "fitted and calibrated on the same images",
        lambda call: replace(call, images=scenes(1)[0]),
        REFUSED,
        "calibration",
        verbs=("fit_ood",),
    ),
}
