"""Blur: out of focus, through glass, in motion, zooming."""

from math import ceil

import torch
from torch import Tensor

from xai.robust.corruptions._filters import clipped_zoom, disk, gaussian, motion
from xai.robust.corruptions.base import Draws, Level, corruption, pixels_of

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
