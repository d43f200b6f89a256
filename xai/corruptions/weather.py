"""Weather: snow, frost and fog."""

from math import ceil

import torch
from torch import Tensor

from xai.corruptions._base import Draws, Level, corruption, is_colour, pixels_of
from xai.corruptions._colours import luma
from xai.corruptions._filters import enlarged, motion
from xai.corruptions._frost import frost_layer
from xai.corruptions._plasma import plasma


@corruption(
    "fog",
    "weather",
    "Lays a cloud of uneven density over the picture.",
    parameters="density, decay of the cloud's detail",
    levels=((1.5, 2), (2.0, 2), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),
    clean=(0.0, 2.0),
    stochastic=True,
)
def _fog(images: Tensor, level: Level, draws: Draws) -> Tensor:
    density, decay = level
    brightest = images.amax((1, 2, 3), keepdim=True)
    share = brightest / (brightest + density)
    cloud = plasma((images.shape[2], images.shape[3]), decay, draws)
    return torch.add(images, cloud, alpha=density).mul_(share)


@corruption(
    "snow",
    "weather",
    "Whitens the picture and lets flakes fall, smeared along their way.",
    parameters="mean and deviation of the noise, size of flakes, threshold, radius and sigma of the smear (pixels of "
    "224), share of the picture's own colour",
    levels=(
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    stochastic=True,
)
def _snow(images: Tensor, level: Level, draws: Draws) -> Tensor:
    mean, deviation, size, threshold, radius, sigma, own = level
    unit, (height, width) = pixels_of(images), images.shape[-2:]
    angles = [-135 + 90 * share for (share,) in draws.numbers(1)]
    size = max(1.0, size * unit)
    noise = draws.normal(1, ceil(height / size), ceil(width / size)).mul_(deviation).add_(mean)
    flakes = enlarged(noise, size).clamp_(0, 1)
    flakes *= (flakes >= threshold).to(flakes.dtype)
    flakes = motion(flakes, radius * unit, sigma * unit, angles)[..., :height, :width]
    grey = luma(images) if is_colour(images) else images
    white = torch.maximum(images, grey * 1.5 + 0.5)
    return torch.lerp(white, images, own).add_(flakes).add_(flakes.flip(2, 3))


@corruption(
    "frost",
    "weather",
    "Lays ice crystals over the picture, as on a window. The crystals are made here, not photographed.",
    parameters="share of the picture, share of the ice",
    levels=((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    clean=(1.0, 0.0),
    stochastic=True,
)
def _frost(images: Tensor, level: Level, draws: Draws) -> Tensor:
    ice = frost_layer(images, draws)
    return (images * level[0]).add_(ice, alpha=level[1])
