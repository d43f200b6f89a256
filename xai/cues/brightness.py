"""Brighter or darker pictures, as another lamp or exposure makes them."""

from collections.abc import Iterator
from functools import partial

from torch import Tensor

from xai.cues._base import EVERYWHERE, Form, Scene, Shift, cue

_MOST = 0.5


@cue("brightness", "the whole picture brighter or darker, by up to half of the scale")
def brightness(scene: Scene) -> Iterator[Form]:
    """Yield both directions."""
    del scene
    for words, amount in (("brighter", _MOST), ("darker", -_MOST)):
        yield Shift(
            "brightness", "brightness", EVERYWHERE, f"{words} by up to {_MOST}", partial(_shifted, amount=amount)
        )


def _shifted(images: Tensor, amount: float) -> Tensor:
    return (images + amount).clamp_(0, 1)
