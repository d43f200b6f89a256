"""Noise: of the sensor, of the light, of the wire."""

from torch import Tensor

from xai.corruptions._base import Draws, Level, corruption
from xai.corruptions._poisson import poisson


@corruption(
    "gaussian_noise",
    "noise",
    "Adds normal noise, as a sensor does in low light.",
    parameters="standard deviation",
    levels=((0.08,), (0.12,), (0.18,), (0.26,), (0.38,)),
    clean=(0.0,),
    stochastic=True,
)
def _gaussian_noise(images: Tensor, level: Level, draws: Draws) -> Tensor:
    return draws.normal(*images.shape[1:]).mul_(level[0]).add_(images)


@corruption(
    "shot_noise",
    "noise",
    "Counts photons: each value becomes a Poisson draw, divided by the number of photons that is white.",
    parameters="variance of white, one over its photons",
    levels=((1 / 60,), (1 / 25,), (1 / 12,), (1 / 5,), (1 / 3,)),
    stochastic=True,
)
def _shot_noise(images: Tensor, level: Level, draws: Draws) -> Tensor:
    return poisson(images, 1 / level[0], draws).mul_(level[0])


@corruption(
    "impulse_noise",
    "noise",
    "Turns some values black or white, as bit errors do.",
    parameters="share of values",
    levels=((0.03,), (0.06,), (0.09,), (0.17,), (0.27,)),
    clean=(0.0,),
    stochastic=True,
)
def _impulse_noise(images: Tensor, level: Level, draws: Draws) -> Tensor:
    drawn, share = draws.uniform(*images.shape[1:]), level[0]
    side = (drawn - share / 2).sign_()  # down below half of the share, else up
    hit = drawn.sub_(share).mul_(-1e30).clamp_(0, 2)  # 2 below the share, else 0: what is hit leaves [0, 1]
    return side.mul_(hit).add_(images)


@corruption(
    "speckle_noise",
    "noise",
    "Multiplies by normal noise: the brighter, the noisier.",
    parameters="standard deviation of the factor",
    levels=((0.15,), (0.2,), (0.35,), (0.45,), (0.6,)),
    clean=(0.0,),
    stochastic=True,
)
def _speckle_noise(images: Tensor, level: Level, draws: Draws) -> Tensor:
    return draws.normal(*images.shape[1:]).mul_(level[0]).add_(1).mul_(images)
