"""Ice crystals: five large pictures made once from fixed noise, of which every picture gets a random piece.

The photographs of ImageNet-C may not be handed on, so these take their place: needles that grow along a direction
which changes from crystal to crystal, on clouds of thicker and thinner ice. Brightness, contrast and tint of the five
are those measured on the five photographs that the reference uses; shapes are not.
"""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from xai.corruptions._base import Draws, pixels_of
from xai.corruptions._filters import gaussian
from xai.corruptions._plasma import plasma

_SIDE = 512
_NEEDLE = 24  # length of a needle, pixels of 224
# red, green, blue, and the deviation within a piece: the photographs' own figures
_TINTS = (
    (0.305, 0.585, 0.650, 0.072),
    (0.787, 0.805, 0.841, 0.085),
    (0.787, 0.805, 0.841, 0.085),
    (0.540, 0.599, 0.648, 0.112),
    (0.441, 0.484, 0.528, 0.157),
)


def frost_layer(images: Tensor, draws: Draws) -> Tensor:
    """Return ice (N, C, H, W) in [0, 1]: for each picture a random piece of a random one of the five."""
    unit, (height, width) = pixels_of(images), images.shape[-2:]
    large = max(1.0, max(height, width) / unit / _SIDE * 1.1)  # pictures larger than the ice get it enlarged
    textures = _textures().to(images)
    found = images.new_empty(len(images), 3, height, width)
    piece = [max(1, min(_SIDE, round(side / unit / large))) for side in (height, width)]
    for k, (which, down, across) in enumerate(draws.numbers(3)):
        number = int(which * len(_TINTS))
        top, left = int(down * (_SIDE - piece[0] + 1)), int(across * (_SIDE - piece[1] + 1))
        cut = textures[number : number + 1, :, top : top + piece[0], left : left + piece[1]]
        found[k] = _resized(cut, (height, width))[0] * images.new_tensor(_TINTS[number][:3]).view(3, 1, 1)
    found.clamp_(0, 1)
    return found if images.shape[1] == 3 else found.mean(1, keepdim=True)


def _resized(texture: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(texture.shape[-2:]) == size:
        return texture
    return F.interpolate(texture, size, mode="bilinear", align_corners=False, antialias=True)


@lru_cache(maxsize=1)
def _textures() -> Tensor:
    """Return the five pictures (5, 1, side, side), brightness relative to the tint's, mean 1."""
    streams = [torch.Generator().manual_seed(number) for number in range(len(_TINTS))]
    draws = Draws(torch.empty(len(_TINTS), 1, _SIDE, _SIDE), streams)
    thickness = plasma((_SIDE, _SIDE), 1.8, draws)
    needles = _needles(plasma((_SIDE, _SIDE), 2.6, draws), draws.normal(1, _SIDE, _SIDE))
    grain = gaussian(draws.normal(1, _SIDE, _SIDE), 0.8)
    ice = _unit(thickness) * 0.55 + _unit(needles) * 0.7 + _unit(grain) * 0.5
    deviations = torch.tensor([tint[3] / (sum(tint[:3]) / 3) for tint in _TINTS]).view(-1, 1, 1, 1)
    return (1 + _unit(ice) * deviations).clamp_min(0)


def _needles(cloud: Tensor, noise: Tensor) -> Tensor:
    """Smear noise along a direction that a cloud gives in steps: each step is a crystal of parallel needles."""
    turn = (cloud * 24).floor() * 2.39996  # the golden angle: neighbours differ much
    rows, columns = (torch.linspace(-1, 1, _SIDE) for _ in range(2))
    base = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)
    step = torch.stack([turn.cos(), turn.sin()], -1)[:, 0] * (2 / _SIDE)
    total = torch.zeros_like(noise)
    for place in range(_NEEDLE):
        total += F.grid_sample(noise, base + step * place, padding_mode="reflection", align_corners=True)
    strongest = total.clamp_min(-(_NEEDLE**0.5)).pow(3).div_(_NEEDLE)
    return strongest.add_(total, alpha=_NEEDLE**0.5)


def _unit(values: Tensor) -> Tensor:
    """Return values with mean 0 and deviation 1 in each picture."""
    mean, deviation = values.mean((1, 2, 3), keepdim=True), values.std((1, 2, 3), keepdim=True)
    return (values - mean) / deviation
