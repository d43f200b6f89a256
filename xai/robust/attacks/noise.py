"""Random noise: the baseline."""

from dataclasses import dataclass
from typing import ClassVar

from xai.core.validation import check_whole
from xai.robust.attacks.base import ATTACKS, Attack, AttackCost
from xai.robust.attacks.search import Search, border_start


@ATTACKS.register("noise")
@dataclass(frozen=True)
class Noise(Attack):
    """Random points of the ball (linf) or of its border (l2, l1): what every attack has to beat.

    An attack that does worse is broken or meets masked gradients. Draws alone say next to nothing about robustness.

    Args:
        samples: draws per image.

    Cost: one forward row per draw while not misclassified.
    """

    name: ClassVar[str] = "noise"
    title: ClassVar[str] = "Random noise"
    family: ClassVar[str] = "black box"
    needs: ClassVar[tuple[str, ...]] = ()

    samples: int = 100

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            RangeError: `samples` below 1.
        """
        check_whole("samples", self.samples)

    @property
    def cost(self) -> AttackCost:
        """One row per draw."""
        return AttackCost(forward=self.samples, backward=0)

    def _attack(self, search: Search) -> None:
        for draw in range(self.samples):
            rows = search.alive()
            if not len(rows):
                return
            if search.norm == "linf":
                images = search.start(rows, draw)
            else:
                images = border_start(search.clean[rows], search.radius(rows), search.norm, search.seeds[rows], draw)
            search.look(images, rows)
