"""Whether an evaluation by attacks can be believed."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from xai.audits.context import Context
from xai.audits.execution.stages.attacks import AttackStage, made
from xai.audits.execution.stages.base import StageCost
from xai.audits.execution.store import StoredResult
from xai.robust.attacks.base import ATTACKS
from xai.robust.curves.robustness import robustness

_QUERIES = 300


@dataclass(frozen=True)
class EvaluationStage(AttackStage):
    """The checks of `xai.robustness` on an attack, with a one-step and a black-box attack to compare with."""

    name: ClassVar[str] = "trusted"
    whole: ClassVar[bool] = True

    @property
    def cost(self) -> StageCost:
        """The attack, its repetitions with other settings, and the black-box attack."""
        own = made(self.attack, self.settings_of_attack).cost
        return StageCost(4 * own.forward + 2 * _QUERIES, 4 * own.backward)

    def run(self, context: Context, rows: np.ndarray) -> StoredResult:
        """Make the checks."""
        others = [ATTACKS["fgsm"](), ATTACKS["square"](queries=_QUERIES)]  # type: ignore[call-arg]  # its own setting
        chosen = [made(self.attack, self.settings_of_attack)]
        chosen += [other for other in others if other.name != self.attack and self.norm in other.norms]
        evaluation = robustness(
            context.classifier,
            context.decoded(self.role, rows),
            context.labels(self.role, rows),
            eps=[self.eps],
            norm=self.norm,
            seed=context.seed,
            attacks=chosen,
            certificates=(),
            should_stop=context.should_stop,
        )
        assert evaluation.trust is not None
        return StoredResult({}, {"trust": evaluation.trust.to_dict(), "images": len(rows)})
