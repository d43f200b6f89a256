"""DeepLIFT with the Rescale rule."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xai.explainers._base import EXPLAINERS, Cost, Explainer, Part, Work
from xai.explainers._fills import Fill
from xai.explainers._gradients import BASELINES, baseline_pictures, completeness, completeness_note, row_slopes
from xai.explainers._rescale import Rescale


@EXPLAINERS.register("deeplift")
@dataclass(frozen=True)
class DeepLIFT(Explainer):
    """Shares out score(picture) - score(baseline) by following the differences of every activation back to the pixels.

    attribution = (x - z) * product of multipliers, which are (f(x) - f(z)) / (x - z) for each activation function and
    derivatives for all linear operations; a max pooling shares its change between the places of both maxima, a product
    of two maps (squeeze and excite) evenly between the two. Where the network consists of these alone, the values add
    up to score(x) - score(z). Attention, softmax and layer norm have no such rule and keep their derivatives: how far
    the values then miss is in `details` ("gap", "difference") and in the notes.

    Misleads where the baseline does (see integrated_gradients), and where the notes report a gap.

    Args:
        baseline: what the picture is compared with: "black", "mean" (the picture's mean colour), "blur", "noise", a
            number, or a tensor in [0, 1].

    Cost: two forwards and one backward; memory for what enters each activation function.
    Source: Shrikumar et al. 2017, section 3.5.2, Rescale (arXiv 1704.02685); max pooling as in captum 0.9. Differs:
    captum sees modules of ten kinds, and neither functions nor ReLU6 nor products, fails on modules that are called
    twice, and does not add up where max pooling follows an activation or its windows overlap; where picture and
    baseline nearly agree, the derivative half-way is used.
    """

    name: ClassVar[str] = "deeplift"
    title: ClassVar[str] = "DeepLIFT"
    family: ClassVar[str] = "gradient"
    unit: ClassVar[str] = "logit"
    needs: ClassVar[tuple[str, ...]] = ("gradients",)
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"baseline": BASELINES}

    baseline: Fill = "black"

    @property
    def cost(self) -> Cost:
        """The picture and the baseline forward, one row back."""
        return Cost(forward=2, backward=1)

    def _attribute(self, work: Work) -> Part:
        start = baseline_pictures(work, self.baseline)
        logits, targets, difference, slopes = _followed(work, start)
        attribution = work.spread(work.images - start) * slopes
        details = completeness(attribution, difference)
        cure = "the network has parts that DeepLIFT has no rule for; use integrated_gradients"
        note = completeness_note(details, "f(picture) - f(baseline)", cure)
        return Part(attribution, targets, work.spread(logits), notes=[note], details=details)


def _followed(work: Work, start: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return logits (u, K), targets (n,), score differences (n,) and products of multipliers (n, C, h, w)."""
    pixels, rescale = work.images.detach().clone().requires_grad_(), Rescale()
    with rescale.baselines():
        before = work.classifier.raw_logits(start)
    with rescale.pictures():
        logits = work.classifier.raw_logits(pixels)
    targets = work.targets(logits)
    with rescale.baselines():
        least = work.score(work.spread(before), targets)
    with rescale.pictures():
        scores = work.score(work.spread(logits), targets)
    slopes = row_slopes(work, scores, pixels)
    return logits.detach(), targets, (scores - least).detach(), slopes
