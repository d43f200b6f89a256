"""Geometric: the same things elsewhere, larger, turned. What enters from outside is the image mirrored."""

from collections.abc import Callable
from math import cos, pi, radians, sin

import torch
from torch import Tensor
from torch.nn import functional as F

from xai.robust.corruptions.base import Draws, Level, corruption

_Matrix = list[list[float]]


Recipe = Callable[[Level, float, list[float]], _Matrix]


def _geometric(name: str, summary: str, parameters: str, steps: Level, clean: float) -> Callable[[Recipe], Recipe]:
    """Register a function (level, aspect, numbers) that gives the matrix from places in the result to the source's.

    Places are (x, y, 1) with the image from -1 to 1; `aspect` is width / height; three numbers in [0, 1) per image.
    """

    def enter(matrix: Recipe) -> Recipe:
        def transform(images: Tensor, level: Level, draws: Draws) -> Tensor:
            aspect = images.shape[-1] / images.shape[-2]
            return _warped(images, [matrix(level, aspect, numbers) for numbers in draws.numbers(3)])

        corruption(
            name,
            "geometric",
            summary,
            parameters=parameters,
            levels=tuple((step,) for step in steps),
            clean=(clean,),
            stochastic=True,
            imagenet_c=False,
        )(transform)
        return matrix

    return enter


def _warped(images: Tensor, matrices: list[_Matrix]) -> Tensor:
    height, width = images.shape[-2:]
    across = (torch.arange(width, device=images.device, dtype=images.dtype) * 2 + 1) / width - 1
    down = (torch.arange(height, device=images.device, dtype=images.dtype) * 2 + 1) / height - 1
    places = torch.stack([*torch.meshgrid(across, down, indexing="xy"), images.new_ones(height, width)], -1)
    homogeneous = torch.einsum("hwk,njk->nhwj", places, images.new_tensor(matrices))
    grid = homogeneous[..., :2] / homogeneous[..., 2:]
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _affine(a: float, b: float, c: float, d: float, right: float = 0.0, down: float = 0.0) -> _Matrix:
    return [[a, b, right], [c, d, down], [0.0, 0.0, 1.0]]


def _sign(number: float) -> float:
    return 1.0 if number < 0.5 else -1.0


@_geometric("rotate", "Turns left or right.", "degrees", (5, 10, 15, 20, 30), 0.0)
def _rotate(level: Level, aspect: float, numbers: list[float]) -> _Matrix:
    angle = radians(level[0]) * _sign(numbers[0])
    return _affine(cos(angle), -sin(angle) / aspect, sin(angle) * aspect, cos(angle))


@_geometric(
    "translate",
    "Shifts in a random direction.",
    "share of the side",
    (0.04, 0.08, 0.12, 0.16, 0.2),
    0.0,
)
def _translate(level: Level, aspect: float, numbers: list[float]) -> _Matrix:  # noqa: ARG001 (shares of each side)
    angle = 2 * pi * numbers[0]
    return _affine(1, 0, 0, 1, 2 * level[0] * cos(angle), 2 * level[0] * sin(angle))


@_geometric(
    "scale",
    "Larger or smaller, about the middle.",
    "factor, or one over it",
    (1.1, 1.2, 1.3, 1.4, 1.5),
    1.0,
)
def _scale(level: Level, aspect: float, numbers: list[float]) -> _Matrix:  # noqa: ARG001
    factor = level[0] if numbers[0] < 0.5 else 1 / level[0]
    return _affine(factor, 0, 0, factor)


@_geometric("shear", "Leans to one side.", "tangent of the angle", (0.1, 0.2, 0.3, 0.4, 0.5), 0.0)
def _shear(level: Level, aspect: float, numbers: list[float]) -> _Matrix:
    return _affine(1, level[0] * _sign(numbers[0]) / aspect, 0, 1)


@_geometric(
    "perspective",
    "Seen from the side.",
    "how much further away one border is",
    (0.1, 0.2, 0.3, 0.4, 0.5),
    0.0,
)
def _perspective(level: Level, aspect: float, numbers: list[float]) -> _Matrix:  # noqa: ARG001
    angle, tilt = 2 * pi * numbers[0], level[0] / 2
    return [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [tilt * cos(angle), tilt * sin(angle), 1.0]]


@_geometric(
    "crop",
    "Keeps a random part, enlarged to the full size.",
    "share of the side",
    (0.9, 0.8, 0.7, 0.6, 0.5),
    1.0,
)
def _crop(level: Level, aspect: float, numbers: list[float]) -> _Matrix:  # noqa: ARG001
    room = 1 - level[0]
    return _affine(level[0], 0, 0, level[0], room * (2 * numbers[0] - 1), room * (2 * numbers[1] - 1))
