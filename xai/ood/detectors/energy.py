"""Energy."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from xai.core.validation import check_number
from xai.ood.detectors.base import DETECTORS, LogitDetector
from xai.ood.detectors.reference import FeatureRows


@DETECTORS.register("energy")
@dataclass(frozen=True)
class Energy(LogitDetector):
    """Minus the log of the sum of exponentials of the logits: how little the model finds of any class.

    Args:
        temperature: logits are divided by it, the score is multiplied by it.

    Source: Liu et al. 2020 (arXiv 2010.03759), eq. (4). Where each class is answered by itself (sigmoid), the sum of
    the classes' energies stands in: Wang et al. 2021 (arXiv 2111.12797), JointEnergy.
    """

    name: ClassVar[str] = "energy"
    title: ClassVar[str] = "Energy"
    unit: ClassVar[str] = "energy"

    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Check the settings."""
        check_number("temperature", self.temperature, "[1e-6, 1e6]")

    def of_logits(self, rows: FeatureRows) -> Tensor:
        """Return -T log sum exp(f / T) (n,)."""
        scaled = rows.logits / self.temperature
        total = F.softplus(scaled).sum(1) if rows.view.kind == "sigmoid" else torch.logsumexp(scaled, 1)
        return -self.temperature * total
