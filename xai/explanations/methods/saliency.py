"""Saliency: the gradient itself."""

from dataclasses import dataclass
from typing import ClassVar

from xai.explanations.methods._gradients import through_captum
from xai.explanations.methods.base import EXPLAINERS, Cost, Explainer, MethodInput, MethodOutput


@EXPLAINERS.register("saliency")
@dataclass(frozen=True)
class Saliency(Explainer):
    """Shows how fast the class score changes with each pixel: the gradient at the image.

    attribution = d score / d pixel, per channel, pixels in [0, 1]. On a linear model these are its weights.

    Misleads where the score is flat though the evidence is there (saturation), and looks noisy on deep networks: it
    says what a tiny change would do, not what the score is made of. Colours that count with opposite signs cancel in
    the heatmap, which adds up channels: `absolute` prevents that.

    Args:
        absolute: the size of the gradient without its sign, as in the paper.

    Cost: one forward and one backward.
    Source: Simonyan et al. 2014, section 3 (arXiv 1312.6034), through captum. Differs: signed by default; channels are
    kept, where the paper takes the largest.
    """

    name: ClassVar[str] = "saliency"
    title: ClassVar[str] = "Saliency"
    caution: ClassVar[str] = "single gradients are noisy; prefer integrated_gradients or smoothgrad"
    family: ClassVar[str] = "gradient"
    unit: ClassVar[str] = "logit per unit of pixel value"
    needs: ClassVar[tuple[str, ...]] = ("gradients",)

    absolute: bool = False

    @property
    def cost(self) -> Cost:
        """One row forward and back."""
        return Cost(forward=1, backward=1)

    def _attribute(self, work: MethodInput) -> MethodOutput:
        return MethodOutput(*through_captum(work, "Saliency", abs=self.absolute))
