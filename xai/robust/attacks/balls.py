"""Balls of the three norms inside the box [0, 1], and random numbers by hashing.

Every function takes images (N, C, H, W) and works row by row; `eps` is a number or one per row.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from xai.errors import NameLookupError

_GOLDEN, _FIRST, _SECOND = -7046029254386353131, -4658895280553007687, -7723592293110705685  # splitmix64, signed
_MANTISSA = 1 << 53


def seeds_of(seed: int, keys: Sequence[bytes], device: torch.device) -> Tensor:
    """Return one int64 seed per image (N,), from the seed of the run and the digest of each."""
    numbers = [int.from_bytes(key[:8], "big", signed=True) for key in keys]
    start = _mixed(torch.tensor(numbers, dtype=torch.int64, device=device))
    return _mixed(start ^ _mixed(torch.tensor(seed, dtype=torch.int64, device=device)))


def uniform(seeds: Tensor, draw: int, shape: Sequence[int]) -> Tensor:
    """Return float64 uniform numbers (N, *shape) in [0, 1), draw number `draw` of each image's stream.

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
    values: Tensor = torch.special.ndtri(uniform(seeds, draw, shape).clamp(2.0**-53, 1 - 2.0**-53))
    return values


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


NORMS = ("linf", "l2", "l1")
DUAL = {"linf": "l1", "l2": "l2", "l1": "linf"}
_TINY = 1e-12
_SPARSE = 0.05  # share of the pixels that one step of an l1 attack changes
Eps = float | Tensor


def check_norm(norm: str) -> str:
    """Return the norm.

    Raises:
        NameLookupError: none of "linf", "l2", "l1".
    """
    if norm not in NORMS:
        raise NameLookupError("norm", norm, NORMS)
    return norm


def length(delta: Tensor, norm: str) -> Tensor:
    """Return the norm (N,) of differences."""
    flat = delta.flatten(1)
    if norm == "linf":
        return flat.abs().amax(1)
    return flat.norm(dim=1) if norm == "l2" else flat.abs().sum(1)


def distance(images: Tensor, clean: Tensor, norm: str) -> Tensor:
    """Return distances (N,) in float64."""
    return length(images.double() - clean.double(), norm)


def wide(values: Eps, like: Tensor) -> Tensor:
    """Return a number, or one per row, so that it works on images."""
    tensor = torch.as_tensor(values, dtype=like.dtype, device=like.device)
    return tensor.view(-1, 1, 1, 1) if tensor.ndim else tensor


def project(images: Tensor, clean: Tensor, eps: Eps, norm: str) -> Tensor:
    """Return images inside ball and box: the nearest ones for linf and l1, scaled and then cut for l2."""
    radius = wide(eps, images)
    if norm == "linf":
        return torch.minimum(torch.maximum(images, clean - radius), clean + radius).clamp(0, 1)
    if norm == "l2":
        delta = images - clean
        factor = (radius.flatten() / length(delta, "l2").clamp_min(_TINY)).clamp_max(1)
        return (clean + delta * wide(factor, images)).clamp(0, 1)
    return _project_l1(images, clean, radius)


def _project_l1(images: Tensor, clean: Tensor, radius: Tensor) -> Tensor:
    """Return the nearest point of l1 ball and box: clip(soft(delta, t), -x, 1 - x) for the t where the norm fits.

    The norm falls with t along straight lines between the places where a pixel starts to move (its |delta|) and where
    it leaves the border of the box (|delta| minus its room): one sort finds the line. Source: Croce & Hein 2021
    (APGD-l1).
    """
    delta = (images - clean).flatten(1)
    room = torch.where(delta > 0, 1 - clean.flatten(1), clean.flatten(1))
    size = delta.abs()
    target = radius.expand(len(images), 1, 1, 1).flatten()
    target = (target - size.shape[1] * torch.finfo(size.dtype).eps / 4).clamp_min(0)  # what rounding may add up to
    inside = torch.minimum(size, room).sum(1) <= target
    threshold = _threshold(size, (size - room).clamp_min(0), target)
    moved = torch.minimum((size - threshold[:, None]).clamp_min(0), room)
    shrunk = torch.where(inside[:, None], torch.minimum(size, room), moved) * delta.sign()
    return (clean + shrunk.view_as(clean)).clamp(0, 1)


def _threshold(size: Tensor, border: Tensor, target: Tensor) -> Tensor:
    """Return t (N,) with sum(min(relu(size - t), size - border)) = target; border <= size is where a pixel is free."""
    places = torch.cat([size, border], 1).double()
    slopes = torch.cat([torch.ones_like(size), -torch.ones_like(border)], 1).double()
    order = places.argsort(1, descending=True)
    places, slopes = places.gather(1, order), slopes.gather(1, order).cumsum(1)
    drops = places[:, :-1] - places[:, 1:]
    norms = torch.cat([places.new_zeros(len(places), 1), (slopes[:, :-1] * drops).cumsum(1)], 1)
    k = (norms < target.double()[:, None]).sum(1).clamp(1, places.shape[1] - 1)[:, None] - 1
    left = (target.double()[:, None] - norms.gather(1, k)) / slopes.gather(1, k).clamp_min(_TINY)
    return (places.gather(1, k) - left)[:, 0].clamp_min(0).to(size.dtype)


def steepest(gradient: Tensor, norm: str) -> Tensor:
    """Return the step of length one that raises a loss most; for l1 spread over the largest 5 % of the gradient.

    Source: l1: Tramer & Boneh 2019 (SLIDE).
    """
    if norm == "linf":
        return gradient.sign()
    if norm == "l2":
        return gradient / wide(length(gradient, "l2").clamp_min(_TINY), gradient)
    flat = gradient.flatten(1)
    count = max(1, round(_SPARSE * flat.shape[1]))
    least = flat.abs().topk(count, 1).values[:, -1:]
    chosen = flat.sign() * (flat.abs() >= least.clamp_min(_TINY))
    return (chosen / chosen.abs().sum(1, keepdim=True).clamp_min(1)).view_as(gradient)


def random_start(clean: Tensor, eps: Eps, norm: str, seeds: Tensor, draw: int) -> Tensor:
    """Return random points of ball and box, uniform in the ball before the box cuts."""
    shape = clean.shape[1:]
    if norm == "linf":
        delta = 2 * uniform(seeds, draw, shape) - 1
    else:
        make: Callable[..., Tensor] = normal if norm == "l2" else _laplace
        delta = make(seeds, 2 * draw, shape)
        delta = delta / wide(length(delta, norm).clamp_min(_TINY), delta)
        delta = delta * wide(uniform(seeds, 2 * draw + 1, (1,))[:, 0] ** (1 / shape.numel()), delta)
    return project(clean + wide(eps, clean) * delta.to(clean), clean, eps, norm)


def border_start(clean: Tensor, eps: Eps, norm: str, seeds: Tensor, draw: int) -> Tensor:
    """Return random points of the border of the ball, before the box cuts."""
    delta = random_start(torch.full_like(clean, 0.5), 0.5, norm, seeds, draw) - 0.5
    delta = delta / wide(length(delta, norm).clamp_min(_TINY), delta)
    return project(clean + delta * wide(eps, delta), clean, eps, norm)


def _laplace(seeds: Tensor, draw: int, shape: torch.Size) -> Tensor:
    half = uniform(seeds, draw, shape) - 0.5
    return -half.sign() * torch.log1p(-2 * half.abs().clamp_max(0.5 - 2.0**-53))
