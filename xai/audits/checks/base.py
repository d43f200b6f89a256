"""The base class of checks.

A check is a frozen dataclass of settings that says which work it needs and reads the figure from it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np

from xai.audits.check_result import CheckResult, GroupShare, exhibit
from xai.audits.checks import MODULES
from xai.audits.context import CALIBRATION, DATA, OOD, TRAIN, Context
from xai.audits.execution.stages.base import Stage, WorkItem
from xai.core.registry import Registry
from xai.core.results.codec import plain
from xai.core.results.message import Message
from xai.stats.intervals import clopper_pearson, paired_mean

if TYPE_CHECKING:
    import pandas as pd

BASELINE, GROUPS = "baseline", "groups"
SHARES = ("at_least", "at_most", "max_drop_vs_baseline", "worst_class_at_least", "worst_group_at_least")
FIGURES = ("at_least", "at_most")
EXAMPLES = 6  # images shown of each check


@dataclass(frozen=True)
class Condition:
    """A threshold on the figure of a check.

    Attributes:
        name: one of `NAMES`.
        threshold: in the unit of the check.
    """

    name: str
    threshold: float

    def is_idle(self, span: tuple[float, float]) -> bool:
        """Return whether no figure between two ends can fail it."""
        low, high = span
        if self.name == "at_most":
            return self.threshold >= high
        return self.threshold >= high - low if self.name == "max_drop_vs_baseline" else self.threshold <= low


@dataclass(frozen=True)
class Check(ABC):
    """One question about a model.

    Attributes:
        images: how many images to measure, drawn by seed and content; None takes all.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    family: ClassVar[str]
    question: ClassVar[str]  # that it answers
    kind: ClassVar[str] = "statistical_sampling"  # empirical_attack, statistical_sampling, formal, descriptive
    needs: ClassVar[tuple[str, ...]] = (DATA,)
    conditions: ClassVar[tuple[str, ...]] = SHARES
    usual: ClassVar[tuple[Condition, ...]] = ()  # judged when the user names none
    better: ClassVar[str] = "more"  # or "less"
    span: ClassVar[tuple[float, float]] = (0.0, 1.0)  # what the figure can be
    limits: ClassVar[tuple[str, ...]] = ()  # what the figure does not say
    first_images: ClassVar[int | None] = None  # how many by default
    fewest: ClassVar[int] = 1  # images that it needs

    images: int | None = None

    @abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """Return the work that it needs, none of which may depend on thresholds."""

    @abstractmethod
    def measure(self, context: Context) -> CheckResult:
        """Return the figure from `context.results`; called with at least one image of each stage."""

    @abstractmethod
    def code(self) -> str:
        """Return Python that repeats it, with `model` and `data` loaded."""

    @property
    def most(self) -> int | None:
        """Number of images to measure; None for all."""
        return self.first_images if self.images is None else self.images

    @final
    @property
    def settings(self) -> dict[str, Any]:
        """Everything that changes the figure, JSON-ready."""
        return {f.name: plain(getattr(self, f.name)) for f in fields(self)} | {"images": self.most}

    def missing(self, context: Context, *, baseline: bool) -> str:
        """Return why it cannot be measured on this model and data; "" where it can."""
        if BASELINE in self.needs and not baseline:
            return Message("there is no baseline to compare with: give `baseline` in [audit]")
        if context.role().labels is None:
            return Message("the data has no labels")
        for role in (TRAIN, CALIBRATION):
            if role in self.needs and role not in context.roles:
                return Message("it needs a table [{role}] with images", role=role)
        if OOD in self.needs and not context.ood_roles():
            return Message("it needs a table [ood] with out-of-distribution images")
        if GROUPS in self.needs and not context.role().groups:
            return Message("the data has no column with 2 to 20 groups")
        count = len(context.role()) if self.most is None else min(self.most, len(context.role()))
        if count >= self.fewest:
            return ""
        return Message("it needs at least {fewest} images, and there are {count}", fewest=self.fewest, count=count)


@dataclass(frozen=True)
class CheckRequest:
    """One check of an audit, in a plan with its work.

    Attributes:
        id: stable name.
        check: with its settings.
        conditions: that judge it.
        level: of its intervals and gates.
        tasks: its work, per stage.
        missing: why it cannot be asked; "" where it can.
    """

    id: str
    check: Check
    conditions: tuple[Condition, ...]
    level: float
    tasks: tuple[tuple[WorkItem, ...], ...] = field(default=(), repr=False, compare=False)
    missing: str = ""

    @property
    def steady(self) -> bool:
        """Whether all of its work gives the same again."""
        return all(task.steady for tasks in self.tasks for task in tasks)

    @property
    def idle(self) -> list[str]:
        """Which conditions no model can fail; each in one line."""
        never = [condition for condition in self.conditions if condition.is_idle(self.check.span)]
        text, title = "{title}: no model can fail {condition} = {threshold:g}", Message(self.check.title)
        return [
            Message(text, title=title, condition=condition.name, threshold=condition.threshold) for condition in never
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return it as it would stand in the file."""
        thresholds = {condition.name: condition.threshold for condition in self.conditions}
        return {"id": self.id, "metric": self.check.name, "level": self.level, **self.check.settings, **thresholds}


CHECKS: Registry[type[Check]] = Registry("check", "xai.audits.checks", MODULES)


def groups_of(context: Context, rows: np.ndarray, right: np.ndarray) -> tuple[GroupShare, ...]:
    """Return the accuracy by every group column."""
    shares: list[GroupShare] = []
    for column, values in context.role().groups.items():
        names, codes = np.unique(values, return_inverse=True)
        shares += shares_by(codes[rows], right, names.tolist(), column)
    return tuple(shares)


def groups_of_row(context: Context, row: int) -> list[str]:
    """Return the groups of one image, as "column = name"."""
    return [f"{column} = {values[row]}" for column, values in context.role().groups.items()]


def classes_of(context: Context, rows: np.ndarray, right: np.ndarray) -> tuple[GroupShare, ...]:
    """Return the accuracy by class."""
    return shares_by(context.labels(DATA, rows).numpy(), right, context.classifier.class_names)


def percent(share: float | None) -> Message:
    """Return a share in percent; 0 for None."""
    return Message("{percent:.1f} %", percent=100 * (share or 0.0))


def span(low: float | None, high: float | None) -> Message:
    """Return an interval of a share; an unknown end is 0 or 1."""
    return Message("{low} to {high}", low=percent(low), high=percent(1.0 if high is None else high))


def changed(
    context: Context, row: int, before: np.ndarray, after: np.ndarray, prediction: int, change: Message, role: str
) -> dict[str, Any]:
    """Return the evidence of an image that was changed until the model was wrong."""
    artifacts = context.artifacts
    labels, name = context.classifier.class_names, context.role().ids[row]
    label, predicted = labels[int(context.labels(DATA, [row])[0])], labels[prediction]
    images = [artifacts.image(before), artifacts.image(after, role), artifacts.difference(before, after)]  # type: ignore[arg-type]
    words = {"name": name, "label": label, "predicted": predicted, "change": change}
    return exhibit(
        taken_for(label, predicted),
        Message(
            "{name}: correctly predicted as {label!r} before, as {predicted!r} {change}; the third image is the "
            "perturbation, enlarged.",
            **words,
        ),
        Message("An image of {label}, the same {change}, predicted as {predicted}, and the perturbation.", **words),
        images,
        image=name,
        label=label,
        groups=groups_of_row(context, row),
        predicted=predicted,
    )


def taken_for(label: str, predicted: str) -> Message:
    """Return the title of a wrong prediction."""
    return Message("{label} predicted as {predicted}", label=label, predicted=predicted)


def rows_of(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return the rows of a table."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def pairs(settings: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Return settings as sorted pairs, lists as tuples. So they can be compared and hashed."""
    return tuple(sorted((name, tuple(v) if isinstance(v, list) else v) for name, v in settings.items()))


def share_of(
    right: np.ndarray,
    rows: np.ndarray,
    level: float,
    *,
    classes: Sequence[GroupShare] = (),
    groups: Sequence[GroupShare] = (),
    **rest: Any,
) -> CheckResult:
    """Return the share of right images with its exact interval.

    Args:
        right: (n,) bool.
        rows: (n,) their numbers in the data.
        level: of the interval.
        classes: the same per class.
        groups: the same per group.
        rest: further fields of the measurement.
    """
    hits, n = int(right.sum()), len(right)
    low, high = clopper_pearson(hits, n, level)
    value = hits / n if n else None
    own: dict[str, Any] = {"rows": rows.astype(np.int64), "outcomes": right.astype(bool), "hits": hits}
    return CheckResult(value, low, high, level, n, "share", **own, classes=tuple(classes), groups=tuple(groups), **rest)


def mean_share_interval(values: np.ndarray, level: float) -> tuple[float, float]:
    """Return the t-interval of a mean of shares (n,), within 0 and 1; of a single one 0 to 1."""
    if len(values) < 2:
        return 0.0, 1.0
    _, low, high, _ = paired_mean(np.zeros(len(values)), values, level)
    return max(0.0, low), min(1.0, high)


def shares_by(codes: np.ndarray, right: np.ndarray, names: Sequence[str], column: str = "") -> tuple[GroupShare, ...]:
    """Return the share of right images of each class or group that occurs.

    Args:
        codes: (n,) class or group of each image.
        right: (n,) bool.
        names: of the classes or groups.
        column: of the groups.
    """
    counts = np.bincount(codes, minlength=len(names))
    hits = np.bincount(codes, weights=right, minlength=len(names)).astype(int)
    return tuple(
        GroupShare(name, int(h), int(c), column) for name, h, c in zip(names, hits, counts, strict=True) if int(c) > 0
    )
