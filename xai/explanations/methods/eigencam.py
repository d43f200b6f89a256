"""Eigen-CAM."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai.core.layers.selection import find_layer
from xai.core.results.message import Message
from xai.explanations.methods._cam import enlarge, layer_maps
from xai.explanations.methods.base import EXPLAINERS, Cost, Explainer, MethodInput, MethodOutput


@EXPLAINERS.register("eigencam")
@dataclass(frozen=True)
class EigenCAM(Explainer):
    """Shows where the strongest pattern of a layer is, whatever the class.

    map = A v with v the first right singular vector of the activations A (places x channels), its sign chosen so that
    the map adds up to a positive number.

    Misleads when taken for an explanation of a class: it is the same for every class, and shows what is salient.

    Args:
        layer: name of the layer; None takes the last one that is a map of the image and says which.
        relu: False keeps negative values.

    Cost: one forward, no gradient, and an eigenvalue problem of the smaller side of A.
    Source: Muhammad and Yeasin 2020, eq. 3 (arXiv 2008.00299). Differs: the sign, which the paper leaves open.
    """

    name: ClassVar[str] = "eigencam"
    title: ClassVar[str] = "Eigen-CAM"
    caution: ClassVar[str] = "it is the same for every class: it shows what is salient, not why this class"
    family: ClassVar[str] = "cam"
    unit: ClassVar[str] = "activation along the strongest pattern"
    needs: ClassVar[tuple[str, ...]] = ("maps",)

    layer: str | None = None
    relu: bool = True

    @property
    def cost(self) -> Cost:
        """One row forward."""
        return Cost(forward=1, backward=0)

    def _attribute(self, work: MethodInput) -> MethodOutput:
        choice = find_layer(work.classifier, work.inputs, self.layer)
        maps, logits = layer_maps(work, choice)
        coarse = work.spread(strongest_pattern(maps))
        full = enlarge(coarse.clamp_min(0) if self.relu else coarse, work.inputs.shape[2:])
        notes = [
            *choice.notes,
            Message("eigencam shows what is salient; it is the same for every class"),
        ]
        return MethodOutput(full, work.targets(logits), work.spread(logits), coarse, choice.name, notes)


def strongest_pattern(maps: Tensor) -> Tensor:
    """Return A v (n, h, w) of maps (n, K, h, w), v the first right singular vector, in float64 inside."""
    places = maps.double().flatten(2).transpose(1, 2)  # (n, h w, K)
    _, _, right = torch.linalg.svd(places, full_matrices=False)
    projection = (places @ right[:, 0, :, None])[..., 0]
    signs = torch.where(projection.sum(1, keepdim=True) < 0, -1.0, 1.0)
    signed: Tensor = (projection * signs).unflatten(1, maps.shape[2:])
    return signed.to(maps.dtype)
