"""Rotations and shifts, the worst of a grid."""

import math
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from xai.core.validation import check_number, check_whole
from xai.errors import RangeError
from xai.robust.attacks.base import ATTACKS, Attack, AttackCost
from xai.robust.attacks.search import Search


@ATTACKS.register("spatial")
@dataclass(frozen=True)
class Spatial(Attack):
    """Tries rotations and shifts on a grid, mild ones first: the first that is misclassified, or the worst by margin.

    No ball: `eps` plays no part, and the distance of a shifted image says little. What moves in from outside the
    border has the value `fill`, which may matter where images have no border of that colour.

    Args:
        rotation: largest angle in degrees, both ways.
        shift: largest shift as a share of the side, both ways and in both directions.
        angles: rotations on the grid, an odd number: the clean image is on it.
        shifts: shifts on the grid in each direction, an odd number.
        fill: value of pixels from outside the image, in [0, 1]; bilinear in between.

    Cost: one forward row per point of the grid while not misclassified.
    Source: Engstrom et al. 2019 (arXiv 1712.02779), worst of grid: 30 degrees and 3 of 32 pixels at 31 x 5 x 5 points.
    Differs: a coarser grid by default; an image leaves at its first adversarial point.
    """

    name: ClassVar[str] = "spatial"
    title: ClassVar[str] = "Rotation and shift"
    family: ClassVar[str] = "spatial"
    needs: ClassVar[tuple[str, ...]] = ()
    stochastic: ClassVar[bool] = False
    ball: ClassVar[bool] = False

    rotation: float = 30.0
    shift: float = 0.1
    angles: int = 11
    shifts: int = 5
    fill: float = 0.0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            RangeError: an even count, or an angle, a shift or a fill outside what is possible.
        """
        for name in ("angles", "shifts"):
            if check_whole(name, getattr(self, name)) % 2 == 0:
                raise RangeError(f"Expected `{name}` as an odd number, but got {getattr(self, name)}. Add one.")
        for name, most in (("rotation", 180), ("shift", 1), ("fill", 1)):
            check_number(name, getattr(self, name), f"[0, {most}]")

    @property
    def cost(self) -> AttackCost:
        """One row per point of the grid."""
        return AttackCost(forward=self.angles * self.shifts**2, backward=0)

    def grid(self) -> list[tuple[float, float, float]]:
        """Return angle in degrees, shift down and shift across as shares of the side; mild ones first."""
        places = [_spread(self.angles), _spread(self.shifts), _spread(self.shifts)]
        points = sorted(product(*places), key=lambda p: (sum(v * v for v in p), p))
        return [(a * self.rotation, down * self.shift, across * self.shift) for a, down, across in points]

    def _attack(self, search: Search) -> None:
        points, start = self.grid(), 0
        worst = torch.full((len(search.clean),), -torch.inf, dtype=search.clean.dtype, device=search.clean.device)
        while start < len(points):
            rows = search.alive()
            if not len(rows):
                return
            stop = start + max(1, len(search.clean) // len(rows))  # few images: more points at once
            self._try(search, rows, points[start:stop], worst)
            start = stop

    def _try(self, search: Search, rows: Tensor, points: list[tuple[float, float, float]], worst: Tensor) -> None:
        """Look at some points of the grid for each image."""
        images = torch.stack([warped(search.clean[rows], *point, self.fill) for point in points], 1)
        numbers = rows.repeat_interleave(len(points))
        logits = search.logits(images.flatten(0, 1))
        misclassified = search.misclassified(logits, numbers).view(len(rows), -1)
        value = search.past(logits, numbers).view(len(rows), -1)
        first, any_misclassified = misclassified.int().argmax(1), misclassified.any(1)
        choice = torch.where(any_misclassified, first, value.argmax(1))
        each = torch.arange(len(rows), device=rows.device)
        better = any_misclassified | (value[each, choice] > worst[rows])
        which = rows[better]
        search.best[which] = images[each, choice][better]
        worst[which] = value[each, choice][better]
        search.done[rows[any_misclassified]] = True


def warped(images: Tensor, angle: float, down: float, across: float, fill: float) -> Tensor:
    """Return images turned by degrees against the clock and shifted by shares of the side.

    Args:
        images: (N, C, H, W).
        angle: degrees.
        down: share of the height.
        across: share of the width.
        fill: value of pixels from outside the image.
    """
    if not (angle or down or across):
        return images
    height, width = images.shape[2:]
    turn = math.radians(angle)
    matrix = torch.tensor(
        [[math.cos(turn), -math.sin(turn) * height / width], [math.sin(turn) * width / height, math.cos(turn)]]
    )
    moved = -matrix @ torch.tensor([[2.0 * across], [2.0 * down]])
    theta = torch.cat([matrix, moved], 1).to(images).expand(len(images), 2, 3)
    places = F.affine_grid(theta, list(images.shape), align_corners=False)
    return (F.grid_sample(images - fill, places, align_corners=False) + fill).clamp(0, 1)


def _spread(count: int) -> list[float]:
    """Return numbers from -1 to 1 with 0 among them."""
    half = count // 2
    return [k / half for k in range(-half, half + 1)] if half else [0.0]
