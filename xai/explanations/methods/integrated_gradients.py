"""Integrated gradients."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from xai.core.results.message import Message
from xai.core.validation import check_whole
from xai.explanations.methods._gradients import (
    BASELINES,
    baseline_images,
    clean_scores,
    completeness,
    completeness_note,
    scores_without_gradient,
    sum_of_slopes,
)
from xai.explanations.methods.base import EXPLAINERS, Cost, Explainer, MethodInput, MethodOutput
from xai.explanations.methods.fills import Fill


@EXPLAINERS.register("integrated_gradients")
@dataclass(frozen=True)
class IntegratedGradients(Explainer):
    """Shares out score(image) - score(baseline) over the pixels by the gradients along the straight line between.

    attribution = (x - z) * integral over a in [0, 1] of d score / d pixel at z + a (x - z), by Gauss-Legendre
    quadrature. The values add up to score(x) - score(z); how far they miss it is in `details` ("gap", "difference") and
    in the notes.

    Misleads where the baseline does: pixels as in the baseline get 0, so black objects on a black baseline vanish. The
    images on the line are none that the model was trained on. Try several baselines.

    Args:
        steps: gradients along the line; more when the gap is large.
        baseline: where the line begins: "black", "mean" (the image's mean colour), "blur", "noise", a number, or a
            tensor in [0, 1].

    Cost: `steps` rows forward and back and two rows forward, at most 64 rows at once; all classes of one image share
    the forwards.
    Source: Sundararajan et al. 2017, eq. 1 (arXiv 1703.01365); nodes and weights as captum's default "gausslegendre".
    Differs: own loop, because captum puts all steps of all images into one forward unless told otherwise.
    """

    name: ClassVar[str] = "integrated_gradients"
    title: ClassVar[str] = "Integrated Gradients"
    family: ClassVar[str] = "gradient"
    unit: ClassVar[str] = "logit"
    needs: ClassVar[tuple[str, ...]] = ("gradients",)
    one_by_one: ClassVar[bool] = True
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"baseline": BASELINES}

    steps: int = 50
    baseline: Fill = "black"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_whole("steps", self.steps)

    @property
    def cost(self) -> Cost:
        """One row per step, and both ends."""
        return Cost(forward=self.steps + 2, backward=self.steps)

    def _attribute(self, work: MethodInput) -> MethodOutput:
        image, start = work.images, baseline_images(work, self.baseline)
        logits, targets, clean = clean_scores(work)
        difference = (clean - scores_without_gradient(work, start, targets))[0]
        attribution = (self._mean_slopes(work, start, targets) * (image - start)).to(image.dtype)
        details = completeness(attribution, difference)
        cure = Message("raise `steps`, or do not trust the values")
        note = completeness_note(details, "f(image) - f(baseline)", cure)
        return MethodOutput(attribution, targets, work.spread(logits), notes=[note], details=details)

    def _mean_slopes(self, work: MethodInput, start: Tensor, targets: Tensor) -> Tensor:
        """Return the mean gradient along the line (n, C, h, w) in float64."""
        nodes, weights = (torch.from_numpy(v / 2).to(start.device) for v in np.polynomial.legendre.leggauss(self.steps))
        places = (nodes + 0.5).to(start.dtype).view(-1, 1, 1, 1)
        return sum_of_slopes(
            work,
            targets,
            self.steps,
            lambda first, last: start + places[first:last] * (work.images - start),
            lambda slopes, first, last: torch.einsum("r,rchw->chw", weights[first:last], slopes),
        )
