"""One step uphill: what the network sees of the picture, the gradient, and the direction made of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from xai.core.hooks import gradient
from xai.dreams.goals import Goal
from xai.dreams.natural import mix_colours, smooth_space
from xai.dreams.pyramid import Size, equalised, resize, unit
from xai.dreams.settings import Settings

_SMOOTH = 1e-4  # keeps the slope of the total variation finite where the picture is flat
Shift = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Eye:
    """How the network looks at a picture that moves a little at each step.

    Attributes:
        goal: what is measured.
        seen: size at which the network is shown the whole picture, or None for the picture's own, where pictures
            larger than `tile` are shown in pieces.
        tile: largest side of a piece.
    """

    goal: Goal
    seen: Size | None
    tile: int

    def reach(self, size: Size, jitter: int) -> int:
        """Return by how many pixels the view may move in a picture of this size."""
        return min(jitter, (min(size) - 1) // 4) if self.seen else jitter

    def draw(self, size: Size, reach: int, source: torch.Generator) -> Shift:
        """Return a random move; in tiles it is as large as a tile, so that the seams are never in one place."""
        limits = [reach, reach]
        if reach and self.seen is None:
            limits = [max(reach, self.tile // 2) if max(size) > self.tile else reach] * 2
        moves = [int(torch.randint(-limit, limit + 1, (), generator=source)) for limit in limits]
        return moves[0], moves[1]

    def slope(self, picture: Tensor, shift: Shift, reach: int) -> tuple[float, Tensor]:
        """Return the objective and its gradient (1, C, h, w).

        Raises:
            UnsupportedModelError: the model lets no gradient through to the picture.
        """
        if self.seen is not None:
            return self._through_window(picture, self.seen, shift, reach)
        rolled = torch.roll(picture, shift, (2, 3))
        total, score = torch.zeros_like(picture), 0.0
        for rows, columns in pieces((picture.shape[2], picture.shape[3]), self.tile):
            piece = rolled[:, :, rows, columns].clone().requires_grad_()
            share = piece[0, 0].numel() / picture[0, 0].numel()
            value = self.goal.value(piece)
            total[:, :, rows, columns] = share * gradient(value, piece, "the picture")
            score += share * float(value.detach())
        return score, torch.roll(total, (-shift[0], -shift[1]), (2, 3))

    def _through_window(self, picture: Tensor, seen: Size, shift: Shift, reach: int) -> tuple[float, Tensor]:
        """Look through a window that is smaller by `reach` at each side; nothing comes in from the other edge."""
        leaf = picture.clone().requires_grad_()
        rows, columns = (
            slice(reach + move, side - reach + move) for move, side in zip(shift, leaf.shape[2:], strict=True)
        )
        value = self.goal.value(resize(leaf[:, :, rows, columns], seen))
        return float(value.detach()), gradient(value, leaf, "the picture")


def pieces(size: Size, tile: int) -> Iterator[tuple[slice, slice]]:
    """Yield rows and columns of the fewest nearly equal pieces that are no larger than `tile`."""
    rows, columns = (_cuts(side, tile) for side in size)
    for down in rows:
        for right in columns:
            yield down, right


def _cuts(side: int, tile: int) -> list[slice]:
    count = -(-side // tile)
    edges = [round(k * side / count) for k in range(count + 1)]
    return [slice(first, last) for first, last in pairwise(edges)]


def direction(found: Tensor, picture: Tensor, settings: Settings) -> Tensor:
    """Return the way to go (1, C, h, w): the gradient with a root mean square of 1, less the pull to smoothness."""
    found = unit(found)
    if settings.fourier:
        found = smooth_space(found)
    elif settings.laplacian:
        found = equalised(found)
    if settings.decorrelated:
        found = mix_colours(found)
    found = unit(found)
    return found - settings.tv * roughness(picture) if settings.tv else found


def roughness(picture: Tensor) -> Tensor:
    """Return the gradient of the total variation of a picture, (1, C, h, w)."""
    leaf = picture.detach().clone().requires_grad_()
    here, down, right = leaf[..., :-1, :-1], leaf[..., 1:, :-1], leaf[..., :-1, 1:]
    total = ((down - here).square() + (right - here).square() + _SMOOTH).sqrt().sum()
    return torch.autograd.grad(total, leaf)[0]
