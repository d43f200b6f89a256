"""Windows cut out of maps and put into them, many at a time, each at its own place."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Place:
    """Where in a map copies of a picture differ.

    Attributes:
        top: (N,) first row of each, int64 on the CPU.
        left: (N,) first column of each, int64 on the CPU.
        size: height and width, the same for all.
    """

    top: Tensor
    left: Tensor
    size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Patches:
    """What differs from a clean map, per copy of the picture.

    Attributes:
        values: (N, h, w, C).
        top: (N,) first row of each, int64 on the CPU.
        left: (N,) first column of each, int64 on the CPU.
    """

    values: Tensor
    top: Tensor
    left: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, the same for all."""
        return self.values.shape[1], self.values.shape[2]

    @property
    def place(self) -> Place:
        """Where they are."""
        return Place(self.top, self.left, self.size)


def take(clean: Tensor, top: Tensor, left: Tensor, size: tuple[int, int]) -> Tensor:
    """Return copies of windows (N, height, width, C) of one map (H, W, C), contiguous."""
    if clean.shape[:2] == size:
        return clean.repeat(len(top), 1, 1, 1)
    windows = _windows(clean[None], size)[0]
    found = windows[top.to(clean.device), left.to(clean.device)]
    return found.view(len(top), *size, clean.shape[2])


def put(maps: Tensor, values: Tensor, top: Tensor, left: Tensor) -> None:
    """Write values (N, h, w, C) into maps (N, H, W, C), contiguous, each at its own place."""
    height, width = values.shape[1:3]
    first_row, first_column = int(top[0]), int(left[0])
    if bool((top == first_row).all()) and bool((left == first_column).all()):
        maps[:, first_row : first_row + height, first_column : first_column + width] = values
        return
    copies = torch.arange(len(maps), device=maps.device)
    windows = _windows(maps, (height, width))
    windows[copies, top.to(maps.device), left.to(maps.device)] = values.flatten(2)


def widened(clean: Tensor, patches: Patches, top: Tensor, left: Tensor, size: tuple[int, int]) -> Tensor:
    """Return larger windows (N, height, width, C) with the patches inside, the rest clean."""
    if patches.size == size:
        return patches.values
    found = take(clean, top, left, size)
    put(found, patches.values, patches.top - top, patches.left - left)
    return found


def _windows(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return every window of contiguous maps (N, H, W, C) as a view (N, places down, places across, h, w C)."""
    count, rows, columns, channels = maps.shape
    height, width = size
    line = columns * channels
    return maps.as_strided(
        (count, rows - height + 1, columns - width + 1, height, width * channels),
        (rows * line, line, channels, line, 1),
        maps.storage_offset(),
    )
