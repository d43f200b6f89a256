"""Input x Gradient."""

from dataclasses import dataclass
from typing import ClassVar

from xai.explanations.methods._gradients import through_captum
from xai.explanations.methods.base import EXPLAINERS, Cost, Explainer, MethodInput, MethodOutput


@EXPLAINERS.register("input_x_gradient")
@dataclass(frozen=True)
class InputXGradient(Explainer):
    """Multiplies each pixel with the gradient of the class score there: a linear guess at what the pixel contributes.

    attribution = pixel * d score / d pixel, per channel, pixels in [0, 1] before preprocessing. On a linear model the
    values add up to score - bias.

    Misleads on black pixels, which get 0 whatever they mean, and wherever the score is not linear between black and the
    image (see integrated_gradients).

    Cost: one forward and one backward.
    Source: Shrikumar et al. 2016 (arXiv 1605.01713), through captum. Differs: the input is the image in [0, 1], not
    the normalised one.
    """

    name: ClassVar[str] = "input_x_gradient"
    title: ClassVar[str] = "Input x Gradient"
    caution: ClassVar[str] = "it is exact for linear models only; prefer integrated_gradients"
    family: ClassVar[str] = "gradient"
    unit: ClassVar[str] = "logit"
    needs: ClassVar[tuple[str, ...]] = ("gradients",)

    @property
    def cost(self) -> Cost:
        """One row forward and back."""
        return Cost(forward=1, backward=1)

    def _attribute(self, work: MethodInput) -> MethodOutput:
        return MethodOutput(*through_captum(work, "InputXGradient"))
