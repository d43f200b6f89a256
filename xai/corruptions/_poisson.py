"""Poisson numbers of many rates at once, exactly, from tables (alias method) and a small remainder."""

from functools import lru_cache
from math import ceil, sqrt

import torch
from torch import Tensor

from xai.corruptions._base import Draws

_STEPS = 255  # rates that have a table: those of 8-bit pictures
_REST = 1e-4  # of a step; rates closer than this to one with a table need no remainder
_REST_TERMS = 12


def poisson(images: Tensor, photons: float, draws: Draws) -> Tensor:
    """Return Poisson numbers (N, C, H, W) with means `images * photons`.

    A value k / 255 + rest gets a number from the table of k plus one of mean `rest * photons`, which adds up to the
    right distribution. Values of 8-bit pictures have no rest.

    Numbers of nearby rates are not alike, even from the same draws.

    Cost: one uniform number and one look-up per value; a second number where there are rests.
    Source: Walker 1977 (alias method). Differs from torch.poisson: one number from one draw, many times faster.
    """
    shape = images.shape[1:]
    steps = images * _STEPS
    whole = (steps + _REST).floor_()
    rest = steps.sub_(whole).clamp_min_(0)
    found = _look_up(whole, draws.uniform(*shape), photons)
    if float(rest.amax()) > 2 * _REST:
        found += _small(rest.mul_(photons / _STEPS), draws.uniform(*shape), photons / _STEPS)
    return found


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
        kept = masses[lines, small].clamp(0, 1)
        keep[lines, small], alias[lines, small] = kept, large.double()
        masses[lines, large] -= 1 - kept
        open_[lines, small] = False
    return (alias + keep.clamp(0, 1 - 2**-12)).float().flatten()


def _small(rates: Tensor, drawn: Tensor, most: float) -> Tensor:
    """Return Poisson numbers of small rates by inversion: how many values of the distribution lie below the draw."""
    term = (-rates).exp_()
    total, found = term.clone(), torch.zeros_like(rates)
    for number in range(1, _REST_TERMS):
        found += (drawn - total).sign_().clamp_min_(0)
        if most**number < 1e-9:
            break
        term.mul_(rates).div_(number)
        total += term
    return found
