"""Probe images of several natural statistics, and whether a model answers alike for all of them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from xai.core.images.inputs import decode_images
from xai.core.model.hooks import gradients
from xai.core.results.message import Message
from xai.errors import UnsupportedModelError

COUNT = 8
_DISKS = 40
_PHOTOS = ("astronaut.png", "coffee.png")  # in the package of scikit-image


def probe_images(channels: int, size: tuple[int, int]) -> Tensor:
    """Return `COUNT` images (COUNT, C, H, W) in [0, 1]: noise, a ramp, soft and rough textures, disks, photographs.

    Where scikit-image brings no photographs, further textures stand for them. Colour channels are correlated, as in
    photographs; any other number of channels than three repeats the grey image.
    """
    colour = _colour_images(size)
    if channels == 3:
        return colour.clone()
    return colour.mean(1, keepdim=True).repeat(1, channels, 1, 1)


@lru_cache(maxsize=4)
def _colour_images(size: tuple[int, int]) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    noise = torch.rand(3, *size, generator=draw)
    ramp = torch.linspace(0, 1, size[1]).expand(3, *size)
    made = [noise, ramp, _texture(size, 1.0, draw), _texture(size, 2.0, draw), _disks(size, draw), _soft(size, draw)]
    photos = _photographs(size) or [_texture(size, 1.5, draw), _disks(size, draw)]
    return torch.stack([*made, *photos])


def _texture(size: tuple[int, int], slope: float, draw: torch.Generator) -> Tensor:
    """Return noise whose amplitude falls with frequency to the power `slope`; photographs have about 1 to 1.5."""
    rows, columns = torch.fft.fftfreq(size[0])[:, None], torch.fft.fftfreq(size[1])[None]
    falls = (rows.square() + columns.square()).sqrt().clamp_min(1 / max(size)) ** -slope
    grey, tint = (torch.fft.fft2(torch.randn(n, *size, generator=draw)) * falls for n in (1, 3))
    values: Tensor = torch.fft.ifft2(grey + 0.3 * tint).real
    values = (values - values.mean()) / values.std().clamp_min(1e-6)
    return (0.45 + 0.2 * values).clamp(0, 1)


def _disks(size: tuple[int, int], draw: torch.Generator) -> Tensor:
    """Return disks of one colour each that cover each other, which gives the edges and areas of photographs."""
    image = torch.full((3, *size), 0.5)
    rows, columns = torch.arange(size[0])[:, None], torch.arange(size[1])[None]
    for _ in range(_DISKS):
        top, left, radius, *colour = torch.rand(6, generator=draw).tolist()
        reach = max(1.0, min(size) * 0.3 * radius**2)
        inside = (rows - top * size[0]).square() + (columns - left * size[1]).square() <= reach**2
        image = torch.where(inside, torch.tensor(colour).view(3, 1, 1), image)
    return image


def _soft(size: tuple[int, int], draw: torch.Generator) -> Tensor:
    """Return a smooth image: three by three colours, interpolated."""
    coarse = torch.rand(1, 3, 3, 3, generator=draw)
    return F.interpolate(coarse, size=size, mode="bilinear", align_corners=True)[0]


def _photographs(size: tuple[int, int]) -> list[Tensor]:
    """Return the photographs in scikit-image's folder, reduced; none where its package lies without them."""
    package = find_spec("skimage")
    folder = Path(package.origin).parent / "data" if package is not None and package.origin else Path()
    photos = [folder / name for name in _PHOTOS]
    if not all(photo.is_file() for photo in photos):
        return []
    images, _ = decode_images(photos)
    return [F.interpolate(image.pixels[None], size=size, mode="area")[0] for image in images]


BLOCKED = "no gradient reaches the pixels: use occlusion, lime, kernelshap or rise"
_NO_PROOF = "which is no proof: the first images that are given are looked at, too"
_OF_IMAGES = (  # the same answer to all, no gradient
    "the model gives {count} of the given images the same output: are its weights loaded?",
    "no gradient reaches the pixels of {count} given images: use occlusion, lime, kernelshap or rise",
)
_OF_PROBES = (
    f"the model gives {{count}} probe images, none of them from your data, the same output, {_NO_PROOF}",
    f"no gradient reaches the pixels of {{count}} probe images, none of them from your data, {_NO_PROOF}",
)


@dataclass(frozen=True)
class Flatness:
    """What a model does on some images.

    Attributes:
        count: number of images.
        same: all of them get the same answer.
        blocked: why no gradient can come back to the pixels, whatever the image: the forward cuts the graph, or
            checkpoints its activations; "" where one can.
        zero: every gradient towards the pixels is 0.
    """

    count: int
    same: bool
    blocked: str
    zero: bool

    @property
    def found(self) -> bool:
        """Whether another look at other images may find otherwise."""
        return (self.same and self.count > 1) or (self.zero and not self.blocked)

    def notes(self, *, probes: bool) -> list[str]:
        """Return what is to be said; `probes` when the images are none of the user's own."""
        if probes:
            return [*([self.blocked] if self.blocked else []), *self._of_probes()]
        same, zero = (Message(template, count=self.count) for template in _OF_IMAGES)
        flat = [zero] if self.zero and not self.blocked else []
        return [*([self.blocked] if self.blocked else []), *([same] if self.same and self.count > 1 else []), *flat]

    def _of_probes(self) -> list[str]:
        same, zero = (Message(template, count=self.count) for template in _OF_PROBES)
        return [*([same] if self.same else []), *([zero] if self.zero and not self.blocked else [])]


def flatness(run: Callable[[Tensor], Tensor], images: Tensor) -> Flatness:
    """Return what a model does on some images.

    Args:
        run: scores (N, K) of images (N, C, H, W), with gradients; the module borrowed.
        images: different ones, as near the data as possible.

    Cost: a forward and a backward of the images.
    """
    with torch.inference_mode(False), torch.enable_grad():
        pixels = images.detach().clone().requires_grad_()
        scores = run(pixels)
        try:
            slope, blocked = _slope(scores, pixels), BLOCKED
        except UnsupportedModelError as error:
            slope, blocked = None, str(error)
    values = scores.detach()
    same = bool((values == values[:1]).all())
    return Flatness(len(images), same, blocked if slope is None else "", slope is not None and not bool(slope.any()))


def _slope(scores: Tensor, pixels: Tensor) -> Tensor | None:
    weights = torch.rand(scores.shape, generator=torch.Generator().manual_seed(1)).to(scores)
    return gradients((scores * weights).sum(), [pixels])[0]
