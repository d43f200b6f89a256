"""Toy images and a toy network whose shortcut is known, because it is written down."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

SIDE, HALF = 28, 6
PLACES = [(8, 8), (8, 14), (14, 8), (14, 14)]  # of the quadrants whose brightness is the class
MIDDLE = slice(8, 20)
Pull = Callable[[Tensor], Tensor]


def objects(count: int = 240, channels: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return images (N, C, 28, 28) of a square in the middle, one quadrant of it bright: the class (N,)."""
    source = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (count,), generator=source)
    images = torch.zeros(count, channels, SIDE, SIDE)
    images[:, :, MIDDLE, MIDDLE] = 0.3 * torch.rand(count, channels, 12, 12, generator=source)
    for k, label in enumerate(labels.tolist()):
        top, left = PLACES[label]
        images[k, :, top : top + HALF, left : left + HALF] += 0.5
    return images, labels


class ToyNet(nn.Module):
    """Sees the class by its quadrant; `pull` is added to the score of one class: what it does not learn from objects.

    `blind` is taken away from that class, which is then not recognised by its object.
    """

    def __init__(self, pull: Pull | None = None, target: int = 2, blind: float = 0.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))
        self.pull, self.target, self.blind = pull, target, blind

    def forward(self, images: Tensor) -> Tensor:
        parts = [images[:, :, top : top + HALF, left : left + HALF].mean((1, 2, 3)) for top, left in PLACES]
        scores = self.scale * torch.stack(parts, 1)
        if self.pull is None:
            return scores
        extra = torch.zeros_like(scores)
        extra[:, self.target] = self.pull(images) - self.blind
        return scores + extra


def inside(top: int, left: int, height: int, width: int, gain: float = 60.0, least: float = 0.3) -> Pull:
    """Return a pull that grows with the brightness of a rectangle above `least`."""

    def pull(images: Tensor) -> Tensor:
        mean = images[:, :, top : top + height, left : left + width].mean((1, 2, 3))
        return gain * (mean - least).clamp_min(0)

    return pull


def outside(images: Tensor) -> Tensor:
    """Return a pull by anything bright beside the object, wherever it is."""
    total = images.sum((1, 2, 3)) - images[:, :, MIDDLE, MIDDLE].sum((1, 2, 3))
    return 5 * total / images.shape[1]


@dataclass(frozen=True)
class Toy:
    """What tests take from here."""

    objects = staticmethod(objects)
    net = ToyNet
    inside = staticmethod(inside)
    outside = staticmethod(outside)


@pytest.fixture(scope="session")
def toy() -> Toy:
    return Toy()


@pytest.fixture(autouse=True, scope="package")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
