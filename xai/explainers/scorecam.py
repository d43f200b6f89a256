"""Score-CAM."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from xai.core.layers import find_layer
from xai.core.rows import in_chunks, row_limit
from xai.engine import Prepared, prepare
from xai.explainers._base import EXPLAINERS, Cost, Explainer, Part, Work
from xai.explainers._cam import enlarge, layer_output


@EXPLAINERS.register("scorecam")
@dataclass(frozen=True)
class ScoreCAM(Explainer):
    """Weights each channel of a layer by the class score of the picture seen through that channel; needs no gradient.

    Each channel, enlarged and scaled to [0, 1], masks the picture (the rest is the classifier's mean colour); the
    logits of the masked pictures, through a softmax over the channels, are the weights: map = ReLU(sum_k w_k A_k).

    Misleads where the masks themselves look like something: a masked picture is none that the model was trained on.

    Args:
        layer: name of the layer; None takes the last one that is a map of the picture and says which.
        relu: False keeps negative values.
        fast: low precision when it passes a check against full precision on these pictures.

    Cost: one forward per channel of the layer (hundreds to thousands) of a prepared copy of the model.
    Source: Wang et al. 2020, algorithm 1 (arXiv 1910.01279). Differs: the score of the blank picture, which the softmax
    cancels, is left out; constant channels mask everything and get no weight.
    """

    name: ClassVar[str] = "scorecam"
    title: ClassVar[str] = "Score-CAM"
    family: ClassVar[str] = "cam"
    unit: ClassVar[str] = "activation, weighted by class score"
    needs: ClassVar[tuple[str, ...]] = ("maps",)

    layer: str | None = None
    relu: bool = True
    fast: bool = False

    @property
    def cost(self) -> Cost:
        """One row per channel; 1,000 stands for the channels of a common network."""
        return Cost(forward=1000, backward=0, share="forward: once per channel of the layer")

    def _attribute(self, work: Work) -> Part:
        choice = find_layer(work.classifier, work.inputs, self.layer)
        output, logits = layer_output(work, choice.name)
        maps, targets = choice.layout.to_maps(output), work.targets(logits)
        prepared = prepare(work.classifier, work.inputs, "bf16" if self.fast else "fp32")
        scores = _scores(prepared, work.inputs, maps, targets)
        coarse = torch.einsum("nkij,nk->nij", maps, scores.softmax(1).to(maps.dtype))
        full = enlarge(coarse.clamp_min(0) if self.relu else coarse, work.inputs.shape[2:])
        notes = [f"layer {choice.name!r}: {choice.reason}", *(prepared.notes if self.fast else ())]
        return Part(full, targets, logits, coarse, choice.name, notes)


def _scores(prepared: Prepared, inputs: Tensor, maps: Tensor, targets: Tensor) -> Tensor:
    """Return the class logit of each image masked by each channel (n, K); -inf for constant channels."""
    count, channels = maps.shape[:2]
    low, high = maps.amin((2, 3)), maps.amax((2, 3))
    fill = inputs.new_tensor(prepared.classifier.mean).view(1, -1, 1, 1)
    scores = torch.full((count * channels,), -torch.inf, device=inputs.device)
    alive = (high > low).flatten().nonzero()[:, 0]

    def work(start: int, stop: int) -> None:
        rows = alive[start:stop]
        image, channel = rows // channels, rows % channels
        mask = F.interpolate(maps[image, channel][:, None], inputs.shape[2:], mode="bilinear", align_corners=False)
        least, most = mask.amin((2, 3), keepdim=True), mask.amax((2, 3), keepdim=True)
        mask = (mask - least) / (most - least).clamp_min(1e-12)
        masked = fill + mask * (inputs[image] - fill)
        scores[rows] = prepared.logits(masked).gather(1, targets[image, None])[:, 0].to(scores.dtype)

    sample = inputs[:1].expand(min(64, len(alive) or 1), -1, -1, -1)
    in_chunks(work, len(alive), limit=row_limit(prepared.classifier.module, sample, most=32))
    dead = torch.isneginf(scores).view(count, channels).all(1)
    return torch.where(dead[:, None], 0.0, scores.view(count, channels))
