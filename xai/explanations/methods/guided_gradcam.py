"""Guided Grad-CAM."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from xai.explanations.methods._cam import enlarge, look
from xai.explanations.methods._gradients import guided_slopes
from xai.explanations.methods.base import EXPLAINERS, Cost, Explainer, MethodInput, MethodOutput


@EXPLAINERS.register("guided_gradcam")
@dataclass(frozen=True)
class GuidedGradCAM(Explainer):
    """Multiplies guided backpropagation with the Grad-CAM map: the edges, where the class is.

    attribution = guided gradient * ReLU(sum_k w_k A_k), the map enlarged to the image (bilinear). For the two factors
    see guided_backprop and gradcam.

    Misleads as guided backpropagation does: the edges come from the image, only the rough place from the class.

    Args:
        layer: name of the layer for Grad-CAM; None takes the last one that is a map of the image and says which.

    Cost: two forwards, one backward, and one backward through what follows the layer.
    Source: Selvaraju et al. 2017, section 3.2 (arXiv 1610.02391). Differs from captum: bilinear instead of nearest.
    """

    name: ClassVar[str] = "guided_gradcam"
    title: ClassVar[str] = "Guided Grad-CAM"
    caution: ClassVar[str] = (
        "its fine detail comes from guided backprop, which ignores the weights; prefer gradcam or occlusion"
    )
    family: ClassVar[str] = "gradient"
    unit: ClassVar[str] = "guided gradient times share of the class logit"
    needs: ClassVar[tuple[str, ...]] = ("gradients", "maps")

    layer: str | None = None

    @property
    def cost(self) -> Cost:
        """One row forward and back for each factor."""
        return Cost(forward=2, backward=2, share="one backward: only what follows the layer")

    def _attribute(self, work: MethodInput) -> MethodOutput:
        seen = look(work, self.layer)
        coarse = torch.einsum("nkij,nk->nij", seen.maps, seen.slopes.mean((2, 3)))
        slopes, targets, logits, guided = guided_slopes(work)
        where = enlarge(coarse.clamp_min(0), work.inputs.shape[2:])
        notes: list[str] = [*seen.choice.notes, *guided]
        return MethodOutput(slopes * where, targets, logits, coarse, seen.choice.name, notes)
