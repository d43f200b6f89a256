"""Blurred images, as another lens, focus or resolution makes them."""

from collections.abc import Iterator
from functools import partial
from math import ceil

import torch
from torch import Tensor
from torch.nn import functional as F

from xai.core.results.message import Message
from xai.fairness.shortcuts.probes.base import EVERYWHERE, Form, ProbeContext, Shift, probe
from xai.fairness.shortcuts.probes.data_forms import Loss

_SIGMA = 2 / 28  # of the shorter side
_SIGMAS = (0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.4, 1.7, 2.0, 2.5, 3.0, 4.0)  # in pixels
_BANDS = ((0.02, 0.12), (0.12, 0.25), (0.36, 0.71))  # cycles per pixel
_PAIRS = ((2, 0), (2, 1), (1, 0))  # of bands whose ratio tells how sharp an image is
_FLOOR = 1e-7
_TRIED = 48  # images on which the strength of the blur is chosen
_NOISE = 0.02  # share below which a frequency is not brought back


@probe("blur", "most images of one class less sharp than others; and the whole image blurred")
def blur(context: ProbeContext) -> Iterator[Form]:
    """Yield what was found, and one Gaussian blur."""
    bands = energies(context.all_images)
    for label in context.classes:
        yield from _from_data(context, label, bands)
    sigma = _SIGMA * context.side
    yield Shift(
        "blur", "blur", EVERYWHERE, Message("blurred by {sigma:.2g} pixels", sigma=sigma), partial(blurred, sigma=sigma)
    )


def _from_data(context: ProbeContext, label: int, bands: Tensor) -> Iterator[Form]:
    seen = {pair: context.split(-_ratio(bands, pair), label) for pair in _PAIRS}
    known = {pair: each for pair, each in seen.items() if each is not None and each.high > each.low}
    if not known:
        return
    pair = max(known, key=lambda key: known[key].distance)
    own = context.data.labels == label
    bands = bands[: len(own)]
    carriers = own & (-_ratio(bands, pair) > known[pair].threshold)
    sigma = _sigma(context.data.images[~own][:_TRIED], bands[carriers])
    yield Loss(
        "blur",
        f"blur, class {label}",
        EVERYWHERE,
        Message("blur of about {sigma:.2g} pixels", sigma=sigma),
        partial(blurred, sigma=sigma),
        partial(_sharpened, sigma=sigma),
        partial(_smoothness, pair=pair),
        target=label,
        least=known[pair].threshold,
    )


def _sigma(images: Tensor, of_class: Tensor) -> float:
    """Return the blur that makes images as smooth as those of the class are, in all bands (n, bands)."""
    aim = torch.stack([_ratio(of_class, pair).median() for pair in _PAIRS])

    def off(sigma: float) -> float:
        made = energies((blurred(images, sigma) * 255).round() / 255)  # files of 8 bits keep that much noise
        return float((torch.stack([_ratio(made, pair).median() for pair in _PAIRS]) - aim).square().sum())

    return min(_SIGMAS, key=off)


def energies(images: Tensor) -> Tensor:
    """Return the logarithm of the mean power of images (n, C, h, w) in bands of frequency (n, bands)."""
    grey = images.mean(1)
    grey = grey - grey.mean((1, 2), keepdim=True)
    height, width = grey.shape[1:]
    window = torch.hann_window(height, periodic=False)[:, None] * torch.hann_window(width, periodic=False)
    power = torch.fft.rfft2(grey * window).abs().square()
    radius = (torch.fft.fftfreq(height)[:, None].square() + torch.fft.rfftfreq(width).square()).sqrt()
    inside = [(radius >= low) & (radius < high) for low, high in _BANDS]
    return torch.stack([(power[:, part].sum(1) / part.sum().clamp_min(1) + _FLOOR).log() for part in inside], 1)


def _ratio(bands: Tensor, pair: tuple[int, int]) -> Tensor:
    return bands[:, pair[0]] - bands[:, pair[1]]


def _smoothness(images: Tensor, pair: tuple[int, int]) -> Tensor:
    return -_ratio(energies(images), pair)


def _kernel(sigma: float) -> Tensor:
    reach = ceil(3 * sigma)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    unit: Tensor = weights / weights.sum()
    return unit


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Return images (n, C, h, w) behind a Gaussian, edges repeated."""
    weights = _kernel(sigma)
    reach = len(weights) // 2
    planes = images.flatten(0, 1)[:, None]
    planes = F.conv2d(F.pad(planes, (reach, reach, 0, 0), mode="replicate"), weights.view(1, 1, 1, -1))
    planes = F.conv2d(F.pad(planes, (0, 0, reach, reach), mode="replicate"), weights.view(1, 1, -1, 1))
    return planes.view(images.shape)


def _sharpened(images: Tensor, sigma: float) -> Tensor:
    """Return images with a Gaussian's blur divided out where it left something (Wiener's filter)."""
    reach = ceil(3 * sigma)
    height, width = images.shape[-2:]
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    down, across = padded.shape[-2:]
    radius = torch.fft.fftfreq(down)[:, None].square() + torch.fft.rfftfreq(across).square()
    passed = torch.exp(-2 * (torch.pi * sigma) ** 2 * radius)
    waves = torch.fft.rfft2(padded) * passed / (passed.square() + _NOISE)
    sharp = torch.fft.irfft2(waves, s=(down, across))[..., reach : reach + height, reach : reach + width]
    clamped: Tensor = sharp.clamp(0, 1)
    return clamped
