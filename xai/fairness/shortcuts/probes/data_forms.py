"""Probes that were found in the data. Each knows which images contain it, and how to remove it from them."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from xai.fairness.shortcuts.probes.base import Form, ProbeImages, Shift, filled, replaced, shuffled
from xai.fairness.shortcuts.probes.recurrence import Piece
from xai.fairness.shortcuts.probes.repetition import SAME, Template

_ORDER, _PLACE, _SIGNS, _FIELD = range(21, 25)  # numbers of the draws
_CELLS = 7
_EVEN = 0.1  # difference from the even background up to which a pixel belongs to it

Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class DataForm(Form):
    """A probe in the form that the images of one class have.

    Attributes:
        least: what `carried` is from on for images that carry it.
        added: whether it stands apart from what the images show; otherwise it may be a part of that.
    """

    from_data = True
    least: float = field(default=0.0, kw_only=True)
    added: bool = field(default=True, kw_only=True)

    @abstractmethod
    def carried(self, images: Tensor) -> Tensor:
        """Return how strongly images (n, C, h, w) carry it (n,)."""

    @abstractmethod
    def without(self, images: ProbeImages) -> Tensor:
        """Return images that carry it as they are without it (n, C, h, w)."""

    def control(self, images: ProbeImages) -> Tensor | None:
        """Return them changed as much and still with it; None where what is done to other classes is the control."""
        del images
        return None


@dataclass(frozen=True, eq=False)
class Mark(DataForm):
    """Pixels at one place. Control: what it changes, scattered over the image.

    Attributes:
        template: the pixels.
        behind: whether they lie behind objects: then only pixels of the even background are replaced.
    """

    template: Template
    behind: bool = field(default=False, kw_only=True)

    def change(self, images: ProbeImages) -> Tensor:
        """Return the change (n, C, h, w)."""
        return replaced(images.images, self.where(images), self.template.ink)

    def neutral(self, images: ProbeImages) -> dict[str, Tensor]:
        """Return the control."""
        return {"scattered": _scattered(images, self.change(images))}

    def where(self, images: ProbeImages) -> Tensor:
        """Return the region (n, h, w)."""
        region = self.template.drawn.expand(len(images), -1, -1)
        if not self.behind or self.template.level is None:
            return region
        return region & ((images.images - self.template.level).abs().amax(1) <= _EVEN)

    def carried(self, images: Tensor) -> Tensor:
        """Return the share of its pixels that images have (n,)."""
        return self.template.matched(images)

    def without(self, images: ProbeImages) -> Tensor:
        """Return images with the region filled in from around it, or as the even background is."""
        drawn, level = self.template.drawn, self.template.level
        if self.behind and level is not None:
            has = ((images.images - self.template.ink).abs().amax(1) <= SAME) & drawn
            return torch.where(has[:, None], torch.full_like(images.images, level), images.images)
        return filled(images.images, drawn.expand(len(images), -1, -1))


@dataclass(frozen=True, eq=False)
class Wanderer(DataForm):
    """A piece at any place. Control: what it changes, scattered over the image."""

    piece: Piece

    def change(self, images: ProbeImages) -> Tensor:
        """Return the change (n, C, h, w), at a place drawn for each image."""
        mask, content = self._put(images, self.piece.drawn, self.piece.ink)
        return replaced(images.images, mask, content)

    def neutral(self, images: ProbeImages) -> dict[str, Tensor]:
        """Return the control."""
        return {"scattered": _scattered(images, self.change(images))}

    def where(self, images: ProbeImages) -> Tensor:
        """Return where it is put (n, h, w)."""
        return self._put(images, self.piece.drawn, self.piece.ink)[0]

    def carried(self, images: Tensor) -> Tensor:
        """Return minus the distance of the best place (n,)."""
        return -self.piece.distance(images)[0]

    def without(self, images: ProbeImages) -> Tensor:
        """Return images with the pixels of the best place filled in."""
        return self.taken_off(images.images, self.piece.distance(images.images)[1])

    def taken_off(self, images: Tensor, places: Tensor) -> Tensor:
        """Return images (n, C, h, w) with its pixels at places (n, 2) filled in."""
        mask = self._at(places, images, self.piece.mask[None].float())[:, 0:1]
        around = F.max_pool2d(mask, 3, 1, 1)[:, 0] > 0  # printed edges are soft
        return filled(images, around)

    def _put(self, images: ProbeImages, mask: Tensor, content: Tensor) -> tuple[Tensor, Tensor]:
        free = torch.tensor([a - b + 1 for a, b in zip(images.images.shape[2:], mask.shape, strict=True)])
        places = (images.uniform(_PLACE, 2) * free).long()
        where = self._at(places, images.images, mask[None].float())[:, 0] > 0
        return where, self._at(places, images.images, content)

    @staticmethod
    def _at(places: Tensor, images: Tensor, part: Tensor) -> Tensor:
        """Return a part (k, a, b) at places (n, 2) of black images as large as others (n, k, h, w)."""
        height, width = images.shape[2:]
        down, across = part.shape[1:]
        laid = [F.pad(part, (x, width - across - x, y, height - down - y)) for y, x in places.tolist()]
        return torch.stack(laid)


@dataclass(frozen=True, eq=False)
class DataProperty(DataForm, Shift):
    """A change of the whole image. Controls: the opposite change, and the same one either way in blocks or scattered.

    Attributes:
        back: images without it of images that carry it.
        measure: how strongly images carry it (n,).
        blocks: whether the second control is blocks, for what is even over the image; else it is scattered.
    """

    back: Change
    measure: Change
    blocks: bool = field(default=False, kw_only=True)

    def neutral(self, images: ProbeImages) -> dict[str, Tensor]:
        """Return both controls."""
        change = self.change(images)
        if self.blocks:
            signs = (images.uniform(_SIGNS, 1, _CELLS, _CELLS) < 0.5).float() * 2 - 1
            return {"opposite": -change, "blocks": F.interpolate(signs, change.shape[2:]) * change}
        return {"opposite": -change, "scattered": _scattered(images, change)}

    def carried(self, images: Tensor) -> Tensor:
        """Return how strongly images carry it (n,)."""
        return self.measure(images)

    def without(self, images: ProbeImages) -> Tensor:
        """Return images without it."""
        return self.back(images.images).clamp(0, 1)

    def control(self, images: ProbeImages) -> Tensor:
        """Return images changed as much in the opposite direction."""
        return (2 * images.images - self.back(images.images)).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class Loss(DataProperty):
    """Detail that was lost, by blur or compression. It is brought back; the control is as large and leaves it lost.

    Attributes:
        cell: side of the blocks that the control makes brighter or darker, in pixels.
        smooth: whether it does so without edges.
    """

    cell: int = field(default=8, kw_only=True)
    smooth: bool = field(default=True, kw_only=True)

    def control(self, images: ProbeImages) -> Tensor:
        """Return images with places brighter or darker, changed as much as by bringing the detail back."""
        height, width = images.images.shape[2:]
        change = self.without(images) - images.images
        cells = -(-height // self.cell) + 1, -(-width // self.cell) + 1
        field_ = images.uniform(_FIELD, 1, *cells) * 2 - 1
        if not self.smooth:
            field_ = field_.sign()
        mode = "bilinear" if self.smooth else "nearest"
        wide = F.interpolate(field_, scale_factor=self.cell, mode=mode)[..., :height, :width]
        return (images.images + wide * _size(change) / _size(wide).clamp_min(1e-9)).clamp(0, 1)


def _size(values: Tensor) -> Tensor:
    return values.square().mean((1, 2, 3), keepdim=True).sqrt()


def _scattered(images: ProbeImages, change: Tensor) -> Tensor:
    """Return a change (n, C, h, w) with its pixels in another order, drawn for each image."""
    return shuffled(change, images.uniform(_ORDER, change[0, 0].numel()).argsort(1))
