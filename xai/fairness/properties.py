"""What can be measured on an image and said in a word: brightness, contrast, colour, sharpness, texture, size."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from xai.core.registry import Registry

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_TINY = 1e-6
_BLOCKS = 7
Measure = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ImageProperty:
    """A number of an image.

    Attributes:
        name: as in tables.
        low: what an image with a small value is, in words.
        high: what an image with a large value is.
        channels: that an image must have; None for any.
        measure: from images (N, C, h, w) in [0, 1] to values (N,).
    """

    name: str
    low: str
    high: str
    channels: int | None
    measure: Measure


PROPERTIES: Registry[ImageProperty] = Registry("property")


def _measured(name: str, low: str, high: str, channels: int | None = None) -> Callable[[Measure], Measure]:
    def enter(measure: Measure) -> Measure:
        PROPERTIES.register(name)(ImageProperty(name, low, high, channels, measure))
        return measure

    return enter


def measure(images: Tensor) -> dict[str, np.ndarray]:
    """Return every property that applies, by name, of images (N, C, h, w) in [0, 1]: (N,) float64 each.

    Cost: a few passes over the pixels; none of a network.
    """
    fitting = [PROPERTIES[name] for name in PROPERTIES if PROPERTIES[name].channels in {None, images.shape[1]}]
    return {each.name: each.measure(images.float()).double().cpu().numpy() for each in fitting}


def _grey(images: Tensor) -> Tensor:
    """Return brightness (N, 1, h, w)."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    return (images * images.new_tensor(_LUMA).view(3, 1, 1)).sum(1, keepdim=True)


def _spread(grey: Tensor) -> Tensor:
    return grey.flatten(1).std(1, correction=0)


@_measured("brightness", "dark", "bright")
def brightness(images: Tensor) -> Tensor:
    """Return the mean of the grey image, 0 to 1."""
    return _grey(images).mean((1, 2, 3))


@_measured("contrast", "low-contrast", "high-contrast")
def contrast(images: Tensor) -> Tensor:
    """Return the standard deviation of the grey image, 0 to 0.5."""
    return _spread(_grey(images))


@_measured("colourfulness", "pale", "colourful", channels=3)
def colourfulness(images: Tensor) -> Tensor:
    """Return the spread of opponent colours and their distance from grey, from 0.

    Source: Hasler and Suesstrunk 2003, equation 7, for pixels in [0, 1].
    """
    red, green, blue = images.flatten(2).unbind(1)
    first, second = red - green, (red + green) / 2 - blue
    spread = (first.var(1, correction=0) + second.var(1, correction=0)).sqrt()
    return spread + 0.3 * (first.mean(1) ** 2 + second.mean(1) ** 2).sqrt()


@_measured("warmth", "bluish", "reddish", channels=3)
def warmth(images: Tensor) -> Tensor:
    """Return mean red less mean blue, -1 to 1."""
    return images[:, 0].mean((1, 2)) - images[:, 2].mean((1, 2))


@_measured("sharpness", "blurred", "sharp")
def sharpness(images: Tensor) -> Tensor:
    """Return the root mean square of the Laplacian over the contrast: what edges there are, how steep they are."""
    grey = _grey(images)
    kernel = grey.new_tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).view(1, 1, 3, 3)
    edges = F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), kernel)
    return edges.square().mean((1, 2, 3)).sqrt() / (_spread(grey) + _TINY)


@_measured("texture", "plain", "textured")
def texture(images: Tensor) -> Tensor:
    """Return the share of the variance that lies inside blocks of a seventh of the image, 0 to 1."""
    grey = _grey(images)
    size = [-(-side // _BLOCKS) for side in grey.shape[2:]]
    means = F.avg_pool2d(grey, size, ceil_mode=True, count_include_pad=False)
    coarse = F.interpolate(means, scale_factor=[float(s) for s in size], mode="nearest")
    inside = grey - coarse[..., : grey.shape[2], : grey.shape[3]]
    return inside.square().mean((1, 2, 3)) / (_spread(grey).square() + _TINY)


@_measured("object size", "with a small object", "with a large object")
def object_size(images: Tensor) -> Tensor:
    """Return the share of pixels that differ from the edge's median colour by half of the largest such difference.

    A guess without masks: good for an object on plain ground, a figure like any other where the ground is busy.
    """
    edge = torch.cat([images[:, :, 0], images[:, :, -1], images[..., 0], images[..., -1]], -1)
    ground = edge.median(-1).values[..., None, None]
    distance = (images - ground).abs().amax(1).flatten(1)
    most = distance.quantile(0.99, dim=1, keepdim=True) if distance.shape[1] < 1 << 24 else distance.amax(1, True)
    return ((distance > 0.5 * most) & (most > _TINY)).float().mean(1)
