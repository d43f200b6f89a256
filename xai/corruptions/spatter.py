"""Spatter: drops of water, at high severities mud, on the lens."""

import torch
from torch import Tensor

from xai.corruptions._base import Draws, Level, corruption, is_colour, pixels_of
from xai.corruptions._edges import canny, distance
from xai.corruptions._filters import gain, gaussian, narrow, pad

_WATER = (175 / 255, 238 / 255, 238 / 255)
_MUD = (63 / 255, 42 / 255, 20 / 255)
_RELIEF = ((-2.0, -1.0, 0.0), (-1.0, 1.0, 1.0), (0.0, 1.0, 2.0))  # light from the top left
_FAR = 20.0  # pixels of 224 beyond which a drop's edge counts no more
_GREY = (0.2989, 0.5870, 0.1140)


@corruption(
    "spatter",
    "weather",
    "Drops on the lens: water up to severity 3, mud from severity 4, a mixture between.",
    parameters="mean and deviation of the noise, sigma of the drops (pixels of 224), threshold, strength of the water "
    "or sigma of the mud's edge, share of mud",
    levels=(
        (0.65, 0.3, 4, 0.69, 0.6, 0),
        (0.65, 0.3, 3, 0.68, 0.6, 0),
        (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1),
        (0.67, 0.4, 1, 0.65, 1.5, 1),
    ),
    stochastic=True,
)
def _spatter(images: Tensor, level: Level, draws: Draws) -> Tensor:
    noise = draws.normal(1, *images.shape[-2:])
    mud, water_level, mud_level = level[5], (0.65, 0.3, 2, 0.68, 0.5), (0.65, 0.3, 1, 0.65, 1.5)
    if mud == 0:
        return _watered(images, noise, level)
    if mud == 1:
        return _muddied(images, noise, level)
    return torch.lerp(_watered(images, noise, water_level), _muddied(images, noise, mud_level), mud)


def _liquid(noise: Tensor, level: Level, unit: float) -> Tensor:
    """Return blurred noise (N, 1, H, W), spread as at 224 pixels, and nothing below the threshold."""
    mean, deviation, sigma, threshold = level[:4]
    spread = deviation * (gain(sigma) / gain(sigma * unit)) ** 2
    liquid = gaussian(noise, sigma * unit).mul_(spread).add_(mean)
    return liquid.mul_((liquid >= threshold).to(liquid.dtype))


def _watered(images: Tensor, noise: Tensor, level: Level) -> Tensor:
    """Add light where the drops, lit from one side, are thick; thickness is the distance to a drop's edge."""
    unit = pixels_of(images)
    liquid = (_liquid(noise, level, unit) * 255).floor_().clamp_(0, 255)
    far = (distance(canny(liquid, 50, 150), round(_FAR * unit) or 1) / unit).clamp_max_(_FAR)
    relief = _equalised(_box(far).floor_())
    relief = _lit(relief).clamp_(0, 255)
    amount = liquid * _box(relief).round_()
    amount = amount / amount.amax((1, 2, 3), keepdim=True).clamp_min(1e-12) * level[4]
    return images + (amount * _tint(images, _WATER)).clamp_(0, 1)


def _muddied(images: Tensor, noise: Tensor, level: Level) -> Tensor:
    """Cover the picture with brown where the drops, softened, are dense."""
    unit = pixels_of(images)
    cover = gaussian((_liquid(noise, level, unit) > level[3]).to(images.dtype), level[4] * unit)
    cover *= (cover >= 0.8).to(cover.dtype)
    return images * (1 - cover) + cover * _tint(images, _MUD)


def _tint(images: Tensor, colour: tuple[float, ...]) -> Tensor:
    """Return a colour for colour pictures, its grey for others."""
    if is_colour(images):
        return images.new_tensor(colour).view(1, 3, 1, 1)
    return images.new_tensor(sum(weight * part for weight, part in zip(_GREY, colour, strict=True)))


def _box(images: Tensor) -> Tensor:
    """Return means of 3 x 3 pixels, borders mirrored."""
    return narrow(pad(images, 1, "mirror"), (1 / 3,) * 3)


def _lit(images: Tensor) -> Tensor:
    """Return how a relief of these heights looks, lit from the top left; borders mirrored."""
    (height, width), padded = images.shape[-2:], pad(images, 1, "mirror")
    found = torch.zeros_like(images)
    for row, weights in enumerate(_RELIEF):
        for column, weight in enumerate(weights):
            if weight:
                found.add_(padded[..., row : row + height, column : column + width], alpha=weight)
    return found


def _equalised(values: Tensor) -> Tensor:
    """Spread whole numbers 0..255 (N, 1, H, W) so that each is about as frequent; as OpenCV's equalizeHist."""
    flat = values.flatten(1).to(torch.int64)
    counts = torch.zeros(len(flat), 256, dtype=torch.int64, device=flat.device)
    counts.scatter_add_(1, flat, torch.ones_like(flat))
    first = (counts > 0).to(torch.int8).argmax(1, keepdim=True)
    lowest = counts.gather(1, first)
    below = (counts.cumsum(1) - lowest).to(values.dtype)
    rest = (flat.shape[1] - lowest).to(values.dtype)
    spread = (below * (255 / rest.clamp_min(1))).round_()
    spread = torch.where(rest > 0, spread, torch.arange(256, device=flat.device, dtype=values.dtype))
    return spread.gather(1, flat).view_as(values)
