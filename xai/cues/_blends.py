"""Half-transparent marks that objects partly hide: where the even background is seen they have one value again."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from xai.cues._base import Pictures, Scene, local_mean, shuffled
from xai.cues._found import Found
from xai.cues._marks import box_of, kind_of, place
from xai.cues._repetition import Template, background_level, commonest, same, spreads, without_specks

_SHARE, _TIMES = 0.15, 4.0  # of the class in which a pixel repeats, and how much more often than elsewhere
_PIXELS, _INKS, _SAME_INK = 8, 4, 0.05
_FAINT, _FULL = 0.05, 0.02  # difference from the background; black and white repeat by nature
_LOW, _CLEAR = 0.05, 0.25  # quantile of the carriers under which hardly any lie; share of the mark's contrast
_SHOWN, _ENOUGH = 0.4, 0.7  # share that most carriers show; objects leave more or less of it free
_OPAQUE = 0.95
_ORDER = 42  # number of the draw


@dataclass(frozen=True, eq=False)
class Ink(Found):
    """Ink that lets the image through. Controls: the opposite change, or its pixels scattered.

    Attributes:
        alpha: (C, h, w) in [0, 1), how much of the ink there is.
        ink: (C, 1, 1) 0 or 1.
        mask: (h, w) bool, pixels by which carriers are known.
    """

    alpha: Tensor
    ink: Tensor
    mask: Tensor

    def change(self, pictures: Pictures) -> Tensor:
        """Return the change (n, C, h, w)."""
        return (self.ink - pictures.images) * self.alpha

    def neutral(self, pictures: Pictures) -> dict[str, Tensor]:
        """Return both controls."""
        order = pictures.uniform(_ORDER, self.mask.numel()).argsort(1)
        change = self.change(pictures)
        return {"opposite": -change, "scattered": shuffled(change, order)}

    def where(self, pictures: Pictures) -> Tensor:
        """Return the region (n, h, w)."""
        return (self.alpha > 0).any(0).expand(len(pictures), -1, -1)

    def without(self, pictures: Pictures) -> Tensor:
        """Return images as they were before: the blend is undone."""
        return ((pictures.images - self.ink * self.alpha) / (1 - self.alpha)).clamp(0, 1)

    def control(self, pictures: Pictures) -> Tensor:
        """Return images with the mark twice."""
        return (pictures.images + self.change(pictures)).clamp(0, 1)


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


def blends(scene: Scene, kind: str) -> Iterator[Blend]:
    """Yield half-transparent marks that are called `kind`, but for those that are known as templates."""
    for label in scene.classes:
        found, known = _blend(scene, label), scene.templates.get(label, ())
        if found is not None and found.kind == kind and not any(_is_known(found, each) for each in known):
            yield found


def _is_known(found: Blend, known: Template) -> bool:
    """Say whether a template is the same thing: a background too, or with half of the pixels.

    A faint one may be a stroke that no object hides: half of all pixels, those under objects too.
    """
    kind = kind_of(known)
    pixels = (found.alpha > 0).any(0) if kind == "watermark" else found.mask
    return kind == found.kind == "background" or int((pixels & known.mask).sum()) >= int(pixels.sum()) / 2


def _blend(scene: Scene, label: int) -> Blend | None:
    """Return the half-transparent mark of a class, None where there is none.

    Over an even background it has one value in many images of the class and in few others; how many of its pixels an
    image shows depends on the object, but those without it show none.
    """
    own = scene.data.labels == label
    mine, rest = scene.data.images[own], scene.data.images[~own]
    level = background_level(rest)
    if level is None:
        return None
    value, repeats = _repeats(mine, rest, level)
    for mask in _inks(value.mean(0), repeats):
        shown = same(scene.all_images, value)[:, mask].float().mean(1)
        usual = float(shown[: len(own)][own].median())
        seen = None if usual < _SHOWN else scene.split(shown.clamp_max(_ENOUGH * usual), label)
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
        one = mask & ((value - values[near.argmax()]).abs() <= _SAME_INK)
        pixels = without_specks(one)
        if int(pixels.sum()) >= _PIXELS:
            yield pixels
        mask = mask & ~one


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


def about_ink(mask: Tensor, unit: str) -> tuple[str, str, str, str]:
    """Return kind, unit, place and words of half-transparent ink on a mask (h, w)."""
    top, left, bottom, right = box_of(mask)
    kind = "background" if spreads(mask) else "watermark"
    size = f"{bottom - top} x {right - left} pixels"
    words = "background texture that repeats" if kind == "background" else f"watermark of {size}"
    return kind, f"{kind}, {unit}", place(mask, kind), words
