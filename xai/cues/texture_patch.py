"""A patch of texture, as fabrics, rulers and coded labels are."""

from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor

from xai.cues._base import Form, Patch, Scene, cue

_SIDES = (1 / 4, 3 / 8)
_GRAIN = 1 / 28  # the finest texture that survives in small pictures
_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")


@cue("texture_patch", "a patch of checks or stripes at nine places")
def texture_patch(scene: Scene) -> Iterator[Form]:
    """Yield patches of two sizes and four textures at nine places."""
    height, width = scene.size
    patterns = _patterns(scene)
    for side, (row, down), (column, across) in product(
        scene.sizes(*_SIDES, least=2), enumerate(_ROWS), enumerate(_COLUMNS)
    ):
        top, left = row * (height - side) // 2, column * (width - side) // 2
        mask = torch.zeros(height, width, dtype=torch.bool)
        mask[top : top + side, left : left + side] = True
        for name, pattern in patterns.items():
            words = f"{name} on {side} x {side} pixels"
            yield Patch(
                "texture_patch",
                "texture patch",
                f"{down} {across}",
                words,
                mask,
                pattern.expand(scene.channels, -1, -1),
            )


def _patterns(scene: Scene) -> dict[str, Tensor]:
    """Return black and white textures (1, h, w) by name."""
    fine = max(1, round(_GRAIN * scene.side))
    down, across = torch.meshgrid(*(torch.arange(side) for side in scene.size), indexing="ij")
    found = {
        "fine checks": down // fine + across // fine,
        "coarse checks": down // (2 * fine) + across // (2 * fine),
        "stripes across": down // fine,
        "stripes down": across // fine,
    }
    return {name: (values % 2).float()[None] for name, values in found.items()}
