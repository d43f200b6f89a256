"""How much of what a model answers passes through a layer: measured by exchanging its output between images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xai.core.containers import tensors_in, with_tensor
from xai.core.hooks import hooked
from xai.core.layouts import Layout
from xai.core.probe_images import probe_images
from xai.errors import NonFiniteError

_LOOKS = (2, 4, 6)  # a texture, disks, a photograph
_ROUNDING = 16  # units of rounding of the scores: a smaller change says nothing
_NEXT_TO_NONE = 1e-3
_MOST = 0.9  # below, the map leaves out what should be told
_OF_A_CLASS, _MUCH = 0.5, 0.02  # the same of one class; change of its score, as a share of the largest
_ALL = 0.99  # below, branches pass by a layer
_TOKENS = 0.1  # the same where there are class tokens: these carry on by themselves what they took from places before


@dataclass(frozen=True)
class Share:
    """The share of the class scores' change between images that passes through a layer.

    Attributes:
        value: from 0 to 1; None where scores are the same for all images, so that nothing can be measured.
        tokens: whether the layer has class or register tokens beside its places.
        least: the class of which least passes, of those whose score changes much, and how much of it passes.
        most: the share of the class of which most passes.
    """

    value: float | None = None
    tokens: bool = False
    least: tuple[int, float] | None = None
    most: float | None = None

    @property
    def next_to_none(self) -> bool:
        """Whether no class's score depends on it."""
        return self.most is not None and self.most < _NEXT_TO_NONE

    @property
    def enough(self) -> bool:
        """Whether nothing is to be said of it."""
        most = self.value is None or self.value >= (_TOKENS if self.tokens else _MOST)
        return most and (self.tokens or self.least is None or self.least[1] >= _OF_A_CLASS)

    @property
    def ordinary(self) -> bool:
        """Whether it is that of a layer that no branch passes by."""
        return self.value is None or self.value >= (_TOKENS if self.tokens else _ALL)

    @property
    def whole(self) -> bool:
        """Whether all passes through, class tokens or not."""
        return self.value is not None and self.value >= _ALL

    def describe(self) -> str:
        """Say it in words."""
        if self.value is not None and self.value >= _MOST and self.least is not None:
            number, share = self.least
            return (
                f"only {100 * share:.2g}% of the change of the score of class {number} between images passes through it"
            )
        return f"only {100 * (self.value or 0):.2g}% of the change of the class scores between images passes through it"


UNMEASURED = Share()


def spread_images(channels: int, size: tuple[int, int], image: Tensor | None) -> Tensor:
    """Return three images (3, C, H, W) to exchange outputs between, made of `image` (1, C, H, W) where it is given."""
    if image is None:
        return probe_images(channels, size)[list(_LOOKS)]
    return torch.cat([image, 1 - image, image.flip(2, 3)])


def share_through(
    answer: Callable[[Tensor], Tensor], layer: nn.Module, tensor: int, layout: Layout, images: Tensor
) -> Share:
    """Return how much of the change of the answer between images passes through the places of a layer.

    Each image runs again with the places of the next image at the layer. With f the answer to an image, f' that to the
    next and g that with the next one's places, the share is |g - f| / (|g - f| + |f' - g|) over all images and
    scores: 1 where the answer depends on the places alone, 0 where it does not depend on them.

    Args:
        answer: scores (1, K) of an image (1, C, H, W), without gradients.
        layer: whose output is exchanged.
        tensor: which of the tensors in it, see `containers.tensors_in`.
        layout: where the places are in it; class and register tokens are left as they are.
        images: (N, C, H, W).

    Cost: two forwards of each image.
    """
    try:
        plain, held, precision = _heard(answer, layer, tensor, images)
        mixed = torch.cat([_exchanged(answer, layer, tensor, layout, *pair) for pair in _pairs(images, held)])
    except NonFiniteError:
        return UNMEASURED
    after = plain.roll(-1, 0)
    floor = _ROUNDING * precision * float(plain.abs().max())
    return _share((mixed - plain).norm(dim=0), (after - mixed).norm(dim=0), floor, tokens=bool(layout.extra))


def _share(here: Tensor, beside: Tensor, floor: float, *, tokens: bool) -> Share:
    """Return the share of what changes through a layer (K,) in that and what changes beside it (K,)."""
    whole, through = float(here.norm() + beside.norm()), float(here.norm())
    if whole <= floor:
        return Share(None, tokens)
    each = here / (here + beside).clamp_min(floor or 1e-30)
    counts = here + beside >= _MUCH * float((here + beside).max())
    number = int(torch.where(counts, each, torch.inf).argmin())
    return Share(through / whole, tokens, (number, float(each[number])), float(each[counts].max()))


def _heard(
    answer: Callable[[Tensor], Tensor], layer: nn.Module, tensor: int, images: Tensor
) -> tuple[Tensor, list[Tensor], float]:
    """Return the answers (N, K), what the layer returned for each image, and the unit of rounding of the answers."""
    held: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        held.append(tensors_in(output)[tensor].clone())

    with hooked(layer, keep):
        answers = [answer(image[None].clone()) for image in images]
    return torch.cat(answers).double(), held, torch.finfo(answers[0].dtype).eps


def _pairs(images: Tensor, held: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Return each image with what the layer returned for the next one."""
    return list(zip(images, [*held[1:], *held[:1]], strict=True))


def _exchanged(
    answer: Callable[[Tensor], Tensor],
    layer: nn.Module,
    tensor: int,
    layout: Layout,
    image: Tensor,
    other: Tensor,
) -> Tensor:
    """Return the answer (1, K) to an image with the places of another one at the layer."""

    def exchange(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        here = tensors_in(output)[tensor]
        return with_tensor(output, here, layout.exchanged(here, other))

    with hooked(layer, exchange):
        return answer(image[None].clone()).double()
