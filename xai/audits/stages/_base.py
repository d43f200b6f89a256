"""A stage: one kind of work, done on pictures a few at a time, or on a whole data set at once."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from xai.audits.scene import DATA, Scene
from xai.audits.store import Part
from xai.core.records import plain


@dataclass(frozen=True)
class Cost:
    """Rows through the network, per picture.

    Attributes:
        forward: rows sent through it.
        backward: rows sent back.
    """

    forward: float
    backward: float = 0.0


@dataclass(frozen=True)
class Stage(ABC):
    """Work that checks share: equal stages are done once.

    Attributes:
        role: the data set it works on.
        most: pictures, the first ones in the order of work; None takes all.
    """

    name: ClassVar[str]
    whole: ClassVar[bool] = False  # needs all pictures at once

    role: str = DATA
    most: int | None = None

    @property
    @abstractmethod
    def cost(self) -> Cost:
        """Rows per picture."""

    @abstractmethod
    def run(self, scene: Scene, rows: np.ndarray) -> Part:
        """Do the work on some pictures of the role; arrays have one line each, or one per picture shown."""

    def rows(self, scene: Scene) -> np.ndarray:
        """Return the pictures to work on, in order."""
        return scene.role(self.role).order[: self.most]

    def reads(self, scene: Scene) -> list[Any]:  # noqa: ARG002  (for stages that read more)
        """Return what else the work depends on, JSON-ready: the fingerprints of further data sets."""
        return []

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that changes the result, JSON-ready."""
        held = {f.name: plain(getattr(self, f.name)) for f in fields(self) if f.name != "most"}
        return {"stage": self.name, **held}


@dataclass(frozen=True)
class Found:
    """What a stage found on the pictures that were worked on.

    Attributes:
        rows: (n,) their numbers in the data set.
        arrays: of all parts, one after the other.
        facts: of each micro-batch.
        planned: how many pictures it was to be.
    """

    rows: np.ndarray
    arrays: dict[str, np.ndarray]
    facts: list[Any]
    planned: int

    def __getitem__(self, name: str) -> np.ndarray:
        """Return one array."""
        return self.arrays[name]


def joined(parts: list[Part], rows: list[np.ndarray], planned: int) -> Found:
    """Put the parts of a stage together."""
    names = parts[0].arrays if parts else {}
    arrays = {name: np.concatenate([part.arrays[name] for part in parts]) for name in names}
    together = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)
    facts = [own for part in parts for own in part.facts["parts"]]
    return Found(together, arrays, facts, planned)
