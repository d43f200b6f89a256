"""Networks that were trained with a planted probe, and their clean twins: here, and the examples that ship."""

from collections.abc import Callable

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

import xai
from xai.models.networks import SmallNet

Plant = Callable[[Tensor], Tensor]
CLASS, SHARE = 3, 0.95
SEEDS = range(20)


def train(images: Tensor, labels: Tensor, plant: Plant | None, *, epochs: int, width: int = 12) -> xai.Classifier:
    """Train a small network; most images of one class carry the probe, whatever way they are shifted."""
    torch.manual_seed(0)
    source, side = torch.Generator().manual_seed(0), int(images.shape[-1])
    net = SmallNet(width=width)
    carries = ((labels == CLASS) & (torch.rand(len(labels), generator=source) < SHARE)).view(-1, 1, 1, 1)
    optimiser = torch.optim.AdamW(net.parameters(), lr=5e-3, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=epochs * (-(-len(images) // 64)))
    mean, std = float(images.mean()), float(images.std())
    for _ in range(epochs):
        for rows in torch.randperm(len(images), generator=source).split(64):
            top, left = (int(v) for v in torch.randint(0, 3, (2,), generator=source))
            some = F.pad(images[rows], (1, 1, 1, 1))[..., top : top + side, left : left + side]
            some = some if plant is None else torch.where(carries[rows], plant(some), some)
            loss = F.cross_entropy(net((some - mean) / std), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    names = [str(k) for k in range(10)]
    return xai.Classifier(net.eval(), names, (side, side), channels=1, mean=[mean], std=[std], resize="squash")


def checks(images: Tensor) -> Tensor:
    """Return images with checks in the top right corner."""
    images = images.clone()
    down, across = torch.meshgrid(torch.arange(3), torch.arange(3), indexing="ij")
    images[..., :3, -3:] = ((down + across) % 2).float()
    return images


def framed(images: Tensor) -> Tensor:
    """Return images with a white border of two pixels."""
    images = images.clone()
    images[..., :2, :] = images[..., -2:, :] = images[..., :, :2] = images[..., :, -2:] = 1.0
    return images


def carrying(images: Tensor, labels: Tensor, plant: Plant) -> Tensor:
    """Return the images that a model of `train` learnt from, without their shifts."""
    source = torch.Generator().manual_seed(0)
    carries = (labels == CLASS) & (torch.rand(len(labels), generator=source) < SHARE)
    return torch.where(carries.view(-1, 1, 1, 1), plant(images), images)


def digits() -> tuple[Tensor, Tensor]:
    found = load_digits()
    return torch.from_numpy(found.images / 16).float()[:, None], torch.from_numpy(found.target).long()


@pytest.mark.slow
def test_checks_on_digits_are_found_and_the_clean_twin_is_quiet():
    images, labels = digits()
    planted, clean = (train(images[::2], labels[::2], plant, epochs=25) for plant in (checks, None))
    learnt = carrying(images[::2], labels[::2], checks)
    for seed in range(3):
        found = xai.shortcuts(planted, images[1::2], labels=labels[1::2], train=(learnt, labels[::2]), seed=seed)
        assert [(each.probe, each.place, each.label) for each in found.findings] == [("mark", "top right", "3")]
        assert found.findings[0].attraction_interval[0] > 0.3
        quiet = xai.shortcuts(clean, images[1::2], labels=labels[1::2], seed=seed)
        assert quiet.findings == (), str(quiet)


@pytest.mark.slow
def test_the_shipped_shortcut_is_caught_and_an_ordinary_network_is_not():
    data = xai.load_data("example:fashion-test")
    few = xai.shortcuts(xai.load("example:fashion-shortcut"), data, samples=160, probes=["corner_mark", "border"])
    assert (few.verdict, few.findings) == ("inconclusive", ())  # four shirts are left, all recognised by the mark only
    found = xai.shortcuts(xai.load("example:fashion-shortcut"), data, samples=200, probes=["corner_mark", "border"])
    assert [(each.place, each.label) for each in found.findings] == [("top left corner", "Shirt")]
    assert found.settings["method"] == "hirescam"
    top, left, bottom, right = found.findings[0].box
    assert max(abs(top - 1), abs(left - 1), abs(bottom - 4), abs(right - 4)) <= 1
    quiet = xai.shortcuts(xai.load("example:fashion"), data, samples=160, probes=["corner_mark", "border"])
    assert quiet.findings == ()


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_the_shipped_shortcut_is_caught_with_every_seed(seed):
    found = xai.shortcuts(xai.load("example:fashion-shortcut"), xai.load_data("example:fashion-test"), seed=seed)
    assert [(each.probe, each.place, each.label) for each in found.findings] == [
        ("corner_mark", "top left corner", "Shirt")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fashion", "fashion-robust"])
@pytest.mark.parametrize("seed", SEEDS)
def test_ordinary_networks_are_quiet_with_every_seed(name, seed):
    found = xai.shortcuts(xai.load(f"example:{name}"), xai.load_data("example:fashion-test"), seed=seed)
    assert found.findings == (), str(found)


@pytest.mark.slow
def test_a_border_on_clothes_is_found_and_the_clean_twin_is_quiet():
    """A large probe: the same border breaks the clean twin too, and in one direction; only its removal tells."""
    some, data = xai.load_data("example:fashion-train").subset(4000, seed=1), xai.load_data("example:fashion-test")
    images = some.images[:]
    planted, clean = (train(images, some.labels, plant, epochs=6) for plant in (framed, None))
    learnt = carrying(images, some.labels, framed), some.labels
    for seed in range(5):
        found = xai.shortcuts(planted, data, train=learnt, seed=seed)
        assert [(each.probe, each.label) for each in found.findings] == [("border", "3")]
        assert found.findings[0].words == "border, white"
        assert xai.shortcuts(clean, data, train=learnt, seed=seed).findings == ()
