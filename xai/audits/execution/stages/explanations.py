"""Explanations: maps, and whether they can be believed."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from xai.audits.context import Context
from xai.audits.execution.stages.base import Stage, StageCost
from xai.audits.execution.store import StoredResult
from xai.core.runtime.randomness import generator
from xai.explanations.explanation import Explanation
from xai.explanations.methods.base import EXPLAINERS
from xai.explanations.rating.checks import randomised
from xai.explanations.rating.rate import rate_explanation

_RATING, _RUNS = 450, 14  # rows forward of a rating, and how often it runs the method again


def explained(context: Context, method: str, role: str, rows: np.ndarray) -> Explanation:
    """Explain the predicted classes of some images."""
    return EXPLAINERS[method]().explain(
        context.classifier, context.inputs(role, rows), None, seed=context.seed, should_stop=context.should_stop
    )


def cost_of(method: str) -> StageCost:
    """Return the rows of one explanation."""
    own = EXPLAINERS[method]().cost
    return StageCost(own.forward, own.backward)


@dataclass(frozen=True)
class ExplanationStage(Stage):
    """Maps (n, h, w) in the model's input geometry, of the predicted class.

    Attributes:
        method: of the explanation.
    """

    name: ClassVar[str] = "explained"

    method: str = "gradcam"

    @property
    def cost(self) -> StageCost:
        """As the method says."""
        return cost_of(self.method)

    def run(self, context: Context, rows: np.ndarray) -> StoredResult:
        """Explain."""
        explanation = explained(context, self.method, self.role, rows)
        return StoredResult(
            {"maps": explanation.attribution.sum(1).float().numpy(), "target": explanation.targets.numpy()}
        )


@dataclass(frozen=True)
class RatingStage(Stage):
    """Maps with what the checks of `xai.rate_explanation` say of each.

    Attributes:
        method: of the explanation.
    """

    name: ClassVar[str] = "rated"

    method: str = "gradcam"

    @property
    def cost(self) -> StageCost:
        """A rating, which runs the method some times again."""
        own = cost_of(self.method)
        return StageCost(_RATING + _RUNS * own.forward, _RUNS * own.backward)

    def run(self, context: Context, rows: np.ndarray) -> StoredResult:
        """Explain, rate, and explain a model with random weights as a control."""
        inputs = context.inputs(self.role, rows)
        explanation = explained(context, self.method, self.role, rows)
        rating = rate_explanation(
            context.classifier, inputs, explanation, seed=context.seed, should_stop=context.should_stop
        )
        stranger = randomised(context.classifier, generator(context.seed, b"audit control", 0))
        control = EXPLAINERS[self.method]().explain(stranger, inputs, explanation.targets.tolist(), seed=context.seed)
        checks = [
            [{"name": c.name, "verdict": c.verdict, "values": dict(c.values)} for c in own] for own in rating.checks
        ]
        return StoredResult(
            {
                "maps": explanation.attribution.sum(1).float().numpy(),
                "control": control.attribution.sum(1).float().numpy(),
                "target": explanation.targets.numpy(),
                "probability": explanation.probabilities.double().numpy(),
                "verdict": np.array(rating.verdicts, dtype="U12"),
            },
            {"checks": checks, "layer": explanation.layer, "notes": list(explanation.notes)},
        )
