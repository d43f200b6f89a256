"""Grad-CAM."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional as F

from xai.core.hooks import Cut, gradient
from xai.core.layers import find_layer
from xai.explainers._base import EXPLAINERS, Cost, Explainer, Part, Work


@EXPLAINERS.register("gradcam")
@dataclass(frozen=True)
class GradCAM(Explainer):
    """Weights each channel of a layer by the mean gradient of the class logit, adds up, and keeps what is positive.

    map(i, j) = ReLU(sum_k w_k A_k(i, j)) with w_k = mean over places of d logit / d A_k, brought to the input's size by
    bilinear interpolation (align_corners=False). The graph is cut at the layer: the gradient runs through the head
    alone. For global average pooling followed by one linear layer the map before the ReLU adds up to logit - bias.

    Misleads when the mean gradient hides that a channel counts in one place only (see HiResCAM), and on small maps,
    whose places are large in the picture.

    Args:
        layer: name of the layer; None takes the last one that is a map of the picture and says which.
        relu: False keeps what speaks against the class as negative values.

    Cost: one forward, and one backward through what follows the layer.
    Source: Selvaraju et al. 2017, eq. 1 and 2 (arXiv 1610.02391). Differs: nothing is rescaled to [0, 1]; transformers
    are read as maps of tokens.
    """

    name: ClassVar[str] = "gradcam"
    title: ClassVar[str] = "Grad-CAM"
    family: ClassVar[str] = "cam"
    unit: ClassVar[str] = "share of the class logit per place"
    needs: ClassVar[tuple[str, ...]] = ("gradients", "maps")

    layer: str | None = None
    relu: bool = True

    @property
    def cost(self) -> Cost:
        """One row forward; backward through the head only."""
        return Cost(forward=1, backward=1, share="backward: only what follows the layer")

    def _attribute(self, work: Work) -> Part:
        choice = find_layer(work.classifier, work.inputs, self.layer)
        cut = Cut(work.classifier.module.get_submodule(choice.name), choice.name)
        logits = cut.forward(lambda: work.classifier.raw_logits(work.inputs))
        targets = work.targets(logits)
        score = logits.gather(1, targets[:, None]).sum()
        slopes = choice.layout.to_maps(gradient(score, cut.activation, f"the layer {choice.name!r}"))
        maps = choice.layout.to_maps(cut.activation.detach())
        coarse = torch.einsum("nkij,nk->nij", maps, slopes.mean((2, 3)))
        shown = coarse.clamp_min(0) if self.relu else coarse
        full = F.interpolate(shown[:, None], work.inputs.shape[2:], mode="bilinear", align_corners=False)
        return Part(full, targets, logits, coarse, choice.name, [f"layer {choice.name!r}: {choice.reason}"])
