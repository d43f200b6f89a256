"""Blurred pictures, as another lens, focus or resolution makes them."""

from collections.abc import Iterator
from functools import partial
from math import ceil

import torch
from torch import Tensor
from torch.nn import functional as F

from xai.cues._base import EVERYWHERE, Form, Scene, Shift, cue

_SIGMA = 2 / 28  # of the shorter side


@cue("blur", "the whole picture blurred, blended with the sharp one")
def blur(scene: Scene) -> Iterator[Form]:
    """Yield one Gaussian blur."""
    sigma = _SIGMA * scene.side
    yield Shift("blur", "blur", EVERYWHERE, f"blurred by {sigma:.2g} pixels", partial(_blurred, sigma=sigma))


def _blurred(images: Tensor, sigma: float) -> Tensor:
    """Return images (n, C, h, w) behind a Gaussian, edges repeated."""
    reach = ceil(3 * sigma)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    planes = images.flatten(0, 1)[:, None]
    planes = F.conv2d(F.pad(planes, (reach, reach, 0, 0), mode="replicate"), weights.view(1, 1, 1, -1))
    planes = F.conv2d(F.pad(planes, (0, 0, reach, reach), mode="replicate"), weights.view(1, 1, -1, 1))
    return planes.view(images.shape)
