"""Foreign pictures made of the user's own: nothing of a class is left, or it is shown as no camera shows it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from xai.core.classifier import Classifier
from xai.core.seeds import generator, image_key

_GRID = 4  # patches a side
_BLURRED = 4  # places a side that are left of a blurred picture


def noise(images: Tensor, seed: int) -> Tensor:
    """Return pictures whose every pixel is drawn anew, evenly from 0 to 1."""
    drawn = [torch.rand(image.shape, generator=generator(seed, image_key(image))) for image in images]
    return torch.stack(drawn).to(images)


def patches(images: Tensor, seed: int) -> Tensor:
    """Return pictures cut into 4 x 4 patches that change places; a rest at the right and below stays."""
    height, width = images.shape[2] // _GRID, images.shape[3] // _GRID
    if min(height, width) == 0:
        return images
    made = images.clone()
    for image, target in zip(images, made, strict=True):
        order = torch.randperm(_GRID**2, generator=generator(seed, image_key(image), 1)).tolist()
        for place, source in enumerate(order):
            (top, left), (row, column) = divmod(place, _GRID), divmod(source, _GRID)
            cut = image[:, row * height : (row + 1) * height, column * width : (column + 1) * width]
            target[:, top * height : (top + 1) * height, left * width : (left + 1) * width] = cut
    return made


def inversion(images: Tensor, _seed: int) -> Tensor:
    """Return negatives."""
    return 1 - images


def blur(images: Tensor, _seed: int) -> Tensor:
    """Return pictures of which only 4 x 4 places are left, with smooth transitions."""
    coarse = F.adaptive_avg_pool2d(images, _BLURRED)
    return F.interpolate(coarse, images.shape[2:], mode="bilinear", align_corners=False).clamp(0, 1)


def flat(images: Tensor, _seed: int) -> Tensor:
    """Return pictures of one colour, the mean of each."""
    return images.mean((2, 3), keepdim=True).expand_as(images).clone()


SHIFTS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "noise": noise,
    "shuffled patches": patches,
    "inversion": inversion,
    "blur": blur,
    "flat colour": flat,
}


@dataclass(frozen=True, eq=False)
class Shifted:
    """Some pictures of a data set, as the model sees them, shifted when they are asked for.

    Attributes:
        classifier: brings pictures to its size.
        source: anything that gives pictures by number.
        numbers: of those wanted.
        name: of the shift, or "" for the pictures as they are.
        seed: of everything random.
    """

    classifier: Classifier
    source: Any
    numbers: Sequence[int]
    name: str = ""
    seed: int = 0

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.numbers)

    def __getitem__(self, some: slice | int) -> Tensor:
        """Return pictures (n, C, h, w) in [0, 1], or one (C, h, w)."""
        if not isinstance(some, slice):
            return self._read([self.numbers[some]])[0]
        return self._read(list(self.numbers[some]))

    def _read(self, wanted: list[int]) -> Tensor:
        many = hasattr(self.source, "pictures")
        given = self.source.pictures(wanted) if many else [self.source[k] for k in wanted]
        inputs = self.classifier.prepare(given).inputs.float()
        return SHIFTS[self.name](inputs, self.seed) if self.name else inputs
