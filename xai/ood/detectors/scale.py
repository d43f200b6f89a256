"""SCALE."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xai.ood.detectors.base import DETECTORS, Shaped, State, stretch


@DETECTORS.register("scale")
@dataclass(frozen=True)
class Scale(Shaped):
    """All activations of an image are multiplied by exp(sum of all / sum of the largest) before the score is taken.

    For activations behind a ReLU.

    Args:
        score: of the logits: "energy", "msp", "maxlogit" or "gen".
        percentile: of an image's activations that do not count as the largest; OpenOOD takes 85, pytorch-ood 65.

    Source: Xu et al. 2024 (arXiv 2310.00227), on what the head reads.
    """

    name: ClassVar[str] = "scale"
    title: ClassVar[str] = "SCALE"

    percentile: float = 85.0

    def _shape(self, _state: State, features: Tensor) -> Tensor:
        largest = features.topk(self._kept_count(features.shape[1]), dim=1, sorted=False).values.sum(1)
        return features * stretch(features, largest)
