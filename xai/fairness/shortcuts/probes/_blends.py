"""Half-transparent and opaque marks: found behind objects, and named."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xai.core.results.message import Message
from xai.fairness.shortcuts.probes.base import ProbeContext, ProbeImages, local_mean, shuffled
from xai.fairness.shortcuts.probes.data_forms import DataForm, Mark
from xai.fairness.shortcuts.probes.repetition import (
    SAME,
    Template,
    background_level,
    commonest,
    is_border,
    is_solid,
    same,
    spreads,
    strips,
    without_specks,
)

_SHARE, _TIMES = 0.15, 4.0  # of the class in which a pixel repeats, and how much more often than elsewhere
_PIXELS, _INKS, _SAME_INK = 8, 4, 0.05
_FAINT, _FULL = 0.05, 0.02  # difference from the background; black and white repeat by nature
_LOW, _CLEAR = 0.05, 0.25  # quantile of the carriers under which hardly any lie; share of the mark's contrast
_SHOWN, _ENOUGH = 0.4, 0.7  # share that most carriers show; objects leave more or less of it free
_OPAQUE = 0.95
_ORDER = 42  # number of the draw


@dataclass(frozen=True, eq=False)
class Ink(DataForm):
    """Ink that lets the image through. Controls: the opposite change, or its pixels scattered.

    Attributes:
        alpha: (C, h, w) in [0, 1), how much of the ink there is.
        ink: (C, 1, 1) 0 or 1.
        mask: (h, w) bool, pixels by which carriers are known.
    """

    alpha: Tensor
    ink: Tensor
    mask: Tensor

    def change(self, images: ProbeImages) -> Tensor:
        """Return the change (n, C, h, w)."""
        return (self.ink - images.images) * self.alpha

    def neutral(self, images: ProbeImages) -> dict[str, Tensor]:
        """Return both controls."""
        order = images.uniform(_ORDER, self.mask.numel()).argsort(1)
        change = self.change(images)
        return {"opposite": -change, "scattered": shuffled(change, order)}

    def where(self, images: ProbeImages) -> Tensor:
        """Return the region (n, h, w)."""
        return (self.alpha > 0).any(0).expand(len(images), -1, -1)

    def without(self, images: ProbeImages) -> Tensor:
        """Return images as they were before: the blend is undone."""
        return ((images.images - self.ink * self.alpha) / (1 - self.alpha)).clamp(0, 1)

    def control(self, images: ProbeImages) -> Tensor:
        """Return images with the mark twice."""
        return (images.images + self.change(images)).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class Blend(Ink):
    """Ink known by its value on the even background.

    Attributes:
        value: (C, h, w) of the mark there.
    """

    value: Tensor

    def carried(self, images: Tensor) -> Tensor:
        """Return the share of its pixels that images show (n,)."""
        return same(images, self.value)[:, self.mask].float().mean(1)


def blends(context: ProbeContext, kind: str) -> Iterator[Blend]:
    """Yield half-transparent marks that are called `kind`, but for those that are known as templates."""
    for label in context.classes:
        blend, known = _blend(context, label), context.templates.get(label, ())
        if blend is not None and blend.kind == kind and not any(_is_known(blend, each) for each in known):
            yield blend


def _is_known(blend: Blend, known: Template) -> bool:
    """Say whether a template is the same thing: a background too, or with half of the pixels.

    A faint one may be a stroke that no object hides: half of all pixels, those under objects too.
    """
    kind = kind_of(known)
    pixels = (blend.alpha > 0).any(0) if kind == "watermark" else blend.mask
    return kind == blend.kind == "background" or int((pixels & known.mask).sum()) >= int(pixels.sum()) / 2


def _blend(context: ProbeContext, label: int) -> Blend | None:
    """Return the half-transparent mark of a class, None where there is none.

    Over an even background it has one value in many images of the class and in few others; how many of its pixels an
    image shows depends on the object, but those without it show none.
    """
    own = context.data.labels == label
    mine, rest = context.data.images[own], context.data.images[~own]
    level = background_level(rest)
    if level is None:
        return None
    value, repeats = _repeats(mine, rest, level)
    for mask in _inks(value.mean(0), repeats):
        shown = same(context.all_images, value)[:, mask].float().mean(1)
        usual = float(shown[: len(own)][own].median())
        seen = None if usual < _SHOWN else context.split(shown.clamp_max(_ENOUGH * usual), label)
        if seen is not None and seen.high > seen.low:
            carriers = mine[shown[: len(own)][own] > seen.threshold]
            return _formed(label, value, mask, carriers, level, seen.threshold)
    return None


def _repeats(mine: Tensor, rest: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Return the value (C, h, w) that comes again at each pixel, and where it is a class's own (h, w)."""
    value, share = commonest(mine, level)
    clear = ((value - level).abs() > _FAINT).any(0) & (value > _FULL).all(0) & (value < 1 - _FULL).all(0)
    often = (share >= _SHARE) & (share >= _TIMES * same(rest, value).float().mean(0))
    return value, clear & often


def _inks(value: Tensor, mask: Tensor) -> Iterator[Tensor]:
    """Yield the pixels of a mask (h, w) that share a value, the commonest first: ink has one, what is lit has many."""
    for _ in range(_INKS):
        values = value[mask]
        if len(values) < _PIXELS:
            return
        near = ((values[:, None] - values).abs() <= _SAME_INK).sum(1)
        ink = mask & ((value - values[near.argmax()]).abs() <= _SAME_INK)
        pixels = without_specks(ink)
        if int(pixels.sum()) >= _PIXELS:
            yield pixels
        mask = mask & ~ink


def _formed(label: int, value: Tensor, mask: Tensor, carriers: Tensor, level: float, least: float) -> Blend:
    """Return the form: the pixels that repeat, and those under objects, which nearly all carriers lift or lower."""
    ink = (value[:, mask].median(1).values > level).float().view(-1, 1, 1)
    sign, lift = 2 * ink - 1, (value - level).abs()
    contrast = lift[:, mask].median()
    floor = ((carriers - level) * sign).quantile(_LOW, 0)
    top, left, bottom, right = box_of(mask)
    hidden = torch.zeros_like(floor, dtype=torch.bool)
    hidden[:, top:bottom, left:right] = True
    hidden &= (floor > _CLEAR * contrast) & (floor - local_mean(floor[None])[0] > _CLEAR * contrast)
    lift = torch.where(mask, lift, torch.where(hidden, floor.minimum(contrast), torch.zeros(())))
    alpha = (lift / (ink - level).abs().clamp_min(1e-3)).clamp(0, _OPAQUE)
    return Blend(
        *about_ink(mask, f"half-transparent, class {label}"), alpha, ink, mask, value, target=label, least=least
    )


_TEXTURE = "background texture that repeats"


def about_ink(mask: Tensor, unit: str) -> tuple[str, str, str, Message]:
    """Return kind, unit, place and words of half-transparent ink on a mask (h, w)."""
    top, left, bottom, right = box_of(mask)
    kind = "background" if spreads(mask) else "watermark"
    template = _TEXTURE if kind == "background" else "watermark of {height} x {width} pixels"
    return kind, f"{kind}, {unit}", place(mask, kind), Message(template, height=bottom - top, width=right - left)


_WHITE_BLACK = (1.0, 0.0)
_AROUND = 5  # pixels across, from which the image below a pixel is estimated
_ROUNDS = 3
_LEAST, _SHARE_OF_INK = 0.08, 0.5  # more ink than elsewhere, in itself and of the greatest
_MOST = 0.95
_PIXELS_OF_INK = 20
_FAINTER, _UNDONE = 0.97, 0.8  # edges left without the ink, in all images and in those that carry it
_CARRIERS, _ELSEWHERE = 0.5, 0.25  # shares that have half of the ink; bright images are hard to tell
_OTHERS = 300  # images of other classes looked at


@dataclass(frozen=True, eq=False)
class Cover(Ink):
    """Ink known by how much nearer to it pixels are than those around them."""

    def carried(self, images: Tensor) -> Tensor:
        """Return how much of the ink images have (n,); 0 none."""
        return _amounts(images, self.mask, float(self.ink.mean()))


def covers(context: ProbeContext, known: Sequence[DataForm]) -> Iterator[Cover]:
    """Yield the marks of white or black ink that lets the image through, but for those that are known.

    Where ink lies each pixel is x = (1 - a) y + a c, with its colour c and the image y below, which is like what lies
    around; the least squares of c - x upon c - y give the amount a of each pixel. Pixels with more of it in the class
    than elsewhere are a mark if taking it off leaves weaker edges: those of an object become stronger.
    """
    images, labels = context.data.images, context.data.labels
    for label in context.classes:
        own = labels == label
        for ink in _WHITE_BLACK:
            mask = _mask(images[own], images[~own][:_OTHERS], ink)
            cover = None if mask is None else _cover(context, label, mask, ink)
            if cover is not None and not lies_in(context, cover, known):
                yield cover
                break


def lies_in(context: ProbeContext, form: DataForm, others: Sequence[DataForm]) -> bool:
    """Say whether half of what a form changes lies where another one of its class does."""
    rows = context.images.take(torch.zeros(1, dtype=torch.long))
    region, *regions = (
        (candidate.change(rows)[0] != 0).any(0)
        for candidate in (form, *others)
        if candidate is form or candidate.target == form.target
    )
    return any(int((region & other).sum()) >= int(region.sum()) / 2 for other in regions)


def _cover(context: ProbeContext, label: int, mask: Tensor, ink: float) -> Cover | None:
    images, own = context.data.images, context.data.labels == label
    mine, rest = images[own], images[~own][:_OTHERS]
    amounts = _amounts(mine, mask, ink)
    least = float(amounts.median()) / 2
    often, elsewhere = (float((of_images > least).float().mean()) for of_images in (amounts, _amounts(rest, mask, ink)))
    if least < _LEAST / 2 or often < _CARRIERS or elsewhere > _ELSEWHERE:
        return None
    carriers = mine[amounts > least]
    sharper = _mask(carriers, rest, ink, _UNDONE)
    if sharper is None:
        return None
    alpha = _alpha(carriers, sharper, ink).clamp(0, _MOST) * sharper
    colour = torch.full_like(alpha[:, :1, :1], ink)
    about = about_ink(sharper, f"ink over objects, class {label}")
    return Cover(*about, alpha, colour, sharper, target=label, least=least)


def _mask(own: Tensor, rest: Tensor, ink: float, most: float = _FAINTER) -> Tensor | None:
    """Return the pixels (h, w) with more ink in a class than in others, None if edges do not grow fainter without."""
    mask = torch.zeros(own.shape[2:], dtype=torch.bool)
    for _ in range(_ROUNDS):
        alpha = _alpha(own, mask, ink)
        more = (alpha - _alpha(rest, mask, ink)).mean(0)
        mask = more > max(_LEAST, _SHARE_OF_INK * float(more.max()))
        if int(mask.sum()) < _PIXELS_OF_INK:
            return None
    amount = float(alpha.mean(0)[mask].median())
    if not _LEAST < amount < _MOST:
        return None
    before = torch.where(mask, (own - ink * amount) / (1 - amount), own).clamp(0, 1)
    return mask if _edges(before, mask) < most * _edges(own, mask) else None


def _alpha(images: Tensor, mask: Tensor, ink: float) -> Tensor:
    """Return how much ink there is at each pixel (C, h, w) in most images."""
    below = ink - _below(images, mask)
    return 1 - ((ink - images) * below).sum(0) / below.square().sum(0).clamp_min(1e-3 * len(images))


def _amounts(images: Tensor, mask: Tensor, ink: float) -> Tensor:
    """Return how much ink images have (n,)."""
    background = _below(images, mask)
    below = (ink - background) * mask
    return ((images - background) * below).sum((1, 2, 3)) / below.square().sum((1, 2, 3)).clamp_min(0.01)


def _below(images: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of what lies around each pixel beside the mask."""
    free = (~mask).float()[None, None]
    return local_mean(images * free, _AROUND) / local_mean(free, _AROUND).clamp_min(1e-6)


def _edges(images: Tensor, mask: Tensor) -> float:
    """Return the sum of the differences across the edges of a mask."""
    across = [(dim, torch.diff(mask.int(), dim=dim) != 0) for dim in (-1, -2)]
    return sum(float((torch.diff(images, dim=dim).abs() * edge).sum()) for dim, edge in across)


_CORNER = 1 / 3  # of the sides: how large a corner mark may be, and how far from the corner its middle
_FAINT_MARK = 0.45  # difference from an even background below which a mark lets it through
_LOW_MARK, _HIGH = 0.42, 0.58
_EDGES = {
    ("top",): "top edge",
    ("bottom",): "bottom edge",
    ("left",): "left edge",
    ("right",): "right edge",
    ("top", "bottom"): "top and bottom edges",
    ("left", "right"): "left and right edges",
}


def marks(context: ProbeContext, kind: str) -> Iterator[Mark]:
    """Yield what classes repeat at one place and is called `kind`."""
    for label, templates in context.templates.items():
        for template in [each for each in templates if kind_of(each) == kind]:
            words, where = described(template, kind), place(template.mask, kind)
            unit = f"{kind}, class {label}"
            behind = kind == "background"
            yield Mark(kind, unit, where, words, template, target=label, least=template.least, behind=behind)


def kind_of(template: Template) -> str:
    """Return the name of the probe that a template is."""
    mask, (height, width) = template.mask, template.mask.shape
    if is_border(mask):
        return "border"
    if spreads(mask):
        return "background"
    top, left, bottom, right = box_of(mask)
    small = bottom - top <= _CORNER * height + 1 and right - left <= _CORNER * width + 1
    outside = [abs(middle - 0.5) > 0.5 - _CORNER for middle in middle_of(mask)]
    if small and all(outside) and is_solid(mask):
        return "corner_mark"
    return "watermark" if _contrast(template) < _FAINT_MARK else "mark"


def described(template: Template, kind: str) -> Message:
    """Return what a template is, in words."""
    top, left, bottom, right = box_of(template.mask)
    if kind == "border":
        return Message("border, {colour}", colour=_level(template))
    if kind == "background":
        return Message(_TEXTURE)
    size = {"height": bottom - top, "width": right - left}
    if kind == "watermark":
        return Message("watermark of {height} x {width} pixels", **size)
    if kind == "corner_mark":
        return Message("{colour} mark of {height} x {width} pixels", **size, colour=_level(template))
    if is_solid(template.mask):
        return Message("mark of {height} x {width} pixels", **size)
    return Message("text-like mark of {height} x {width} pixels", **size)


def place(mask: Tensor, kind: str) -> str:
    """Say where a mask is: "top right corner", "bottom middle", "left edge", "edges"."""
    if kind == "border":
        return _EDGES.get(strips(mask), "edges")
    if kind == "background":
        return "background"
    down, across = middle_of(mask)
    if kind == "corner_mark":
        return f"{'top' if down < 0.5 else 'bottom'} {'left' if across < 0.5 else 'right'} corner"
    rows = "top" if down < _LOW_MARK else "bottom" if down > _HIGH else "middle"
    columns = "left" if across < _LOW_MARK else "right" if across > _HIGH else "middle"
    return "middle" if rows == columns else f"{rows} {columns}"


def box_of(mask: Tensor) -> tuple[int, int, int, int]:
    """Return top, left, bottom and right of a mask (h, w), the latter two just outside."""
    rows, columns = (mask.any(axis).nonzero()[:, 0] for axis in (1, 0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def middle_of(mask: Tensor) -> tuple[float, float]:
    """Return the middle of a mask's box as shares of the sides."""
    top, left, bottom, right = box_of(mask)
    return (top + bottom) / (2 * mask.shape[0]), (left + right) / (2 * mask.shape[1])


def _contrast(template: Template) -> float:
    """Return the largest difference from an even background; 1 where there is none to be seen through."""
    if template.level is None:
        return 1.0
    return float((template.content - template.level).abs()[:, template.mask].quantile(0.9))


def _level(template: Template) -> Message:
    """Return the colour in words."""
    values = template.content[:, template.mask]
    if float(values.std(1).amax() if values.shape[1] > 1 else 0) > 3 * SAME:
        return Message("patterned")
    colour = values.mean(1)
    if len(colour) == 3 and float(colour.max() - colour.min()) > 0.2:
        return Message("coloured")
    level = float(colour.mean())
    return Message("white" if level > 0.8 else "black" if level < 0.2 else "grey")
