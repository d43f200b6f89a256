"""What a dream needs before its first step, and one step of gradient ascent."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from operator import index
from typing import Any

import torch
from torch import Tensor

from xai.core.images.border import all_images
from xai.core.images.geometry import pixel_doubts
from xai.core.images.inputs import ImageLike, InputImage, decode_images, to_channels
from xai.core.model.classifier import Classifier
from xai.core.model.hooks import gradient
from xai.core.results.message import Message
from xai.core.runtime.randomness import generator, image_key
from xai.errors import InputError, RangeError, ShapeError, UnsupportedModelError
from xai.explanations.dream.deep_dream import (
    Settings,
    Size,
    equalised,
    mix_colours,
    octave_sizes,
    pink,
    resize,
    result_size,
    smooth_space,
    unit,
)
from xai.explanations.dream.goals import ClassGoal, Goal, LayerGoal, check_layer, choose_layer

_SMOOTH = 1e-4  # keeps the slope of the total variation finite where the image is flat
Shift = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Eye:
    """How the network looks at an image that moves a little at each step.

    Attributes:
        goal: what is measured.
        seen: size at which the network is shown the whole image, or None for the image's own, where images
            larger than `tile` are shown in pieces.
        tile: largest side of a piece.
    """

    goal: Goal
    seen: Size | None
    tile: int

    def reach(self, size: Size, jitter: int) -> int:
        """Return by how many pixels the view may move in an image of this size."""
        return min(jitter, (min(size) - 1) // 4) if self.seen else jitter

    def draw(self, size: Size, reach: int, source: torch.Generator) -> Shift:
        """Return a random move; in tiles it is as large as a tile, so that the seams are never in one place."""
        limits = [reach, reach]
        if reach and self.seen is None:
            limits = [max(reach, self.tile // 2) if max(size) > self.tile else reach] * 2
        moves = [int(torch.randint(-limit, limit + 1, (), generator=source)) for limit in limits]
        return moves[0], moves[1]

    def slope(self, image: Tensor, shift: Shift, reach: int) -> tuple[float, Tensor]:
        """Return the objective and its gradient (1, C, h, w).

        Raises:
            UnsupportedModelError: the model lets no gradient through to the image.
        """
        if self.seen is not None:
            return self._through_window(image, self.seen, shift, reach)
        rolled = torch.roll(image, shift, (2, 3))
        total, score = torch.zeros_like(image), 0.0
        for rows, columns in pieces((image.shape[2], image.shape[3]), self.tile):
            piece = rolled[:, :, rows, columns].clone().requires_grad_()
            share = piece[0, 0].numel() / image[0, 0].numel()
            value = self.goal.value(piece)
            total[:, :, rows, columns] = share * gradient(value, piece, "the image")
            score += share * float(value.detach())
        return score, torch.roll(total, (-shift[0], -shift[1]), (2, 3))

    def _through_window(self, image: Tensor, seen: Size, shift: Shift, reach: int) -> tuple[float, Tensor]:
        """Look through a window that is smaller by `reach` at each side; nothing comes in from the other edge."""
        leaf = image.clone().requires_grad_()
        rows, columns = (
            slice(reach + move, side - reach + move) for move, side in zip(shift, leaf.shape[2:], strict=True)
        )
        value = self.goal.value(resize(leaf[:, :, rows, columns], seen))
        return float(value.detach()), gradient(value, leaf, "the image")


def pieces(size: Size, tile: int) -> Iterator[tuple[slice, slice]]:
    """Yield rows and columns of the fewest nearly equal pieces that are no larger than `tile`."""
    rows, columns = (_cuts(side, tile) for side in size)
    for down in rows:
        for right in columns:
            yield down, right


def _cuts(side: int, tile: int) -> list[slice]:
    count = -(-side // tile)
    edges = [round(k * side / count) for k in range(count + 1)]
    return [slice(first, last) for first, last in pairwise(edges)]


def direction(gradient: Tensor, image: Tensor, settings: Settings) -> Tensor:
    """Return the way to go (1, C, h, w): the gradient with a root mean square of 1, minus the pull to smoothness."""
    gradient = unit(gradient)
    if settings.fourier:
        gradient = smooth_space(gradient)
    elif settings.laplacian:
        gradient = equalised(gradient)
    if settings.decorrelated:
        gradient = mix_colours(gradient)
    gradient = unit(gradient)
    return gradient - settings.tv * roughness(image) if settings.tv else gradient


def roughness(image: Tensor) -> Tensor:
    """Return the gradient of the total variation of an image, (1, C, h, w)."""
    leaf = image.detach().clone().requires_grad_()
    here, down, right = leaf[..., :-1, :-1], leaf[..., 1:, :-1], leaf[..., :-1, 1:]
    total = ((down - here).square() + (right - here).square() + _SMOOTH).sqrt().sum()
    return torch.autograd.grad(total, leaf)[0]


_SIZE = (224, 224)  # where neither image nor classifier has one
_NOISE = 0.05  # root mean square of the noise to start from
_NOISE_KEY = b"noise"


@dataclass(frozen=True)
class Wish:
    """What is asked for, as the caller said it."""

    layer: str | None = None
    channel: int | None = None
    target: int | str | None = None

    def check(self) -> None:
        """Raise unless it is a class, or a layer with or without a channel.

        Raises:
            InputError: a class and a layer at once.
            RangeError: a channel that is no number.
        """
        if self.target is not None and (self.layer is not None or self.channel is not None):
            other = "channel" if self.channel is not None else "layer"
            raise InputError(
                f"Expected `target`, or `layer` and `channel`, but got both. Leave `target` or `{other}` out."
            )
        whole = hasattr(self.channel, "__index__") and not isinstance(self.channel, bool)
        if self.channel is not None and not whole:
            raise RangeError(f"Expected `channel` as a whole number, but got {self.channel!r}.")


@dataclass(frozen=True, eq=False)
class DreamPlan:
    """Everything that is settled before the first step.

    Attributes:
        classifier: the model, borrowed.
        goal: what is raised.
        start: (1, C, H, W), the image at full size.
        origin: "noise", or the name of the image.
        sizes: of the octaves.
        eye: how the network looks at the image.
        settings: all filled in.
        seed: of the run.
        key: of the start, for the random numbers.
        notes: what was chosen.
    """

    classifier: Classifier
    goal: Goal
    start: Tensor
    origin: str
    sizes: tuple[Size, ...]
    eye: Eye
    settings: Settings
    seed: int
    key: bytes
    notes: tuple[str, ...]

    def source(self) -> torch.Generator:
        """Return the random numbers of the moves."""
        return generator(self.seed, self.key, 1)


def make_plan(classifier: Classifier, wish: Wish, image: ImageLike, settings: Settings, seed: int) -> DreamPlan:
    """Return the plan; the classifier must be borrowed.

    Raises:
        InputError: an image, size, channel or class that cannot be used.
        NameLookupError: no such layer.
        UnsupportedModelError: neither grey nor colour, or no layer is a map of the image and none was named.
    """
    if classifier.channels not in {1, 3}:
        raise UnsupportedModelError(
            f"Only networks for grey or colour images can dream, but {classifier.name!r} wants {classifier.channels} "
            "channels. Explain it instead."
        )
    pixels, origin, notes = _given(classifier, image, settings.size, classes=wish.target is not None)
    size = result_size(settings.size, classifier.input_size or _SIZE) if pixels is None else _size_of(pixels)
    octaves = settings.octaves
    settings = settings.filled(
        image=pixels is not None, classes=wish.target is not None, colour=classifier.channels == 3, size=size
    )
    notes += pixel_doubts(pixels) if pixels is not None else []
    goal, chosen = _goal(classifier, wish, size)
    dtype = torch.float64 if classifier.dtype == torch.float64 else torch.float32
    start = _noise(classifier, size, settings, seed) if pixels is None else pixels
    start = start.to(device=classifier.device, dtype=dtype)
    key = _NOISE_KEY if pixels is None else image_key(start[0])
    sizes = octave_sizes(size, settings.octaves or 1, settings.octave_scale)
    views, seen, remarks = _views(classifier, goal, sizes, settings.tile or max(size), start)
    notes = [*notes, *chosen, *remarks]
    if octaves is not None and len(views) < octaves:
        notes.append(
            Message(
                "{count} octave(s) and not {wanted}: smaller ones are too small for the model",
                **{"count": len(views), "wanted": octaves},
            )
        )
    eye = Eye(goal, seen, settings.tile or max(size))
    return DreamPlan(classifier, goal, start, origin, tuple(views), eye, settings, seed, key, tuple(notes))


def _given(
    classifier: Classifier, image: ImageLike, size: Any, *, classes: bool
) -> tuple[Tensor | None, str, list[str]]:
    """Return the image to start from (1, C, H, W), its name and what was done to it; None for noise."""
    if image is None:
        return None, "noise", []
    decoded, _ = decode_images(all_images(image))
    if len(decoded) != 1:
        raise ShapeError(f"Expected one image to start from, but got {len(decoded)}. Give them one by one.")
    start = to_channels(decoded[0], classifier.channels)
    if classes and size is None:
        return _as_seen(classifier, start)
    pixels = start.pixels[None].detach().float().clone()
    return resize(pixels, result_size(size, start.size)).clamp(0, 1), start.name, [*start.notes]


def _as_seen(classifier: Classifier, image: InputImage) -> tuple[Tensor, str, list[str]]:
    """Return what the classifier sees of an image."""
    batch = classifier.prepare([image])
    notes, share = [*image.notes], batch.geometries[0].share_seen
    if share < 0.999:
        template = "a class is dreamt into what the model sees: the middle of the image ({share:.0%} of its area)"
        notes.append(Message(template, share=share))
    return batch.inputs.float().clone(), image.name, notes


def _goal(classifier: Classifier, wish: Wish, size: Size) -> tuple[Goal, list[str]]:
    if wish.target is not None:
        classifier.count_classes(torch.full((1, classifier.channels, *size), 0.5))
        return ClassGoal(classifier, classifier.find_target(wish.target)), []
    channel = None if wish.channel is None else index(wish.channel)
    if wish.layer is not None:
        return LayerGoal(classifier, check_layer(classifier, wish.layer), channel), []
    name = choose_layer(classifier, classifier.input_size or size)
    return LayerGoal(classifier, name, channel), [
        Message("no layer was named: {layer} was chosen, a late block with a fine map", layer=name)
    ]


def _noise(classifier: Classifier, size: Size, settings: Settings, seed: int) -> Tensor:
    """Return weak noise (1, C, H, W) around the mean of the images that the classifier knows."""
    noise = torch.randn(1, classifier.channels, *size, generator=generator(seed, _NOISE_KEY))
    noise = pink(noise) if settings.fourier else noise
    noise = unit(mix_colours(noise)) if settings.decorrelated else noise
    middle = classifier.mean if any(classifier.mean) else (0.5,) * classifier.channels
    return (torch.tensor(middle).view(1, -1, 1, 1) + _NOISE * noise).clamp(0, 1)


def _views(
    classifier: Classifier, goal: Goal, sizes: list[Size], tile: int, like: Tensor
) -> tuple[list[Size], Size | None, list[str]]:
    """Return the octaves, the one size at which the network is shown them (None: their own), and what to say of it.

    A class needs the image as a whole, and networks with a fixed size anything that they take; others look at
    layers in each octave as it is, which keeps the grain of the pattern the same at all scales.
    """
    if isinstance(goal, ClassGoal):
        return sizes, classifier.input_size or sizes[-1], []
    shown = [(min(height, tile), min(width, tile)) for height, width in sizes]
    fixed = classifier.input_size
    if fixed is None:
        shown.pop()  # what it refuses there is an error for the caller to see
    fit = [goal.takes(size, classifier.channels, like) for size in shown] + [True] * (fixed is None)
    if fixed is not None and (not fit[-1] or (sizes[-1] == fixed and len(fit) > 1 and not any(fit[:-1]))):
        template = "the model takes one size only: it is shown every octave at {height} x {width}"
        return sizes, fixed, [Message(template, height=fixed[0], width=fixed[1])]
    return [size for size, fits in zip(sizes, fit, strict=True) if fits], None, []


def _size_of(pixels: Tensor) -> Size:
    return int(pixels.shape[2]), int(pixels.shape[3])
