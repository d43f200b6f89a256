"""`plan_audit`: what an audit would do and about how long it would take, without doing it."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xai.audits import timing
from xai.audits.audit import AuditSource, configured, folder_of
from xai.audits.config import Config
from xai.audits.history import STORE, is_finished, past_runs
from xai.audits.opening import open_scene, with_defaults
from xai.audits.plan import Planned, make_plan
from xai.audits.store import Store


@dataclass(frozen=True)
class PlannedCheck:
    """What one check would cost.

    Attributes:
        id: of the check.
        metric: what it measures.
        conditions: that judge it, in words.
        pictures: per stage.
        pieces: of work.
        left: of them, not done yet.
        rows: through the network that are left, a row back counted as two.
        seconds: about, by trying its work on a few images.
        missing: why it cannot be asked; "" where it can.
    """

    id: str
    metric: str
    conditions: tuple[str, ...]
    pictures: tuple[int, ...]
    pieces: int
    left: int
    rows: int
    seconds: float
    missing: str


@dataclass(frozen=True)
class AuditPlan:
    """What an audit would do.

    Attributes:
        checks: each by itself; work that checks share is counted for each.
        pieces: of work, shared ones once.
        left: of them, not done yet.
        rows: through the network that are left.
        seconds: about, on this machine; with reading the images, without reports and the positive control.
        thresholds_sha256: digest of all conditions.
        accounting: per data set, what became of its files.
        model: name and fingerprint.

    Example:
        >>> import xai
        >>> data = xai.load_data("example:fashion-test").subset(50)
        >>> plan = xai.plan_audit(model="example:fashion", data=data, checks=["accuracy"])
        >>> [check.id for check in plan.checks]
        ['accuracy']
    """

    checks: tuple[PlannedCheck, ...]
    pieces: int
    left: int
    rows: int
    seconds: float
    thresholds_sha256: str
    accounting: Mapping[str, Mapping[str, int]]
    model: Mapping[str, str]

    def __str__(self) -> str:
        """One line per check."""
        lines = [f"{self.model['name']}: {self.left} of {self.pieces} pieces of work left, about {self.seconds:,.0f} s"]
        for one in self.checks:
            asked = ", ".join(one.conditions) or "only measured"
            cost = one.missing or f"{one.left} of {one.pieces} pieces, {one.rows:,} rows, about {one.seconds:,.0f} s"
            lines.append(f"  {one.id}: {asked}; {cost}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        return asdict(self)


def plan_audit(
    config: AuditSource = None,
    *,
    out: str | os.PathLike[str] | None = None,
    only: Sequence[str] | None = None,
    baseline: Any = None,
    seed: int | None = None,
    **given: Any,
) -> AuditPlan:
    """Return what `xai.audit` would do with the same arguments, and about how long it would take.

    Args:
        config: as of `xai.audit`.
        out: the folder whose finished work counts.
        only: ids of checks; the others are left out.
        baseline: as of `xai.audit`.
        seed: as of `xai.audit`.
        given: `model`, `data`, `checks`, `train`, `calibration`, `ood` of `xai.audit`.

    Raises:
        InputError: settings, a model or data that cannot be used.
        NameLookupError: an unknown key, check or setting.

    Cost: a pass over the pictures, and each kind of work on at most 43 of them, for about three seconds.

    Example:
        >>> import xai
        >>> data = xai.load_data("example:fashion-test").subset(50)
        >>> plan = xai.plan_audit(model="example:fashion", data=data, checks=["accuracy", "calibration"])
        >>> len(plan.checks)
        2
    """
    asked = with_defaults(configured(config, **given), seed=seed, baseline=baseline)
    store, runs = Store(_place(asked, out)), past_runs(asked)
    asked = asked if only is None else asked.only(only)
    began = timing.clock()
    plan = make_plan(asked, open_scene(asked), baseline=asked.baseline is not None)
    opening = timing.clock() - began
    left = [task for task in plan.tasks if not is_finished(task, store, runs)]
    rows = sum(task.rows_through for task in left)
    seconds = timing.seconds_of(plan, left)
    classifier = plan.scene.classifier
    return AuditPlan(
        checks=tuple(_planned(planned, seconds) for planned in plan.checks),
        pieces=len(plan.tasks),
        left=len(left),
        rows=round(rows),
        seconds=opening + sum(seconds.values()),
        thresholds_sha256=asked.thresholds_sha256,
        accounting={name: role.manifest.counts for name, role in plan.scene.roles.items()},
        model={"name": classifier.name, "fingerprint": classifier.fingerprint},
    )


def _place(config: Config, out: str | os.PathLike[str] | None) -> Path:
    """Return the store that an audit of these arguments would use."""
    if config.store is not None:
        return config.folder / config.store
    return folder_of(config, out) / STORE


def _planned(planned: Planned, seconds: Mapping[str, float]) -> PlannedCheck:
    tasks = [task for tasks in planned.tasks for task in tasks]
    left = [task for task in tasks if task.key in seconds]
    rows = sum(task.rows_through for task in left)
    return PlannedCheck(
        id=planned.asked.id,
        metric=planned.asked.check.name,
        conditions=tuple(f"{c.name} {c.threshold:g}" for c in planned.asked.conditions),
        pictures=tuple(sum(len(task.rows) for task in tasks) for tasks in planned.tasks),
        pieces=len(tasks),
        left=len(left),
        rows=round(rows),
        seconds=sum(seconds[task.key] for task in left),
        missing=planned.missing,
    )
