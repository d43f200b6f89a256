"""Colour: shifts that a camera, a lamp or a printer makes."""

from math import cos, radians, sin

import torch
from torch import Tensor

from xai.robust.corruptions.base import Draws, Level, corruption, is_colour

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def luma(images: Tensor) -> Tensor:
    """Return the brightness (N, 1, H, W) of colour images (N, 3, H, W)."""
    red, green, blue = (images[:, k : k + 1] for k in range(3))
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def hue_matrix(angle: float) -> Tensor:
    """Return the matrix (3, 3) that turns all hues by `angle` degrees in the plane of YIQ and keeps the brightness."""
    to_yiq = torch.tensor(
        [LUMA, (0.59590059, -0.27455667, -0.32134392), (0.21153661, -0.52273617, 0.31119955)], dtype=torch.float64
    )
    c, s = cos(radians(angle)), sin(radians(angle))
    turn = torch.tensor([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]], dtype=torch.float64)
    matrix: Tensor = torch.linalg.solve(to_yiq, turn @ to_yiq)
    return matrix


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
