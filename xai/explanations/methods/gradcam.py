"""Grad-CAM."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai.explanations.methods._cam import CamExplainer
from xai.explanations.methods.base import EXPLAINERS


@EXPLAINERS.register("gradcam")
@dataclass(frozen=True)
class GradCAM(CamExplainer):
    """Weights each channel of a layer by the mean gradient of the class logit, adds up, and keeps what is positive.

    map(i, j) = ReLU(sum_k w_k A_k(i, j)) with w_k = mean over places of d logit / d A_k, brought to the input's size by
    bilinear interpolation (align_corners=False). The graph is cut at the layer: the gradient runs through the head
    alone. For global average pooling followed by one linear layer the map before the ReLU adds up to logit - bias.

    Misleads when the mean gradient hides that a channel counts in one place only (see HiResCAM), and on small maps,
    whose places are large in the image.

    Args:
        layer: name of the layer; None takes the last one that is a map of the image and says which.
        relu: False keeps the evidence against the class as negative values.

    Cost: one forward, and one backward through what follows the layer.
    Source: Selvaraju et al. 2017, eq. 1 and 2 (arXiv 1610.02391). Differs: nothing is rescaled to [0, 1]; transformers
    are read as maps of tokens.
    """

    name: ClassVar[str] = "gradcam"
    title: ClassVar[str] = "Grad-CAM"

    def _combine(self, maps: Tensor, slopes: Tensor) -> Tensor:
        return torch.einsum("nkij,nk->nij", maps, slopes.mean((2, 3)))
