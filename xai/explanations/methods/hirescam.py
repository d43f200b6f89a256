"""HiResCAM."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xai.explanations.methods._cam import CamExplainer
from xai.explanations.methods.base import EXPLAINERS


@EXPLAINERS.register("hirescam")
@dataclass(frozen=True)
class HiResCAM(CamExplainer):
    """Multiplies activations by gradients place by place, adds the channels up, and keeps what is positive.

    map(i, j) = ReLU(sum_k g_k(i, j) A_k(i, j)). Shows places that the model used when the head behind the layer is one
    linear layer; then the map before the ReLU adds up to logit - bias. Equals Grad-CAM for global average pooling.

    Misleads as any gradient does where the head is not linear.

    Args:
        layer: name of the layer; None takes the last one that is a map of the image and says which.
        relu: False keeps the evidence against the class as negative values.

    Cost: one forward, and one backward through what follows the layer.
    Source: Draelos and Carin 2020, eq. 4 (arXiv 2011.08891).
    """

    name: ClassVar[str] = "hirescam"
    title: ClassVar[str] = "HiResCAM"

    def _combine(self, maps: Tensor, slopes: Tensor) -> Tensor:
        return (maps * slopes).sum(1)
