"""ReAct."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from xai.ood.detectors.base import DETECTORS, Learned, Shaped, State
from xai.ood.detectors.reference import Reference


@DETECTORS.register("react")
@dataclass(frozen=True)
class ReAct(Shaped):
    """Large activations are cut off at a percentile of in-distribution ones before the score is taken.

    Args:
        score: of the logits: "energy", "msp", "maxlogit" or "gen".
        percentile: of all activations of the fit images; 100 cuts nothing that they show.

    Source: Sun, Guo and Li 2021 (arXiv 2111.12797). Of many images the percentile is taken over four million values.
    """

    name: ClassVar[str] = "react"
    title: ClassVar[str] = "ReAct"
    reads: ClassVar[frozenset[str]] = frozenset({"activations"})

    def _fit(self, reference: Reference) -> Learned:
        activations = reference.activations
        assert activations is not None
        limit = float(np.percentile(activations.cpu().numpy(), self.percentile))
        return Learned({"limit": activations.new_tensor(limit)}, {"limit": limit, "activations": activations.numel()})

    def _shape(self, state: State, features: Tensor) -> Tensor:
        return features.minimum(state["limit"].to(features))
