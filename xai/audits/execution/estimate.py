"""Estimated work and time of an audit, for `Audit.plan`. Nothing is run."""

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xai.audits.audit import AuditSource, configured, folder_of
from xai.audits.checks.base import CheckRequest
from xai.audits.config import Config
from xai.audits.context import DATA, Context
from xai.audits.execution import estimate as timing
from xai.audits.execution.plan import STORE, Plan, is_finished, make_plan, open_context, past_runs, with_defaults
from xai.audits.execution.stages.base import DataStage, Stage, WorkItem, settled
from xai.audits.execution.store import Store
from xai.audits.operations import OPERATIONS
from xai.core.model.hooks import borrowed, gradients_on

_FEW, _MANY, _PACED = 2, 40, 32  # images tried
_LONGEST = 3.0  # seconds of one try, by the rows that a stage may need at most
clock: Callable[[], float] = time.perf_counter


def seconds_of(plan: Plan, tasks: Sequence[WorkItem]) -> dict[str, float]:
    """Return the seconds that work items take, about, by key.

    Cost: each stage on at most 43 images, or fewer so that it takes about three seconds.
    """
    pace = _pace(plan.context)
    stages = list(dict.fromkeys(task.stage for task in tasks))
    with settled():
        costs = {stage: _cost(plan.context, stage, pace) for stage in stages}
    seconds = {}
    for task in tasks:
        fixed, each = costs[task.stage]
        batches = 1 if task.stage.whole else math.ceil(len(task.rows) / plan.config.micro_batch)
        seconds[task.key] = fixed * batches + each * len(task.rows)
    return seconds


def _cost(context: Context, stage: Stage, pace: float) -> tuple[float, float]:
    """Return the seconds of a batch whatever its size, and those of each image."""
    rows = stage.rows(context)
    each = pace * (stage.cost.forward + 2 * stage.cost.backward)
    if isinstance(stage, DataStage):
        count = len(rows) if stage.counted is None else min(stage.counted, len(rows))
        return count * (each + stage.beside * _size(context)), 0.0
    if each > _LONGEST or len(rows) < 3 * _FEW:
        return 0.0, each
    try:
        stage.run(context, rows[:1])  # the first time costs more
        few = _timed(stage, context, rows[1 : 1 + _FEW])
        many = min(_MANY, max(2 * _FEW, int(_LONGEST * _FEW / max(few, 1e-9))), len(rows) - 1 - _FEW)
        more = _timed(stage, context, rows[1 + _FEW : 1 + _FEW + many])
    except Exception:  # noqa: BLE001  (what breaks in the audit is a finding of its report, and takes no time)
        return 0.0, 0.0
    slope = max((more - few) / (many - _FEW), 0.3 * more / many)
    return max(0.0, few - _FEW * slope), slope


def _timed(stage: Stage, context: Context, rows: np.ndarray) -> float:
    began = clock()
    stage.run(context, rows)
    return clock() - began


def _size(context: Context) -> float:
    """Return the pixels of a model input in units of 28 x 28, in which work beside the model is given."""
    shape = context.inputs(DATA, context.role().order[:1]).shape
    return float(shape[-1] * shape[-2]) / 784


def _pace(context: Context) -> float:
    """Return the seconds of one row forward, from a forward and a backward of some images."""
    classifier = context.classifier
    inputs = context.inputs(DATA, context.role().order[:_PACED])
    rows = inputs.to(device=classifier.device, dtype=classifier.dtype)
    with borrowed(classifier.module), gradients_on():
        _there_and_back(classifier, rows[:2])  # the first time costs more
        began = clock()
        _there_and_back(classifier, rows)
        return (clock() - began) / (3 * len(rows))


def _there_and_back(classifier: Any, rows: torch.Tensor) -> None:
    rows = rows.detach().requires_grad_()
    logits = classifier.raw_logits(rows)
    if logits.requires_grad:
        torch.autograd.grad(logits.sum(), rows)


@dataclass(frozen=True)
class PlannedCheck:
    """What one check would cost.

    Attributes:
        id: of the check.
        metric: what it measures.
        conditions: that judge it, in words.
        images: per stage.
        pieces: of work.
        left: of them, not done yet.
        rows: through the network that are left, a row back counted as two.
        seconds: about, by trying its work on a few images.
        missing: why it cannot be asked; "" where it can.
    """

    id: str
    metric: str
    conditions: tuple[str, ...]
    images: tuple[int, ...]
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
        >>> plan = xai.Audit.plan(model="example:fashion", data=data, checks=["accuracy"])
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
        lines = [f"{self.model['name']}: {self.left} of {self.pieces} work items left, about {self.seconds:,.0f} s"]
        for check in self.checks:
            conditions = ", ".join(check.conditions) or "only measured"
            cost = (
                check.missing
                or f"{check.left} of {check.pieces} pieces, {check.rows:,} rows, about {check.seconds:,.0f} s"
            )
            lines.append(f"  {check.id}: {conditions}; {cost}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        return asdict(self)


def plan(
    config: AuditSource, *, out: Any, only: Sequence[str] | None, baseline: Any, seed: int | None, **given: Any
) -> AuditPlan:
    """Do the work of `Audit.plan`."""
    settings = with_defaults(configured(config, **given), seed=seed, baseline=baseline)
    store, runs = Store(_place(settings, out)), past_runs(settings)
    settings = settings if only is None else settings.only(only)
    began = timing.clock()
    plan = make_plan(settings, open_context(settings), baseline=settings.baseline is not None)
    opening = timing.clock() - began
    left = [task for task in plan.tasks if not is_finished(task, store, runs)]
    rows = sum(task.rows_through for task in left)
    seconds = timing.seconds_of(plan, left)
    classifier = plan.context.classifier
    return AuditPlan(
        checks=tuple(_planned(request, seconds) for request in plan.checks),
        pieces=len(plan.tasks),
        left=len(left),
        rows=round(rows),
        seconds=opening + sum(seconds.values()),
        thresholds_sha256=settings.thresholds_sha256,
        accounting={name: role.counts for name, role in plan.context.roles.items()},
        model={"name": classifier.name, "fingerprint": classifier.fingerprint},
    )


OPERATIONS.register("plan")(plan)


def _place(config: Config, out: str | os.PathLike[str] | None) -> Path:
    """Return the store that an audit of these arguments would use."""
    if config.store is not None:
        return config.folder / config.store
    return folder_of(config, out) / STORE


def _planned(request: CheckRequest, seconds: Mapping[str, float]) -> PlannedCheck:
    tasks = [task for tasks in request.tasks for task in tasks]
    left = [task for task in tasks if task.key in seconds]
    rows = sum(task.rows_through for task in left)
    return PlannedCheck(
        id=request.id,
        metric=request.check.name,
        conditions=tuple(f"{c.name} {c.threshold:g}" for c in request.conditions),
        images=tuple(sum(len(task.rows) for task in tasks) for tasks in request.tasks),
        pieces=len(tasks),
        left=len(left),
        rows=round(rows),
        seconds=sum(seconds[task.key] for task in left),
        missing=request.missing,
    )
