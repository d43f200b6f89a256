"""The square attack: no gradients, squares at random places."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai.core.validation import check_number, check_whole
from xai.robust.attacks.base import ATTACKS, Attack, AttackCost
from xai.robust.attacks.search import Search, length, many_uniform, signs, uniform, wide

_HALVED = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # queries of 10,000 behind which the share halves
_TINY = 1e-12
_DRAWN = 64  # queries for which random numbers are drawn at once
_CLEARLY = 1e-5  # what rounding may change must not decide: answers would depend on the batch


@ATTACKS.register("square")
@dataclass(frozen=True)
class Square(Attack):
    """Changes squares at random places and keeps what lowers the margin: sees through masked gradients.

    Args:
        queries: forwards per image.
        share: of the pixels in the first squares.

    Cost: one forward row per query while not misclassified.
    Source: Andriushchenko et al. 2020 (arXiv 1912.00049), algorithms 1 to 3; the schedule does not shrink with
    `queries`, as in AutoAttack. Differs: draws belong to the image, not to the batch; l1 spends its budget like l2,
    in its own norm.
    """

    name: ClassVar[str] = "square"
    title: ClassVar[str] = "Square"
    family: ClassVar[str] = "black box"
    needs: ClassVar[tuple[str, ...]] = ()

    queries: int = 5000
    share: float = 0.8

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            RangeError: `queries` below 1, or `share` outside (0, 1].
        """
        check_whole("queries", self.queries)
        check_number("share", self.share, "(0, 1]")

    @property
    def cost(self) -> AttackCost:
        """One row per query."""
        return AttackCost(forward=self.queries, backward=0)

    def _attack(self, search: Search) -> None:
        rows = search.alive()
        move = _Stripes(search) if search.norm == "linf" else _Mounds(search)
        images = move.start(rows)
        best, misclassified = self._values(search, images, rows)
        for query in range(1, self.queries):
            if misclassified:
                stay = ~search.done[rows]
                rows, images, best = rows[stay], images[stay], best[stay]
            if not len(rows):
                return
            tried = move.change(images, rows, self._side(search, query), query)
            values, misclassified = self._values(search, tried, rows)
            better = values > best + _CLEARLY * (1 + best.abs())
            images = torch.where(better.view(-1, 1, 1, 1), tried, images)
            best = torch.where(better, values, best)
        search.best[rows] = torch.where(search.done[rows].view(-1, 1, 1, 1), search.best[rows], images)

    def _values(self, search: Search, images: Tensor, rows: Tensor) -> tuple[Tensor, bool]:
        """Return how far answers are past the boundary (n,), and whether any is misclassified; keep those that are."""
        logits = search.logits(images)
        misclassified = search.misclassified(logits, rows)
        some = bool(misclassified.any())
        if some:
            search.keep(images[misclassified], rows[misclassified], logits[misclassified])
        return search.past(logits, rows), some

    def _side(self, search: Search, query: int) -> int:
        """Return the side of the squares for a query."""
        share = self.share / 2 ** sum(query > step for step in _HALVED)
        height, width = search.clean.shape[2:]
        side = max(1, round(math.sqrt(share * height * width)))
        return min(side, height, width)


class _Stripes:
    """linf: every pixel at the border of its ball; stripes first, squares of one sign per channel later."""

    def __init__(self, search: Search) -> None:
        self.search, self.drawn, self.first = search, torch.zeros(0), 0
        rows = torch.arange(len(search.clean), device=search.clean.device)
        step = search.scaled(torch.ones_like(search.clean), rows, 1.0)
        self.low, self.high = (search.inside(search.clean + sign * step, rows) for sign in (-1, 1))

    def start(self, rows: Tensor) -> Tensor:
        clean, seeds = self.search.clean[rows], self.search.seeds[rows]
        stripes = signs(seeds, 0, (clean.shape[1], 1, clean.shape[3])).to(clean)
        return self.search.inside(clean + self.search.scaled(stripes, rows, 1.0), rows)

    def change(self, images: Tensor, rows: Tensor, side: int, query: int) -> Tensor:
        drawn = self._draws(query, images.shape[1])[rows]
        mask = _square(images, drawn[:, 0], drawn[:, 1], side)
        down = (drawn[:, 2:] < 0.5)[:, :, None, None]
        return torch.where(mask, torch.where(down, self.low[rows], self.high[rows]), images)

    def _draws(self, query: int, channels: int) -> Tensor:
        """Return the random numbers of one query (N, 2 + C), drawn for many queries at once."""
        if not self.first <= query < self.first + len(self.drawn):
            self.first, self.drawn = query, many_uniform(self.search.seeds, query, _DRAWN, (2 + channels,))
        return self.drawn[query - self.first]


class _Mounds:
    """l2 and l1: mass in mounds; a square takes the mass of another one and what is left of the ball."""

    def __init__(self, search: Search) -> None:
        self.search = search

    def start(self, rows: Tensor) -> Tensor:
        search, clean = self.search, self.search.clean[rows]
        height, width = clean.shape[2:]
        tile = max(1, min(height, width) // 5)
        mound = _mound(tile, tile, clean)
        pattern = mound.repeat(-(-height // tile), -(-width // tile))[:height, :width]
        turns = signs(search.seeds[rows], 0, (clean.shape[1], -(-height // tile), -(-width // tile))).to(clean)
        turns = turns.repeat_interleave(tile, 2).repeat_interleave(tile, 3)[:, :, :height, :width]
        delta = pattern * turns
        return self._filled(clean, delta, rows)

    def change(self, images: Tensor, rows: Tensor, side: int, query: int) -> Tensor:
        search, clean = self.search, self.search.clean[rows]
        side = max(3, side + (side + 1) % 2)
        side = min(side, *clean.shape[2:])
        drawn = uniform(search.seeds[rows], query, (4 + images.shape[1],))
        delta = images - clean
        here = _square(images, drawn[:, 0], drawn[:, 1], side)
        there = _square(images, drawn[:, 2], drawn[:, 3], side)
        free = torch.as_tensor(search.radius(rows)).to(delta) ** self._power - self._mass(delta * ~(here | there))
        inner = delta[here.expand_as(delta)].view(*delta.shape[:2], side, side)
        sign = torch.where(drawn[:, 4:] < 0.5, -1.0, 1.0).to(images)[:, :, None, None]
        mound = _mound(side, side, images) * sign
        mound = mound / self._size(mound) + inner / self._size(inner).clamp_min(_TINY)
        budget = (free.clamp_min(0) / images.shape[1]) ** (1 / self._power)
        new = mound / self._size(mound).clamp_min(_TINY) * budget[:, None, None, None]
        moved = (delta * ~there).masked_scatter(here.expand_as(delta), new)
        return search.inside(clean + moved, rows)

    @property
    def _power(self) -> int:
        return 2 if self.search.norm == "l2" else 1

    def _mass(self, delta: Tensor) -> Tensor:
        return delta.abs().pow(self._power).flatten(1).sum(1)

    def _size(self, delta: Tensor) -> Tensor:
        """Return the norm per channel (n, C, 1, 1)."""
        mass = delta.abs().pow(self._power).sum((2, 3), keepdim=True)
        return torch.sqrt(mass) if self._power == 2 else mass

    def _filled(self, clean: Tensor, delta: Tensor, rows: Tensor) -> Tensor:
        size = length(delta, self.search.norm).clamp_min(_TINY)
        return self.search.inside(clean + self.search.scaled(delta / wide(size, delta), rows, 1.0), rows)


def _square(images: Tensor, down: Tensor, across: Tensor, side: int) -> Tensor:
    """Return masks (n, 1, h, w) of squares at random places, two numbers in [0, 1) for each."""
    height, width = images.shape[2:]
    top, left = ((v * (size - side + 1)).long()[:, None] for v, size in ((down, height), (across, width)))
    rows, columns = (torch.arange(size, device=images.device)[None] for size in (height, width))
    inside_rows = (rows >= top) & (rows < top + side)
    inside_columns = (columns >= left) & (columns < left + side)
    return inside_rows[:, None, :, None] & inside_columns[:, None, None, :]


def _mound(height: int, width: int, like: Tensor) -> Tensor:
    """Return a field (height, width) that falls from its middle: the sum of 1 / k^2 over nested rectangles."""
    field = like.new_zeros(height, width)
    for k in range((min(height, width) + 1) // 2):
        field[k : height - k, k : width - k] += 1 / (k + 1) ** 2
    scaled: Tensor = field / torch.linalg.vector_norm(field)
    return scaled
