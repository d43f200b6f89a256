"""A patch of texture, as fabrics, rulers and coded labels are."""

from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor

from xai.cues._base import Form, Patch, Scene, cue

_SIDES = (1 / 4, 3 / 8)
_GRAIN = 1 / 28  # the finest texture that survives in small pictures
_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")


@cue("texture_patch", "a patch of checks or stripes in each corner, and wherever masks show no object")
def texture_patch(scene: Scene) -> Iterator[Form]:
    """Yield patches of two sizes and eight textures, beside the object: what is drawn on it may change what it is.

    Without masks these are the corners; with them all of nine places that are not mostly object on average.
    """
    height, width = scene.size
    for side, (row, down), (column, across) in product(
        scene.sizes(*_SIDES, least=2), enumerate(_ROWS), enumerate(_COLUMNS)
    ):
        top, left = row * (height - side) // 2, column * (width - side) // 2
        mask = torch.zeros(height, width, dtype=torch.bool)
        mask[top : top + side, left : left + side] = True
        if not _beside(scene, mask, corner=1 not in {row, column}):
            continue
        for name, pattern in _patterns(scene, side).items():
            content = torch.zeros(scene.channels, height, width)
            content[:, mask] = pattern.flatten()
            words = f"{name} on {side} x {side} pixels"
            yield Patch("texture_patch", "texture patch", f"{down} {across}", words, mask, content)


def _beside(scene: Scene, mask: Tensor, *, corner: bool) -> bool:
    masks = scene.pictures.masks
    return corner if masks is None else float(masks[:, mask].float().mean()) < 0.5


def _patterns(scene: Scene, side: int) -> dict[str, Tensor]:
    """Return black and white textures (side, side) by name, each in both phases."""
    fine = max(1, round(_GRAIN * scene.side))
    down, across = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    found = {
        "fine checks": down // fine + across // fine,
        "stripes across": down // fine,
        "stripes down": across // fine,
    }
    if side >= 4 * fine:  # at least two cells
        found["coarse checks"] = down // (2 * fine) + across // (2 * fine)
    starts = (("black", 0), ("white", 1))
    return {
        f"{name} ({start} first)": ((values + phase) % 2).float()
        for name, values in found.items()
        for start, phase in starts
    }
