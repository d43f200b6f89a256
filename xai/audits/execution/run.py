"""The run: declare thresholds, do what is not done, summarise; a killed run goes on where it was."""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from xai.audits.check_result import Artifacts, CheckResult, exhibit
from xai.audits.checks.base import CheckView
from xai.audits.config import Config
from xai.audits.context import DATA, Context
from xai.audits.execution.plan import Plan, Planned
from xai.audits.execution.stages.base import StageResult, WorkItem, joined, perform
from xai.audits.execution.store import Store, StoredResult, canonical, clean, publish
from xai.core.results.message import Message
from xai.core.runtime.batching import Progress, ShouldStop
from xai.errors import RecordError, Stopped

PLAN, LOG, MANIFESTS = "plan.json", "log.jsonl", "manifests"
Results = Mapping[str, "WorkResult"]
Before = tuple[CheckResult, Sequence[str]] | None  # what the baseline measured, and on which images


@dataclass(frozen=True, eq=False)
class WorkResult:
    """What became of one check.

    Attributes:
        measured: None where it was not run or broke.
        trouble: {"type", "message"} of an error, {"why"} of what was not run, {} otherwise.
        done: images worked on, per stage.
        planned: images to work on, per stage.
        keys: of the finished work.
        shrunk: smallest micro-batch that memory forced; None for the planned one.
        files: of its evidence.
    """

    measured: CheckResult | None
    trouble: Mapping[str, str]
    done: tuple[int, ...] = ()
    planned: tuple[int, ...] = ()
    keys: tuple[str, ...] = ()
    shrunk: int | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(eq=False)
class Execution:
    """One run over a plan.

    Attributes:
        plan: what to do.
        store: where results are.
        folder: of the run.
        progress: told rows through the network.
        should_stop: asked between work items.
        budget: seconds for the work; None for no limit.
        lenders: stores of earlier runs, whose summaries are taken over.
    """

    plan: Plan
    store: Store
    folder: Path
    progress: Progress | None = None
    should_stop: ShouldStop | None = None
    budget: float | None = None
    lenders: tuple[Store, ...] = ()
    errors: dict[str, dict[str, str]] = field(default_factory=dict)  # by key of the task that broke

    def work(self, tasks: Sequence[WorkItem]) -> None:
        """Do the work that is not done; what breaks is remembered and ends nothing else.

        Raises:
            Stopped: `should_stop()` was true; what is finished is kept.
            RecordError: the store cannot be written.
        """
        began, total = time.monotonic(), sum(task.rows_through for task in tasks)
        left = [task for task in tasks if not self.store.has(task.key)]
        done = total - sum(task.rows_through for task in left)
        broken: set[Any] = set()
        self._tell(done, total)
        for task in left:
            if self.should_stop is not None and self.should_stop():
                raise Stopped("Stopped between two work items, as asked; the same command goes on from here.")
            if self.budget is not None and time.monotonic() - began >= self.budget:
                self.log("the time budget is used up")
                break
            if task.stage in broken or not self._one(task):
                broken.add(task.stage)
            done += task.rows_through
            self._tell(done, total)

    def _tell(self, done: float, total: float) -> None:
        if self.progress is not None:
            self.progress(round(done), round(total))

    def _one(self, task: WorkItem) -> bool:
        """Do one work item and publish it; say whether it succeeded."""
        if self.store.has(task.key):
            return True
        context, began = self.plan.context.stopping(self.should_stop), time.monotonic()
        try:
            part = perform(context, task, self.plan.config.micro_batch)
        except (Stopped, RecordError):
            raise
        except Exception as error:  # noqa: BLE001  (whatever breaks in a check is a finding of the report)
            self.errors[task.key] = {"type": type(error).__name__, "message": str(error)}
            self.log("broke", stage=task.stage.name, key=task.key, **self.errors[task.key])
            return False
        self.store.publish(task.key, part)
        self.log("done", stage=task.stage.name, key=task.key, images=len(task.rows), seconds=time.monotonic() - began)
        return True

    def results(
        self, baseline: Callable[[str], tuple[CheckResult, Sequence[str]] | None], digest: str | None
    ) -> Results:
        """Return what became of every check, each measured from finished work or read from the store."""
        return {
            planned.asked.id: self._result(planned, baseline(planned.asked.id), digest) for planned in self.plan.checks
        }

    def _result(self, planned: Planned, baseline: Before, digest: str | None) -> WorkResult:
        if planned.missing:
            return WorkResult(None, {"why": planned.missing})
        for task in (task for tasks in planned.tasks for task in tasks):
            if task.key in self.errors:
                return WorkResult(None, self.errors[task.key])
        results, keys, shrunk = self._found(planned)
        counts = tuple(len(result.rows) for result in results), tuple(result.planned for result in results)
        if not all(counts[0]):
            return WorkResult(
                None, {"why": Message("the time budget ended before any of its work was done")}, *counts, keys
            )
        key = self.plan.key_of_summary(planned, keys, digest)
        part = self._finished(planned, key)
        if part is None:
            began = time.monotonic()
            try:
                part = self._summary(planned, results, baseline)
            except (Stopped, RecordError):
                raise
            except Exception as error:  # noqa: BLE001  (as above)
                return WorkResult(None, {"type": type(error).__name__, "message": str(error)}, *counts, keys)
            self.store.publish(key, part)
            self.log("summarised", check=planned.asked.id, key=key, seconds=time.monotonic() - began)
            part = self.store.read(key) or part
        measured = CheckResult.from_dict(part.facts["measured"])
        return WorkResult(measured, {}, *counts, keys, shrunk, files_of(part))

    def _finished(self, planned: Planned, key: str) -> StoredResult | None:
        """Return a summary that this run's store or an earlier run's has; none of the machine's from an earlier one."""
        if planned.steady and not self.store.has(key):
            any(self.store.take_over(key, lender) for lender in self.lenders)
        return self.store.read(key)

    def _found(self, planned: Planned) -> tuple[list[StageResult], tuple[str, ...], int | None]:
        """Return what the stages of a check found, the keys of that work, and the smallest forced micro-batch."""
        results, keys, shrunk = [], [], []
        for tasks in planned.tasks:
            parts, rows = [], []
            for task in tasks:
                part = self._read(task)
                if part is not None:
                    parts.append(part)
                    rows.append(task.rows)
                    keys.append(task.key)
                    shrunk += [] if part.facts["shrunk_to"] is None else [int(part.facts["shrunk_to"])]
            results.append(joined(parts, rows, sum(len(task.rows) for task in tasks)))
        return results, tuple(keys), min(shrunk, default=None)

    def _read(self, task: WorkItem) -> StoredResult | None:
        """Return finished work; what is damaged is made again."""
        part = self.store.read(task.key)
        if part is None and self.store.has(task.key):
            self.log("damaged, made again", key=task.key)
            self.store.remove(task.key)
            self._one(task)
            part = self.store.read(task.key)
        return part

    def _summary(self, planned: Planned, results: Sequence[StageResult], baseline: Before) -> StoredResult:
        artifacts = Artifacts()
        before, names = (None, ()) if baseline is None else baseline
        view = CheckView(
            self.plan.context.stopping(self.should_stop), results, planned.asked.level, artifacts, before, names
        )
        measured = planned.asked.check.measure(view)
        return with_files(StoredResult({}, {"measured": measured.to_dict()}), artifacts.files)

    def log(self, event: str, **facts: Any) -> None:
        """Append a line to the log of the run; a log that cannot be written stops nothing."""
        line = canonical({"time": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, **facts}) + b"\n"
        with suppress(OSError):
            handle = os.open(self.folder / LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                os.write(handle, line)
            finally:
                os.close(handle)


def declare(config: Config, folder: Path) -> None:
    """Write thresholds with their digest and the time, before the model is loaded; a changed declaration is added.

    Raises:
        RecordError: the folder cannot be written.
    """
    path = folder / PLAN
    declared = _declared(path)
    if declared and declared[-1].get("sha256") == config.thresholds_sha256:
        return
    now = datetime.now(UTC).isoformat(timespec="seconds")
    declared.append({"time": now, "sha256": config.thresholds_sha256, "thresholds": config.thresholds})
    publish(path, json.dumps(declared, indent=1, sort_keys=True).encode() + b"\n")


def _declared(path: Path) -> list[dict[str, Any]]:
    try:
        declared = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return declared if isinstance(declared, list) and all(isinstance(entry, dict) for entry in declared) else []


def write_manifests(plan: Plan, folder: Path) -> None:
    """Write what became of every file of each data set."""
    for name, role in plan.context.roles.items():
        publish(folder / MANIFESTS / f"{_file_name(name)}.jsonl", role.manifest.content)


def _file_name(role: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in role)


def tidy(folder: Path, store: Store) -> None:
    """Remove what killed runs left behind."""
    store.clean()
    for place in (folder, folder / "evidence", folder / MANIFESTS):
        clean(place)


def prune(folder: Path, files: Mapping[str, bytes]) -> None:
    """Remove images of an earlier audit in this folder that this one does not show."""
    with suppress(OSError):
        for entry in list(os.scandir(folder / "evidence")):
            if entry.name not in files and not entry.name.startswith("."):
                with suppress(OSError):
                    Path(entry.path).unlink()


def share_of_work(tasks: Sequence[WorkItem], index: int, count: int) -> list[WorkItem]:
    """Return every `count`-th work item, from `index` on."""
    return list(tasks)[index::count]


_PREFIX = "file:"


def with_files(part: StoredResult, files: Mapping[str, bytes]) -> StoredResult:
    """Return a part that also holds files."""
    contents = {f"{_PREFIX}{name}": np.frombuffer(content, dtype=np.uint8) for name, content in files.items()}
    return StoredResult({**part.arrays, **contents}, part.facts)


def files_of(part: StoredResult) -> dict[str, bytes]:
    """Return the files of a part by name."""
    names = [name for name in part.arrays if name.startswith(_PREFIX)]
    return {name.removeprefix(_PREFIX): part.arrays[name].tobytes() for name in names}


_MOST = 20  # classes


def sample_of(context: Context, artifacts: Artifacts) -> list[dict[str, Any]]:
    """Return the first image of each of the first classes, in the order of work."""
    role = context.role(DATA)
    truth = context.labels(DATA, role.order).tolist()
    first = {label: int(row) for label, row in reversed(list(zip(truth, role.order.tolist(), strict=True)))}
    samples = []
    for label in sorted(first)[:_MOST]:
        row, name = first[label], context.classifier.class_names[label]
        pixels = context.decoded(DATA, [row])[0].pixels
        images = [artifacts.image(pixels)]
        caption = Message("{image}: an image of {label} from the data.", image=role.ids[row], label=name)
        alt = Message("An image of {label} from the data.", label=name)
        samples.append(exhibit(name, caption, alt, images, image=role.ids[row], label=name))
    return samples
