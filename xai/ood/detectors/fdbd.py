"""Distance to decision boundaries."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai.core.validation import check_choice
from xai.ood.detectors.base import DETECTORS, Detector, Learned, Parts, State
from xai.ood.detectors.reference import FeatureRows, Reference

_TINY = 1e-12
_LEAST = 1e-4  # of the mean's norm: nearer to the mean than this, features do not vary


@DETECTORS.register("fdbd")
@dataclass(frozen=True)
class FDBD(Detector):
    """Minus the mean distance of the features to the boundaries with other classes, over their distance to the mean.

    Args:
        divisor: "mean" (distance to the mean of the fit images, as in the paper) or "norm" of the features.

    Source: Liu and Qin 2024 (arXiv 2312.11536), eq. (7). OpenOOD sums where the paper and we take the mean.
    """

    name: ClassVar[str] = "fdbd"
    title: ClassVar[str] = "Distance to boundaries"
    family: ClassVar[str] = "distance"
    needs: ClassVar[tuple[str, ...]] = ("features", "head")
    reads: ClassVar[frozenset[str]] = frozenset({"mean"})
    unit: ClassVar[str] = "-distance ratio"

    divisor: str = "mean"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_choice("divisor", self.divisor, ("mean", "norm"))

    def _fit(self, reference: Reference) -> Learned:
        head, mean = reference.view.head, reference.mean
        assert head is not None
        assert mean is not None
        return Learned({"between": between(head.weight.to(mean)), "mean": mean})

    def _parts(self, state: State, rows: FeatureRows) -> Parts:
        assert rows.features is not None
        best, place = rows.logits.max(1)
        others = (best[:, None] - rows.logits) / state["between"][place]
        mean_distance = others.sum(1) / max(1, rows.logits.shape[1] - 1)
        away = rows.features - state["mean"].to(rows.features) if self.divisor == "mean" else rows.features
        least = (_LEAST * state["mean"].norm()).clamp_min(_TINY).double()
        return {"boundaries": -mean_distance / away.norm(dim=1).double().maximum(least)}


def between(weight: Tensor) -> Tensor:
    """Return the distances (K, K) of the rows of a weight (K, D), from its Gram matrix; never 0."""
    gram = weight @ weight.T
    sizes = gram.diagonal()
    square = sizes[:, None] + sizes - 2 * gram
    least = 1e-14 * (sizes[:, None] + sizes)  # below this the difference is rounding
    square = torch.where(square <= least, torch.ones_like(square), square)
    return square.sqrt()
