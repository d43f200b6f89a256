"""The positive control: every gate is put before a model, or data, broken so that this gate must fail."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xai.audits.audit import AuditSource, configured, folder_of
from xai.audits.checks.base import CheckRequest
from xai.audits.conditions import NOT_RUN
from xai.audits.config import Config
from xai.audits.context import Context
from xai.audits.execution.plan import open_context, with_defaults
from xai.audits.execution.run import Execution
from xai.audits.fault_injection import BREAKERS, MOST_FINDINGS
from xai.audits.operations import OPERATIONS
from xai.core.runtime.batching import Progress, ShouldStop, reporting
from xai.datasets.dataset import Dataset
from xai.errors import InputError
from xai.stats.gates import PASS

CONTROL = "control"


def positive_control(
    config: AuditSource,
    *,
    baseline: Any,
    out: str | os.PathLike[str] | None,
    only: Sequence[str] | None,
    progress: bool | Progress | None,
    should_stop: ShouldStop | None,
    **given: Any,
) -> dict[str, str]:
    """Do the work of `Audit.positive_control`."""
    settings = with_defaults(configured(config, **given), baseline=baseline)
    settings = settings if only is None else settings.only(only)
    gates = [request for request in settings.checks if request.conditions]
    if out is None and not settings.file:
        with tempfile.TemporaryDirectory(prefix="xai-control-") as place:
            return _verdicts(settings, gates, Path(place), progress, should_stop)
    return _verdicts(settings, gates, folder_of(settings, out), progress, should_stop)


OPERATIONS.register("positive_control")(positive_control)


def _verdicts(
    config: Config,
    gates: list[CheckRequest],
    folder: Path,
    progress: bool | Progress | None,
    should_stop: ShouldStop | None,
) -> dict[str, str]:
    context, verdicts = open_context(config, should_stop), {}
    for gate in gates:
        _check_breakable(gate, context.classifier.num_classes)
    with reporting(progress, CONTROL) as report:
        for done, gate in enumerate(gates, 1):
            verdicts[gate.id] = _verdict(config, gate, context, folder, should_stop)
            if report is not None:
                report(done, len(gates))
    return verdicts


def _check_breakable(gate: CheckRequest, classes: int) -> None:
    """Raise, before any work, where a condition allows more findings than can be made on purpose.

    Raises:
        InputError: it does.
    """
    name = gate.check.name
    if name in MOST_FINDINGS and _threshold(gate) >= (most := MOST_FINDINGS[name](classes)):
        raise InputError(
            f"Expected at_most of the check {gate.id!r} below {most} for a positive control, but got "
            f"{_threshold(gate):g}: in a model with {classes} classes no more than {most} findings can be made on "
            "purpose. Lower it, or leave the check out by `only`."
        )


def _threshold(gate: CheckRequest) -> float:
    """Return the threshold to break: of checks for which less is better, what they have at most."""
    thresholds = {condition.name: condition.threshold for condition in gate.conditions}
    first = next(iter(thresholds.values()))
    return thresholds.get("at_most", first) if gate.check.better == "less" else first


def _verdict(config: Config, gate: CheckRequest, context: Context, folder: Path, should_stop: ShouldStop | None) -> str:
    if gate.check.missing(context, baseline=config.baseline is not None):
        return NOT_RUN
    if len(gate.idle) == len(gate.conditions):
        return PASS  # as any model does, so that there is nothing to be tried
    broken = replace(_broken(config, gate, context), checks=(gate,), budget=None, store=None)
    with Execution.open(broken, folder, only=[gate.id], should_stop=should_stop, within=CONTROL) as execution:
        execution.work(execution.plan.tasks)
        return str(execution.finish()[gate.id]["verdict"])


def _broken(config: Config, gate: CheckRequest, context: Context) -> Config:
    """Return the audit with the model, or the images, broken for a gate."""
    made = BREAKERS[gate.check.name](context, _threshold(gate))
    if isinstance(made, Dataset):
        return replace(config, data={"source": made})
    return replace(config, model={"source": made})
