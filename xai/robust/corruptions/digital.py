"""Corruptions of colours and of digital processing."""

import io
from functools import lru_cache
from math import cos, radians, sin

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from xai.robust.corruptions._filters import gain, gaussian_axes
from xai.robust.corruptions.base import REFERENCE_SIDE, Draws, Level, corruption, is_colour, pixels_of

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def luma(images: Tensor) -> Tensor:
    """Return the brightness (N, 1, H, W) of colour images (N, 3, H, W)."""
    red, green, blue = (images[:, k : k + 1] for k in range(3))
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def hue_matrix(angle: float) -> Tensor:
    """Return the matrix (3, 3) that turns all hues by `angle` degrees in the plane of YIQ and keeps the brightness."""
    to_yiq = torch.tensor(
        [LUMA, (0.59590059, -0.27455667, -0.32134392), (0.21153661, -0.52273617, 0.31119955)], dtype=torch.float64
    )
    c, s = cos(radians(angle)), sin(radians(angle))
    turn = torch.tensor([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]], dtype=torch.float64)
    matrix: Tensor = torch.linalg.solve(to_yiq, turn @ to_yiq)
    return matrix


@corruption(
    "hue",
    "colour",
    "Turns all hues by one angle, left or right; brightness stays.",
    parameters="degrees",
    levels=((15,), (30,), (45,), (60,), (90,)),
    clean=(0.0,),
    stochastic=True,
    imagenet_c=False,
)
def _hue(images: Tensor, level: Level, draws: Draws) -> Tensor:
    if not is_colour(images):
        return images.clone()
    angles = [level[0] if number < 0.5 else -level[0] for (number,) in draws.numbers(1)]
    matrices = torch.stack([hue_matrix(angle) for angle in angles]).to(images)
    return torch.einsum("njk,nkhw->njhw", matrices, images).contiguous()


@corruption(
    "gamma",
    "colour",
    "Brighter or darker in the middle tones: a wrong display curve.",
    parameters="exponent, or one over it",
    levels=((1.25,), (1.5,), (2.0,), (2.5,), (3.0,)),
    clean=(1.0,),
    stochastic=True,
    imagenet_c=False,
)
def _gamma(images: Tensor, level: Level, draws: Draws) -> Tensor:
    exponents = [level[0] if number < 0.5 else 1 / level[0] for (number,) in draws.numbers(1)]
    return images.clamp_min(0).pow(images.new_tensor(exponents).view(-1, 1, 1, 1))


@corruption(
    "grey",
    "colour",
    "Takes colour away.",
    parameters="share taken",
    levels=((0.2,), (0.4,), (0.6,), (0.8,), (1.0,)),
    clean=(0.0,),
    imagenet_c=False,
)
def _grey(images: Tensor, level: Level, draws: Draws) -> Tensor:  # noqa: ARG001 (nothing random)
    if not is_colour(images):
        return images.clone()
    return torch.lerp(images, luma(images).expand_as(images), level[0])


@corruption(
    "temperature",
    "colour",
    "Warmer or cooler light: red up and blue down, or the other way.",
    parameters="change of the two gains",
    levels=((0.1,), (0.2,), (0.3,), (0.4,), (0.5,)),
    clean=(0.0,),
    stochastic=True,
    imagenet_c=False,
)
def _temperature(images: Tensor, level: Level, draws: Draws) -> Tensor:
    if not is_colour(images):
        return images.clone()
    changes = [level[0] if number < 0.5 else -level[0] for (number,) in draws.numbers(1)]
    return images * images.new_tensor([[1 + c, 1.0, 1 - c] for c in changes]).view(-1, 3, 1, 1)


_TINY = 1e-12


@corruption(
    "brightness",
    "digital",
    "Raises the brightness (V of HSV); hue and saturation stay.",
    parameters="added",
    levels=((0.1,), (0.2,), (0.3,), (0.4,), (0.5,)),
    clean=(0.0,),
)
def _brightness(images: Tensor, level: Level, draws: Draws) -> Tensor:  # noqa: ARG001 (nothing random)
    if not is_colour(images):
        return images + level[0]
    value = images.amax(1, keepdim=True)
    raised = (value + level[0]).clamp_(0, 1)
    black = (value <= 0).to(images.dtype)  # black has no hue: it turns grey
    return (images + black).mul_(raised / (value + black))


@corruption(
    "contrast",
    "digital",
    "Draws every channel towards its mean over the image.",
    parameters="share of the contrast kept",
    levels=((0.4,), (0.3,), (0.2,), (0.1,), (0.05,)),
    clean=(1.0,),
)
def _contrast(images: Tensor, level: Level, draws: Draws) -> Tensor:  # noqa: ARG001
    return (images * level[0]).add_(images.mean((2, 3), keepdim=True), alpha=1 - level[0])


@corruption(
    "saturate",
    "digital",
    "Less colour at severity 1 and 2, more from 3 on (so little changes between 2 and 3); grey images stay.",
    parameters="factor of the saturation (S of HSV), added to it",
    levels=((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
    clean=(1.0, 0.0),
)
def _saturate(images: Tensor, level: Level, draws: Draws) -> Tensor:  # noqa: ARG001
    if not is_colour(images):
        return images.clone()
    value, least = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    span = value - least
    saturation = (span / value.clamp_min(_TINY)).mul_(level[0]).add_(level[1]).clamp_(0, 1)
    depth = value * saturation  # of the new colours below the value
    grey = (span <= 0).to(images.dtype)  # without a hue: HSV takes red
    red = torch.tensor([0.0, 1.0, 1.0], device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
    below = (value - images).div_(span + grey).add_(grey * red)
    return value - below.mul_(depth)


@corruption(
    "pixelate",
    "digital",
    "Fewer, larger pixels.",
    parameters="share of the side",
    levels=((0.6,), (0.5,), (0.4,), (0.3,), (0.25,)),
    clean=(1.0,),
)
def _pixelate(images: Tensor, level: Level, draws: Draws) -> Tensor:  # noqa: ARG001
    (rows, row_of), (columns, column_of) = (
        _cells(size, max(1, int(size * level[0] + 1e-9))) for size in images.shape[-2:]
    )
    coarse = rows.to(images) @ (images @ columns.to(images).T)
    spread = F.one_hot(column_of, len(columns)).T.to(images)
    return (coarse @ spread).index_select(2, row_of.to(images.device))


@lru_cache(maxsize=32)
def _cells(size: int, count: int) -> tuple[Tensor, Tensor]:
    """Return the matrix (count, size) of means over cells, and the cell that each pixel shows (size,).

    As Pillow's BOX down and NEAREST up: a pixel counts for a cell when its middle lies in it, with no other weight.
    """
    ends = torch.tensor([int(k * size / count + 0.5) for k in range(count + 1)])
    places = torch.arange(size)
    inside = (places >= ends[:-1, None]) & (places < ends[1:, None])
    shown = torch.tensor([int((k + 0.5) * count / size) for k in range(size)])
    return inside / inside.sum(1, keepdim=True), shown


@corruption(
    "jpeg_compression",
    "digital",
    "Saved as JPEG and read again, 8 bits a value.",
    parameters="quality",
    levels=((25,), (18,), (15,), (10,), (7,)),
)
def _jpeg(images: Tensor, level: Level, draws: Draws) -> Tensor:  # noqa: ARG001
    quality = round(level[0])
    rows = images.mul(255).round_().to(device="cpu", dtype=torch.uint8).numpy()
    decoded = np.empty_like(rows)
    for pixels, place in zip(rows, decoded, strict=True):
        _save(pixels, quality, place)
    return torch.from_numpy(decoded).to(device=images.device, dtype=images.dtype).div_(255)


def _save(pixels: np.ndarray, quality: int, target: np.ndarray) -> None:
    """Write (C, H, W) after a round trip through JPEG into `target`; what is not RGB goes channel by channel."""
    bands = [Image.fromarray(band) for band in pixels]
    if len(bands) == 3:
        bands = list(_round_trip(Image.merge("RGB", bands), quality).split())
    else:
        bands = [_round_trip(band, quality) for band in bands]
    for band, place in zip(bands, target, strict=True):
        place[...] = np.asarray(band)


def _round_trip(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    read = Image.open(stream)
    read.load()
    return read


@corruption(
    "elastic_transform",
    "digital",
    "Bends the image by small random shifts that change smoothly.",
    parameters="strength",
    levels=((12.5,), (16.25,), (21.25,), (25,), (30,)),
    clean=(0.0,),
    stochastic=True,
)
def _elastic(images: Tensor, level: Level, draws: Draws) -> Tensor:
    """As imagecorruptions; small images are bent as far, in shares of the side, as one of 224 pixels."""
    height, width = images.shape[-2:]
    sigmas = (0.01 * height, 0.01 * width)
    strength = level[0] * 0.005 * height
    if pixels_of(images) < 1:
        usual = gain(0.01 * REFERENCE_SIDE, 3) ** 2
        strength = level[0] * 0.005 * min(height, width) * usual / (gain(sigmas[0], 3) * gain(sigmas[1], 3))
    shifts = draws.uniform(2, height, width).mul_(2).sub_(1)
    shifts = gaussian_axes(shifts, sigmas, 3, "reflect").mul_(strength)
    return sampled(images, shifts)


def sampled(images: Tensor, shifts: Tensor) -> Tensor:
    """Return images that show at each pixel what lies `shifts` (N, 2: across and down, H, W) pixels away."""
    height, width = images.shape[-2:]
    columns = torch.arange(width, device=images.device, dtype=images.dtype)
    rows = torch.arange(height, device=images.device, dtype=images.dtype)
    grid = torch.empty(len(images), height, width, 2, device=images.device, dtype=images.dtype)
    torch.add(shifts[:, 0], columns, out=grid[..., 0]).mul_(2 / width).add_(1 / width - 1)
    torch.add(shifts[:, 1], rows[:, None], out=grid[..., 1]).mul_(2 / height).add_(1 / height - 1)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
