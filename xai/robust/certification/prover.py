"""A network made ready once, for many questions about its margins."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xai.core.model.classifier import Classifier, as_classifier
from xai.core.model.hooks import borrowed
from xai.core.runtime.batching import Progress, ShouldStop, in_chunks
from xai.errors import NameLookupError
from xai.robust.certification._network import BoundNetwork, network_of
from xai.robust.certification.linear import METHODS, NORMS, Region, at_once, bounds, keep_memory, lower_bounds

ROUNDING = 1e-9  # of the largest logit: more than float64 may have rounded away


@dataclass(frozen=True, eq=False)
class Prover:
    """Answers questions about one network.

    Attributes:
        network: the layers of the classifier, in float64, on its device.
        clip: whether balls are cut to pixels in [0, 1].
    """

    network: BoundNetwork
    clip: bool = True

    @classmethod
    def of(cls, model: Classifier | nn.Module, images: Tensor, *, clip: bool = True) -> "Prover":
        """Read a classifier; `images` (N, C, h, w) in [0, 1] show the size of its input.

        Raises:
            UnsupportedModelError: a layer that bounds do not know.

        Cost: a copy of the weights in float64, one forward of at most three images.
        """
        classifier = as_classifier(model)
        classifier.count_classes(images)
        with borrowed(classifier.module), torch.inference_mode(False):
            return cls(network_of(classifier, images[:2].to(classifier.device)), clip)

    def margins(
        self,
        images: Tensor,
        labels: Tensor,
        eps: Tensor | float,
        norm: str = "linf",
        method: str = "crown",
        *,
        progress: Progress | None = None,
        should_stop: ShouldStop | None = None,
    ) -> Tensor:
        """Return certified lower bounds of true minus other logit over a ball.

        Args:
            images: (n, C, h, w) in [0, 1], the centres.
            labels: (n,) the true classes.
            eps: radius in the scale of pixels in [0, 1], one or (n,).
            norm: "linf", "l2" or "l1".
            method: "ibp", "crown_ibp" or "crown".
            progress: called with (done, total) images.
            should_stop: asked between chunks, and inside those of "crown".

        Returns:
            (n, K) float64 on the network's device, NaN at the true class; as computed, see `verify` for the verdict.

        Raises:
            NameLookupError: no such norm or method.
            Stopped: `should_stop()` was true.

        Cost: "ibp" two forwards per image, "crown_ibp" one backward per class more, "crown" one backward for each
            inner number whose sign is not known, over the part of the image that it sees.
        """
        for value, known, kind in ((norm, NORMS, "norm"), (method, METHODS, "method of bounds")):
            if value not in known:
                raise NameLookupError(kind, value, known)
        device, count = self.network.device, self.network.classes
        images, labels = images.to(device).double(), labels.to(device)
        radius = torch.as_tensor(eps, dtype=torch.float64, device=device).expand(len(images))
        spec = specification(labels, count)
        others = ~F.one_hot(labels, count).bool()

        def bound(start: int, stop: int) -> tuple[Tensor, ...]:
            region = Region.around(images[start:stop], radius[start:stop], norm, clip=self.clip)
            below = lower_bounds(self.network, region, method, spec[start:stop], should_stop=should_stop)
            return (below.new_full((stop - start, count), torch.nan).masked_scatter(others[start:stop], below),)

        return self._chunked(bound, len(images), progress, should_stop)[0]

    def verify(
        self, images: Tensor, labels: Tensor, eps: Tensor | float, norm: str = "linf", method: str = "crown"
    ) -> tuple[Tensor, Tensor]:
        """Return which images are verified (n,) bool, and their margins (n, K); see `margins` for the arguments."""
        margins = self.margins(images, labels, eps, norm, method)
        return self.verified(images, margins, eps), margins

    def verified(self, images: Tensor, margins: Tensor, eps: Tensor | float = 1.0) -> Tensor:
        """Return which margins (n, K) prove the answer, rounding allowed for."""
        return margins.nan_to_num(torch.inf).amin(1) > self.rounding(images, eps)

    def rounding(self, images: Tensor, eps: Tensor | float) -> Tensor:
        """Return what a margin has to exceed (n,): 1e-9 of the largest logit and one more, and the bound of rounding.

        The bound is Higham's in advance (unit of rounding x number of terms x sum of absolute terms).
        """
        device = self.network.device

        def logits(start: int, stop: int) -> tuple[Tensor]:
            return (self.network.logits(images[start:stop].to(device)).abs().amax(1),)

        (scale,) = self._chunked(logits, len(images), None, None)
        with torch.inference_mode(False), torch.no_grad():
            reach = 1.0 if self.clip else 1.0 + float(torch.as_tensor(eps).max() if len(images) else 0.0)
            return ROUNDING * (1 + scale) + self.network.rounding(reach)

    def ranges(
        self,
        low: Tensor,
        high: Tensor,
        method: str = "crown",
        *,
        progress: Progress | None = None,
        should_stop: ShouldStop | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return bounds (n, K) of the logits of all images between two (n, C, h, w).

        Raises:
            NameLookupError: no such method.
        """
        low, high = (end.to(self.network.device).double() for end in (low, high))

        def bound(start: int, stop: int) -> tuple[Tensor, ...]:
            return bounds(self.network, Region(low[start:stop], high[start:stop]), method, should_stop=should_stop)

        below, above = self._chunked(bound, len(low), progress, should_stop)
        return below, above

    def _chunked(
        self,
        work: Callable[[int, int], tuple[Tensor, ...]],
        count: int,
        progress: Progress | None,
        should_stop: ShouldStop | None,
    ) -> list[Tensor]:
        """Return what `work` finds, put together, as many images at a time as memory holds."""
        blocks: list[tuple[Tensor, ...]] = []
        with torch.inference_mode(False), torch.no_grad():
            if count == 0:
                blocks.append(work(0, 0))
            keep_memory(self.network.device)
            in_chunks(
                lambda start, stop: blocks.append(work(start, stop)),
                count,
                limit=at_once(self.network),
                progress=progress,
                should_stop=should_stop,
            )
            return [torch.cat(parts) for parts in zip(*blocks, strict=True)]


def specification(labels: Tensor, count: int) -> Tensor:
    """Return (n, K - 1, K): true minus other logit, other classes ascending."""
    every = torch.eye(count, dtype=torch.float64, device=labels.device)
    others = torch.arange(count, device=labels.device).expand(len(labels), -1)
    others = others[others != labels[:, None]].view(len(labels), count - 1)
    return every[labels][:, None] - every[others]
