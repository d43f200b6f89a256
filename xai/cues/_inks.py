"""Half-transparent marks that objects hide: known by the edges that they add to all images of a class at one place."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xai.cues._base import Scene, local_mean
from xai.cues._blends import Ink, about_ink
from xai.cues._found import Found

_WHITE_BLACK = (1.0, 0.0)
_AROUND = 5  # pixels across, from which the image below a pixel is estimated
_ROUNDS = 3
_LEAST, _SHARE = 0.08, 0.5  # more ink than elsewhere, in itself and of the greatest
_MOST = 0.95
_PIXELS = 20
_FAINTER, _UNDONE = 0.97, 0.8  # edges left without the ink, in all images and in those that carry it
_CARRIERS, _ELSEWHERE = 0.5, 0.25  # shares that have half of the ink; bright images are hard to tell
_OTHERS = 300  # images of other classes looked at


@dataclass(frozen=True, eq=False)
class Cover(Ink):
    """Ink known by how much nearer to it pixels are than those around them."""

    def carried(self, images: Tensor) -> Tensor:
        """Return how much of the ink images have (n,); 0 none."""
        return _amounts(images, self.mask, float(self.ink.mean()))


def covers(scene: Scene, known: Sequence[Found]) -> Iterator[Cover]:
    """Yield the marks of white or black ink that lets the image through, but for those that are known.

    Where ink lies each pixel is x = (1 - a) y + a c, with its colour c and the image y below, which is like what lies
    around; the least squares of c - x upon c - y give the amount a of each pixel. Pixels with more of it in the class
    than elsewhere are a mark if taking it off leaves weaker edges: those of an object become stronger.
    """
    images, labels = scene.data.images, scene.data.labels
    for label in scene.classes:
        own = labels == label
        for ink in _WHITE_BLACK:
            mask = _mask(images[own], images[~own][:_OTHERS], ink)
            found = None if mask is None else _cover(scene, label, mask, ink)
            if found is not None and not lies_in(scene, found, known):
                yield found
                break


def lies_in(scene: Scene, form: Found, others: Sequence[Found]) -> bool:
    """Say whether half of what a form changes lies where another one of its class does."""
    rows = scene.pictures.take(torch.zeros(1, dtype=torch.long))
    region, *regions = (
        (one.change(rows)[0] != 0).any(0) for one in (form, *others) if one is form or one.target == form.target
    )
    return any(int((region & other).sum()) >= int(region.sum()) / 2 for other in regions)


def _cover(scene: Scene, label: int, mask: Tensor, ink: float) -> Cover | None:
    images, own = scene.data.images, scene.data.labels == label
    mine, rest = images[own], images[~own][:_OTHERS]
    amounts = _amounts(mine, mask, ink)
    least = float(amounts.median()) / 2
    often, elsewhere = (float((found > least).float().mean()) for found in (amounts, _amounts(rest, mask, ink)))
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
        mask = more > max(_LEAST, _SHARE * float(more.max()))
        if int(mask.sum()) < _PIXELS:
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
    found = _below(images, mask)
    below = (ink - found) * mask
    return ((images - found) * below).sum((1, 2, 3)) / below.square().sum((1, 2, 3)).clamp_min(0.01)


def _below(images: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of what lies around each pixel beside the mask."""
    free = (~mask).float()[None, None]
    return local_mean(images * free, _AROUND) / local_mean(free, _AROUND).clamp_min(1e-6)


def _edges(images: Tensor, mask: Tensor) -> float:
    """Return the sum of the differences across the edges of a mask."""
    across = [(dim, torch.diff(mask.int(), dim=dim) != 0) for dim in (-1, -2)]
    return sum(float((torch.diff(images, dim=dim).abs() * edge).sum()) for dim, edge in across)
