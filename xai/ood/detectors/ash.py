"""Activation shaping."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai.core.validation import check_choice
from xai.ood.detectors.base import DETECTORS, Shaped, State, stretch


@DETECTORS.register("ash")
@dataclass(frozen=True)
class ASH(Shaped):
    """Small activations of each image are set to 0 and the others strengthened before the score is taken.

    For activations behind a ReLU; at or below chance on transformers.

    Args:
        score: of the logits: "energy", "msp", "maxlogit" or "gen".
        percentile: of an image's activations that are set to 0; pytorch-ood takes 65, OpenOOD 90.
        variant: what is done to the others: "s" multiplies them by exp(sum of all / sum of those kept), "b" sets them
            to one value with the sum of all, "p" leaves them.

    Source: Djurisic et al. 2023 (arXiv 2209.09858). Differs: on what the head reads, as in OpenOOD; the authors' and
    pytorch-ood's work on the map before the pooling.
    """

    name: ClassVar[str] = "ash"
    title: ClassVar[str] = "Activation shaping"

    variant: str = "s"

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        check_choice("variant", self.variant, ("s", "b", "p"))

    def _shape(self, _state: State, features: Tensor) -> Tensor:
        values, places = features.topk(self._kept_count(features.shape[1]), dim=1, sorted=False)
        if self.variant == "b":
            values = (features.sum(1, keepdim=True) / values.shape[1]).expand_as(values)
        elif self.variant == "s":
            values = values * stretch(features, values.sum(1))
        return torch.zeros_like(features).scatter(1, places, values)
