"""A probe for traces of JPEG files of low quality. One source of images among several may leave them."""

import io
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from xai.core.results.message import Message
from xai.fairness.shortcuts.probes.base import EVERYWHERE, Form, ProbeContext, probe
from xai.fairness.shortcuts.probes.data_forms import Loss

_QUALITIES = (10, 20, 30, 40, 55, 75)
_BLOCK, _DONORS, _TRIED = 8, 64, 12
_ROUNDING = 1e-3
_LEAP = 0.25  # logarithm of the loss; images of other kinds differ by less


@probe("jpeg_quality", "traces of JPEG compression that the images of one class have and others do not")
def jpeg_quality(context: ProbeContext) -> Iterator[Form]:
    """Yield one form for each class whose images were compressed more.

    An image that was compressed at a quality hardly changes when it is again, on the same grid of blocks, and does on
    another grid, whatever it shows.

    Cost: none of the model; 12 compressions of each image.
    Source: Farid 2009 (IEEE TIFS 4, 154), JPEG ghosts; the comparison with a shifted grid is ours.
    """
    images = context.all_images
    if context.channels not in {1, 3} or min(context.size) < 2 * _BLOCK or not context.classes:
        return
    traces = {quality: trace(images, quality) for quality in _QUALITIES}
    for label in context.classes:
        splits = {q: context.split(values, label, natural=False) for q, values in traces.items()}
        known = {q: s for q, s in splits.items() if s is not None and s.high - s.low > _LEAP}
        if known:
            own = context.data.labels == label
            seen = max(known, key=lambda q: known[q].distance)
            carriers = own & (traces[seen][: len(own)] > known[seen].threshold)
            rest = context.data.images[~own][:_DONORS]
            quality = _quality(context.data.images[carriers][:_TRIED], rest[:_TRIED])
            yield Loss(
                "jpeg_quality",
                f"JPEG quality, class {label}",
                EVERYWHERE,
                Message("JPEG quality of about {quality}", quality=quality),
                partial(compressed, quality=quality),
                partial(_restored, residues=rest - compressed(rest, quality)),
                partial(trace, quality=seen),
                cell=_BLOCK,
                smooth=False,
                target=label,
                least=known[seen].threshold,
            )


def _quality(own: Tensor, rest: Tensor) -> int:
    """Return the quality at which images change least again, measured by what it does to others."""

    def loss_ratio(quality: int) -> float:
        losses = [_loss(part, quality).median() + _ROUNDING for part in (own, rest)]
        return float(losses[0] / losses[1])

    return min(range(5, 96), key=loss_ratio)


def compressed(images: Tensor, quality: int) -> Tensor:
    """Return images (n, 1 or 3, h, w) in [0, 1] after a JPEG file of a quality."""
    made = []
    for each in (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(each[..., 0] if each.shape[-1] == 1 else each).save(file, "jpeg", quality=quality)
        made.append(np.asarray(Image.open(file)).reshape(each.shape))
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).float() / 255


def trace(images: Tensor, quality: int) -> Tensor:
    """Return how much less images (n, C, h, w) change by compression than on a shifted grid, as a logarithm (n,)."""
    half = _BLOCK // 2
    own, shifted = (_loss(part, quality) for part in (images, images[..., half:, half:]))
    return torch.log((shifted + _ROUNDING) / (own + _ROUNDING))


def _loss(images: Tensor, quality: int) -> Tensor:
    return (compressed(images, quality) - images).square().mean((1, 2, 3)).sqrt()


def _restored(images: Tensor, residues: Tensor) -> Tensor:
    """Return images with what compression took away from others (m, C, h, w)."""
    return images + residues[torch.arange(len(images)) % len(residues)]
