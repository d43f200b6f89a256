"""What an attack finds."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from xai.audits.context import Context
from xai.audits.execution.stages.base import Stage, StageCost
from xai.audits.execution.store import StoredResult
from xai.robust.attacks.base import ATTACKS, Attack

_SHOWN = 4  # changed images kept of each work item


def made(attack: str, settings: tuple[tuple[str, Any], ...]) -> Attack:
    """Return an attack with settings."""
    built: Attack = ATTACKS[attack](**dict(settings))
    return built


@dataclass(frozen=True)
class AttackStage(Stage):
    """Answers under an attack.

    Attributes:
        attack: its name.
        eps: radius in the scale of pixels in [0, 1].
        norm: "linf", "l2" or "l1".
        settings: of the attack, as pairs.
    """

    name: ClassVar[str] = "attacked"

    attack: str = "apgd-ce"
    eps: float = 8 / 255
    norm: str = "linf"
    settings_of_attack: tuple[tuple[str, Any], ...] = ()

    @property
    def cost(self) -> StageCost:
        """As the attack says, for images that hold out."""
        own = made(self.attack, self.settings_of_attack).cost
        return StageCost(own.forward, own.backward)

    def run(self, context: Context, rows: np.ndarray) -> StoredResult:
        """Attack; keep answers, distances, and the nearest changed images."""
        attacked = made(self.attack, self.settings_of_attack).run(
            context.classifier,
            context.decoded(self.role, rows),
            context.labels(self.role, rows),
            eps=self.eps,
            norm=self.norm,
            seed=context.seed,
            should_stop=context.should_stop,
        )
        success = attacked.success.numpy()
        nearest = np.argsort(np.where(success, attacked.distance.numpy(), np.inf), kind="stable")[: int(success.sum())]
        shown = np.sort(nearest[:_SHOWN])
        chosen = torch.from_numpy(shown)
        return StoredResult(
            {
                "robust": attacked.robust.numpy(),
                "clean": attacked.clean_predictions.numpy(),
                "predicted": attacked.predictions.numpy(),
                "distance": attacked.distance.double().numpy(),
                "shown": rows[shown],
                "before": attacked.clean[chosen].float().numpy(),
                "after": attacked.adversarial[chosen].float().numpy(),
            },
            {"settings": attacked.settings},
        )
