"""What all corruptions share: a name, five levels and what lies between them, draws that belong to the picture."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import isfinite, prod
from typing import Any

import torch
from torch import Tensor

from xai.core.registry import Registry
from xai.core.runtime.randomness import generator
from xai.errors import RangeError
from xai.robust.corruptions import MODULES

Level = tuple[float, ...]
MOST = 5  # the highest severity
_STEPS = 1 << 16
REFERENCE_SIDE = 224  # the size, in pixels of the shorter side, that constants in pixels are made for


class Draws:
    """Random numbers, one stream per picture, drawn on the CPU and brought to the pictures' device and type.

    Args:
        like: (N, C, H, W), the pictures.
        streams: one generator per picture.
    """

    def __init__(self, like: Tensor, streams: Sequence[torch.Generator]) -> None:
        self._like, self._streams = like, streams

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers (N, *shape): one of 65,536 equally likely values, at most 4.2 from 0."""
        steps = self._steps(shape).to(device=self._like.device, dtype=torch.int32).add_(_STEPS // 2)
        values = _normal_values().to(self._like)
        return values.index_select(0, steps.flatten()).view(steps.shape)

    def uniform(self, *shape: int) -> Tensor:
        """Return numbers in (0, 1) (N, *shape): middles of 65,536 equal steps."""
        return self._steps(shape).to(self._like).add_(_STEPS / 2 + 0.5).mul_(1 / _STEPS)

    def _steps(self, shape: tuple[int, ...]) -> Tensor:
        """Return whole numbers of 16 bits (N, *shape) int16, four from each draw: several times faster than one."""
        count = prod(shape)
        rows = torch.empty(len(self._streams), -(-count // 4), dtype=torch.int64)
        for row, stream in zip(rows, self._streams, strict=True):
            row.random_(-(1 << 63), None, generator=stream)
        numbers: Tensor = rows.view(torch.int16)[:, :count]
        return numbers.reshape(len(rows), *shape)

    def numbers(self, count: int) -> list[list[float]]:
        """Return `count` plain numbers in [0, 1) for each picture, never on the device."""
        return [torch.rand(count, generator=stream).tolist() for stream in self._streams]


@lru_cache(maxsize=1)
def _normal_values() -> Tensor:
    """Return the normal distribution's values in the middle of 65,536 equally likely steps, their deviation made 1."""
    values = torch.special.ndtri((torch.arange(_STEPS, dtype=torch.float64) + 0.5) / _STEPS)
    found: Tensor = values / values.square().mean().sqrt()
    return found.float()


@dataclass(frozen=True)
class Corruption:
    """One way in which pictures get worse, in five steps and everything between them.

    Attributes:
        name: as in ImageNet-C where it has one.
        family: "noise", "blur", "weather", "digital", "geometric" or "colour".
        summary: what it does, in one line.
        parameters: names of the numbers in a level, with their unit.
        levels: the numbers at severity 1 to 5, those of ImageNet-C where it has the corruption.
        clean: the numbers that change nothing, severity 0; None: below severity 1 the picture at severity 1 is blended
            with the clean one.
        stochastic: draws random numbers, of the picture and the seed alone.
        imagenet_c: one of the nineteen of ImageNet-C.
    """

    name: str
    family: str
    summary: str
    parameters: str
    levels: tuple[Level, ...]
    clean: Level | None
    stochastic: bool
    imagenet_c: bool
    _transform: Callable[[Tensor, Level, Draws], Tensor] = field(repr=False, compare=False)

    def level(self, severity: float) -> Level:
        """Return the numbers at a severity: linear between the levels next to it; below 1 see `clean`."""
        severity = check_severity(severity)
        if severity < 1:
            return self.levels[0] if self.clean is None else _between(self.clean, self.levels[0], severity)
        below = min(int(severity), MOST - 1)
        return _between(self.levels[below - 1], self.levels[below], severity - below)

    def apply(
        self,
        images: Tensor,
        severity: float,
        *,
        seed: int,
        keys: Sequence[bytes] | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Return corrupted copies of a batch.

        Args:
            images: (N, C, H, W) float32 or float64 in [0, 1], any C; three channels are red, green, blue.
            severity: 0 to 5.
            seed: of everything random.
            keys: one per picture, stands for it in everything random; needed by stochastic corruptions.
            out: where to write the result, or None.

        Returns:
            (N, C, H, W) in [0, 1], new memory, device and dtype of `images`; or `out`.

        Raises:
            RangeError: a severity outside 0 to 5.
        """
        level = self.level(severity)
        if severity == 0 or not len(images):
            return images.clone() if out is None else out.copy_(images)
        draw = zlib.crc32(self.name.encode())
        streams = [generator(seed, key, draw) for key in (keys or ())] if self.stochastic else []
        worse = self._transform(images, level, Draws(images, streams))
        if self.clean is None and severity < 1:
            worse = torch.lerp(images, worse, float(severity))
        return worse.clamp_(0, 1) if out is None else torch.clamp(worse, 0, 1, out=out)


CORRUPTIONS: Registry[Corruption] = Registry("corruption", "xai.robust.corruptions", MODULES)
Transform = Callable[[Tensor, Level, Draws], Tensor]


def corruption(name: str, family: str, summary: str, **facts: Any) -> Callable[[Transform], Transform]:
    """Register a function (images, level, draws) -> images, new memory, as the corruption `name`.

    The function may leave [0, 1]; what it returns is clipped.
    """

    def enter(transform: Transform) -> Transform:
        given = {"clean": None, "stochastic": False, "imagenet_c": True} | facts
        CORRUPTIONS.register(name)(Corruption(name, family, summary, _transform=transform, **given))
        return transform

    return enter


def check_severity(severity: Any) -> float:
    """Return the severity as a float.

    Raises:
        RangeError: no number from 0 to 5.
    """
    try:
        found = float("nan") if isinstance(severity, bool | str) else float(severity)
    except (TypeError, ValueError, RuntimeError):
        found = float("nan")
    if not (isfinite(found) and 0 <= found <= MOST):
        raise RangeError(f"Expected `severity` as a number from 0 (clean) to {MOST}, but got {severity!r}.")
    return found


def pixels_of(images: Tensor) -> float:
    """Return how many pixels of `images` stand for one of a 224-pixel picture: at most 1, less for small pictures."""
    return min(1.0, min(images.shape[-2:]) / REFERENCE_SIDE)


def is_colour(images: Tensor) -> bool:
    """Whether the channels are red, green and blue."""
    return images.shape[1] == 3


def _between(low: Level, high: Level, share: float) -> Level:
    return tuple(a + (b - a) * share for a, b in zip(low, high, strict=True))
