"""Shared parts of all probes. A probe has a change of images, its place, and neutral changes of equal size."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import pi
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from xai.core.registry import Registry
from xai.core.runtime.randomness import generator, image_key
from xai.explanations.metrics import impute
from xai.fairness.shortcuts.probes import MODULES
from xai.fairness.shortcuts.probes.recurrence import Piece, Split, split
from xai.fairness.shortcuts.probes.repetition import FEWEST, Template, repeated

EVERYWHERE = "everywhere"
_MOVED, _SCATTERED, _HALF, _BLOCKS, _DONOR, _OTHER = range(1, 7)  # numbers of the draws
_BLOCKS_ACROSS = 7
_SAME_SIZE = 2**0.5  # half of the pixels changed so much more have the same square sum
Explain = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True, eq=False)
class ProbeImages:
    """Some model inputs with everything known of them, on the CPU.

    Attributes:
        images: (n, C, h, w) in [0, 1].
        labels: (n,) the truth.
        predictions: (n,) the model's answers to the images as they are.
        confidence: (n,) its probability of the true class.
        keys: stand for the images in everything random.
        masks: (n, h, w) bool, the object; None when not known.
        seed: of everything random.
    """

    images: Tensor
    labels: Tensor
    predictions: Tensor
    confidence: Tensor
    keys: Sequence[bytes]
    masks: Tensor | None
    seed: int

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    @property
    def right(self) -> Tensor:
        """Whether the model's answer is right (n,)."""
        return self.predictions == self.labels

    def take(self, rows: Tensor) -> "ProbeImages":
        """Return the images of these numbers."""
        masks = None if self.masks is None else self.masks[rows]
        keys = [self.keys[k] for k in rows.tolist()]
        parts = (self.images, self.labels, self.predictions, self.confidence)
        images, labels, predictions, confidence = (part[rows] for part in parts)
        return ProbeImages(images, labels, predictions, confidence, keys, masks, self.seed)

    def uniform(self, draw: int, *shape: int) -> Tensor:
        """Return numbers in [0, 1) (n, *shape), drawn for each image by itself."""
        return torch.stack([torch.rand(shape, generator=generator(self.seed, key, draw)) for key in self.keys])


@dataclass(frozen=True, eq=False)
class Form(ABC):
    """A probe in one form.

    Attributes:
        kind: name of the probe.
        unit: what competes for being tried in full: of the forms of a unit the strongest is.
        place: where it is, in words.
        words: what it is, in words.
        target: the one class it can attract to; None for any.
        from_data: whether the data have it, as that of a `DataForm`.
        of_class: whether it is taken from images of the class, so that the data have it by construction.
    """

    kind: str
    unit: str
    place: str
    words: str
    target: int | None = field(default=None, kw_only=True)
    from_data: ClassVar[bool] = False
    of_class: ClassVar[bool] = False

    @property
    def local(self) -> bool:
        """Whether it has a place, rather than being the whole image."""
        return True

    @abstractmethod
    def change(self, images: ProbeImages) -> Tensor:
        """Return what is added to the images at full strength (n, C, h, w)."""

    @abstractmethod
    def neutral(self, images: ProbeImages) -> dict[str, Tensor]:
        """Return equally large changes that carry no meaning, by name, (n, C, h, w) each."""

    def where(self, images: ProbeImages) -> Tensor | None:
        """Return the region (n, h, w) bool, or None when it is the whole image."""
        del images
        return None

    def likeness(self, images: Tensor) -> Tensor:
        """Return how much images (n, C, h, w) look by nature as the probe makes them (n,): it changes those least."""
        return -self.change(_alone(images)).square().mean((1, 2, 3))


def _alone(images: Tensor) -> ProbeImages:
    """Return images of which nothing else is known."""
    none, keys = torch.zeros(len(images), dtype=torch.long), [image_key(image) for image in images]
    return ProbeImages(images, none, none, torch.zeros(len(images)), keys, None, 0)


def inserted(images: ProbeImages, change: Tensor, strength: float) -> Tensor:
    """Return the images with a share of a change in them, in [0, 1]."""
    return (images.images + strength * change).clamp_(0, 1)


@dataclass(frozen=True, eq=False)
class Patch(Form):
    """Pixels that are replaced by others. Neutral: the same pixels elsewhere, together or scattered.

    Attributes:
        mask: (h, w) bool, which pixels.
        content: (C, h, w) by what.
    """

    mask: Tensor
    content: Tensor

    def change(self, images: ProbeImages) -> Tensor:
        """Return the change (n, C, h, w)."""
        return replaced(images.images, self.mask, self.content)

    def neutral(self, images: ProbeImages) -> dict[str, Tensor]:
        """Return both neutral changes."""
        mask, content = self.mask.expand(len(images), -1, -1), self.content.expand(len(images), -1, -1, -1)
        rolls = images.uniform(_MOVED, 2)
        order = images.uniform(_SCATTERED, self.mask.numel()).argsort(1)
        return {
            "moved": replaced(images.images, moved(mask[:, None], rolls)[:, 0], moved(content, rolls)),
            "scattered": replaced(images.images, shuffled(mask[:, None], order)[:, 0], shuffled(content, order)),
        }

    def where(self, images: ProbeImages) -> Tensor:
        """Return the region (n, h, w)."""
        return self.mask.expand(len(images), -1, -1)

    def likeness(self, images: Tensor) -> Tensor:
        """Return how close some place of images comes to the patch (n,): a class may have such places by nature."""
        rows, columns = (self.mask.any(axis).nonzero()[:, 0] for axis in (1, 0))
        box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
        mask, content = self.mask[box], self.content[(slice(None), *box)]
        return -Piece(mask, content, 0.0, mask, content).distance(images)[0]


@dataclass(frozen=True, eq=False)
class Shift(Form):
    """A change of the whole image. Neutral: one half of it changed more, or blocks of it either way.

    Attributes:
        changed: the fully changed images of images (n, C, h, w).
        looks: how much images look so by nature (n,); None takes how little they change.
    """

    changed: Callable[[Tensor], Tensor]
    looks: Callable[[Tensor], Tensor] | None = field(default=None, kw_only=True)

    @property
    def local(self) -> bool:
        """False."""
        return False

    def change(self, images: ProbeImages) -> Tensor:
        """Return the change (n, C, h, w)."""
        return self.changed(images.images) - images.images

    def neutral(self, images: ProbeImages) -> dict[str, Tensor]:
        """Return both neutral changes."""
        change = self.change(images)
        height, width = change.shape[2:]
        signs = (images.uniform(_BLOCKS, 1, _BLOCKS_ACROSS, _BLOCKS_ACROSS) < 0.5).float() * 2 - 1
        angle = (2 * pi * images.uniform(_HALF, 1)).view(-1, 1, 1, 1)
        down, across = torch.linspace(-1, 1, height).view(-1, 1), torch.linspace(-1, 1, width)
        half = (angle.sin() * down + angle.cos() * across > 0).float()
        return {"one half": _SAME_SIZE * half * change, "blocks": F.interpolate(signs, (height, width)) * change}

    def likeness(self, images: Tensor) -> Tensor:
        """Return how much images (n, C, h, w) look by nature as the probe makes them (n,)."""
        return super().likeness(images) if self.looks is None else self.looks(images)


@dataclass(frozen=True, eq=False)
class Donated(Form):
    """A region taken from images of one class. Neutral: the same region from images of further classes.

    Attributes:
        donors: images answered as `target`.
        others: images answered otherwise.
        mask: (h, w) bool, the region; None takes what is outside of each image's object.
    """

    of_class = True
    donors: ProbeImages
    others: ProbeImages
    mask: Tensor | None

    def change(self, images: ProbeImages) -> Tensor:
        """Return the change (n, C, h, w)."""
        chosen = (images.uniform(_DONOR, 1)[:, 0] * len(self.donors)).long()
        return replaced(images.images, self.where(images), self.donors.images[chosen])

    def neutral(self, images: ProbeImages) -> dict[str, Tensor]:
        """Return the neutral change: donors of neither the target nor the image's own class."""
        order = images.uniform(_OTHER, len(self.others))
        order = order.masked_fill(self.others.predictions[None] == images.labels[:, None], -1.0)
        return {"other class": replaced(images.images, self.where(images), self.others.images[order.argmax(1)])}

    def where(self, images: ProbeImages) -> Tensor:
        """Return the region (n, h, w)."""
        if self.mask is not None:
            return self.mask.expand(len(images), -1, -1)
        assert images.masks is not None
        return ~images.masks


@dataclass(frozen=True, eq=False)
class ProbeContext:
    """What probes are made for.

    Attributes:
        images: the half of the images on which probes are chosen.
        names: of the classes.
        data: images in which probes are looked for, half of what the model learnt from where that is given.
        held_out: the other half of it, on which what was found is tried; looked at only for images of a class that were
            left out.
    """

    images: ProbeImages
    names: Sequence[str]
    data: ProbeImages
    held_out: ProbeImages

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return int(self.images.images.shape[1])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return int(self.images.images.shape[2]), int(self.images.images.shape[3])

    @cached_property
    def side(self) -> int:
        """The shorter side, which sizes of probes are shares of."""
        return min(self.size)

    def sizes(self, *shares: float, least: int = 1) -> list[int]:
        """Return shares of the side in whole pixels, each once."""
        return sorted({max(least, round(share * self.side)) for share in shares})

    @cached_property
    def classes(self) -> list[int]:
        """The classes of which there are enough images to look for what they have in common."""
        counts = torch.bincount(self.data.labels, minlength=len(self.names))
        several = int((counts > 0).sum()) > 1
        return [k for k, count in enumerate(counts.tolist()) if count >= FEWEST and several]

    @cached_property
    def templates(self) -> dict[int, tuple[Template, ...]]:
        """What classes repeat at one place."""
        return repeated(self.data.images, self.data.labels, self.classes)

    @cached_property
    def all_images(self) -> Tensor:
        """Images of the data, then those held back (n + m, C, h, w)."""
        return torch.cat([self.data.images, self.held_out.images])

    def split(self, values: Tensor, label: int, *, natural: bool = True) -> Split | None:
        """Return where values (n + m,) of all images set a class apart in the data; arguments as of `split`."""
        own_values, further = values[: len(self.data)].double().numpy(), values[len(self.data) :].double().numpy()
        labels = self.data.labels.numpy()
        own, further = labels == label, further[(self.held_out.labels == label).numpy()]
        return split(own_values[own], own_values[~own], further, classes=labels[~own], natural=natural)

    def predicted_as(self, label: int) -> Tensor:
        """Return the numbers of the images answered as a class."""
        return (self.images.predictions == label).nonzero()[:, 0]


@dataclass(frozen=True)
class ProbeKind:
    """A kind of probe.

    Attributes:
        name: of the kind.
        summary: what is inserted, in one line.
        forms: makes all forms for a context; none where the kind does not apply.
    """

    name: str
    summary: str
    forms: Callable[[ProbeContext], Iterable[Form]]


PROBES: Registry[ProbeKind] = Registry("probe", "xai.fairness.shortcuts.probes", MODULES)
Maker = Callable[[ProbeContext], Iterable[Form]]


def probe(name: str, summary: str) -> Callable[[Maker], Maker]:
    """Register a function from a context to forms as the probe `name`."""

    def enter(forms: Maker) -> Maker:
        PROBES.register(name)(ProbeKind(name, summary, forms))
        return forms

    return enter


def colours(channels: int) -> dict[str, Tensor]:
    """Return colours (C, 1, 1) that stand out, by name: white and black, and on colour images four more."""
    values_by_name = {"white": (1.0,) * channels, "black": (0.0,) * channels}
    if channels == 3:
        values_by_name |= {"red": (1.0, 0, 0), "green": (0, 1.0, 0), "blue": (0, 0, 1.0), "yellow": (1.0, 1.0, 0)}
    return {name: torch.tensor(values).view(-1, 1, 1) for name, values in values_by_name.items()}


def moved(values: Tensor, rolls: Tensor) -> Tensor:
    """Return values (n, C, h, w) rolled, around the edges, by shares (n, 2) of height and width, at least a pixel."""
    size = values.shape[2:]
    steps = [[1 + int(share * (side - 1)) for share, side in zip(pair, size, strict=True)] for pair in rolls.tolist()]
    return torch.stack([value.roll(step, (1, 2)) for value, step in zip(values, steps, strict=True)])


def shuffled(values: Tensor, order: Tensor) -> Tensor:
    """Return values (n, C, h, w) with pixels in another order (n, h * w), the same for all channels."""
    flat = values.flatten(2)
    return flat.gather(2, order[:, None].expand_as(flat)).view(values.shape)


def replaced(images: Tensor, mask: Tensor, content: Tensor) -> Tensor:
    """Return what is to be added to images (n, C, h, w) so that pixels of a mask (h, w) or (n, h, w) become others."""
    mask = mask if mask.ndim == 2 else mask[:, None]
    return torch.where(mask, content - images, torch.zeros_like(images))


def filled(images: Tensor, region: Tensor) -> Tensor:
    """Return images (n, C, h, w) with a region (n, h, w) filled in from around it."""
    return torch.cat([impute(image[None], hidden[None]) for image, hidden in zip(images, region, strict=True)])


def local_mean(images: Tensor, side: int = 9) -> Tensor:
    """Return the mean of images (n, C, h, w) in a square around each pixel, edges repeated."""
    reach = side // 2
    return F.avg_pool2d(F.pad(images, (reach,) * 4, mode="replicate"), side, 1)
