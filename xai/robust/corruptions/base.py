"""Shared parts of all corruptions.

A corruption has a name, five levels with values between them, and draws that belong to the image.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from math import isfinite, prod
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from xai.core.images.border import all_images
from xai.core.images.inputs import ImageLike, InputImage, decode_images
from xai.core.registry import Registry
from xai.core.runtime.batching import Progress, ShouldStop, in_chunks, reporting
from xai.core.runtime.randomness import generator, image_key
from xai.core.validation import check_seed
from xai.errors import RangeError, ShapeError
from xai.robust.corruptions import MODULES

Level = tuple[float, ...]
MOST = 5  # the highest severity
_STEPS = 1 << 16
REFERENCE_SIDE = 224  # the size, in pixels of the shorter side, that constants in pixels are made for


class Draws:
    """Random numbers, one stream per image. They are drawn on the CPU and brought to the images' device and type.

    Args:
        like: (N, C, H, W), the images.
        streams: one generator per image.
    """

    def __init__(self, like: Tensor, streams: Sequence[torch.Generator]) -> None:
        self._like, self._streams = like, streams

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers (N, *shape): one of 65,536 equally likely values, at most 4.2 from 0."""
        steps = self._steps(shape).to(device=self._like.device, dtype=torch.int32).add_(_STEPS // 2)
        values = _normal_values().to(self._like)
        return values.index_select(0, steps.flatten()).view(steps.shape)

    def uniform(self, *shape: int) -> Tensor:
        """Return numbers in (0, 1) (N, *shape): middles of 65,536 equal steps."""
        return self._steps(shape).to(self._like).add_(_STEPS / 2 + 0.5).mul_(1 / _STEPS)

    def _steps(self, shape: tuple[int, ...]) -> Tensor:
        """Return whole numbers of 16 bits (N, *shape) int16, four from each draw: several times faster than one."""
        count = prod(shape)
        rows = torch.empty(len(self._streams), -(-count // 4), dtype=torch.int64)
        for row, stream in zip(rows, self._streams, strict=True):
            row.random_(-(1 << 63), None, generator=stream)
        numbers: Tensor = rows.view(torch.int16)[:, :count]
        return numbers.reshape(len(rows), *shape)

    def numbers(self, count: int) -> list[list[float]]:
        """Return `count` plain numbers in [0, 1) for each image, never on the device."""
        return [torch.rand(count, generator=stream).tolist() for stream in self._streams]


@lru_cache(maxsize=1)
def _normal_values() -> Tensor:
    """Return the normal distribution's values in the middle of 65,536 equally likely steps, their deviation made 1."""
    values = torch.special.ndtri((torch.arange(_STEPS, dtype=torch.float64) + 0.5) / _STEPS)
    standardised: Tensor = values / values.square().mean().sqrt()
    return standardised.float()


@dataclass(frozen=True)
class Corruption:
    """One way in which images get worse, in five steps and everything between them.

    Attributes:
        name: as in ImageNet-C where it has one.
        family: "noise", "blur", "weather", "digital", "geometric" or "colour".
        summary: what it does, in one line.
        parameters: names of the numbers in a level, with their unit.
        levels: the numbers at severity 1 to 5, those of ImageNet-C where it has the corruption.
        clean: the numbers that change nothing, severity 0; None: below severity 1 the image at severity 1 is blended
            with the clean one.
        stochastic: draws random numbers, of the image and the seed alone.
        imagenet_c: one of the nineteen of ImageNet-C.
    """

    name: str
    family: str
    summary: str
    parameters: str
    levels: tuple[Level, ...]
    clean: Level | None
    stochastic: bool
    imagenet_c: bool
    _transform: Callable[[Tensor, Level, Draws], Tensor] = field(repr=False, compare=False)

    def level(self, severity: float) -> Level:
        """Return the numbers at a severity, linear between the levels next to it. Below 1 see `clean`."""
        severity = check_severity(severity)
        if severity < 1:
            return self.levels[0] if self.clean is None else _between(self.clean, self.levels[0], severity)
        below = min(int(severity), MOST - 1)
        return _between(self.levels[below - 1], self.levels[below], severity - below)

    def apply(
        self,
        images: Tensor,
        severity: float,
        *,
        seed: int,
        keys: Sequence[bytes] | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Return corrupted copies of a batch.

        Args:
            images: (N, C, H, W) float32 or float64 in [0, 1], any C; three channels are red, green, blue.
            severity: 0 to 5.
            seed: of everything random.
            keys: one per image, stands for it in everything random; needed by stochastic corruptions.
            out: where to write the result, or None.

        Returns:
            (N, C, H, W) in [0, 1], new memory, device and dtype of `images`; or `out`.

        Raises:
            RangeError: a severity outside 0 to 5.
        """
        level = self.level(severity)
        if severity == 0 or not len(images):
            return images.clone() if out is None else out.copy_(images)
        draw = zlib.crc32(self.name.encode())
        streams = [generator(seed, key, draw) for key in (keys or ())] if self.stochastic else []
        worse = self._transform(images, level, Draws(images, streams))
        if self.clean is None and severity < 1:
            worse = torch.lerp(images, worse, float(severity))
        return worse.clamp_(0, 1) if out is None else torch.clamp(worse, 0, 1, out=out)


CORRUPTIONS: Registry[Corruption] = Registry("corruption", "xai.robust.corruptions", MODULES)
Transform = Callable[[Tensor, Level, Draws], Tensor]


def corruption(name: str, family: str, summary: str, **facts: Any) -> Callable[[Transform], Transform]:
    """Register a function (images, level, draws) -> images, new memory, as the corruption `name`.

    The function may leave [0, 1]; what it returns is clipped.
    """

    def enter(transform: Transform) -> Transform:
        given = {"clean": None, "stochastic": False, "imagenet_c": True} | facts
        CORRUPTIONS.register(name)(Corruption(name, family, summary, _transform=transform, **given))
        return transform

    return enter


def check_severity(severity: Any) -> float:
    """Return the severity as a float.

    Raises:
        RangeError: no number from 0 to 5.
    """
    try:
        level = float("nan") if isinstance(severity, bool | str) else float(severity)
    except (TypeError, ValueError, RuntimeError):
        level = float("nan")
    if not (isfinite(level) and 0 <= level <= MOST):
        raise RangeError(f"Expected `severity` as a number from 0 (clean) to {MOST}, but got {severity!r}.")
    return level


def pixels_of(images: Tensor) -> float:
    """Return how many pixels of `images` stand for one of a 224-pixel image: at most 1, less for small images."""
    return min(1.0, min(images.shape[-2:]) / REFERENCE_SIDE)


def is_colour(images: Tensor) -> bool:
    """Whether the channels are red, green and blue."""
    return images.shape[1] == 3


def _between(low: Level, high: Level, share: float) -> Level:
    return tuple(a + (b - a) * share for a, b in zip(low, high, strict=True))


_ALPHA = 4  # channels of an image whose last one says how opaque it is


def without_alpha(image: InputImage) -> Tensor:
    """Return the channels (C, H, W) that are light: all of a tensor, all but the alpha of an array."""
    return image.pixels[:3] if _has_alpha(image) else image.pixels


def _has_alpha(image: InputImage) -> bool:
    return not image.exact and len(image.pixels) == _ALPHA


def as_given(images: ImageLike, decoded: Sequence[InputImage], changed: Sequence[Tensor], *, single: bool) -> Any:
    """Return new pixels (C, H, W): as arrays for arrays, as PIL images for images and paths, else as tensors."""
    whole = [_with_alpha(image, pixels) for image, pixels in zip(decoded, changed, strict=True)]
    if isinstance(images, np.ndarray):
        rows = [_array(pixels, flat=images.ndim == 2) for pixels in whole]
        return rows[0] if single else np.stack(rows)
    if single:
        return _one(images, decoded[0], whole[0])
    items = images if isinstance(images, Sequence) else [None] * len(whole)
    return [_one(item, image, pixels) for item, image, pixels in zip(items, decoded, whole, strict=True)]


def _with_alpha(image: InputImage, pixels: Tensor) -> Tensor:
    return torch.cat([pixels, image.pixels[3:]]) if _has_alpha(image) else pixels


def _one(item: Any, image: InputImage, pixels: Tensor) -> Any:
    if isinstance(item, np.ndarray):
        return _array(pixels, flat=item.ndim == 2)
    if image.exact or item is None or isinstance(item, InputImage):
        return pixels
    values = (_array(pixels, flat=len(pixels) == 1) * 255).round().astype(np.uint8)
    return Image.fromarray(values)


def _array(pixels: Tensor, *, flat: bool) -> np.ndarray:
    array: np.ndarray = pixels.cpu().numpy()
    return array[0] if flat else np.ascontiguousarray(array.transpose(1, 2, 0))


_CACHE = 4 << 20  # bytes of images worked on at once on a CPU: more at once is slower
_DEVICE = 256 << 20  # on a device


def corrupt(
    images: ImageLike,
    name: str,
    severity: float = 3,
    seed: int = 0,
    *,
    keys: Sequence[bytes] | None = None,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Any:
    """Return corrupted copies of images; what they show stays what it was.

    Args:
        images: a tensor (C, H, W) or (N, C, H, W) in [0, 1]; an array (H, W), (H, W, C) or (N, H, W, C), uint8 or in
            [0, 1]; a PIL image; a path; or a list of single ones, of any sizes.
        name: of the corruption, see `CORRUPTIONS`: the nineteen of ImageNet-C, geometric ones and shifts of colour.
        severity: 0 (clean) to 5; 1 to 5 as in ImageNet-C, between them its numbers are interpolated linearly.
        seed: fixes everything random, per image: batch size, order and device change nothing beyond rounding.
        keys: one per image, stand for the images in everything random; None takes the images' own digests.
        progress: None, True for a bar, or a callable `(done, total)` in images.
        should_stop: asked between chunks; True ends the work with `xai.errors.Stopped`.

    Returns:
        Tensors for tensors, same shape, device and floating type (float32 for uint8); arrays for arrays, same shape,
        float32 or float64 in [0, 1]; PIL images (8 bits) for PIL images and paths; a list for a list. Alpha stays.

    Raises:
        NameLookupError: no such corruption; near names are suggested.
        RangeError: severity outside 0 to 5, pixels outside [0, 1].
        ShapeError: no image, or another number of keys than of images.
        ImageError: a file that cannot be read.

    Three channels are red, green and blue; with any other number what concerns colour is left out, and each channel is
    treated as grey. Numbers in pixels (radii, sigmas) are the reference's for images of 224 pixels (shorter side) and
    more, and shrink in proportion for smaller ones, so that a digit of 8 x 8 is blurred as much as a photograph.

    Source: Hendrycks and Dietterich 2019 (arXiv 1903.12261), as `imagecorruptions` 1.1.2 has it, without its roundings:
    floats stay floats (it takes and returns 8 bits, and cuts where we round). Differs: frost is made, not photographed;
    seeds are per image; sizes under 32 are allowed.

    Example:
        >>> import torch
        >>> import xai
        >>> xai.corrupt(torch.full((3, 32, 32), 0.5), "gaussian_noise", severity=2.5, seed=1).shape
        torch.Size([3, 32, 32])
    """
    method, severity, seed = CORRUPTIONS[name], check_severity(severity), check_seed(seed)
    images = all_images(images)
    decoded, single = decode_images(images)
    if keys is not None and len(keys) != len(decoded):
        raise ShapeError(f"Expected one key for each of {len(decoded)} images, but got {len(keys)}.")
    corrupted: dict[int, Tensor] = {}
    with reporting(progress, name) as report:
        for places, rows in _alike(images, decoded):
            chosen = None if keys is None else [keys[k] for k in places]
            tell = None if report is None else partial(_tell, report, len(corrupted), len(decoded))
            worse = corrupt_rows(method, rows, severity, seed, chosen, progress=tell, should_stop=should_stop)
            if isinstance(images, Tensor):
                return worse[0] if single else worse
            corrupted |= dict(zip(places, worse, strict=True))
    return as_given(images, decoded, [corrupted[k] for k in range(len(decoded))], single=single)


def _alike(images: ImageLike, decoded: Sequence[InputImage]) -> Iterator[tuple[list[int], Tensor]]:
    """Yield the numbers and pixels (n, C, H, W) of images that can be worked on together."""
    if isinstance(images, Tensor) and images.ndim == 4 and images.is_floating_point():
        yield list(range(len(decoded))), images.detach()
        return
    groups: dict[Any, list[int]] = {}
    for k, image in enumerate(decoded):
        pixels = image.pixels
        groups.setdefault((pixels.shape, pixels.dtype, pixels.device), []).append(k)
    for places in groups.values():
        yield places, torch.stack([without_alpha(decoded[k]) for k in places])


def _tell(report: Progress, before: int, total: int, done: int, _group: int) -> None:
    report(before + done, total)


def corrupt_rows(
    method: Corruption,
    rows: Tensor,
    severity: float,
    seed: int,
    keys: Sequence[bytes] | None = None,
    *,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Tensor:
    """Return corrupted copies of a batch (N, C, H, W) in [0, 1], checked already, in chunks that fit the cache.

    Half precision is computed in float32.
    """
    if method.stochastic and severity > 0 and keys is None:
        keys = image_keys(rows)
    corrupted = torch.empty_like(rows, memory_format=torch.contiguous_format)
    limit = (_CACHE if rows.device.type == "cpu" else _DEVICE) // max(1, rows[:1].numel() * 4)

    def work(start: int, stop: int) -> None:
        chunk = rows[start:stop]
        own = None if keys is None else keys[start:stop]
        if chunk.dtype in {torch.float32, torch.float64}:
            method.apply(chunk, severity, seed=seed, keys=own, out=corrupted[start:stop])
        else:
            corrupted[start:stop] = method.apply(chunk.float(), severity, seed=seed, keys=own)

    in_chunks(work, len(rows), limit=max(1, limit), progress=progress, should_stop=should_stop)
    return corrupted


def image_keys(rows: Tensor) -> list[bytes]:
    """Return the digest of each of (N, C, H, W)."""
    return [image_key(row) for row in rows]


def strip(image: ImageLike, name: str, severities: Sequence[float] = (0, 1, 2, 3, 4, 5), seed: int = 0) -> Tensor:
    """Return one image at several severities (S, C, H, W), all from the same draws: what a strip of images shows.

    Raises:
        ShapeError: more than one image.
        NameLookupError: no such corruption.
        RangeError: a severity outside 0 to 5.
    """
    images, _ = decode_images(image)
    if len(images) != 1:
        raise ShapeError(f"Expected one image for a strip, but got {len(images)}. Give one at a time.")
    pixels = images[0].pixels
    keys = [image_key(pixels)]
    return torch.cat([corrupt(pixels[None], name, severity, seed, keys=keys) for severity in severities])
