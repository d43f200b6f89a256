"""Work on a Ray cluster: Ray schedules, the store stays the truth. Keys go out, keys come back, never an image.

Each actor opens the model and the data by itself, from the settings, and makes the plan again. It works only on keys
that it finds there, so that another model, other data or other code on a machine of the cluster cannot slip in. What an
actor, a machine or the driver leaves undone is done by the next run, or by this one itself in the end.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xai.audits.config import Config
from xai.audits.execution.plan import make_plan, open_context
from xai.audits.execution.stages.base import WorkItem, perform
from xai.audits.execution.store import Store
from xai.core.extras import missing_extra
from xai.core.runtime.batching import ShouldStop
from xai.errors import InputError, Stopped, XaiError

_POLL = 0.5  # seconds between looks
_SILENT, _SHRUNK = 600.0, 30.0  # without any result before the driver goes on alone; where machines were lost
DONE, THERE, UNKNOWN, BROKE = "done", "there", "unknown", "broke"


class Worker:
    """Does work items by their keys; runs in an actor.

    Args:
        config: as the driver has it.
        store: folder that all machines see.
        baseline: whether the driver has one.
    """

    def __init__(self, config: Config, store: str, *, baseline: bool) -> None:
        self._plan = make_plan(config, open_context(config), baseline=baseline)
        self._tasks = {task.key: task for task in self._plan.tasks}
        self._store = Store(Path(store))

    def do(self, key: str) -> tuple[str, str]:
        """Do one work item and publish it; return its key and what became of it."""
        if self._store.has(key):
            return key, THERE
        if key not in self._tasks:
            return key, UNKNOWN
        try:
            part = perform(self._plan.context, self._tasks[key], self._plan.config.micro_batch)
        except (XaiError, RuntimeError, ValueError, ArithmeticError, LookupError, TypeError, MemoryError):
            return key, BROKE  # the driver does it again, and says what is wrong
        self._store.publish(key, part)
        return key, DONE


def work_on_ray(
    config: Config,
    tasks: Sequence[WorkItem],
    store: Store,
    *,
    device: str,
    baseline: bool,
    tell: Callable[[float], None],
    should_stop: ShouldStop | None = None,
    budget: float | None = None,
) -> None:
    """Have a Ray cluster do work items; what is left in the end is for the caller.

    Uses the cluster that RAY_ADDRESS names, or the machine's cores and GPUs. One model per actor, and one GPU where
    there are some.

    Args:
        config: of the audit; every source by name, so that each machine opens it by itself.
        tasks: to do.
        store: in a folder that all machines see.
        device: kind of it that the driver plans with, "cpu" or "cuda"; every machine must have it.
        baseline: whether there is one.
        tell: is told the rows of each finished piece.
        should_stop: asked while waiting.
        budget: seconds.

    Raises:
        MissingExtraError: ray is not installed.
        InputError: a model or data set that exists in this process only.
        Stopped: `should_stop()` was true.
    """
    left = {task.key: task for task in tasks if not store.has(task.key)}
    sent = _sendable(config, device)
    ray = _ray()
    if not left:
        return
    owner = not ray.is_initialized()
    if owner:
        _start(ray)
    try:
        _drive(ray, sent, left, store, baseline=baseline, tell=tell, should_stop=should_stop, budget=budget)
    finally:
        if owner:
            ray.shutdown()


def _drive(
    ray: Any,
    config: Config,
    left: dict[str, WorkItem],
    store: Store,
    *,
    baseline: bool,
    tell: Callable[[float], None],
    should_stop: ShouldStop | None,
    budget: float | None,
) -> None:
    """Give each actor two pieces at a time, until all are done, time is up, or nobody answers any more."""
    actors = _actors(ray, config, store, len(left), baseline=baseline)
    queue = list(left)
    running: dict[Any, Any] = {}
    began = last = time.monotonic()
    free = [actor for actor in actors for _ in range(2)]
    while queue or running:
        if should_stop is not None and should_stop():
            raise Stopped("Stopped, as asked; the same command goes on from here.")
        while queue and free and (budget is None or time.monotonic() - began < budget):
            actor, key = free.pop(), queue.pop(0)
            running[actor.do.remote(key)] = actor
        if not running:
            return
        ready, _ = ray.wait(list(running), num_returns=1, timeout=_POLL)
        for future in ready:
            free.append(running.pop(future))
            key = _finished(ray, future)
            tell(left[key].rows_through if key in left else 0.0)
            last = time.monotonic()
        silent = time.monotonic() - last
        if silent > _SILENT or (silent > _SHRUNK and _places(ray) < len(actors)):
            return  # the caller does the rest, also what actors hold that no machine has room for any more


def _finished(ray: Any, future: Any) -> str:
    """Return the key of an answer, "" where the actor was lost for good: the work is done again."""
    try:
        return str(ray.get(future)[0])
    except ray.exceptions.RayError:
        return ""


def _actors(ray: Any, config: Config, store: Store, pieces: int, *, baseline: bool) -> list[Any]:
    gpus = int(ray.cluster_resources().get("GPU", 0))
    count = max(1, min(_places(ray), pieces))
    options = {"num_gpus": 1 if gpus else 0, "num_cpus": 1, "max_restarts": -1, "max_task_retries": -1}
    kind = ray.remote(Worker).options(**options)
    place = str(store.folder.resolve())
    return [kind.remote(config, place, baseline=baseline) for _ in range(count)]


def _places(ray: Any) -> int:
    """Return how many actors the machines have room for that are there now."""
    resources = ray.cluster_resources()
    return int(resources.get("GPU", 0)) or int(resources.get("CPU", 1))


def _start(ray: Any) -> None:
    """Join the cluster that RAY_ADDRESS names, or start one here that listens to nobody else."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    address = os.environ.get("RAY_ADDRESS") or "local"
    ray.init(address=address, include_dashboard=False if address == "local" else None, log_to_driver=False)


def _sendable(config: Config, device: str) -> Config:
    """Return settings that mean the same on another machine.

    Raises:
        InputError: a model or data set that exists in this process only.
    """
    sources = [config.model["source"], config.data["source"], *(other["source"] for other in config.others.values())]
    if not all(isinstance(source, str) for source in sources):
        raise InputError(
            "Expected a model and data by name or path with engine='ray', since each machine opens them by itself, but "
            "got objects of this process. Name them in xai.toml, or use engine='local'."
        )
    model = {**config.model, "device": device}
    return replace(config, model=model, folder=config.folder.resolve(), baseline=None)


def _ray() -> Any:
    try:
        import ray
    except Exception as error:  # one that does not work raises anything
        raise missing_extra("engine='ray'", "ray", error) from error
    return ray
