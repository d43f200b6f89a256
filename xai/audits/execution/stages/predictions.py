"""What the model predicts."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from xai.audits.context import Context
from xai.audits.execution.stages.base import Stage, StageCost
from xai.audits.execution.store import StoredResult


@dataclass(frozen=True)
class PredictionStage(Stage):
    """Logits of images (n, K) float32."""

    name: ClassVar[str] = "predictions"

    @property
    def cost(self) -> StageCost:
        """One row."""
        return StageCost(1)

    def run(self, context: Context, rows: np.ndarray) -> StoredResult:
        """Ask the model."""
        logits = context.classifier.logits_of(context.inputs(self.role, rows), should_stop=context.should_stop)
        return StoredResult({"logits": logits.float().numpy()})
