"""Whether a model answers alike for all images, or gives their pixels no gradient: near the data, not on noise."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xai.core.hooks import gradients
from xai.errors import UnsupportedModelError

BLOCKED = "no gradient reaches the pixels: use occlusion, lime, kernelshap or rise"
_PROBES = "probe images, none of them from your data"
_NO_PROOF = "which is no proof: the first images that are given are looked at, too"


@dataclass(frozen=True)
class Flatness:
    """What a model does on some images.

    Attributes:
        count: number of images.
        same: all of them get the same answer.
        blocked: why no gradient can come back to the pixels, whatever the image: the forward cuts the graph, or
            checkpoints its activations; "" where one can.
        zero: every gradient towards the pixels is 0.
    """

    count: int
    same: bool
    blocked: str
    zero: bool

    @property
    def found(self) -> bool:
        """Whether another look at other images may find otherwise."""
        return (self.same and self.count > 1) or (self.zero and not self.blocked)

    def notes(self, *, probes: bool) -> list[str]:
        """Return what is to be said; `probes` when the images are none of the user's own."""
        if probes:
            return [*([self.blocked] if self.blocked else []), *self._of_probes()]
        same = f"the model gives {self.count} of the given images the same answer: are its weights loaded?"
        zero = f"no gradient reaches the pixels of {self.count} given images: use occlusion, lime, kernelshap or rise"
        flat = [zero] if self.zero and not self.blocked else []
        return [*([self.blocked] if self.blocked else []), *([same] if self.same and self.count > 1 else []), *flat]

    def _of_probes(self) -> list[str]:
        same = f"the model gives {self.count} {_PROBES}, the same answer, {_NO_PROOF}"
        zero = f"no gradient reaches the pixels of {self.count} {_PROBES}, {_NO_PROOF}"
        return [*([same] if self.same else []), *([zero] if self.zero and not self.blocked else [])]


def flatness(run: Callable[[Tensor], Tensor], images: Tensor) -> Flatness:
    """Return what a model does on some images.

    Args:
        run: scores (N, K) of images (N, C, H, W), with gradients; the module borrowed.
        images: different ones, as near the data as possible.

    Cost: a forward and a backward of the images.
    """
    with torch.inference_mode(False), torch.enable_grad():
        pixels = images.detach().clone().requires_grad_()
        scores = run(pixels)
        try:
            slope, blocked = _slope(scores, pixels), BLOCKED
        except UnsupportedModelError as error:
            slope, blocked = None, str(error)
    values = scores.detach()
    same = bool((values == values[:1]).all())
    return Flatness(len(images), same, blocked if slope is None else "", slope is not None and not bool(slope.any()))


def _slope(scores: Tensor, pixels: Tensor) -> Tensor | None:
    weights = torch.rand(scores.shape, generator=torch.Generator().manual_seed(1)).to(scores)
    return gradients((scores * weights).sum(), [pixels])[0]
