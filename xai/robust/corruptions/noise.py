"""Noise: of the sensor, of the light, of the wire."""

from functools import lru_cache
from math import ceil, sqrt

import torch
from torch import Tensor

from xai.robust.corruptions.base import Draws, Level, corruption

_STEPS = 255  # rates that have a table: those of 8-bit images
_REST = 1e-4  # of a step; rates closer than this to one with a table need no remainder
_REST_TERMS = 12


def poisson(images: Tensor, photons: float, draws: Draws) -> Tensor:
    """Return Poisson numbers (N, C, H, W) with means `images * photons`.

    A value k / 255 + rest gets a number from the table of k plus one of mean `rest * photons`, which adds up to the
    right distribution. Values of 8-bit images have no rest.

    Numbers of nearby rates are not alike, even from the same draws.

    Cost: one uniform number and one look-up per value; a second number where there are rests.
    Source: Walker 1977 (alias method). Differs from torch.poisson: one number from one draw, many times faster.
    """
    shape = images.shape[1:]
    steps = images * _STEPS
    whole = (steps + _REST).floor_()
    rest = steps.sub_(whole).clamp_min_(0)
    numbers = _look_up(whole, draws.uniform(*shape), photons)
    if float(rest.amax()) > 2 * _REST:
        numbers += _small(rest.mul_(photons / _STEPS), draws.uniform(*shape), photons / _STEPS)
    return numbers


def _look_up(whole: Tensor, drawn: Tensor, photons: float) -> Tensor:
    """Return one number from the table of each value: the column's own, or its alias. Both tensors are used up."""
    columns = _columns(photons)
    table = _table(photons).to(device=whole.device, dtype=whole.dtype)
    place = drawn.mul_(columns)
    column = place.floor()
    share = place.sub_(column)
    index = whole.mul_(columns).add_(column).int()
    entry = table.index_select(0, index.flatten()).view_as(column)
    alias = entry.floor()
    own = entry.sub_(alias).sub_(share).sign_().clamp_min_(0)  # 1: the column itself
    return column.sub_(alias).mul_(own).add_(alias)


def _columns(photons: float) -> int:
    """Return how many numbers a table holds, a power of two: beyond are fewer than one in ten million."""
    return 1 << int(ceil(photons + 6 * sqrt(photons) + 8) - 1).bit_length()


@lru_cache(maxsize=8)
def _table(photons: float) -> Tensor:
    """Return (256 x columns,) float32 alias + share kept: tables of all rates, made together."""
    columns = _columns(photons)
    rates = torch.arange(_STEPS + 1, dtype=torch.float64)[:, None] * (photons / _STEPS)
    numbers = torch.arange(columns, dtype=torch.float64)
    masses = torch.exp(torch.xlogy(numbers, rates) - rates - torch.lgamma(numbers + 1))
    masses = masses / masses.sum(1, keepdim=True) * columns
    keep, alias = torch.ones_like(masses), numbers.repeat(len(rates), 1)
    open_, lines = torch.ones_like(masses, dtype=torch.bool), torch.arange(len(rates))
    for _ in range(columns - 1):  # each round settles the smallest column of every rate, filled up from the largest
        small = masses.masked_fill(~open_, torch.inf).argmin(1)
        large = masses.masked_fill(~open_, -torch.inf).argmax(1)
        share_kept = masses[lines, small].clamp(0, 1)
        keep[lines, small], alias[lines, small] = share_kept, large.double()
        masses[lines, large] -= 1 - share_kept
        open_[lines, small] = False
    return (alias + keep.clamp(0, 1 - 2**-12)).float().flatten()


def _small(rates: Tensor, drawn: Tensor, most: float) -> Tensor:
    """Return Poisson numbers of small rates by inversion: how many values of the distribution lie below the draw."""
    term = (-rates).exp_()
    total, numbers = term.clone(), torch.zeros_like(rates)
    for number in range(1, _REST_TERMS):
        numbers += (drawn - total).sign_().clamp_min_(0)
        if most**number < 1e-9:
            break
        term.mul_(rates).div_(number)
        total += term
    return numbers


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
