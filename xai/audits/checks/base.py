"""What all checks share: a frozen dataclass of settings that says which work it needs and reads the figure from it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np

from xai.audits.checks import MODULES
from xai.audits.conditions import Condition
from xai.audits.context import CALIBRATION, DATA, OOD, TRAIN, Context
from xai.audits.documents.artifacts import Artifacts, exhibit
from xai.audits.execution.stages.base import Stage, StageResult
from xai.audits.measurement import GroupShare, Measurement, shares_by
from xai.core.registry import Registry
from xai.core.results.serialization import plain
from xai.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

BASELINE, GROUPS = "baseline", "groups"
SHARES = ("at_least", "at_most", "max_drop_vs_baseline", "worst_class_at_least", "worst_group_at_least")
FIGURES = ("at_least", "at_most")
EXAMPLES = 6  # pictures shown of each check


@dataclass(frozen=True)
class CheckView:
    """What a check measures on.

    Attributes:
        scene: model and data.
        found: of each stage, in the order the check named them.
        level: of intervals.
        album: takes pictures.
        baseline: what the same check measured in the baseline; None where there is none.
        baseline_keys: hex of the first bytes of the digest of each picture that the baseline measured.
    """

    scene: Context
    found: Sequence[StageResult]
    level: float
    album: Artifacts
    baseline: Measurement | None = None
    baseline_keys: Sequence[str] = ()


@dataclass(frozen=True)
class Check(ABC):
    """One question to a model.

    Attributes:
        pictures: how many pictures to ask about, drawn by seed and content; None takes all.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    family: ClassVar[str]
    question: ClassVar[str]  # what it asks, in plain words
    kind: ClassVar[str] = "statistical_sampling"  # empirical_attack, statistical_sampling, formal, descriptive
    needs: ClassVar[tuple[str, ...]] = (DATA,)
    conditions: ClassVar[tuple[str, ...]] = SHARES
    usual: ClassVar[tuple[Condition, ...]] = ()  # judged when the user names none
    better: ClassVar[str] = "more"  # or "less"
    span: ClassVar[tuple[float, float]] = (0.0, 1.0)  # what the figure can be
    limits: ClassVar[tuple[str, ...]] = ()  # what the figure does not say
    first_pictures: ClassVar[int | None] = None  # how many by default
    fewest: ClassVar[int] = 1  # images that it can be asked of

    pictures: int | None = None

    @abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """Return the work that it needs, none of which may depend on thresholds."""

    @abstractmethod
    def measure(self, view: CheckView) -> Measurement:
        """Return the figure; called with at least one picture of each stage."""

    @abstractmethod
    def code(self) -> str:
        """Return Python that repeats it, with `model` and `data` as they are loaded."""

    @property
    def most(self) -> int | None:
        """Pictures to ask about."""
        return self.first_pictures if self.pictures is None else self.pictures

    @final
    @property
    def settings(self) -> dict[str, Any]:
        """Everything that changes the figure, JSON-ready."""
        return {f.name: plain(getattr(self, f.name)) for f in fields(self)} | {"pictures": self.most}

    def missing(self, scene: Context, *, baseline: bool) -> str:
        """Return why it cannot be asked of this model and data; "" where it can."""
        if BASELINE in self.needs and not baseline:
            return "there is no baseline to compare with: give `baseline` in [audit]"
        if scene.role().labels is None:
            return "the data has no labels"
        for role in (TRAIN, CALIBRATION):
            if role in self.needs and role not in scene.roles:
                return f"it needs a table [{role}] with pictures"
        if OOD in self.needs and not scene.outside():
            return "it needs a table [ood] with foreign pictures"
        if GROUPS in self.needs and not scene.role().groups:
            return "the data has no column with 2 to 20 groups"
        there = len(scene.role()) if self.most is None else min(self.most, len(scene.role()))
        return f"it needs at least {self.fewest} images, and there are {there}" if there < self.fewest else ""


CHECKS: Registry[type[Check]] = Registry("check", "xai.audits.checks", MODULES)


def groups_of(scene: Context, rows: np.ndarray, right: np.ndarray) -> tuple[GroupShare, ...]:
    """Return the share of right pictures by every group column."""
    found: list[GroupShare] = []
    for column, values in scene.role().groups.items():
        names, codes = np.unique(values, return_inverse=True)
        found += shares_by(codes[rows], right, names.tolist(), column)
    return tuple(found)


def groups_of_row(scene: Context, row: int) -> list[str]:
    """Return the groups of one image, as "column = name"."""
    return [f"{column} = {values[row]}" for column, values in scene.role().groups.items()]


def classes_of(scene: Context, rows: np.ndarray, right: np.ndarray) -> tuple[GroupShare, ...]:
    """Return the share of right pictures by true class."""
    return shares_by(scene.truth(DATA, rows).numpy(), right, scene.classifier.labels)


def percent(value: float) -> str:
    """Return a share as people write it."""
    return f"{100 * value:.1f} %"


def span(low: float, high: float) -> str:
    """Return an interval of a share."""
    return f"{percent(low)} to {percent(high)}"


def changed(
    view: CheckView, row: int, before: np.ndarray, after: np.ndarray, said: int, how: str, role: str
) -> dict[str, Any]:
    """Return the evidence of a picture that was changed until the model was wrong."""
    scene, album = view.scene, view.album
    labels, name = scene.classifier.labels, scene.role().ids[row]
    truth, answer = labels[int(scene.truth(DATA, [row])[0])], labels[said]
    images = [album.picture(before), album.picture(after, role), album.difference(before, after)]  # type: ignore[arg-type]
    return exhibit(
        f"{truth} taken for {answer}",
        f"{name}: right as {truth!r} before, {answer!r} {how}; the third picture is the change, enlarged.",
        f"A picture of {truth}, the same picture {how}, which the model takes for {answer}, and the change.",
        images,
        picture=name,
        label=truth,
        groups=groups_of_row(scene, row),
        predicted=answer,
    )


def rows_of(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return the rows of a table."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def positive(name: str, value: Any, *, whole: bool = False) -> None:
    """Raise unless a setting is a number above 0.

    Raises:
        InputError: it is not.
    """
    right = isinstance(value, int) if whole else isinstance(value, int | float)
    if isinstance(value, bool) or not right or not 0 < value < float("inf"):
        kind = "a whole number" if whole else "a number"
        raise InputError(f"Expected `{name}` as {kind} above 0, but got {value!r}.")


def pairs(settings: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Return settings as sorted pairs, lists as tuples, so that they can be compared and hashed."""
    return tuple(sorted((name, tuple(v) if isinstance(v, list) else v) for name, v in settings.items()))
