"""What the model predicts under corruptions."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from xai.audits.context import Scene
from xai.audits.execution.stages.base import Cost, Stage
from xai.audits.execution.store import Part
from xai.robust.corruptions.mce import IMAGENET_C
from xai.robust.corruptions.robustness import corruption_robustness

_ROWS = 3.0  # a corrupted picture costs about this many rows of a small network, a guess


@dataclass(frozen=True)
class Corrupted(Stage):
    """Answers under corruptions (n, C, S).

    Attributes:
        names: of the corruptions.
        severities: increasing.
    """

    name: ClassVar[str] = "corrupted"

    names: tuple[str, ...] = IMAGENET_C
    severities: tuple[float, ...] = (1, 2, 3, 4, 5)

    @property
    def cost(self) -> Cost:
        """A row for each corruption and severity, and the corrupting."""
        return Cost(1 + _ROWS * len(self.names) * len(self.severities))

    def run(self, scene: Scene, rows: np.ndarray) -> Part:
        """Corrupt and ask."""
        found = corruption_robustness(
            scene.classifier,
            scene.inputs(self.role, rows),
            scene.truth(self.role, rows),
            names=self.names,
            severities=self.severities,
            seed=scene.seed,
            should_stop=scene.should_stop,
        )
        answers = found.predictions.permute(2, 0, 1).numpy().astype(np.int32)
        return Part({"predicted": answers, "clean": found.clean_predictions.numpy().astype(np.int32)})
