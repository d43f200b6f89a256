"""Work that one check does by itself, on a whole data set at once."""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from xai.audits.scene import Scene
from xai.audits.stages._base import Cost, Stage
from xai.audits.store import Part

Study = Callable[[Scene, np.ndarray], Part]


@dataclass(frozen=True)
class Alone(Stage):
    """A function of all pictures.

    Attributes:
        title: name of the check.
        given: its settings, as pairs.
        rows_each: rows forward per picture, about.
        beside: seconds per picture of 28 x 28 beside the model, on one core, about.
        counted: images that cost something, of more a sample is drawn; None for all.
        others: further data sets that it reads.
        study: the function.
        steady: whether it gives the same again.
    """

    name: ClassVar[str] = "alone"
    whole: ClassVar[bool] = True

    title: str = ""
    given: tuple[tuple[str, Any], ...] = ()
    rows_each: float = 1.0
    beside: float = field(default=0.0, compare=False)
    counted: int | None = field(default=None, compare=False)
    others: tuple[str, ...] = ()
    study: Study | None = field(default=None, compare=False)
    steady: bool = True

    @property
    def cost(self) -> Cost:
        """As the check says."""
        return Cost(self.rows_each)

    @property
    def settings(self) -> dict[str, Any]:
        """The check's own."""
        return {"stage": self.name, "role": self.role, "check": self.title, "settings": [list(p) for p in self.given]}

    def reads(self, scene: Scene) -> list[Any]:
        """Return the fingerprints of the further data sets, and of a measurement of the machine the machine."""
        machine = [] if self.steady else [platform.machine(), platform.processor(), os.cpu_count()]
        return machine + [[name, scene.role(name).manifest.fingerprint] for name in self.others]

    def run(self, scene: Scene, rows: np.ndarray) -> Part:
        """Call the function."""
        assert self.study is not None
        return self.study(scene, rows)
