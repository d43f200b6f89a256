"""The run of an audit in its folder.

It declares thresholds, does the work that is not done yet, and summarises; an interrupted run resumes.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from xai.audits.baseline import Baseline
from xai.audits.check_result import KEY_BYTES, Artifacts, CheckResult, exhibit
from xai.audits.checks.base import CheckRequest
from xai.audits.conditions import PairedOutcome
from xai.audits.config import Config
from xai.audits.context import DATA, Context
from xai.audits.document import ONLY, assemble
from xai.audits.execution.cluster import work_on_ray
from xai.audits.execution.plan import (
    STORE,
    Plan,
    finished_note,
    inputs_of,
    make_plan,
    note_run,
    open_context,
    past_runs,
    take_over,
)
from xai.audits.execution.stages.base import WorkItem, joined, perform
from xai.audits.execution.store import Store, StoredResult, canonical, clean, publish
from xai.audits.record import Audit
from xai.core.results.message import Message
from xai.core.runtime.batching import Progress, ShouldStop, reporting
from xai.errors import RecordError, Stopped

PLAN, LOG, MANIFESTS = "plan.json", "log.jsonl", "manifests"
_LOG = logging.getLogger(__name__)


@dataclass(eq=False)
class Execution:
    """An audit in its folder.

    Attributes:
        plan: what to do.
        store: where results are.
        folder: of the run.
        baseline: an earlier audit, or None.
        should_stop: asked between work items.
        lenders: stores of earlier runs, whose summaries are taken over.
    """

    plan: Plan
    store: Store
    folder: Path
    baseline: Baseline | None = None
    should_stop: ShouldStop | None = None
    lenders: tuple[Store, ...] = ()
    errors: dict[str, dict[str, str]] = field(default_factory=dict)  # by key of the task that broke

    @classmethod
    def open(
        cls,
        config: Config,
        folder: Path,
        *,
        only: Sequence[str] | None = None,
        should_stop: ShouldStop | None = None,
        within: str = "",
    ) -> "Execution":
        """Declare thresholds, load everything, plan, and take over what earlier runs of the same file finished.

        Args:
            config: as asked for.
            folder: of the run.
            only: ids of the checks, where not all are asked.
            should_stop: asked between work items.
            within: folder below that of the run where this part of it is kept.
        """
        whole = folder / within
        place = whole if only is None else whole / ONLY / hashlib.sha256("\n".join(only).encode()).hexdigest()[:12]
        store = Store(whole / STORE if config.store is None else config.folder / config.store)
        _declare(config, place)
        baseline = Baseline.of(config)
        plan = make_plan(config, open_context(config, should_stop), baseline=baseline is not None)
        _tidy(place, store)
        runs = past_runs(config)
        taken = take_over(plan, store, runs, within)
        if not within:
            _LOG.info("%s", finished_note(plan, store, runs, taken))
        note_run(config, folder, None if within else inputs_of(plan))
        lenders = tuple(Store(run.folder / within / STORE) for run in runs)
        _write_manifests(plan, place)
        return cls(plan, store, place, baseline, should_stop, lenders)

    def __enter__(self) -> "Execution":
        """Note the beginning."""
        self.log("began", left=len(self.plan.left(self.store)), pieces=len(self.plan.tasks))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Note the end."""
        self.log("ended" if kind is None else "interrupted", **({} if kind is None else {"by": kind.__name__}))

    def work(
        self, tasks: Sequence[WorkItem], progress: bool | Progress | None = None, *, cluster: bool = False
    ) -> None:
        """Do what is not done; what a cluster leaves is done here, and what breaks ends nothing else.

        Raises:
            Stopped: `should_stop()` was true; what is finished is kept.
            RecordError: the store cannot be written.
        """
        with reporting(progress, "audit") as report:
            if cluster:
                self._on_cluster(tasks, report)
            self._work_here(tasks, report)

    def _on_cluster(self, tasks: Sequence[WorkItem], report: Progress | None) -> None:
        total, done = round(sum(task.rows_through for task in tasks)), 0.0

        def tell(rows: float) -> None:
            nonlocal done
            done += rows
            if report is not None:
                report(min(total, round(done)), total)

        work_on_ray(
            self.plan.config,
            tasks,
            self.store,
            device=str(self.plan.base["device"]),
            baseline=self.baseline is not None,
            tell=tell,
            should_stop=self.should_stop,
            budget=self.plan.config.budget,
        )

    def _work_here(self, tasks: Sequence[WorkItem], report: Progress | None) -> None:
        began, total, budget = time.monotonic(), sum(task.rows_through for task in tasks), self.plan.config.budget
        left = [task for task in tasks if not self.store.has(task.key)]
        done = total - sum(task.rows_through for task in left)
        broken: set[Any] = set()
        tell = report or (lambda *_: None)
        tell(round(done), round(total))
        for task in left:
            if self.should_stop is not None and self.should_stop():
                raise Stopped("Stopped between two work items, as asked; the same command goes on from here.")
            if budget is not None and time.monotonic() - began >= budget:
                self.log("the time budget is used up")
                break
            if task.stage in broken or not self._one(task):
                broken.add(task.stage)
            done += task.rows_through
            tell(round(done), round(total))

    def _one(self, task: WorkItem) -> bool:
        """Do one work item and publish it; say whether it succeeded."""
        if self.store.has(task.key):
            return True
        context, began = replace(self.plan.context, should_stop=self.should_stop), time.monotonic()
        try:
            part = perform(context, task, self.plan.config.micro_batch)
        except (Stopped, RecordError):
            raise
        except Exception as error:  # noqa: BLE001  (whatever breaks in a check is a finding of the report)
            self.errors[task.key] = _trouble(error)
            self.log("broke", stage=task.stage.name, key=task.key, **self.errors[task.key])
            return False
        self.store.publish(task.key, part)
        self.log("done", stage=task.stage.name, key=task.key, images=len(task.rows), seconds=time.monotonic() - began)
        return True

    def finish(self) -> Audit:
        """Summarise, judge and write."""
        results = {request.id: self._result(request) for request in self.plan.checks}
        document = assemble(self.plan, results, *self._compared(results))
        files = {name: content for result in results.values() for name, content in result.files.items()}
        artifacts = Artifacts()
        document |= {"samples": _samples(self.plan.context, artifacts)}
        files |= artifacts.files
        document |= {"files": {name: len(content) for name, content in sorted(files.items())}}
        changes = None if self.baseline is None else self.baseline.changes(document)
        audit = Audit({**document, "changes": changes}, files, self.folder)
        audit.save(self.folder)
        _prune(self.folder, files)
        _tidy(self.folder, self.store)
        return audit

    def _compared(
        self, results: Mapping[str, CheckResult]
    ) -> tuple[dict[str, Any] | None, dict[str, PairedOutcome | None]]:
        """Return what is known of the baseline, and the outcomes of each check then and now."""
        if self.baseline is None:
            return None, {}
        keys, model = self._image_keys(), self.plan.context.classifier.fingerprint
        pairs = {
            request.id: self.baseline.pair(request.id, results[request.id], keys, model, request.check.settings)
            for request in self.plan.checks
        }
        return self.baseline.about(keys), pairs

    def _image_keys(self) -> list[bytes]:
        return [bytes.fromhex(key)[:KEY_BYTES] for key in self.plan.context.role(DATA).keys]

    def _result(self, request: CheckRequest) -> CheckResult:
        """Return what became of a check, measured from finished work or read from the store."""
        if request.missing:
            return CheckResult.unmeasured({"why": request.missing}, request.level)
        for task in (task for tasks in request.tasks for task in tasks):
            if task.key in self.errors:
                return CheckResult.unmeasured(self.errors[task.key], request.level)
        stages, work = self._finished_stages(request)
        if not all(work["done"]):
            why = Message("the time budget ended before any of its work was done")
            return CheckResult.unmeasured({"why": why}, request.level, **{**work, "shrunk": None})
        key = self.plan.key_of_summary(request, work["keys"], None if self.baseline is None else self.baseline.digest)
        part = self._finished(request, key)
        if part is None:
            began = time.monotonic()
            try:
                part = self._summary(request, stages)
            except (Stopped, RecordError):
                raise
            except Exception as error:  # noqa: BLE001  (as above)
                return CheckResult.unmeasured(_trouble(error), request.level, **{**work, "shrunk": None})
            self.store.publish(key, part)
            self.log("summarised", check=request.id, key=key, seconds=time.monotonic() - began)
            part = self.store.read(key) or part
        return replace(CheckResult.from_dict(part.facts["measured"]), **work, files=_files_of(part))

    def _finished(self, request: CheckRequest, key: str) -> StoredResult | None:
        """Return a summary that this run's store or an earlier run's has; none of the machine's from an earlier one."""
        if request.steady and not self.store.has(key):
            any(self.store.take_over(key, lender) for lender in self.lenders)
        return self.store.read(key)

    def _finished_stages(self, request: CheckRequest) -> tuple[list[StoredResult], dict[str, Any]]:
        """Return what the stages of a check found, and of their work: counts, keys, smallest forced micro-batch."""
        stages, keys, shrunk = [], [], []
        for tasks in request.tasks:
            parts, rows = [], []
            for task in tasks:
                part = self._read(task)
                if part is not None:
                    parts.append(part)
                    rows.append(task.rows)
                    keys.append(task.key)
                    shrunk += [] if part.facts["shrunk_to"] is None else [int(part.facts["shrunk_to"])]
            stages.append(joined(parts, rows, sum(len(task.rows) for task in tasks)))
        work: dict[str, Any] = {"keys": tuple(keys), "shrunk": min(shrunk, default=None)}
        work |= {"done": tuple(len(stage.rows) for stage in stages), "planned": tuple(s.planned for s in stages)}
        return stages, work

    def _read(self, task: WorkItem) -> StoredResult | None:
        """Return finished work; what is damaged is made again."""
        part = self.store.read(task.key)
        if part is None and self.store.has(task.key):
            self.log("damaged, made again", key=task.key)
            self.store.remove(task.key)
            self._one(task)
            part = self.store.read(task.key)
        return part

    def _summary(self, request: CheckRequest, stages: Sequence[StoredResult]) -> StoredResult:
        before = None if self.baseline is None else self.baseline.before(request.id)
        baseline, names = (None, ()) if before is None else before
        context = replace(
            self.plan.context,
            should_stop=self.should_stop,
            level=request.level,
            results=stages,
            artifacts=Artifacts(),
            baseline=baseline,
            baseline_keys=names,
        )
        measured = request.check.measure(context)
        files = {
            f"{_PREFIX}{name}": np.frombuffer(png, dtype=np.uint8) for name, png in context.artifacts.files.items()
        }
        return StoredResult(files, {"measured": measured.to_dict()})

    def log(self, event: str, **facts: Any) -> None:
        """Append a line to the log of the run; a log that cannot be written stops nothing."""
        line = canonical({"time": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, **facts}) + b"\n"
        with suppress(OSError):
            handle = os.open(self.folder / LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                os.write(handle, line)
            finally:
                os.close(handle)


def _trouble(error: Exception) -> dict[str, str]:
    return {"type": type(error).__name__, "message": str(error)}


def _declare(config: Config, folder: Path) -> None:
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


def _write_manifests(plan: Plan, folder: Path) -> None:
    """Write what became of every file of each data set."""
    for name, role in plan.context.roles.items():
        publish(folder / MANIFESTS / f"{_file_name(name)}.jsonl", role.manifest)


def _file_name(role: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in role)


def _tidy(folder: Path, store: Store) -> None:
    """Remove what killed runs left behind."""
    store.clean()
    for place in (folder, folder / "evidence", folder / MANIFESTS):
        clean(place)


def _prune(folder: Path, files: Mapping[str, bytes]) -> None:
    """Remove images of an earlier audit in this folder that this one does not show."""
    with suppress(OSError):
        for entry in list(os.scandir(folder / "evidence")):
            if entry.name not in files and not entry.name.startswith("."):
                with suppress(OSError):
                    Path(entry.path).unlink()


_PREFIX = "file:"


def _files_of(part: StoredResult) -> dict[str, bytes]:
    """Return the files of a summary by name."""
    names = [name for name in part.arrays if name.startswith(_PREFIX)]
    return {name.removeprefix(_PREFIX): part.arrays[name].tobytes() for name in names}


_MOST = 20  # classes


def _samples(context: Context, artifacts: Artifacts) -> list[dict[str, Any]]:
    """Return the first image of each of the first classes, in the order of work."""
    role = context.role(DATA)
    ground_truth = context.labels(DATA, role.order).tolist()
    first = {label: int(row) for label, row in reversed(list(zip(ground_truth, role.order.tolist(), strict=True)))}
    samples = []
    for label in sorted(first)[:_MOST]:
        row, name = first[label], context.classifier.class_names[label]
        pixels = context.decoded(DATA, [row])[0].pixels
        images = [artifacts.image(pixels)]
        caption = Message("{image}: an image of {label} from the data.", image=role.ids[row], label=name)
        alt = Message("An image of {label} from the data.", label=name)
        samples.append(exhibit(name, caption, alt, images, image=role.ids[row], label=name))
    return samples
