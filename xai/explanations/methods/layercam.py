"""LayerCAM."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xai.explanations.methods._cam import CamExplainer
from xai.explanations.methods.base import EXPLAINERS


@EXPLAINERS.register("layercam")
@dataclass(frozen=True)
class LayerCAM(CamExplainer):
    """Weights each place of each channel by its positive gradient; works on early layers too, where maps are fine.

    map(i, j) = ReLU(sum_k ReLU(g_k(i, j)) A_k(i, j)).

    Misleads by leaving out all evidence against the class: evidence that cancels still shows.

    Args:
        layer: name of the layer; None takes the last one that is a map of the image and says which.
        relu: False keeps negative values, which come from negative activations.

    Cost: one forward, and one backward through what follows the layer.
    Source: Jiang et al. 2021, eq. 5 and 6 (IEEE TIP 30). Differs: the paper's tanh scaling of early layers, for
    display, is left out.
    """

    name: ClassVar[str] = "layercam"
    title: ClassVar[str] = "LayerCAM"

    def _combine(self, maps: Tensor, slopes: Tensor) -> Tensor:
        return (maps * slopes.clamp_min(0)).sum(1)
