"""Corruptions by noise and by blur."""

from functools import lru_cache
from math import ceil, sqrt

import torch
from torch import Tensor

from xai.robust.corruptions._filters import clipped_zoom, disk, gaussian, motion
from xai.robust.corruptions.base import Draws, Level, corruption, pixels_of

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


_ROUNDS = 6  # pointers are followed 2 ** 6 steps; a chain goes on with probability below 0.43, so 1e-23 are longer


@corruption(
    "defocus_blur",
    "blur",
    "Out of focus: each point becomes a disk.",
    parameters="radius of the disk, softness of its edge (pixels of 224)",
    levels=((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    clean=(0.0, 0.0),
)
def _defocus_blur(images: Tensor, level: Level, draws: Draws) -> Tensor:  # noqa: ARG001 (nothing random)
    unit = pixels_of(images)
    return disk(images, level[0] * unit, level[1] * unit)


@corruption(
    "gaussian_blur",
    "blur",
    "Blurs by a Gaussian.",
    parameters="sigma (pixels of 224)",
    levels=((1,), (2,), (3,), (4,), (6,)),
    clean=(0.0,),
)
def _gaussian_blur(images: Tensor, level: Level, draws: Draws) -> Tensor:  # noqa: ARG001
    return gaussian(images, level[0] * pixels_of(images))


@corruption(
    "glass_blur",
    "blur",
    "Frosted glass: pixels trade places with near ones, between two blurs.",
    parameters="sigma, reach (pixels of 224), rounds",
    levels=((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    clean=(0.0, 0.0, 1.0),
    stochastic=True,
)
def _glass_blur(images: Tensor, level: Level, draws: Draws) -> Tensor:
    sigma, reach, rounds = level[0] * pixels_of(images), level[1] * pixels_of(images), level[2]
    blurred = gaussian(images, sigma)
    for number in range(ceil(rounds)):
        blurred = _shuffled(blurred, reach, min(1.0, rounds - number) * min(1.0, reach), draws)
    return gaussian(blurred, sigma)


def _shuffled(images: Tensor, reach: float, share: float, draws: Draws) -> Tensor:
    """Give each inner pixel the value of one up to `reach` away, in the reference's order, all at once.

    The reference goes through the pixels from the bottom right and writes into each what its random neighbour holds at
    that moment: what it was, when the neighbour's turn is still to come, else what the neighbour was given, and so on.
    The chain of neighbours that had their turn is followed by doubling pointers: the same result from the same draws.

    Args:
        images: (N, C, H, W).
        reach: offsets are floor(u * reach) with u in [-1, 1): whole numbers from -reach to reach - 1 when it is whole.
        share: of the pixels that take part.
        draws: of the offsets.
    """
    (height, width), edge = images.shape[-2:], max(1, ceil(reach))
    offsets = draws.uniform(2, height, width).mul_(2).sub_(1).mul_(max(reach, 1.0)).floor_()
    if share < 1:
        offsets *= (draws.uniform(1, height, width) < share).to(offsets.dtype)
    rows, columns = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    inside = _inner(rows, edge)[:, None] & _inner(columns, edge)
    moved = (offsets * inside).to(torch.int64)
    here = rows[:, None] * width + columns
    source = (here + moved[:, 0] * width + moved[:, 1]).flatten(1)
    origin = _followed(source)[:, None].expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, origin).view_as(images)


def _inner(places: Tensor, edge: int) -> Tensor:
    """Whether a row or column is one that the reference goes through: edge + 1 up to size - edge."""
    return (places > edge) & (places <= len(places) - edge)


def _followed(source: Tensor) -> Tensor:
    """Return where the value of each pixel comes from in the end (N, H W), from its neighbour's place (N, H W).

    Pixels of the border, which have no turn, are their own neighbours.
    """
    count = source.shape[1]
    had_turn = source > torch.arange(count, device=source.device)
    pointer = torch.where(had_turn, source, source + count)  # from `count` on: the value as it was
    for _ in range(_ROUNDS):
        further = pointer.gather(1, pointer.clamp_max(count - 1))
        pointer = torch.where(pointer < count, further, pointer)
    return pointer.remainder_(count)


@corruption(
    "motion_blur",
    "blur",
    "Smears along one direction, drawn per image from -45 to 45 degrees.",
    parameters="radius, sigma (pixels of 224)",
    levels=((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    clean=(0.0, 0.0),
    stochastic=True,
)
def _motion_blur(images: Tensor, level: Level, draws: Draws) -> Tensor:
    unit = pixels_of(images)
    return motion(images, level[0] * unit, level[1] * unit, [90 * share - 45 for (share,) in draws.numbers(1)])


@corruption(
    "zoom_blur",
    "blur",
    "Moves towards the middle while the image is taken: the mean of many enlargements.",
    parameters="step between enlargements, number of enlargements",
    levels=((0.01, 12), (0.01, 16), (0.02, 11), (0.02, 13), (0.03, 11)),
)
def _zoom_blur(images: Tensor, level: Level, draws: Draws) -> Tensor:  # noqa: ARG001
    step, count = 1 + level[0] - 1, round(level[1])  # rounded as numpy.arange does: whole pixels hang on it
    total = images * 2  # the image itself, and enlarged by 1
    for number in range(1, count):
        zoomed = clipped_zoom(images, 1 + number * step)
        total += zoomed[..., : images.shape[-2], : images.shape[-1]]
    return total.div_(count + 1)
