"""What the model predicts under corruptions."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from xai.audits.context import Context
from xai.audits.execution.stages.base import Stage, StageCost
from xai.audits.execution.store import StoredResult
from xai.robust.corruptions.result import IMAGENET_C
from xai.robust.corruptions.robustness import corruption_robustness

_ROWS = 3.0  # a corrupted image costs about this many rows of a small network, a guess


@dataclass(frozen=True)
class CorruptionStage(Stage):
    """Answers under corruptions (n, C, S).

    Attributes:
        names: of the corruptions.
        severities: increasing.
    """

    name: ClassVar[str] = "corrupted"

    names: tuple[str, ...] = IMAGENET_C
    severities: tuple[float, ...] = (1, 2, 3, 4, 5)

    @property
    def cost(self) -> StageCost:
        """A row for each corruption and severity, and the corrupting."""
        return StageCost(1 + _ROWS * len(self.names) * len(self.severities))

    def run(self, context: Context, rows: np.ndarray) -> StoredResult:
        """Corrupt and ask."""
        robustness = corruption_robustness(
            context.classifier,
            context.inputs(self.role, rows),
            context.labels(self.role, rows),
            names=self.names,
            severities=self.severities,
            seed=context.seed,
            should_stop=context.should_stop,
        )
        predictions = robustness.predictions.permute(2, 0, 1).numpy().astype(np.int32)
        return StoredResult({"predicted": predictions, "clean": robustness.clean_predictions.numpy().astype(np.int32)})
