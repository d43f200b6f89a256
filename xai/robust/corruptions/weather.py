"""Weather: snow, frost, fog, and drops of water on the lens.

The photographs of ImageNet-C may not be handed on, so these take their place: needles that grow along a direction
which changes from crystal to crystal, on clouds of thicker and thinner ice. Brightness, contrast and tint of the five
are those measured on the five photographs that the reference uses; shapes are not.
"""

from functools import lru_cache
from math import ceil

import torch
from torch import Tensor
from torch.nn import functional as F

from xai.robust.corruptions._filters import canny, distance, enlarged, gain, gaussian, motion, narrow, pad
from xai.robust.corruptions.base import Draws, Level, corruption, is_colour, pixels_of
from xai.robust.corruptions.digital import luma


def plasma(size: tuple[int, int], decay: float, draws: Draws) -> Tensor:
    """Return clouds (N, 1, H, W) in [0, 1], the top left of a square whose side is the next power of two.

    Each step doubles the grid: the middle of each square, then of each diamond, is the mean of its corners plus uniform
    noise whose range falls by `decay` from step to step. The square wraps around at its border.

    Source: as `plasma_fractal` of ImageNet-C, from the same numbers in another order of drawing.
    """
    side = 1 << (max(size) - 1).bit_length()
    noise = draws.uniform(max(1, side * side - 1)).sub_(0.5)
    corners, used, wibble = noise.new_zeros(len(noise), 1, 1), 0, 100.0
    while corners.shape[-1] < side:
        cells = corners.shape[-1]
        fields = noise[:, used : used + 3 * cells**2].mul_(2 * wibble**2).view(-1, 3, cells, cells)
        corners = _finer(corners, *fields.unbind(1))
        used += 3 * cells**2
        wibble /= decay
    low, high = corners.flatten(1).aminmax(dim=1, keepdim=True)
    scale = 1 / (high - low).clamp_min(1e-12)
    cut = corners[:, None, : size[0], : size[1]]
    return cut.sub(low[..., None, None]).mul_(scale[..., None, None])


def _finer(corners: Tensor, middle: Tensor, above: Tensor, beside: Tensor) -> Tensor:
    """Return the grid (N, 2 m, 2 m) from (N, m, m) and noise for the three new points of each cell."""
    right, down = corners.roll(-1, 2).add_(corners), corners.roll(-1, 1).add_(corners)
    middle.add_(right.roll(-1, 1).add_(right), alpha=0.25)
    above.add_(middle.roll(1, 1).add_(middle).add_(right), alpha=0.25)
    beside.add_(middle.roll(1, 2).add_(middle).add_(down), alpha=0.25)
    upper, lower = torch.stack((corners, above), -1).flatten(-2), torch.stack((beside, middle), -1).flatten(-2)
    return torch.stack((upper, lower), 2).flatten(1, 2)


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
    """Return ice (N, C, H, W) in [0, 1]: for each image a random piece of a random one of the five."""
    unit, (height, width) = pixels_of(images), images.shape[-2:]
    large = max(1.0, max(height, width) / unit / _SIDE * 1.1)  # images larger than the ice get it enlarged
    textures = _textures().to(images)
    ice = images.new_empty(len(images), 3, height, width)
    piece = [max(1, min(_SIDE, round(side / unit / large))) for side in (height, width)]
    for k, (which, down, across) in enumerate(draws.numbers(3)):
        number = int(which * len(_TINTS))
        top, left = int(down * (_SIDE - piece[0] + 1)), int(across * (_SIDE - piece[1] + 1))
        cut = textures[number : number + 1, :, top : top + piece[0], left : left + piece[1]]
        ice[k] = _resized(cut, (height, width))[0] * images.new_tensor(_TINTS[number][:3]).view(3, 1, 1)
    ice.clamp_(0, 1)
    return ice if images.shape[1] == 3 else ice.mean(1, keepdim=True)


def _resized(texture: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(texture.shape[-2:]) == size:
        return texture
    return F.interpolate(texture, size, mode="bilinear", align_corners=False, antialias=True)


@lru_cache(maxsize=1)
def _textures() -> Tensor:
    """Return the five images (5, 1, side, side), brightness relative to the tint's, mean 1."""
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
    """Return values with mean 0 and deviation 1 in each image."""
    mean, deviation = values.mean((1, 2, 3), keepdim=True), values.std((1, 2, 3), keepdim=True)
    return (values - mean) / deviation


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
    """Cover the image with brown where the drops, softened, are dense."""
    unit = pixels_of(images)
    cover = gaussian((_liquid(noise, level, unit) > level[3]).to(images.dtype), level[4] * unit)
    cover *= (cover >= 0.8).to(cover.dtype)
    return images * (1 - cover) + cover * _tint(images, _MUD)


def _tint(images: Tensor, colour: tuple[float, ...]) -> Tensor:
    """Return a colour for colour images, its grey for others."""
    if is_colour(images):
        return images.new_tensor(colour).view(1, 3, 1, 1)
    return images.new_tensor(sum(weight * part for weight, part in zip(_GREY, colour, strict=True)))


def _box(images: Tensor) -> Tensor:
    """Return means of 3 x 3 pixels, borders mirrored."""
    return narrow(pad(images, 1, "mirror"), (1 / 3,) * 3)


def _lit(images: Tensor) -> Tensor:
    """Return how a relief of these heights looks, lit from the top left; borders mirrored."""
    (height, width), padded = images.shape[-2:], pad(images, 1, "mirror")
    relief = torch.zeros_like(images)
    for row, weights in enumerate(_RELIEF):
        for column, weight in enumerate(weights):
            if weight:
                relief.add_(padded[..., row : row + height, column : column + width], alpha=weight)
    return relief


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


@corruption(
    "fog",
    "weather",
    "Lays a cloud of uneven density over the image.",
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
    "Whitens the image and lets flakes fall, smeared along their way.",
    parameters="mean and deviation of the noise, size of flakes, threshold, radius and sigma of the smear (pixels of "
    "224), share of the image's own colour",
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
    "Lays ice crystals over the image, as on a window. The crystals are made here, not photographed.",
    parameters="share of the image, share of the ice",
    levels=((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    clean=(1.0, 0.0),
    stochastic=True,
)
def _frost(images: Tensor, level: Level, draws: Draws) -> Tensor:
    ice = frost_layer(images, draws)
    return (images * level[0]).add_(ice, alpha=level[1])
