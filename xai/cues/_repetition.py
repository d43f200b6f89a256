"""What the images of one class repeat exactly at one place, and those of the other classes do not.

What belongs to an object varies from image to image; a mark, a frame or a printed text has the same pixel values again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

SAME = 0.03  # pixels that differ by less are the same; files of 8 bits round by 0.002
FEWEST = 8  # images of a class below which nothing is looked for
_SHARES = (0.85, 0.75, 0.65, 0.55)  # of the class in which a pixel repeats, the surest first
_ELSEWHERE = 0.3  # share of the other classes that may have the same pixel
_PIXELS, _RANGES = 3, 5
_COMMON = 0.15  # share of all pixels from which on a level is that of the background
_OWN, _OTHERS, _CHANCE = 0.5, 0.03, 0.45  # carriers in the class, carriers elsewhere, what other images match of it
_STEP, _FAINT, _MANY, _SURE = 0.12, 0.05, 8, 0.7  # contrast of its edges; fainter ones must be larger and surer
_EDGE, _INSIDE = 0.6, 0.1  # share of the outermost pixels that a border has, and of the middle that it may have
_WIDE, _AREA = 0.7, 0.08  # share of the sides that a background reaches over, and of the area that it has
_BEHIND = 0.25  # share of the carriers in which objects must leave a background's pixel free
_AROUND, _SEEN = 2, 0.45  # pixels around the template, and share of the carriers, for what is planted beside it
_QUANTILES = torch.linspace(0.05, 0.95, 10)
_NEIGHBOURS = ((0, 1), (1, 0), (0, -1), (-1, 0))


@dataclass(frozen=True, eq=False)
class Template:
    """Pixels that come again.

    Attributes:
        mask: (h, w) bool, where.
        content: (C, h, w) their values; anything elsewhere.
        least: share of them from which on an image carries it.
        level: that most pixels of the other classes have, where there is one (a background); None otherwise.
        drawn: (h, w) bool, the pixels to plant: also those that objects hide in many images.
        ink: (C, h, w) their values.
    """

    mask: Tensor
    content: Tensor
    least: float
    level: float | None
    drawn: Tensor
    ink: Tensor

    def matched(self, images: Tensor) -> Tensor:
        """Return the share of the template's pixels that images (n, C, h, w) have (n,)."""
        return same(images, self.content)[:, self.mask].float().mean(1)


def same(images: Tensor, content: Tensor) -> Tensor:
    """Return where images (n, C, h, w) have the values of (C, h, w), in all channels (n, h, w) bool."""
    return ((images - content).abs() <= SAME).all(1)


def background_level(images: Tensor) -> float | None:
    """Return the grey level that many pixels share, as an even background has; None where there is none."""
    levels = (images.amax(1) * 255).round().long().flatten()
    counts = torch.bincount(levels, minlength=256).float()
    near = F.conv1d((counts / counts.sum())[None, None], torch.ones(1, 1, 15), padding=7)[0, 0]
    best = int(near.argmax())
    return best / 255 if float(near[best]) > _COMMON else None


def repeated(images: Tensor, labels: Tensor, classes: Sequence[int]) -> dict[int, Template]:
    """Return what each class repeats, where it does; one other class may have it as well.

    Args:
        images: (n, C, h, w).
        labels: (n,).
        classes: those with enough images.
    """
    found = {label: _repeated(images[labels == label], images[labels != label]) for label in classes}
    for label in [label for label in classes if found[label] is None and len(classes) > 2]:
        own, rest = labels == label, labels != _alike(images, labels, label)
        found[label] = _repeated(images[own], images[rest & ~own])
    return {label: template for label, template in found.items() if template is not None}


def _alike(images: Tensor, labels: Tensor, label: int) -> int:
    """Return the class with which one shares the most pixels that the others do not repeat."""
    classes: list[int] = sorted(set(labels.tolist()))
    again = same(images, images[labels == label].median(0).values)
    shares = torch.stack([again[labels == k].float().mean(0) for k in classes])
    often = shares >= _SHARES[-1]
    alone = often[classes.index(label)] & often & (often.sum(0) == 2)
    return max((k for k in classes if k != label), key=lambda k: int(alone[classes.index(k)].sum()))


def _repeated(own: Tensor, rest: Tensor) -> Template | None:
    level, content = background_level(rest), own.median(0).values
    shares = same(own, content).float().mean(0)
    fit = (same(rest, content).float().mean(0) <= _ELSEWHERE) & ~_is_background(content, level)
    parts = _parts(content)
    for least in _SHARES:
        for part in parts:
            found = _refined(own, rest, _plain((shares >= least) & fit & part, content, 0.5, level), part)
            if found is not None:
                return found
    return None


def _parts(content: Tensor) -> list[Tensor]:
    """Return everything, then the pixels of each range of grey (h, w): what a dark class repeats may hide a mark."""
    ranges = (content.mean(0) * _RANGES).long().clamp(0, _RANGES - 1)
    return [torch.ones_like(ranges, dtype=torch.bool), *(ranges == k for k in range(_RANGES))]


def _is_background(content: Tensor, level: float | None) -> Tensor:
    if level is None:
        return torch.zeros(content.shape[1:], dtype=torch.bool)
    return ((content - level).abs() <= SAME).all(0)


def _refined(own: Tensor, rest: Tensor, first: Template, part: Tensor) -> Template | None:
    """Return the template of the images that carry a first one, inside a part, if it passes all checks."""
    if int(first.mask.sum()) < _PIXELS:
        return None
    carriers = first.matched(own) >= _least(first, rest)
    if int(carriers.sum()) < FEWEST // 2:
        return None
    content = own[carriers].median(0).values
    again = (same(own[carriers], content).float().mean(0) >= 0.8) & ~_is_background(content, first.level)
    mask = without_specks(again & part & (same(rest, content).float().mean(0) <= _ELSEWHERE))
    if int(mask.sum()) < _PIXELS:
        return None
    found = _plain(mask, content, 0.5, first.level)
    found = _plain(mask, content, _least(found, rest), first.level)
    return _complete(found, own) if _stands_apart(found, own, rest) else None


def _plain(mask: Tensor, content: Tensor, least: float, level: float | None) -> Template:
    return Template(mask, content, least, level, mask, content)


def _complete(found: Template, own: Tensor) -> Template:
    """Return the template with what objects hide in part, near what is repeated surely."""
    ink, shares = commonest(own[found.matched(own) >= found.least], found.level)
    near = F.max_pool2d(found.mask[None, None].float(), 2 * _AROUND + 1, 1, _AROUND)[0, 0] > 0
    drawn = shares >= _BEHIND if spreads(found.mask) else (shares >= _SEEN) & near
    drawn = drawn | found.mask
    return Template(
        found.mask, found.content, found.least, found.level, drawn, torch.where(found.mask, found.content, ink)
    )


def spreads(mask: Tensor) -> bool:
    """Say whether a mask (h, w) reaches over the whole image and is no border: a background rather than a mark."""
    reach = [_reach(mask.any(axis)) for axis in (0, 1)]
    return min(reach) >= _WIDE and float(mask.float().mean()) >= _AREA and not is_border(mask)


def _reach(line: Tensor) -> float:
    places = line.nonzero()[:, 0]
    return float(places[-1] + 1 - places[0]) / len(line)


def is_border(mask: Tensor) -> bool:
    """Say whether a mask (h, w) has most of the outermost pixels, and next to none of the middle."""
    height, width = mask.shape
    edge = torch.cat([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]]).float()
    inside = mask[height // 4 : height - height // 4, width // 4 : width - width // 4].float()
    return float(edge.mean()) >= _EDGE and float(inside.mean()) <= _INSIDE


def commonest(images: Tensor, level: float | None) -> tuple[Tensor, Tensor]:
    """Return the value (C, h, w) that most of the images have at each place, and the share that has it (h, w).

    The level of an even background does not count, nor does anything below 0.
    """
    best, shares = images[0], torch.full(images.shape[2:], -1.0)
    for value in torch.quantile(images, _QUANTILES, dim=0, interpolation="nearest"):
        share = same(images, value).float().mean(0)
        share = torch.where(_is_background(value, level) | (value < 0).any(0), torch.zeros(()), share)
        best, shares = torch.where(share > shares, value, best), torch.maximum(share, shares)
    return best, shares


def _least(template: Template, rest: Tensor) -> float:
    """Return the share that is half-way between what the other images match by chance and all."""
    return max(0.5, (1 + float(template.matched(rest).quantile(0.95))) / 2)


def _stands_apart(found: Template, own: Tensor, rest: Tensor) -> bool:
    """Say whether many images of the class have it, few others, nothing is half there, and its edges are sharp."""
    carriers, others = found.matched(own) >= found.least, found.matched(rest)
    share = float(carriers.float().mean())
    if share < _OWN or float((others >= found.least).float().mean()) > _OTHERS:
        return False
    if float(others.quantile(0.95)) > _CHANCE:
        return False
    step = steps(own[carriers], found.mask)
    return step >= _STEP or (step >= _FAINT and share >= _SURE and int(found.mask.sum()) >= _MANY)


def steps(images: Tensor, mask: Tensor) -> float:
    """Return the median difference between pixels inside a mask (h, w) and their neighbours outside, (n, C, h, w)."""
    padded, inside = F.pad(images, (1,) * 4, mode="replicate"), F.pad(mask, (1,) * 4)
    valid, found = F.pad(torch.ones_like(mask), (1,) * 4), []
    for down, across in _NEIGHBOURS:
        edge = inside & ~inside.roll((-down, -across), (0, 1)) & valid.roll((-down, -across), (0, 1))
        found.append((padded.roll((-down, -across), (2, 3)) - padded).abs().amax(1)[:, edge])
    values = torch.cat(found, 1)
    return float(values.median()) if values.numel() else 0.0


def without_specks(mask: Tensor) -> Tensor:
    """Return a mask (h, w) without pieces far smaller than its largest one: chance leaves single pixels."""
    pieces, count = ndimage.label(mask.numpy(), np.ones((3, 3)))
    if count < 2:
        return mask
    sizes = np.bincount(pieces.ravel())[1:]
    large = np.flatnonzero(sizes >= max(2, 0.1 * sizes.max())) + 1
    return torch.from_numpy(np.isin(pieces, large))
