"""What images of one class repeat exactly at one place. Images of the other classes do not have it.

What belongs to an object varies from image to image; a mark, a frame or a printed text has the same pixel values again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import scipy
import torch
from torch import Tensor
from torch.nn import functional as F

SAME = 0.03  # pixels that differ by less are the same; files of 8 bits round by 0.002
FEWEST = 8  # images of a class below which nothing is looked for
_SHARES = (0.85, 0.75, 0.65, 0.55)  # of the class in which a pixel repeats, the surest first
_ELSEWHERE = 0.3  # share of the other classes that may have the same pixel
_PIXELS, _RANGES = 3, 5
_COMMON = 0.15  # share of all pixels from which on a level is that of the background
_OWN, _OTHERS = 0.5, (0.1, 0.03)  # carriers in the class; elsewhere at most, and where one class is left out
_CARRIED, _CHANCE = 0.8, 0.45  # share of it from which on another image carries it, and that others match by chance
_HALF = 0.15  # share of the class that may have half of a few pixels
_GAP = 0.34  # in between there are fewer, by this, than there are carriers elsewhere
_STEP, _FAINT, _MANY, _CLEAR_SHARE = 0.12, 0.05, 8, 0.7  # contrast of its edges; fainter ones must be larger and surer
_EDGE, _INSIDE = 0.6, 0.1  # share of the outermost pixels that a border has, and of the middle that it may have
_ALONG, _NARROW = 0.85, 0.15  # share of an edge and of itself that a strip has there; of the side that it is wide
_WIDE, _AREA = 0.7, 0.08  # share of the sides that a background reaches over, and of the area that it has
_BEHIND = 0.25  # share of the carriers in which objects must leave a background's pixel free
_AROUND, _SEEN = 2, 0.45  # pixels around the template, and share of the carriers, for what is inserted beside it
_MARKS, _FAR = 3, 0.08  # templates of a class, and the share of the side around parts that are one
_SOLID = 0.7  # share of its box that a shape fills
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


def repeated(images: Tensor, labels: Tensor, classes: Sequence[int]) -> dict[int, tuple[Template, ...]]:
    """Return what each class repeats, where it does; one other class may have it as well.

    Args:
        images: (n, C, h, w).
        labels: (n,).
        classes: those with enough images.
    """
    templates_by_class = {label: _several(images, labels, label, shared=len(classes) > 2) for label in classes}
    return {label: templates for label, templates in templates_by_class.items() if templates}


def _several(images: Tensor, labels: Tensor, label: int, *, shared: bool) -> tuple[Template, ...]:
    """Return the templates of a class, each looked for beside those before; parts of one stand before the whole."""
    mine, others = images[labels == label], [images[labels != label]]
    if shared:
        others.append(images[(labels != label) & (labels != _alike(images, labels, label))])
    free, templates = torch.ones(images.shape[2:], dtype=torch.bool), []
    for _ in range(_MARKS):
        template = _repeated(mine, others, free)
        if template is None:
            break
        templates += _parted(template, mine, others[0])
        if spreads(template.mask):
            break
        free = free & ~_near(template.drawn, _AROUND + 1)
    return tuple(templates)


def _alike(images: Tensor, labels: Tensor, label: int) -> int:
    """Return the class with which one shares the most pixels that the others do not repeat."""
    classes: list[int] = sorted(set(labels.tolist()))
    content = images[labels == label].median(0).values
    again = same(images, content) & ~_is_background(content, background_level(images))
    shares = torch.stack([again[labels == k].float().mean(0) for k in classes])
    often = shares >= _SHARES[-1]
    alone = often[classes.index(label)] & often & (often.sum(0) == 2)
    return max((k for k in classes if k != label), key=lambda k: int(alone[classes.index(k)].sum()))


def _near(mask: Tensor, reach: int) -> Tensor:
    """Return a mask (h, w) with all that is near it."""
    return F.max_pool2d(mask[None, None].float(), 2 * reach + 1, 1, reach)[0, 0] > 0


def _parted(whole: Template, own: Tensor, rest: Tensor) -> list[Template]:
    """Return the parts of a template that lie far apart and are one by themselves, and the whole if all are or none is.

    What is far from a mark and no mark by itself is what objects have at one place by chance. Where no part is a filled
    shape they may be letters of one text, which objects hide in between.
    """
    reach = max(2, round(_FAR * min(whole.mask.shape)))
    groups, count = scipy.ndimage.label(_near(whole.mask, reach).numpy(), np.ones((3, 3)))
    if count < 2 or is_border(whole.mask) or spreads(whole.mask):
        return [whole]
    parts = []
    for inside in [torch.from_numpy(groups == k) for k in range(1, count + 1)]:
        part = replace(whole, mask=whole.mask & inside, drawn=whole.drawn & inside)
        part = replace(part, least=_half_way(part.matched(rest), _OTHERS[0]))
        if int(part.mask.sum()) >= _PIXELS and _stands_apart(part, own, rest, _OTHERS[0]):
            parts.append(part)
    if not any(is_solid(part.mask) for part in parts):
        return [whole]
    return parts if len(parts) < count else [*parts, whole]


def is_solid(mask: Tensor) -> bool:
    """Say whether a mask (h, w) fills its box, as shapes do and text does not."""
    down, across = (mask.any(axis).nonzero()[:, 0] for axis in (1, 0))
    return float(mask[down[0] : down[-1] + 1, across[0] : across[-1] + 1].float().mean()) >= _SOLID


def _repeated(own: Tensor, others: Sequence[Tensor], free: Tensor) -> Template | None:
    """Return what a class repeats where it is free (h, w), and all others do not, or those without one class."""
    content = own.median(0).values
    shares, parts = same(own, content).float().mean(0), [part & free for part in _parts(content)]
    levels = [background_level(rest) for rest in others]
    fits = [
        (same(rest, content).float().mean(0) <= _ELSEWHERE) & ~_is_background(content, level)
        for rest, level in zip(others, levels, strict=True)
    ]
    given = list(zip(others, levels, fits, _OTHERS, strict=False))
    for least, (rest, level, fit, most), part in product(_SHARES, given, parts):
        template = _refined(own, rest, _plain((shares >= least) & fit & part, content, 0.5, level), part, most)
        if template is not None:
            partly = template.matched(others[0])
            return replace(template, least=max(template.least, _half_way(partly[partly < _CARRIED], most)))
    return None


def _parts(content: Tensor) -> list[Tensor]:
    """Return everything, then the pixels of each range of grey (h, w): what a dark class repeats may hide a mark."""
    ranges = (content.mean(0) * _RANGES).long().clamp(0, _RANGES - 1)
    return [torch.ones_like(ranges, dtype=torch.bool), *(ranges == k for k in range(_RANGES))]


def _is_background(content: Tensor, level: float | None) -> Tensor:
    if level is None:
        return torch.zeros(content.shape[1:], dtype=torch.bool)
    return ((content - level).abs() <= SAME).all(0)


def _refined(own: Tensor, rest: Tensor, first: Template, part: Tensor, most: float) -> Template | None:
    """Return the template of the images that carry a first one, inside a part, if it passes all checks."""
    if int(first.mask.sum()) < _PIXELS:
        return None
    carriers = first.matched(own) >= _half_way(first.matched(rest), most)
    if int(carriers.sum()) < FEWEST // 2:
        return None
    content = own[carriers].median(0).values
    again = (same(own[carriers], content).float().mean(0) >= 0.8) & ~_is_background(content, first.level)
    mask = without_specks(again & part & (same(rest, content).float().mean(0) <= _ELSEWHERE))
    if int(mask.sum()) < _PIXELS:
        return None
    template = _plain(mask, content, 0.5, first.level)
    template = _plain(mask, content, _half_way(template.matched(rest), most), first.level)
    return _complete(template, own) if _stands_apart(template, own, rest, most) else None


def _plain(mask: Tensor, content: Tensor, least: float, level: float | None) -> Template:
    return Template(mask, content, least, level, mask, content)


def _complete(template: Template, own: Tensor) -> Template:
    """Return the template with what objects hide in part, near what is repeated surely."""
    ink, shares = commonest(own[template.matched(own) >= template.least], template.level)
    drawn = shares >= _BEHIND if spreads(template.mask) else (shares >= _SEEN) & _near(template.mask, _AROUND)
    drawn = drawn | template.mask
    return Template(
        template.mask,
        template.content,
        template.least,
        template.level,
        drawn,
        torch.where(template.mask, template.content, ink),
    )


def spreads(mask: Tensor) -> bool:
    """Say whether a mask (h, w) reaches over the whole image and is no border: a background rather than a mark."""
    reach = [_reach(mask.any(axis)) for axis in (0, 1)]
    return min(reach) >= _WIDE and float(mask.float().mean()) >= _AREA and not is_border(mask)


def _reach(line: Tensor) -> float:
    places = line.nonzero()[:, 0]
    return float(places[-1] + 1 - places[0]) / len(line)


def is_border(mask: Tensor) -> bool:
    """Say whether a mask (h, w) has most of the outermost pixels and next to none of the middle, or strips of edges."""
    height, width = mask.shape
    edge = torch.cat([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]]).float()
    inside = mask[height // 4 : height - height // 4, width // 4 : width - width // 4].float()
    return (float(edge.mean()) >= _EDGE and float(inside.mean()) <= _INSIDE) or bool(strips(mask))


def strips(mask: Tensor) -> tuple[str, ...]:
    """Return the edges along which a mask (h, w) lies from end to end, narrow; none if it has other parts."""
    lines = {"top": mask, "bottom": mask.flip(0), "left": mask.T, "right": mask.T.flip(0)}
    edges = tuple(name for name, turned in lines.items() if float(turned[0].float().mean()) >= _ALONG)
    height, width = (max(1, round(_NARROW * side)) for side in mask.shape)
    near = torch.zeros_like(mask)
    for name in edges:
        down = slice(0, height) if name == "top" else slice(-height, None) if name == "bottom" else slice(None)
        across = slice(0, width) if name == "left" else slice(-width, None) if name == "right" else slice(None)
        near[down, across] = True
    return edges if int((mask & near).sum()) >= _ALONG * int(mask.sum()) else ()


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


def _half_way(matched: Tensor, most: float) -> float:
    """Return the share that is half-way between what other images match by chance (n,) and all."""
    return max(0.5, (1 + _by_chance(matched, most)) / 2)


def _by_chance(matched: Tensor, most: float) -> float:
    """Return what hardly any other image goes beyond (n,), but for those that carry it too, at `most`, across a gap."""
    plain = matched[matched < _CARRIED]
    strays, between = len(matched) - len(plain), int((plain > _CHANCE).sum())
    few = strays <= most * len(matched) and between <= _GAP * strays
    return float((plain if few and len(plain) else matched).quantile(0.95)) if len(matched) else 0.0


def _stands_apart(template: Template, own: Tensor, rest: Tensor, most: float) -> bool:
    """Say whether many images of the class have it, few others, nothing is half there, and its edges are sharp.

    A few pixels repeat by chance: then hardly any image may have half of them, and hardly any other one all.
    """
    mine, others = template.matched(own), template.matched(rest)
    carriers, many = mine >= template.least, int(template.mask.sum()) >= _MANY
    share = float(carriers.float().mean())
    most = most if many and share >= _CLEAR_SHARE else _OTHERS[-1]
    if share < _OWN or float((others >= template.least).float().mean()) > most or _by_chance(others, most) > _CHANCE:
        return False
    if not many and float(((mine > _CHANCE) & (mine < _CARRIED)).float().mean()) > _HALF:
        return False
    step = steps(own[carriers], template.mask)
    return step >= _STEP or (step >= _FAINT and share >= _CLEAR_SHARE and many)


def steps(images: Tensor, mask: Tensor) -> float:
    """Return the median difference between pixels inside a mask (h, w) and their neighbours outside, (n, C, h, w)."""
    padded, inside = F.pad(images, (1,) * 4, mode="replicate"), F.pad(mask, (1,) * 4)
    valid, differences = F.pad(torch.ones_like(mask), (1,) * 4), []
    for down, across in _NEIGHBOURS:
        edge = inside & ~inside.roll((-down, -across), (0, 1)) & valid.roll((-down, -across), (0, 1))
        differences.append((padded.roll((-down, -across), (2, 3)) - padded).abs().amax(1)[:, edge])
    values = torch.cat(differences, 1)
    return float(values.median()) if values.numel() else 0.0


def without_specks(mask: Tensor) -> Tensor:
    """Return a mask (h, w) without pieces far smaller than its largest one: chance leaves single pixels."""
    pieces, count = scipy.ndimage.label(mask.numpy(), np.ones((3, 3)))
    if count < 2:
        return mask
    sizes = np.bincount(pieces.ravel())[1:]
    large = np.flatnonzero(sizes >= max(2, 0.1 * sizes.max())) + 1
    return torch.from_numpy(np.isin(pieces, large))
