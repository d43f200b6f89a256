"""Score-CAM."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai.core.layers.selection import find_layer
from xai.core.results.message import Message
from xai.engine.prepare import SAMPLE, Prepared, in_low_precision, prepare
from xai.explanations.methods._cam import enlarge, layer_maps
from xai.explanations.methods.base import EXPLAINERS, Cost, Explainer, MethodInput, MethodOutput


@EXPLAINERS.register("scorecam")
@dataclass(frozen=True)
class ScoreCAM(Explainer):
    """Weights each channel of a layer by the class score of the image seen through that channel; needs no gradient.

    Each channel, enlarged and scaled to [0, 1], masks the image (the rest is the classifier's mean colour); the
    logits of the masked images, through a softmax over the channels, are the weights: map = ReLU(sum_k w_k A_k).

    Misleads where the masks themselves look like something: a masked image is none that the model was trained on.

    Args:
        layer: name of the layer; None takes the last one that is a map of the image and says which.
        relu: False keeps negative values.
        fast: low precision when it passes a check against full precision on these images.

    Cost: one forward per channel of the layer (hundreds to thousands) of a prepared copy of the model.
    Source: Wang et al. 2020, algorithm 1 (arXiv 1910.01279). Differs: the score of the blank image, which the softmax
    cancels, is left out; constant channels mask everything and get no weight; where the layer stands before its ReLU,
    negative activations count as 0 (their sum would drown the map, and the ReLU of the map leave nothing of it).
    """

    name: ClassVar[str] = "scorecam"
    title: ClassVar[str] = "Score-CAM"
    family: ClassVar[str] = "cam"
    unit: ClassVar[str] = "activation, weighted by class score"
    needs: ClassVar[tuple[str, ...]] = ("maps",)
    one_by_one: ClassVar[bool] = True

    layer: str | None = None
    relu: bool = True
    fast: bool = False

    @property
    def cost(self) -> Cost:
        """One row per channel; 1,000 stands for the channels of a common network."""
        return Cost(forward=1000, backward=0, share="forward: once per channel of the layer")

    def _attribute(self, work: MethodInput) -> MethodOutput:
        choice = find_layer(work.classifier, work.inputs, self.layer)
        layer_outputs, logits = layer_maps(work, choice)
        signed, targets = layer_outputs[0], work.targets(logits)
        maps = signed.clamp_min(0)
        masked = _Masked(work, maps, targets)
        prepared = prepare(work.classifier, work.images)
        prepared, note = in_low_precision(prepared, masked.trial) if self.fast else (prepared, "")
        scores = masked.scores(prepared)
        coarse = torch.einsum("kij,kn->nij", maps, scores.to(maps.dtype))
        full = enlarge(coarse.clamp_min(0) if self.relu else coarse, work.inputs.shape[2:])
        notes = [*choice.notes, *([note] if note else [])]
        if bool((signed < 0).any()):
            template = "negative activations of {layer!r} count as 0, as they do behind a ReLU"
            notes.append(Message(template, layer=choice.name))
        return MethodOutput(full, targets, work.spread(logits), coarse, choice.name, notes)


class _Masked:
    """The image seen through each channel of a layer, as a mask from 0 to 1."""

    def __init__(self, work: MethodInput, maps: Tensor, targets: Tensor) -> None:
        self.work, self.maps, self.targets = work, maps, targets
        self.alive = (maps.amax((1, 2)) > maps.amin((1, 2))).nonzero()[:, 0]

    def scores(self, prepared: Prepared) -> Tensor:
        """Return the weight of each channel for each row's class (K, n); constant channels get 0."""
        scores = torch.full((len(self.maps), len(self.targets)), -torch.inf, device=self.maps.device)

        def run(start: int, stop: int) -> None:
            channels = self.alive[start:stop]
            scores[channels] = self._ask(prepared, channels).to(scores.dtype)

        sample = self.work.images.expand(min(64, len(self.alive) or 1), -1, -1, -1)
        self.work.run_rows(run, len(self.alive), prepared.row_limit(sample, most=32))
        return scores.softmax(0) if len(self.alive) else torch.zeros_like(scores)

    def trial(self, prepared: Prepared) -> Tensor:
        """Return the falls of the score for some channels, spread over all of them."""
        places = torch.linspace(0, len(self.alive) - 1, min(SAMPLE, len(self.alive))).round().long()
        clean = self.work.scores(prepared.logits(self.work.images), self.targets)
        return clean - self._ask(prepared, self.alive[places.to(self.alive.device)])

    def _ask(self, prepared: Prepared, channels: Tensor) -> Tensor:
        image = self.work.images
        fill = image.new_tensor(prepared.classifier.mean).view(1, -1, 1, 1)
        mask = enlarge(self.maps[channels], image.shape[2:])
        least, most = mask.amin((2, 3), keepdim=True), mask.amax((2, 3), keepdim=True)
        mask = (mask - least) / (most - least).clamp_min(1e-12)
        return self.work.scores(prepared.logits(fill + mask * (image - fill)), self.targets)
