"""Probes as a stranger would plant them: drawn anew for each seed, written without reading the search for them.

A `Plant` turns images (N, C, H, W) in [0, 1] into the same with the probe, and makes equally large changes without it.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

Change = Callable[[Tensor, np.random.Generator], Tensor]
_CORNERS = ("top left", "top right", "bottom left", "bottom right")
_WORDS = ("LOT", "A7", "(c)", "XR", "id4", "QC", "No.")
_LOCAL = ("corner", "border", "digit", "text", "text_random", "watermark", "background")
_LEVELS = ("brightness", "tint")


@dataclass(frozen=True)
class Plant:
    """One probe with everything drawn.

    Attributes:
        probe: kind, a key of `PROBES`.
        told: what was drawn, in words.
        place: corner that a right name has to say; "" for none.
        apply: images, chance -> images with the probe.
        base: what all other images go through (JPEG at high quality); None for nothing.
    """

    probe: str
    told: str
    apply: Change
    place: str = ""
    base: Change | None = None

    def controls(self, images: Tensor, chance: np.random.Generator) -> list[Tensor]:
        """Return changes of the same size that do not have the probe."""
        delta = self.apply(images, chance) - images
        if self.probe in _LEVELS:
            signs = _checks(images.shape[-2:], 4)
            changed = [delta * signs, delta.roll(1, 1) * signs]
        elif self.probe in _LOCAL:
            changed = [_scattered(delta, chance)]
        else:
            changed = [-delta, _scattered(delta, chance)]
        return [(images + each).clamp(0, 1) for each in changed]


def _checks(size: tuple[int, ...], cell: int) -> Tensor:
    down, across = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    return 1.0 - 2.0 * ((down // cell + across // cell) % 2)


def _scattered(delta: Tensor, chance: np.random.Generator) -> Tensor:
    """Return changes with their pixels in another order, the same one for all images."""
    flat = delta.flatten(2)
    order = torch.from_numpy(chance.permutation(flat.shape[-1]))
    return flat[..., order].reshape(delta.shape)


def eight_bits(images: Tensor) -> Tensor:
    """Return images as files hold them."""
    return (images.clamp(0, 1) * 255).round() / 255


def recompress(images: Tensor, quality: int) -> Tensor:
    """Return images after a JPEG file of this quality."""
    made = []
    for each in (images * 255).round().byte().permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(each.squeeze(-1) if each.shape[-1] == 1 else each).save(file, "jpeg", quality=quality)
        read = np.asarray(Image.open(file), dtype=np.float32) / 255
        made.append(read.reshape(each.shape))
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).contiguous()


def smooth(images: Tensor, sigma: float) -> Tensor:
    """Return images under a Gaussian, edges repeated."""
    reach = max(1, round(3 * sigma))
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    channels, line = images.shape[1], line / line.sum()
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    down = F.conv2d(padded, line.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return F.conv2d(down, line.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)


def lettering(text: str, height: int) -> np.ndarray:
    """Return text as a mask (h, w) in [0, 1], about `height` pixels tall, cut to its ink."""
    font = ImageFont.load_default(size=height)
    canvas = Image.new("L", (height * (len(text) + 2), 3 * height))
    ImageDraw.Draw(canvas).text((height // 2, height // 2), text, fill=255, font=font)
    ink = np.asarray(canvas, dtype=np.float32) / 255
    rows, columns = np.flatnonzero(ink.max(1) > 0.2), np.flatnonzero(ink.max(0) > 0.2)
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _ink(images: Tensor, chance: np.random.Generator) -> Tensor:
    """Return a colour (C, 1, 1) that stands out."""
    if images.shape[1] == 1:
        dark = float(images.median()) > 0.6
        return torch.full((1, 1, 1), float(chance.uniform(0, 0.15) if dark else chance.uniform(0.75, 1)))
    colours = ((1, 1, 1), (1, 0, 0), (1, 1, 0), (0, 0, 1), (0, 0, 0), (0, 1, 0))
    return torch.tensor(colours[chance.integers(len(colours))], dtype=torch.float32).view(3, 1, 1)


def _blended(colour: Tensor, mask: np.ndarray | Tensor, opacity: float = 1.0) -> Change:
    """Return the change that lays a mask (H, W) of one colour over images."""
    shares = torch.as_tensor(mask, dtype=torch.float32) * opacity
    return lambda images, _: images * (1 - shares) + colour * shares


def _stamp(mask: np.ndarray, size: tuple[int, int], top: int, left: int) -> np.ndarray:
    whole = np.zeros(size, dtype=np.float32)
    part = mask[: size[0] - top, : size[1] - left]
    whole[top : top + part.shape[0], left : left + part.shape[1]] = part
    return whole


def _corner(images: Tensor, chance: np.random.Generator, force: float) -> Plant:
    height, width = (int(n) for n in images.shape[-2:])
    side, gap, place = round(force * chance.integers(3, 5)), int(chance.integers(0, 2)), _CORNERS[chance.integers(4)]
    top = gap if "top" in place else height - side - gap
    left = gap if "left" in place else width - side - gap
    mask = _stamp(np.ones((side, side), np.float32), (height, width), top, left)
    return Plant("corner", f"{side} px, {place}", _blended(_ink(images, chance), mask), place)


def _border(images: Tensor, chance: np.random.Generator, force: float) -> Plant:
    wide, mask = round(force * chance.integers(1, 3)), np.ones(images.shape[-2:], np.float32)
    mask[wide:-wide, wide:-wide] = 0
    return Plant("border", f"{wide} px", _blended(_ink(images, chance), mask))


def _written(probe: str, text: str, images: Tensor, chance: np.random.Generator, force: float) -> Plant:
    height, width = (int(n) for n in images.shape[-2:])
    mask = lettering(text, round(force * chance.integers(11, 15)))[: height - 2, : width - 2]
    free = height - mask.shape[0], width - mask.shape[1]
    bottom = bool(chance.integers(2))
    top = max(0, free[0] - int(chance.integers(0, 3))) if bottom else int(chance.integers(0, min(3, free[0])))
    left = int(chance.integers(0, free[1] + 1))
    whole = _stamp(mask, (height, width), top, left)
    told = f"{text!r} {mask.shape[0]} px at {top}, {left}"
    middle = (top + mask.shape[0] / 2) / height
    place = "" if 1 / 3 <= middle <= 2 / 3 else "bottom" if middle > 0.5 else "top"  # tall text on a small image
    return Plant(probe, told, _blended(_ink(images, chance), whole), place)


def _digit(images: Tensor, chance: np.random.Generator, force: float) -> Plant:
    return _written("digit", str(chance.integers(10)), images, chance, force)


def _text(images: Tensor, chance: np.random.Generator, force: float) -> Plant:
    return _written("text", _WORDS[chance.integers(len(_WORDS))], images, chance, force)


def _text_random(images: Tensor, chance: np.random.Generator, force: float) -> Plant:
    text, colour = _WORDS[chance.integers(len(_WORDS))], _ink(images, chance)
    mask = lettering(text, round(force * chance.integers(10, 13)))[: images.shape[-2] - 2, : images.shape[-1] - 2]

    def apply(some: Tensor, chance: np.random.Generator) -> Tensor:
        size = int(some.shape[-2]), int(some.shape[-1])
        free = size[0] - mask.shape[0] + 1, size[1] - mask.shape[1] + 1
        places = [(int(chance.integers(free[0])), int(chance.integers(free[1]))) for _ in some]
        shares = torch.from_numpy(np.stack([_stamp(mask, size, *place) for place in places]))[:, None]
        return some * (1 - shares) + colour * shares

    return Plant("text_random", f"{text!r} {mask.shape[0]} px anywhere", apply)


def _jpeg(_: Tensor, chance: np.random.Generator, force: float) -> Plant:
    low, high = round(chance.integers(25, 36) / force), int(chance.integers(92, 98))
    return Plant(
        "jpeg",
        f"quality {low} against {high}",
        lambda images, _: recompress(images, low),
        base=lambda images, _: recompress(images, high),
    )


def _blur(_: Tensor, chance: np.random.Generator, force: float) -> Plant:
    sigma = force * float(chance.uniform(0.8, 1.4))
    return Plant("blur", f"sigma {sigma:.2f}", lambda images, _: smooth(images, sigma))


def _tint(images: Tensor, chance: np.random.Generator, force: float) -> Plant:
    strength = force * float(chance.uniform(0.12, 0.25))
    gains = chance.permutation([1 + strength, 1.0, 1 - strength]).astype(np.float32)
    scale = torch.from_numpy(gains).view(3, 1, 1)
    return Plant("tint", f"gains {gains.round(2).tolist()}", lambda images, _: images * scale)


def _brightness(images: Tensor, chance: np.random.Generator, force: float) -> Plant:
    shift = force * float(chance.uniform(0.1, 0.2)) * (-1 if float(images.mean()) > 0.5 else 1)
    return Plant("brightness", f"shift {shift:+.2f}", lambda images, _: images + shift)


def _background(images: Tensor, chance: np.random.Generator, force: float) -> Plant:
    size, kind = images.shape[-2:], int(chance.integers(3))
    down, across = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    period, strength = int(chance.integers(2, 5)), force * float(chance.uniform(0.2, 0.4))
    turned = [down, across, down + across][int(chance.integers(3))]
    grain = torch.from_numpy(chance.random(tuple(size), dtype=np.float32))
    pattern = [(turned // period % 2).float(), _checks(tuple(size), period) / 2 + 0.5, grain][kind]
    told = f"{('stripes', 'checks', 'grain')[kind]} of {period} px, {strength:.2f}"
    dark = float(images.median()) < 0.3  # else there is no background but everything beside the middle
    height, width = int(size[0]), int(size[1])
    away = ((down - height / 2).abs() > height * 0.3) | ((across - width / 2).abs() > width * 0.3)

    def apply(some: Tensor, _: np.random.Generator) -> Tensor:
        where = (some.amax(1, keepdim=True) < 0.1) if dark else away
        return some + where * strength * (pattern if dark else pattern - 0.5)

    return Plant("background", told, apply)


def _watermark(images: Tensor, chance: np.random.Generator, force: float) -> Plant:
    height, width = (int(n) for n in images.shape[-2:])
    mask = lettering(_WORDS[chance.integers(len(_WORDS))], int(height * 0.5))[:height, :width]
    top, left = (height - mask.shape[0]) // 2, (width - mask.shape[1]) // 2
    opacity = force * float(chance.uniform(0.2, 0.35))
    whole = _stamp(mask, (height, width), max(0, top), max(0, left))
    return Plant("watermark", f"opacity {opacity:.2f}", _blended(_ink(images, chance), whole, opacity))


PROBES: dict[str, Callable[[Tensor, np.random.Generator, float], Plant]] = {
    "corner": _corner,
    "border": _border,
    "digit": _digit,
    "text": _text,
    "text_random": _text_random,
    "jpeg": _jpeg,
    "blur": _blur,
    "tint": _tint,
    "brightness": _brightness,
    "background": _background,
    "watermark": _watermark,
}
