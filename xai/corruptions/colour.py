"""Colour: shifts that a camera, a lamp or a printer makes. Pictures without three channels only change in gamma."""

import torch
from torch import Tensor

from xai.corruptions._base import Draws, Level, corruption, is_colour
from xai.corruptions._colours import hue_matrix, luma


@corruption(
    "hue",
    "colour",
    "Turns all hues by one angle, left or right; brightness stays.",
    parameters="degrees",
    levels=((15,), (30,), (45,), (60,), (90,)),
    clean=(0.0,),
    stochastic=True,
    imagenet_c=False,
)
def _hue(images: Tensor, level: Level, draws: Draws) -> Tensor:
    if not is_colour(images):
        return images.clone()
    angles = [level[0] if number < 0.5 else -level[0] for (number,) in draws.numbers(1)]
    matrices = torch.stack([hue_matrix(angle) for angle in angles]).to(images)
    return torch.einsum("njk,nkhw->njhw", matrices, images).contiguous()


@corruption(
    "gamma",
    "colour",
    "Brighter or darker in the middle tones: a wrong display curve.",
    parameters="exponent, or one over it",
    levels=((1.25,), (1.5,), (2.0,), (2.5,), (3.0,)),
    clean=(1.0,),
    stochastic=True,
    imagenet_c=False,
)
def _gamma(images: Tensor, level: Level, draws: Draws) -> Tensor:
    exponents = [level[0] if number < 0.5 else 1 / level[0] for (number,) in draws.numbers(1)]
    return images.clamp_min(0).pow(images.new_tensor(exponents).view(-1, 1, 1, 1))


@corruption(
    "grey",
    "colour",
    "Takes colour away.",
    parameters="share taken",
    levels=((0.2,), (0.4,), (0.6,), (0.8,), (1.0,)),
    clean=(0.0,),
    imagenet_c=False,
)
def _grey(images: Tensor, level: Level, draws: Draws) -> Tensor:  # noqa: ARG001 (nothing random)
    if not is_colour(images):
        return images.clone()
    return torch.lerp(images, luma(images).expand_as(images), level[0])


@corruption(
    "temperature",
    "colour",
    "Warmer or cooler light: red up and blue down, or the other way.",
    parameters="change of the two gains",
    levels=((0.1,), (0.2,), (0.3,), (0.4,), (0.5,)),
    clean=(0.0,),
    stochastic=True,
    imagenet_c=False,
)
def _temperature(images: Tensor, level: Level, draws: Draws) -> Tensor:
    if not is_colour(images):
        return images.clone()
    changes = [level[0] if number < 0.5 else -level[0] for (number,) in draws.numbers(1)]
    return images * images.new_tensor([[1 + c, 1.0, 1 - c] for c in changes]).view(-1, 3, 1, 1)
