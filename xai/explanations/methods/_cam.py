"""Shared parts of the CAM methods. Here are the choice of a layer with spatial layout, and the graph cut there."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from xai.core.layers.layouts import plain
from xai.core.layers.outputs import LayerChoice
from xai.core.layers.selection import find_layer
from xai.core.model.hooks import Cut, gradient, hooked
from xai.core.runtime.batching import tensors_in
from xai.explanations.methods.base import Cost, Explainer, MethodInput, MethodOutput


@dataclass(frozen=True)
class Look:
    """A layer's answer to a chunk of images.

    Attributes:
        choice: the layer.
        maps: (n, K, h', w') activations.
        slopes: (n, K, h', w') gradients of each image's class logit.
        targets: (n,) classes.
        logits: (n, classes).
    """

    choice: LayerChoice
    maps: Tensor
    slopes: Tensor
    targets: Tensor
    logits: Tensor


def look(work: MethodInput, layer: str | None) -> Look:
    """Run a chunk once with the graph cut at a layer.

    Cost: one forward, and one backward through what follows the layer.
    """
    choice = find_layer(work.classifier, work.inputs, layer)
    cut = Cut(work.classifier.module.get_submodule(choice.name), choice.name, choice.tensor)
    logits = cut.forward(lambda: work.classifier.raw_logits(work.images))
    targets, to_maps = work.targets(logits), choice.layout.to_maps
    lines = work.spread(logits)
    scores = work.score(lines, targets)
    what = f"the layer {choice.name!r}"
    if work.shared:  # one forward, the head backwards once per class
        slopes = torch.cat([gradient(score, cut.activation, what, keep=True) for score in scores])
    else:
        slopes = gradient(scores.sum(), cut.activation, what)
    maps = work.spread(to_maps(cut.activation.detach()))
    return Look(choice, maps, to_maps(slopes), targets, lines.detach())


def layer_maps(work: MethodInput, choice: LayerChoice) -> tuple[Tensor, Tensor]:
    """Return a layer's maps (u, K, h', w') and the logits of each image (`work.images`), without gradients."""
    outputs: list[Tensor] = []

    def keep(_module: object, _inputs: object, output: object) -> None:
        outputs.append(plain(tensors_in(output)[choice.tensor]).clone())  # an in-place ReLU may follow

    with torch.no_grad(), hooked(work.classifier.module.get_submodule(choice.name), keep):
        logits = work.classifier.raw_logits(work.images)
    return choice.layout.to_maps(outputs[0]), logits


def enlarge(coarse: Tensor, size: torch.Size) -> Tensor:
    """Return maps (n, h', w') as (n, 1, h, w), bilinear with align_corners=False."""
    return F.interpolate(coarse[:, None], size, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class CamExplainer(Explainer):
    """A map made of a layer's activations and gradients.

    Args:
        layer: name of the layer; None takes the last one that is a map of the image and says which.
        relu: False keeps the evidence against the class as negative values.
    """

    family: ClassVar[str] = "cam"
    unit: ClassVar[str] = "share of the class logit per place"
    needs: ClassVar[tuple[str, ...]] = ("gradients", "maps")

    layer: str | None = None
    relu: bool = True

    @property
    def cost(self) -> Cost:
        """One row forward; backward through the head only."""
        return Cost(forward=1, backward=1, share="backward: only what follows the layer")

    @abstractmethod
    def _combine(self, maps: Tensor, slopes: Tensor) -> Tensor:
        """Return the map (n, h', w') before the ReLU."""

    def _attribute(self, work: MethodInput) -> MethodOutput:
        seen = look(work, self.layer)
        coarse = self._combine(seen.maps, seen.slopes)
        full = enlarge(coarse.clamp_min(0) if self.relu else coarse, work.inputs.shape[2:])
        return MethodOutput(full, seen.targets, seen.logits, coarse, seen.choice.name, seen.choice.notes)
