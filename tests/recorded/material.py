"""Models and images for the recorded calls: small, in float64, the same on every machine."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import xai

SIZE = (12, 16)
CLASSES = ("ape", "bee", "cat", "dog")


def images(count: int = 4, *, size: tuple[int, int] = SIZE, channels: int = 3, seed: int = 0) -> Tensor:
    """Return (count, channels, H, W) float64 in [0, 1]: two soft spots on a slope, with a little noise."""
    source = np.random.default_rng(seed)
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]] / max(size)
    pixels = np.zeros((count, channels, *size))
    for image in pixels:
        for channel in image:
            channel += 0.3 + 0.2 * source.uniform(-1, 1) * rows + 0.2 * source.uniform(-1, 1) * columns
            for _ in range(2):
                top, left = source.uniform(0, size[0] / max(size)), source.uniform(0, 1)
                channel += source.uniform(-0.3, 0.5) * np.exp(-((rows - top) ** 2 + (columns - left) ** 2) / 0.03)
    pixels += 0.05 * source.standard_normal(pixels.shape)
    return torch.from_numpy(pixels.clip(0.02, 0.98).astype(np.float32).astype(np.float64))


def _fill(module: nn.Module, seed: int) -> nn.Module:
    """Give each weight and each statistic of a norm a value that numpy draws; return the module in float64."""
    source = np.random.default_rng(seed)
    module = module.double().eval()
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                fan_in = tensor[0].numel() if tensor.ndim > 1 else 16
                tensor.copy_(torch.from_numpy(source.standard_normal(tensor.shape) * (1.6 / fan_in**0.5)))
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_var.copy_(torch.from_numpy(source.uniform(0.5, 1.5, part.running_var.shape)))
            if isinstance(part, nn.BatchNorm2d | nn.LayerNorm):
                part.weight.copy_(torch.from_numpy(source.uniform(0.5, 1.5, part.weight.shape)))
    return module


class Convolutional(nn.Module):
    """Two convolutions with batch norm, ReLU and max pooling, then the mean of the maps."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 10, 3, padding=1),
            nn.BatchNorm2d(10),
            nn.ReLU(),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(10, classes)

    def forward(self, rows: Tensor) -> Tensor:
        return self.head(self.pool(self.body(rows)).flatten(1))


class Transformer(nn.Module):
    """Patches of 4 x 4, a class token, two blocks of attention with layer norm, and a head on the class token."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.zeros(1, 1 + SIZE[0] * SIZE[1] // 16, width))
        self.blocks = nn.ModuleList(_Block(width) for _ in range(2))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, len(CLASSES))

    def forward(self, rows: Tensor) -> Tensor:
        tokens = self.patches(rows).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(rows), -1, -1), tokens], 1) + self.position
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens)[:, 0])


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mix = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        rows = self.first(tokens)
        tokens = tokens + self.attention(rows, rows, rows, need_weights=False)[0]
        return tokens + self.mix(self.second(tokens))


def _classifier(module: nn.Module, names: Sequence[str] = CLASSES) -> xai.Classifier:
    return xai.Classifier(
        module, names, SIZE, mean=[0.45, 0.5, 0.55], std=[0.25, 0.2, 0.3], resize="squash", task="multiclass"
    )


@cache
def convolutional(classes: int = len(CLASSES)) -> xai.Classifier:
    """Return a classifier of 12 x 16 images whose answers to `images` lie near their borders."""
    module = _fill(Convolutional(classes), 1)
    clf = _classifier(module, CLASSES if classes == len(CLASSES) else [str(k) for k in range(classes)])
    with torch.no_grad():
        module.head.bias -= clf.logits(images(32, seed=9)).mean(0)
    return clf


@cache
def transformer() -> xai.Classifier:
    """Return a classifier with attention, otherwise as `convolutional`."""
    return _classifier(_fill(Transformer(), 2))


@cache
def fashion(name: str = "example:fashion") -> xai.Classifier:
    """Return an example model in float64, computing with the weights that ship with the package."""
    clf = xai.load(name)
    settings: dict[str, Any] = {"mean": list(clf.mean), "std": list(clf.std), "channels": 1, "input_size": (28, 28)}
    return xai.Classifier(clf.module.double(), names_of(clf), resize="squash", task="multiclass", name=name, **settings)


def names_of(clf: xai.Classifier) -> tuple[str, ...]:
    """Return the names of the classes of a classifier."""
    return clf.class_names


def answers(clf: xai.Classifier, rows: Tensor) -> Tensor:
    """Return the class (N,) that a classifier predicts for each image."""
    with torch.no_grad():
        return clf.logits(rows).argmax(1)


@cache
def clothes(count: int, part: str | None = None, seed: int = 0, source: str = "example:fashion-test") -> xai.Dataset:
    """Return some images of an example data set, of one of its parts where it has them."""
    data = xai.load_data(source)
    return (data if part is None else data.part(part)).subset(count, seed=seed)
