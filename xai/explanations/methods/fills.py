"""What is put in the place of pixels that are hidden, before preprocessing."""

from functools import cache

import numpy as np
import scipy
import torch
from torch import Tensor

from xai.core.runtime.randomness import generator
from xai.errors import NameLookupError, RangeError, ShapeError

FILLS = ("mean", "zero", "blur", "inpaint", "noise")
WHOLE = tuple(name for name in FILLS if name != "inpaint")  # those that do not hang on which pixels are hidden
BLUR = 0.05  # standard deviation as a share of the shorter side
Fill = str | float | Tensor


def fill_image(image: Tensor, fill: Fill, *, key: bytes = b"", seed: int = 0) -> Tensor:
    """Return the image that shows where pixels are hidden, (1, C, h, w) in [0, 1].

    Args:
        image: (1, C, h, w).
        fill: "mean" (the image's mean colour), "zero" (black), "blur" (Gaussian, 5 % of the shorter side), "noise"
            (uniform), a number for all channels, or a tensor (C,), (C, h, w) or (1, C, h, w) in [0, 1].
        key: of the image, for noise.
        seed: for noise.

    Raises:
        NameLookupError: no such fill.
        ShapeError: a tensor of another shape.
        RangeError: values outside [0, 1].
    """
    if isinstance(fill, str):
        return _named(image, fill, key, seed)
    values = torch.as_tensor(fill, dtype=image.dtype, device=image.device)
    if not bool(((values >= 0) & (values <= 1)).all()):
        raise RangeError("Expected a fill with values in [0, 1], as pixels are before preprocessing.")
    if values.ndim == 1 and len(values) == image.shape[1]:
        values = values[:, None, None]
    try:
        return values.expand(image.shape).clone()
    except RuntimeError as error:
        raise ShapeError(
            f"Expected a fill of shape ({image.shape[1]},) or {tuple(image.shape[1:])}, but got {tuple(values.shape)}."
        ) from error


def _named(image: Tensor, fill: str, key: bytes, seed: int) -> Tensor:
    if fill == "mean":
        return image.mean((2, 3), keepdim=True).expand_as(image).clone()
    if fill == "zero":
        return torch.zeros_like(image)
    if fill == "noise":
        return torch.rand(image.shape, generator=generator(seed, key, 1 << 32)).to(image)
    if fill == "blur":
        return _blurred(image)
    raise NameLookupError("fill", fill, WHOLE)


def _blurred(image: Tensor) -> Tensor:
    sigma = max(1.0, BLUR * min(image.shape[2:]))
    pixels = scipy.ndimage.gaussian_filter(image.detach().cpu().double().numpy(), (0, 0, sigma, sigma), mode="nearest")
    return torch.from_numpy(pixels).to(image).clamp(0, 1)


def inpaint(image: Tensor, top: Tensor, left: Tensor, size: tuple[int, int]) -> Tensor:
    """Return windows (N, C, height, width) filled smoothly from the pixels around them.

    Each pixel is the mean of its neighbours (Laplace's equation), so that there is no edge to see; where the window
    ends at the image's border, that side is free. The solution is linear in the pixels around: one small system for
    all windows of a size.

    Args:
        image: (1, C, h, w).
        top: (N,) first row of each window, on the CPU.
        left: (N,) first column of each.
        size: (height, width) of the windows.
    """
    height, width = size
    filled = image.new_zeros(len(top), image.shape[1], height, width)
    sides = torch.stack([top > 0, top + height < image.shape[2], left > 0, left + width < image.shape[3]], 1)
    padded = torch.nn.functional.pad(image, (1, 1, 1, 1), mode="replicate")[0].permute(1, 2, 0)
    for kind in set(map(tuple, sides.tolist())):
        which = (sides == torch.tensor(kind)).all(1)
        weights = torch.from_numpy(_harmonic(height, width, kind)).to(image)
        ring = _ring(padded, top[which], left[which], size)
        solved = torch.einsum("pr,nrc->ncp", weights, ring)
        filled[which.to(filled.device)] = solved.view(*solved.shape[:2], height, width)
    return filled


def _ring(padded: Tensor, top: Tensor, left: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the pixels around windows (N, 2 height + 2 width, C): above, below, left, right."""
    height, width = size
    down = torch.arange(height) + 1
    across = torch.arange(width) + 1
    zero = torch.zeros_like
    rows = torch.cat([zero(across), zero(across) + height + 1, down, down])
    columns = torch.cat([across, across, zero(down), zero(down) + width + 1])
    return padded[(top[:, None] + rows).to(padded.device), (left[:, None] + columns).to(padded.device)]


@cache
def _harmonic(height: int, width: int, sides: tuple[bool, bool, bool, bool]) -> np.ndarray:
    """Return (height width, 2 height + 2 width): each pixel's weights of those around; zero for sides that are free."""
    count, around = height * width, 2 * (height + width)
    above, below, left, right = sides
    if not any(sides):  # nothing around: grey
        return np.zeros((count, around)) + 1 / around
    system, known = scipy.sparse.lil_matrix((count, count)), np.zeros((count, around))
    for row in range(height):
        for column in range(width):
            place = row * width + column
            steps = (
                (row > 0, place - width, above, column),
                (row < height - 1, place + width, below, width + column),
                (column > 0, place - 1, left, 2 * width + row),
                (column < width - 1, place + 1, right, 2 * width + height + row),
            )
            for inside, neighbour, open_side, index in steps:
                if inside:
                    system[place, neighbour] = -1
                elif open_side:
                    known[place, index] = 1
                system[place, place] += inside or open_side
    return np.asarray(scipy.sparse.linalg.splu(system.tocsc()).solve(known))
