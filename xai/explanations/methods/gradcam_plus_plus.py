"""Grad-CAM++."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai.explanations.methods._cam import CamExplainer
from xai.explanations.methods.base import EXPLAINERS


@EXPLAINERS.register("gradcam++")
@dataclass(frozen=True)
class GradCAMPlusPlus(CamExplainer):
    """Weights each channel by its positive gradients, those of small regions as much as those of large ones.

    map = ReLU(sum_k w_k A_k), w_k = sum over places of a_k ReLU(g_k), a_k = g_k^2 / (2 g_k^2 + g_k^3 sum of A_k), and 0
    where g_k is 0. Meant for images that show a class several times.

    Misleads: its derivation takes the score to be the exponential of the logit; with the logit itself the weights are
    a heuristic.

    Args:
        layer: name of the layer; None takes the last one that is a map of the image and says which.
        relu: False keeps negative values.

    Cost: one forward, and one backward through what follows the layer.
    Source: Chattopadhay et al. 2018, eq. 5 and 19 (arXiv 1710.11063). Differs: the factor exp(logit), which is the same
    for the whole image, is left out.
    """

    name: ClassVar[str] = "gradcam++"
    title: ClassVar[str] = "Grad-CAM++"
    unit: ClassVar[str] = "activation times share of the class logit"

    def _combine(self, maps: Tensor, slopes: Tensor) -> Tensor:
        squares = slopes.square()
        below = 2 * squares + squares * slopes * maps.sum((2, 3), keepdim=True)
        shares = torch.where(below != 0, squares / torch.where(below != 0, below, 1), 0)
        return torch.einsum("nkij,nk->nij", maps, (shares * slopes.clamp_min(0)).sum((2, 3)))
