"""Random numbers by hashing: they depend on the picture, the draw and the place alone, on every device alike."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_GOLDEN, _FIRST, _SECOND = -7046029254386353131, -4658895280553007687, -7723592293110705685  # splitmix64, signed
_MANTISSA = 1 << 53


def seeds_of(seed: int, keys: Sequence[bytes], device: torch.device) -> Tensor:
    """Return one int64 seed per picture (N,), from the seed of the run and the digest of each."""
    numbers = [int.from_bytes(key[:8], "big", signed=True) for key in keys]
    start = _mixed(torch.tensor(numbers, dtype=torch.int64, device=device))
    return _mixed(start ^ _mixed(torch.tensor(seed, dtype=torch.int64, device=device)))


def uniform(seeds: Tensor, draw: int, shape: Sequence[int]) -> Tensor:
    """Return float64 uniform numbers (N, *shape) in [0, 1), draw number `draw` of each picture's stream.

    Source: Steele et al. 2014 (splitmix64), used as a counter.
    """
    return many_uniform(seeds, draw, 1, shape)[0]


def many_uniform(seeds: Tensor, first: int, draws: int, shape: Sequence[int]) -> Tensor:
    """Return what `uniform` gives for draws in a row, from `first` on (draws, N, *shape), at the price of one."""
    count = math.prod(shape)
    numbers = torch.tensor([_wrapped((draw + 1) * _GOLDEN) for draw in range(first, first + draws)])
    base = _mixed(seeds[None] + numbers.to(seeds)[:, None])
    steps = torch.arange(1, count + 1, device=seeds.device) * _GOLDEN
    bits = _shifted(_mixed(base[..., None] + steps), 11)
    return (bits.double() / _MANTISSA).view(draws, len(seeds), *shape)


def normal(seeds: Tensor, draw: int, shape: Sequence[int]) -> Tensor:
    """Return float64 standard normal numbers (N, *shape)."""
    found: Tensor = torch.special.ndtri(uniform(seeds, draw, shape).clamp(2.0**-53, 1 - 2.0**-53))
    return found


def signs(seeds: Tensor, draw: int, shape: Sequence[int]) -> Tensor:
    """Return float64 numbers (N, *shape), each -1 or 1."""
    return torch.where(uniform(seeds, draw, shape) < 0.5, -1.0, 1.0).double()


def _mixed(bits: Tensor) -> Tensor:
    bits = (bits ^ _shifted(bits, 30)) * _FIRST
    bits = (bits ^ _shifted(bits, 27)) * _SECOND
    return bits ^ _shifted(bits, 31)


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Shift right without the sign."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _wrapped(value: int) -> int:
    """Return an integer modulo 2^64, signed."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)
