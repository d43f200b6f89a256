"""What the model predicts."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from xai.audits.context import Scene
from xai.audits.execution.stages.base import Cost, Stage
from xai.audits.execution.store import Part


@dataclass(frozen=True)
class Answers(Stage):
    """Logits of pictures (n, K) float32."""

    name: ClassVar[str] = "answers"

    @property
    def cost(self) -> Cost:
        """One row."""
        return Cost(1)

    def run(self, scene: Scene, rows: np.ndarray) -> Part:
        """Ask the model."""
        logits = scene.classifier.logits_of(scene.inputs(self.role, rows), should_stop=scene.should_stop)
        return Part({"logits": logits.float().numpy()})
