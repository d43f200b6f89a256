"""Probes for the background of a class.

They are patterns and textures beside the object and, with masks, what is behind objects.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xai.core.results.message import Message
from xai.explanations.metrics import impute
from xai.fairness.shortcuts.probes._blends import blends, marks
from xai.fairness.shortcuts.probes.base import Donated, Form, ProbeContext, ProbeImages, probe, replaced, shuffled
from xai.fairness.shortcuts.probes.data_forms import DataForm
from xai.fairness.shortcuts.probes.repetition import background_level

_FEWEST = 8
_WIDE = 0.2  # of the sides: the strip along the edges in which textures are compared
_NEAR = 0.1  # difference from the even background up to which a pixel belongs to it
_FLOOR = 1e-3
_DONOR, _ORDER = 31, 32  # numbers of the draws


@probe("background", "a texture beside the object in one class; with masks, backgrounds of one class behind the others")
def background(context: ProbeContext) -> Iterator[Form]:
    """Yield textures that were found, and one form for each class with enough backgrounds where masks are given.

    The hole that an object leaves is filled in. Where all of an image is object there is no background to compare.

    Source: Xiao et al. 2020 (arXiv 2006.09994), Mixed-Same against Mixed-Rand: there the same comparison is the BG-gap.
    """
    yield from marks(context, "background")
    yield from blends(context, "background")
    yield from _textures(context)
    masks = context.images.masks
    if masks is None:
        return
    seen = (~masks).flatten(1).any(1).nonzero()[:, 0]
    images = context.images.take(seen)
    if not len(seen):
        return
    grounds = _without_objects(images, masks[seen])
    for label, name in enumerate(context.names):
        own = (images.predictions == label).nonzero()[:, 0]
        rest = (images.predictions != label).nonzero()[:, 0]
        if len(own) >= _FEWEST and len(rest) >= _FEWEST:
            words = Message("backgrounds of {class_name!r}", class_name=name)
            donors, others = grounds.take(own), grounds.take(rest)
            yield Donated(
                "background", f"background, class {label}", "background", words, donors, others, None, target=label
            )


def _without_objects(images: ProbeImages, masks: Tensor) -> ProbeImages:
    filled = [impute(image[None], mask[None]) for image, mask in zip(images.images, masks, strict=True)]
    return replace(images, images=torch.cat(filled))


def _textures(context: ProbeContext) -> Iterator[Form]:
    """Yield textures that differ from image to image, on sets whose background is even otherwise."""
    level = background_level(context.data.images)
    if level is None:
        return
    values = roughness(context.all_images)
    for label in [k for k in context.classes if k not in context.templates]:
        seen = context.split(values, label)
        if seen is not None and seen.high > seen.low:
            donors = context.data.images[
                (context.data.labels == label) & (values[: len(context.data)] > seen.threshold)
            ]
            unit = f"background texture, class {label}"
            yield Ground(
                "background",
                unit,
                "background",
                "background texture",
                donors,
                level,
                target=label,
                least=seen.threshold,
            )


@dataclass(frozen=True, eq=False)
class Ground(DataForm):
    """A texture along the edges, from images that have it. Controls: its pixels scattered, or as bright and even.

    Attributes:
        donors: images of the class that have the texture (m, C, h, w).
        level: of the background otherwise.
    """

    donors: Tensor
    level: float

    def change(self, images: ProbeImages) -> Tensor:
        """Return the change (n, C, h, w)."""
        return replaced(images.images, self.where(images), self._drawn(images))

    def neutral(self, images: ProbeImages) -> dict[str, Tensor]:
        """Return both controls."""
        change, where = self.change(images), self.where(images)[:, None]
        order = images.uniform(_ORDER, change[0, 0].numel()).argsort(1)
        size = change.square().mean((1, 2, 3), keepdim=True) / where.float().mean((1, 2, 3), keepdim=True).clamp_min(
            1e-6
        )
        sign = 1.0 if self.level < 0.5 else -1.0
        return {"scattered": shuffled(change, order), "even": sign * size.sqrt() * where}

    def where(self, images: ProbeImages) -> Tensor:
        """Return the even part of the strip (n, h, w)."""
        strip = edges(images.images.shape[2:])
        even = (images.images - self.level).abs().amax(1) <= _NEAR
        return strip & even

    def carried(self, images: Tensor) -> Tensor:
        """Return how rough the strip is (n,)."""
        return roughness(images)

    def without(self, images: ProbeImages) -> Tensor:
        """Return images with an even strip."""
        strip = edges(images.images.shape[2:])
        return torch.where(strip, torch.full_like(images.images, self.level), images.images)

    def _drawn(self, images: ProbeImages) -> Tensor:
        return self.donors[(images.uniform(_DONOR, 1)[:, 0] * len(self.donors)).long()]


def edges(size: torch.Size) -> Tensor:
    """Return the strip along the edges (h, w) bool."""
    wide = max(2, round(_WIDE * min(size)))
    strip = torch.ones(tuple(size), dtype=torch.bool)
    strip[wide:-wide, wide:-wide] = False
    return strip


def roughness(images: Tensor) -> Tensor:
    """Return the logarithm of the median difference of neighbours along the edges of images (n, C, h, w), as (n,)."""
    grey, strip = images.mean(1), edges(images.shape[2:])
    down, across = (
        (grey.diff(dim=1).abs(), strip[1:] & strip[:-1]),
        (grey.diff(dim=2).abs(), strip[:, 1:] & strip[:, :-1]),
    )
    values = torch.cat([part[:, where] for part, where in (down, across)], 1)
    return (values.quantile(0.7, dim=1) + _FLOOR).log()
