"""Brightness and hue of pictures in red, green and blue."""

from math import cos, radians, sin

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def luma(images: Tensor) -> Tensor:
    """Return the brightness (N, 1, H, W) of colour pictures (N, 3, H, W)."""
    red, green, blue = (images[:, k : k + 1] for k in range(3))
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def hue_matrix(angle: float) -> Tensor:
    """Return the matrix (3, 3) that turns all hues by `angle` degrees in the plane of YIQ and keeps the brightness."""
    to_yiq = torch.tensor(
        [LUMA, (0.59590059, -0.27455667, -0.32134392), (0.21153661, -0.52273617, 0.31119955)], dtype=torch.float64
    )
    c, s = cos(radians(angle)), sin(radians(angle))
    turn = torch.tensor([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]], dtype=torch.float64)
    found: Tensor = torch.linalg.solve(to_yiq, turn @ to_yiq)
    return found
