"""The images of the worlds: digits, clothes, pieces of photographs, and sets whose classes differ in brightness.

Each set draws its size, its classes and its images from the seed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

import xai

_CLOTHES = Path("/usr/share/datasets/fashion-mnist")
_PHOTOS = ("astronaut", "chelsea", "coffee", "rocket", "retina", "immunohistochemistry", "hubble_deep_field")
_TEXTURES = ("brick", "grass", "gravel", "camera", "coins", "moon", "text")
_TRAIN, _TEST = 1400, 700


@dataclass(frozen=True)
class Drawn:
    """Images (N, C, H, W) in [0, 1] to train on and others to test, their labels (N,), the names of the classes."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    names: tuple[str, ...]

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(self.names)


@dataclass(frozen=True)
class Source:
    """A data set: how it is drawn, the probes that cannot be inserted, and whether a camera's noise may be added."""

    draw: Callable[[np.random.Generator, Path], Drawn]
    without: tuple[str, ...] = ()
    noisy: bool = True

    def __call__(self, chance: np.random.Generator, folder: Path) -> Drawn:
        """Draw images."""
        drawn, noise = self.draw(chance, folder), float(chance.uniform(0.02, 0.06)) * float(chance.integers(2))
        if not (self.noisy and noise):
            return drawn
        shapes = drawn.train, drawn.test
        grains = [torch.from_numpy(chance.standard_normal(each.shape, dtype=np.float32)) for each in shapes]
        train, test = ((each + noise * grain).clamp(0, 1) for each, grain in zip(shapes, grains, strict=True))
        return replace(drawn, train=train, test=test)

    def takes(self, probe: str) -> bool:
        """Say whether a probe can be planted here."""
        return probe not in self.without


def _parted(images: Tensor, labels: Tensor, chance: np.random.Generator, names: tuple[str, ...]) -> Drawn:
    order = torch.from_numpy(chance.permutation(len(labels)))
    test, train = order[:_TEST], order[_TEST : _TEST + _TRAIN]
    return Drawn(images[train], labels[train], images[test], labels[test], names)


def _digits(chance: np.random.Generator, _: Path) -> Drawn:
    found, side = load_digits(), (20, 24)[int(chance.integers(2))]
    images = torch.from_numpy(found.images / 16).float()[:, None]
    images = F.interpolate(images, (side, side), mode="bilinear", align_corners=False)
    return _parted(images, torch.from_numpy(found.target).long(), chance, tuple(map(str, range(10))))


def _clothes(chance: np.random.Generator, folder: Path) -> Drawn:
    images, labels = _read_clothes(folder)
    count = int(chance.integers(5, 11))
    chosen = np.sort(chance.permutation(10)[:count])
    rows = chance.permutation(np.flatnonzero(np.isin(labels, chosen)))[: _TRAIN + _TEST]
    pixels = torch.from_numpy(images[rows]).float()[:, None] / 255
    return _parted(pixels, torch.from_numpy(np.searchsorted(chosen, labels[rows])), chance, tuple(map(str, chosen)))


def _coloured(draw: Callable[[np.random.Generator, Path], Drawn]) -> Callable[[np.random.Generator, Path], Drawn]:
    """Return grey images in three channels; in half of the sets the white balance differs a little."""

    def coloured(chance: np.random.Generator, folder: Path) -> Drawn:
        drawn, wide = draw(chance, folder), 0.04 * float(chance.integers(2))

        def balanced(images: Tensor) -> Tensor:
            gains = torch.from_numpy(np.exp(chance.normal(0, wide, (len(images), 3, 1, 1)))).float()
            return (images * gains).clamp(0, 1)

        return replace(drawn, train=balanced(drawn.train), test=balanced(drawn.test))

    return coloured


def _read_clothes(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return 12,000 images (N, 28, 28) uint8 and labels, kept in `folder`."""
    file = folder / "clothes.npz"
    if not file.exists():
        data = xai.load_data(str(_CLOTHES) if _CLOTHES.exists() else "example:fashion-train")
        count = min(12_000, len(data))
        pixels = np.stack([(np.asarray(data.images[k])[0] * 255).round().astype(np.uint8) for k in range(count)])
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(file, images=pixels, labels=np.asarray(data.labels[:count]))
    with np.load(file) as kept:
        return kept["images"], kept["labels"]


def _pieces(names: tuple[str, ...], channels: int) -> Callable[[np.random.Generator, Path], Drawn]:
    def draw(chance: np.random.Generator, _: Path) -> Drawn:
        import skimage.data

        size = int(chance.integers(32, 49)), int(chance.integers(32, 49))
        chosen = [names[k] for k in np.sort(chance.permutation(len(names))[: int(chance.integers(4, len(names) + 1))])]
        photos = [_shrunk(np.asarray(getattr(skimage.data, name)())) for name in chosen]
        made: list[tuple[np.ndarray, int, bool]] = []
        for label, photo in enumerate(photos):
            for test, count in ((False, _TRAIN // len(photos)), (True, _TEST // len(photos))):
                made += [(_piece(photo, size, chance, test=test), label, test) for _ in range(count)]
        made = [made[k] for k in chance.permutation(len(made))]
        parts = [[each for each in made if each[2] == test] for test in (False, True)]
        tensors = [_tensor(np.stack([each[0] for each in part]), channels) for part in parts]
        labels = [torch.tensor([each[1] for each in part]) for part in parts]
        return Drawn(tensors[0], labels[0], tensors[1], labels[1], tuple(chosen))

    return draw


def _shrunk(photo: np.ndarray) -> np.ndarray:
    step = max(1, round(min(photo.shape[:2]) / 360))
    return photo[::step, ::step]


def _piece(photo: np.ndarray, size: tuple[int, int], chance: np.random.Generator, *, test: bool) -> np.ndarray:
    """Return a piece from the upper two thirds, or from the rest for testing, turned over half of the time."""
    height, width = photo.shape[:2]
    cut = height * 2 // 3
    low, high = (cut, height - size[0]) if test else (0, cut - size[0])
    top, left = int(chance.integers(low, high + 1)), int(chance.integers(0, width - size[1] + 1))
    piece = photo[top : top + size[0], left : left + size[1]]
    return piece[:, ::-1] if chance.random() < 0.5 else piece


def _tensor(pieces: np.ndarray, channels: int) -> Tensor:
    pixels = torch.from_numpy(np.ascontiguousarray(pieces)).float() / 255
    return pixels.permute(0, 3, 1, 2).contiguous() if channels == 3 else pixels[:, None]


def _cells(chance: np.random.Generator, _: Path) -> Drawn:
    """Grey cells with fingers and busbars; dark spots are a defect, and so is a dark part of the cell."""
    side, count = int(chance.integers(36, 45)), _TRAIN + _TEST
    labels = torch.from_numpy(chance.integers(0, 3, count))
    down, across = np.mgrid[:side, :side]
    level = chance.uniform(0.5, 0.65, (count, 1, 1))
    images = level + chance.normal(0, 0.03, (count, side, side)) - 0.08 * (across % 12 == 6) - 0.03 * (down % 4 == 0)
    for k, label in enumerate(labels.tolist()):
        if label == 1:
            for _ in range(chance.integers(1, 4)):
                top, left, radius = *chance.uniform(4, side - 4, 2), chance.uniform(2, 5)
                images[k] -= 0.35 * ((down - top) ** 2 + (across - left) ** 2 < radius**2)
        elif label == 2:
            edge, axis = chance.integers(side // 4, side // 2), (down, across)[chance.integers(2)]
            images[k] -= 0.3 * (axis < edge if chance.random() < 0.5 else axis >= side - edge)
    pixels = torch.from_numpy(images).float().clamp(0, 1)[:, None]
    return _parted(pixels, labels, chance, ("good", "spots", "dark part"))


def _lamps(chance: np.random.Generator, _: Path) -> Drawn:
    """Discs and squares anywhere on noise, which differ in brightness by nature; contrast is a class's own as well."""
    side, count = int(chance.integers(28, 37)), _TRAIN + _TEST
    labels = torch.from_numpy(chance.integers(0, 4, count))
    down, across = np.mgrid[:side, :side]
    images = np.clip(0.3 + chance.normal(0, 0.05, (count, side, side)), 0, 1)
    for k, label in enumerate(labels.tolist()):
        radius = chance.uniform(5, 8)
        top, left = chance.uniform(radius, side - radius, 2)
        inside = (down - top) ** 2 + (across - left) ** 2 < radius**2
        if label == 3:
            inside &= (down + across) % 4 < 2
        images[k][inside] += (0.25, 0.45, 0.65, 0.6)[label] + chance.normal(0, 0.04)
    pixels = torch.from_numpy(images).float().clamp(0, 1)[:, None]
    return _parted(pixels, labels, chance, ("dim", "medium", "bright", "striped"))


SETS: dict[str, Source] = {
    "digits": Source(_digits, ("tint",)),
    "fashion": Source(_clothes, ("tint",)),
    "coloured digits": Source(_coloured(_digits)),
    "coloured clothes": Source(_coloured(_clothes)),
    "photos": Source(_pieces(_PHOTOS, 3), ("background",)),
    "textures": Source(_pieces(_TEXTURES, 1), ("tint", "background")),
    "cells": Source(_cells, ("tint", "background"), noisy=False),
    "lamps": Source(_lamps, ("tint", "background"), noisy=False),
}
