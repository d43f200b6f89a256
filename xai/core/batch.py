"""Pictures made ready for a model, with the way back to each."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xai.core.bands import note_of_bands
from xai.core.door import all_images
from xai.core.geometry import Geometry, Size, plan_geometry
from xai.core.images import ImageLike, Picture, read_pictures, to_channels
from xai.errors import ShapeError

_DARK = 2 / 255


@dataclass(frozen=True, eq=False)
class Batch:
    """Model inputs (N, C, h, w) in [0, 1], the pictures they come from, the way back, and notes of the model."""

    inputs: Tensor
    pictures: tuple[Picture, ...]
    geometries: tuple[Geometry, ...]
    single: bool
    model_notes: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known of the model and what was done to the pictures, each once."""
        cropped = [g for g in self.geometries if g.share_seen < 0.999]
        notes = [*self.model_notes, *(note for picture in self.pictures for note in picture.notes)]
        notes += filter(None, {note_of_bands(int(self.inputs.shape[1]))})
        if cropped:
            share = min(g.share_seen for g in cropped)
            notes.append(f"the model sees the middle of the picture ({share:.0%} of its area); outside the map is 0")
        notes += pixel_doubts(self.inputs)
        return tuple(dict.fromkeys(notes))


def pixel_doubts(inputs: Tensor) -> list[str]:
    """Return what looks mistaken in pixels (N, C, h, w) of a permitted range."""
    if not inputs.numel():
        return []
    low, high = inputs.detach().flatten(1).aminmax(dim=1)
    if 0 < (brightest := float(high.max())) < _DARK:
        return [f"no pixel is brighter than {brightest:.2g}: were the images divided by 255 twice?"]
    flat = bool((low == high).any())
    return ["there are images with one value everywhere: nothing is to be seen in them"] if flat else []


def prepare_batch(
    images: ImageLike,
    *,
    input_size: Size | None,
    channels: int,
    resize: str,
    crop_ratio: float,
    fill: Sequence[float],
) -> Batch:
    """Read pictures in any form and bring them to one size.

    Raises:
        ShapeError: pictures of different sizes and no `input_size`.
    """
    if isinstance(images, Tensor) and images.ndim == 4 and images.is_floating_point() and images.shape[1] == channels:
        quick = _ready(images, input_size)
        if quick is not None:
            return quick
    given, single = read_pictures(all_images(images))
    pictures = tuple(to_channels(picture, channels) for picture in given)
    geometries = tuple(plan_geometry(p.size, input_size, resize, crop_ratio) for p in pictures)
    sizes = {g.size for g in geometries}
    if len(sizes) > 1:
        raise ShapeError(
            f"Expected pictures of one size, but got {sorted(sizes)[:4]}. Set `input_size` of the classifier."
        )
    padding = torch.tensor(list(fill), dtype=torch.float32).view(-1, 1, 1)
    inputs = [g.apply(p.pixels, padding.to(p.pixels)) for g, p in zip(geometries, pictures, strict=True)]
    return Batch(torch.stack(inputs), pictures, geometries, single)


def _ready(images: Tensor, input_size: Size | None) -> Batch | None:
    """Take a tensor that needs nothing done to it without copying it; None when it does need something."""
    size = (int(images.shape[-2]), int(images.shape[-1]))
    if len(images) == 0 or (input_size is not None and size != input_size):
        return None
    pictures, _ = read_pictures(images)
    return Batch(images.detach(), tuple(pictures), (plan_geometry(size, None),) * len(pictures), single=False)
