"""Guided backpropagation."""

from dataclasses import dataclass
from typing import ClassVar

from xai.explanations.methods._gradients import guided_slopes
from xai.explanations.methods.base import EXPLAINERS, Cost, Explainer, MethodInput, MethodOutput


@EXPLAINERS.register("guided_backprop")
@dataclass(frozen=True)
class GuidedBackprop(Explainer):
    """The gradient at the image, with negative gradients stopped at every ReLU on the way back: sharp edges.

    At each ReLU: gradient in = gradient out * [input > 0] * [gradient out > 0]. ReLUs are found in the autograd graph,
    so modules, functions, calls in place, ReLU6, clamp(min=0) and modules called twice are all guided. Networks without
    a ReLU (GELU, SiLU) have the plain gradient, and the notes say so.

    Misleads badly: it shows the edges of the image whatever the model has learnt, random weights included (Adebayo et
    al. 2018). Use it to look at images, not to judge models.

    Cost: one forward and one backward.
    Source: Springenberg et al. 2015, section 3.4 (arXiv 1412.6806). Differs: captum hooks ReLU modules alone and gives
    the plain gradient for functions without a word; ReLU6 is guided here.
    """

    name: ClassVar[str] = "guided_backprop"
    title: ClassVar[str] = "Guided Backpropagation"
    caution: ClassVar[str] = (
        "it shows edges of the image, whatever the weights are (Adebayo et al. 2018); prefer occlusion"
    )
    family: ClassVar[str] = "gradient"
    unit: ClassVar[str] = "guided gradient per unit of pixel value"
    needs: ClassVar[tuple[str, ...]] = ("gradients",)

    @property
    def cost(self) -> Cost:
        """One row forward and back."""
        return Cost(forward=1, backward=1)

    def _attribute(self, work: MethodInput) -> MethodOutput:
        slopes, targets, logits, notes = guided_slopes(work)
        return MethodOutput(slopes, targets, logits, notes=notes)
