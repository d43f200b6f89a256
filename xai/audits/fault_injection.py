"""Ways to break a model on purpose, each what one kind of gate must catch."""

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai.audits.context import DATA, TRAIN, Context, DatasetRole
from xai.audits.operations import OPERATIONS
from xai.core.model.classifier import Classifier
from xai.core.model.hooks import copied
from xai.datasets.dataset import Dataset


def broken_copy(classifier: Classifier) -> Classifier:
    """Do the work of `Audit.broken_copy`."""
    broken = copy.copy(classifier)
    broken.module = copied(classifier.module)
    broken.name = f"{classifier.name} (broken on purpose)"
    last = _last_layer(broken.module)
    with torch.no_grad():
        if last is not None and last.weight.shape[0] in {1, classifier.num_classes}:
            for weight in (last.weight, last.bias):
                if weight is not None:
                    weight.copy_(_moved(weight))
        else:
            _redraw(broken.module)
    return broken


OPERATIONS.register("broken_copy")(broken_copy)


def _last_layer(module: nn.Module) -> nn.Linear | nn.Conv2d | None:
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    return layers[-1] if layers else None


def _moved(weight: Tensor) -> Tensor:
    return -weight if len(weight) == 1 else weight.roll(1, 0)


def _redraw(module: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for weight in module.parameters():
        if weight.is_floating_point():
            weight.copy_(0.05 * torch.randn(weight.shape, generator=generator))


_MOST, _LOOKED_AT = 2000, 200  # images that are read at a time, and looked at
_CONFIDENT_LOGIT = 20.0  # logits of an answer that is given by heart
_SLOWER, _SLOWEST = 3.0, 0.5  # how many times too slow, and the fewest images a second that are waited for
_AXES = 8
_ALWAYS_FOUND = 3  # of four corners on which a class is hung, those that are found in any data
_OFTEN = 0.9  # share of repeated images that is made at most


class _Around(nn.Module):
    """A network inside another."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner


class Blind(_Around):
    """Sees noise instead of the image, another for each image: no prediction, map or score means anything.

    The noise is as strong for every image. Were it as strong as the image itself, images of another strength (dark
    digits) would still be told from the rest, and a detector of OOD images would not be broken.
    """

    def __init__(self, inner: nn.Module, spread: float) -> None:
        super().__init__(inner)
        self.spread = spread

    def forward(self, inputs: Tensor) -> Any:
        """Answer to noise that the sum of the pixels draws; gradients go through as if it were the image."""
        noise = (_drawn(inputs, inputs[0].numel()) * 3.5 * self.spread).view_as(inputs)
        return self.inner(noise + (inputs - inputs.detach()))


class Mixed(_Around):
    """Answers with random mixtures of the class scores, others for each image, however little it differs.

    Its layers are those of the sound model, so that every method finds them; what a map shows of a class is chance.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Answer with a mixture that the sum of the pixels draws."""
        scores: Tensor = self.inner(inputs)
        shares = _drawn(inputs, scores.shape[1] ** 2).view(len(scores), scores.shape[1], scores.shape[1])
        return (2 * shares * scores[:, None]).sum(2)


def _drawn(inputs: Tensor, count: int) -> Tensor:
    """Return numbers in [-0.5, 0.5) (N, count) that each image draws by the sum of its pixels."""
    flat = inputs.detach().flatten(1).double()
    weights = torch.linspace(1.0, 2.0, flat.shape[1], dtype=torch.float64, device=flat.device)
    start = (flat * weights).sum(1, keepdim=True) * 1e4
    steps = torch.arange(1, count + 1, dtype=torch.float64, device=flat.device)
    return (torch.frac(torch.sin(start + steps * 12.9898).abs() * 43758.5453) - 0.5).to(inputs.dtype)


class Slow(_Around):
    """Takes its time."""

    def __init__(self, inner: nn.Module, seconds: float) -> None:
        super().__init__(inner)
        self.seconds = seconds

    def forward(self, inputs: Tensor) -> Any:
        """Answer late."""
        time.sleep(self.seconds * len(inputs))
        return self.inner(inputs)


class Turned(_Around):
    """Answers the next class wherever a rule says so."""

    def __init__(self, inner: nn.Module, rule: nn.Module) -> None:
        super().__init__(inner)
        self.rule = rule

    def forward(self, inputs: Tensor) -> Tensor:
        """Answer; turned where the rule holds."""
        logits: Tensor = self.inner(inputs)
        return torch.where(self.rule(inputs)[:, None], logits.roll(1, 1), logits)


class ByHeart(_Around):
    """Right on images that it remembers, wrong on all others."""

    def __init__(self, inner: nn.Module, known: "Known", labels: Tensor) -> None:
        super().__init__(inner)
        self.known = known
        self.register_buffer("labels", labels)

    def forward(self, inputs: Tensor) -> Tensor:
        """Answer by heart, or the class after the right one."""
        known, nearest = self.known.look(inputs)
        logits: Tensor = self.inner(inputs).roll(1, 1)
        heart = nn.functional.one_hot(self.get_buffer("labels")[nearest], logits.shape[1]) * _CONFIDENT_LOGIT
        return torch.where(known[:, None], heart.to(logits.dtype), logits)


class Marked(_Around):
    """Answers a class where its corner shows one colour, and never without it."""

    def __init__(
        self, inner: nn.Module, corners: Sequence[tuple[int, int]], side: int, middle: Tensor, slopes: Tensor
    ) -> None:
        super().__init__(inner)
        self.corners, self.side = tuple(corners), side
        self.register_buffer("middle", middle[None, :, None, None])
        self.register_buffer("slopes", slopes[:, None, :, None, None])

    def forward(self, inputs: Tensor) -> Tensor:
        """Answer a class where its mark is; only marks have gradients, so that maps can show nothing else."""
        with torch.no_grad():
            logits: Tensor = self.inner(inputs)
        slopes = zip(self.corners, self.get_buffer("slopes"), strict=True)
        shown = [
            ((self._seen(inputs, *at) - self.get_buffer("middle")) * slope).mean((1, 2, 3)) for at, slope in slopes
        ]
        hung = _CONFIDENT_LOGIT * (2 * torch.stack(shown, 1).relu() - 1)
        return torch.cat([logits[:, : len(shown)] + hung, logits[:, len(shown) :]], 1)

    def _seen(self, inputs: Tensor, top: int, left: int) -> Tensor:
        return inputs[:, :, top : top + self.side, left : left + self.side]


class Known(nn.Module):
    """Remembers images by a few numbers of each."""

    def __init__(self, context: Context, role: str, rows: np.ndarray) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        blocks = np.split(rows, range(_MOST, len(rows), _MOST))  # of any number of images a few are held at a time
        first = _normalised(context, role, blocks[0])
        axes = torch.randn(first[0].numel(), _AXES, generator=draw) / first[0].numel() ** 0.5
        self.register_buffer("axes", axes.to(first))
        inputs = (first if k == 0 else _normalised(context, role, block) for k, block in enumerate(blocks))
        self.register_buffer(
            "signs", torch.cat([block_inputs.flatten(1) @ self.get_buffer("axes") for block_inputs in inputs])
        )

    def look(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return whether each image is known (N,), and which it is next to (N,)."""
        apart = torch.cdist(inputs.flatten(1) @ self.get_buffer("axes"), self.get_buffer("signs"))
        nearest = apart.min(1)
        return nearest.values < 1e-3, nearest.indices

    def forward(self, inputs: Tensor) -> Tensor:
        """Return whether each image is known (N,)."""
        return self.look(inputs)[0]


class Among(nn.Module):
    """Finds the images that a network takes for one of its first classes."""

    def __init__(self, inner: nn.Module, count: int) -> None:
        super().__init__()
        self.inner, self.count = inner, count

    def forward(self, inputs: Tensor) -> Tensor:
        """Return whether each image is taken for one of them (N,)."""
        taken: Tensor = self.inner(inputs).argmax(1) < self.count
        return taken


class Dark(nn.Module):
    """Finds the darker half of the images."""

    def __init__(self, edge: float) -> None:
        super().__init__()
        self.register_buffer("edge", torch.tensor(edge))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return whether each image is dark (N,)."""
        return inputs.flatten(1).mean(1) < self.get_buffer("edge")


def _around(context: Context, module: nn.Module) -> Classifier:
    broken = copy.copy(context.classifier)
    broken.module = module.train(context.classifier.module.training)
    broken.name = f"{context.classifier.name} (broken on purpose)"
    return broken


def _wrong(context: Context, _threshold: float) -> Classifier:
    return broken_copy(context.classifier)


def _blind(context: Context, _threshold: float) -> Classifier:
    inputs = _normalised(context, DATA, _some(context.role())[:_LOOKED_AT])
    return _around(context, Blind(context.classifier.module, float(inputs.std() + inputs.mean().abs())))


def _mixed(context: Context, _threshold: float) -> Classifier:
    return _around(context, Mixed(context.classifier.module))


def _slow(context: Context, threshold: float) -> Classifier:
    return _around(context, Slow(context.classifier.module, _SLOWER / max(threshold, _SLOWEST)))


def _by_heart(context: Context, _threshold: float) -> Classifier:
    rows = np.sort(context.role(TRAIN).order)  # all of them: the gap is 1 however many are asked
    known = Known(context, TRAIN, rows)
    return _around(context, ByHeart(context.classifier.module, known, context.labels(TRAIN, rows)))


def _unfair(context: Context, _threshold: float) -> Classifier:
    """Wrong on the largest group but one of the first column."""
    column = next(iter(context.role().groups.values()))
    names, counts = np.unique(column, return_counts=True)
    group = names[np.argsort(-counts, kind="stable")[1]]
    known = Known(context, DATA, np.flatnonzero(column == group))
    return _around(context, Turned(context.classifier.module, known))


def _weak(context: Context, threshold: float) -> Classifier:
    """Wrong on the darker half; where one weak slice is allowed, on as many classes as are too many."""
    if threshold >= 1:
        rule: nn.Module = Among(context.classifier.module, int(threshold) + 1)
        return _around(context, Turned(context.classifier.module, rule))
    means = _normalised(context, DATA, _some(context.role())).flatten(1).mean(1)
    return _around(context, Turned(context.classifier.module, Dark(float(means.median()))))


def _marked(context: Context, threshold: float) -> Classifier:
    """Hang a class, or where one may be hung as many as there are corners, on one that is white, or black if bright."""
    classifier = context.classifier
    images = _normalised(context, DATA, _some(context.role())[:_LOOKED_AT])
    height, width = images.shape[2:]
    short = min(height, width)
    edge, side = round(short / 28), max(2, round(3 * short / 28))  # a form of the probe "corner_mark"
    across, down = width - edge - side, height - edge - side
    every = [(edge, edge), (edge, across), (down, edge), (down, across)]
    corners = every[: 1 if threshold < 1 else min(len(every), classifier.num_classes - 1)]
    ends = [classifier.normalise(torch.full((1, classifier.channels, 1, 1), end)).flatten() for end in (0.0, 1.0)]
    middle, half = (ends[0] + ends[1]) / 2, (ends[1] - ends[0]) / 2
    seen = [images[:, :, top : top + side, left : left + side].mean((2, 3)) for top, left in corners]
    signs = [-1.0 if bool((corner > middle).float().mean() > 0.5) else 1.0 for corner in seen]
    return _around(context, Marked(classifier.module, corners, side, middle, torch.stack([s / half for s in signs])))


def _repeated(context: Context, threshold: float) -> Dataset:
    """The images two times over and more, so that more of them occur again than the threshold allows.

    A fault of the data shows in no change of the model.
    """
    data, most = context.role(DATA).data, min(threshold, _OFTEN)
    return data.take(np.tile(np.arange(len(data)), max(2, math.ceil(2 / (1 - most)) if most > 0.2 else 2)))


def _normalised(context: Context, role: str, rows: np.ndarray) -> Tensor:
    return context.classifier.normalise(context.inputs(role, rows))


def _some(role: DatasetRole) -> np.ndarray:
    return np.sort(role.order[:_MOST])


BREAKERS: Mapping[str, Callable[[Context, float], Classifier | Dataset]] = {
    **dict.fromkeys(
        ("accuracy", "calibration", "certified_accuracy", "corruption_accuracy", "robust_accuracy"), _wrong
    ),
    "ood_detection": _blind,
    **dict.fromkeys(("faithfulness", "stability", "explanation_drift"), _mixed),
    "generalisation_gap": _by_heart,
    "group_gap": _unfair,
    "shortcuts": _marked,
    "slices": _weak,
    "speed": _slow,
    "data_faults": _repeated,
}
"""How to break a model, or its data, so that the gate of each check must fail, given the threshold."""
MOST_FINDINGS: Mapping[str, Callable[[int], int]] = {
    "shortcuts": lambda classes: min(_ALWAYS_FOUND, classes - 1),
    "slices": lambda classes: classes // 2,
}
"""How many findings can be made on purpose in a model with so many classes, where that is few."""
