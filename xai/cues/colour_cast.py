"""A colour over the whole picture, as a lamp, a stain or a film gives one."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from xai.cues._base import EVERYWHERE, Form, Scene, Shift, cue

_MOST = 0.3
_CASTS = {
    "red": (1.0, -0.5, -0.5),
    "green": (-0.5, 1.0, -0.5),
    "blue": (-0.5, -0.5, 1.0),
    "cyan": (-1.0, 0.5, 0.5),
    "magenta": (0.5, -1.0, 0.5),
    "yellow": (0.5, 0.5, -1.0),
}


@cue("colour_cast", "a colour over the whole picture; brightness stays about the same")
def colour_cast(scene: Scene) -> Iterator[Form]:
    """Yield six colours; none on pictures without three channels."""
    if scene.channels == 3:
        for name, direction in _CASTS.items():
            cast = partial(_tinted, amount=_MOST * torch.tensor(direction).view(-1, 1, 1))
            yield Shift("colour_cast", "colour cast", EVERYWHERE, f"{name} cast of up to {_MOST}", cast)


def _tinted(images: Tensor, amount: Tensor) -> Tensor:
    return (images + amount).clamp_(0, 1)
