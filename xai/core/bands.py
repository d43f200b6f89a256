"""Images of any number of bands as colours that a screen can show."""

import numpy as np

from xai.errors import ShapeError

_MOST = 1024  # bands of an image


def to_rgb(pixels: np.ndarray) -> np.ndarray:
    """Return an image (H, W, C) as red, green and blue (H, W, 3), for showing it: any type, any range.

    One band is grey, two are shown by their mean, three are colours, and of more the first three are shown.

    Args:
        pixels: (H, W, C), C from 1.

    Returns:
        (H, W, 3) of the same type.

    Raises:
        ShapeError: not (H, W, C).

    Example:
        >>> import numpy as np, xai
        >>> xai.to_rgb(np.zeros((4, 6, 5), dtype=np.uint8)).shape
        (4, 6, 3)
    """
    if pixels.ndim != 3 or not pixels.shape[2]:
        raise ShapeError(f"Expected an image (H, W, C) to show, but got shape {pixels.shape}. Move its axes.")
    bands = pixels.shape[2]
    if bands >= 3:
        return np.ascontiguousarray(pixels[..., :3])
    grey = pixels.astype(np.float64).mean(2, keepdims=True).astype(pixels.dtype) if bands == 2 else pixels
    return np.repeat(grey, 3, 2)


def note_of_bands(bands: int) -> str | None:
    """Say how an image of so many bands is shown; None for grey and colours, which need no word."""
    if bands in (1, 3):
        return None
    how = "their mean" if bands == 2 else "the first three as red, green and blue"
    return f"images of {bands} bands are shown by {how}"


def holds_bands(shape: tuple[int, ...]) -> bool:
    """Whether an array (..., H, W, C) has its bands last: grey, colours, or fewer bands than pixels a side."""
    *_, height, width, bands = shape
    return bands in (1, 3, 4) or 1 < bands < min(height, width, _MOST)
