"""An audit at work in its folder, and earlier runs of the same file.

A list in `.xai/` beside the file, newest first. It only says where to look: whether a work item fits is decided by
its key, so that a stale entry costs nothing but a look.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xai.audits.baseline import Baseline
from xai.audits.check_result import KEY_BYTES, Artifacts
from xai.audits.conditions import PairedOutcome
from xai.audits.config import Config
from xai.audits.context import DATA
from xai.audits.document import ONLY, WITHIN, assemble
from xai.audits.execution.cluster import work_on_ray
from xai.audits.execution.plan import Plan, make_plan, open_context
from xai.audits.execution.run import Execution, Results, declare, prune, sample_of, tidy, write_manifests
from xai.audits.execution.stages.base import WorkItem
from xai.audits.execution.store import Store, code_digest, publish
from xai.audits.record import Audit
from xai.core.results.serialization import plain
from xai.core.runtime.batching import Progress, ShouldStop, reporting
from xai.errors import RecordError

STORE = "store"
_FILE = "runs.json"
_MOST = 5
_BYTES = 1 << 20
_INPUTS = {
    "model": "the model",
    "class_names": "the class names",
    "versions": "a version of a package",
    "device": "the device",
    "dtype": "the precision of the model",
    "seed": "the seed",
    "micro_batch": "micro_batch",
    "shard": "shard",
    "code": "the code of the toolkit",
}


@dataclass(frozen=True)
class PastRun:
    """One earlier run.

    Attributes:
        name: its folder as it is told to users.
        folder: of its results.
        inputs: what its work depends on, by name; empty where that is not known.
    """

    name: str
    folder: Path
    inputs: Mapping[str, Any]


def default_folder(config: Config) -> Path:
    """Return where an audit is written that names no folder."""
    return config.folder / WITHIN / Path(config.file).stem


def past_runs(config: Config) -> tuple[PastRun, ...]:
    """Return the earlier runs of the same file whose folders are still there, newest first."""
    if not config.file or config.store is not None:  # a store named in the file is shared by all runs anyway
        return ()
    entries = [_past_run(config, entry) for entry in _entries(config)]
    return tuple(run for run in entries if run is not None)


def note_run(config: Config, folder: Path, inputs: Mapping[str, Any] | None) -> None:
    """Put a run first in the list; where that cannot be written, the next run finds no earlier one.

    Args:
        config: of the run.
        folder: of its results.
        inputs: of its work; None for the positive control, whose models are broken copies.
    """
    if not config.file:
        return
    place, base = folder.resolve(), config.folder.resolve()
    name = os.path.relpath(place, base) if place.is_relative_to(base) else str(place)
    listed = _entries(config)
    if inputs is None:
        inputs = next((entry.get("inputs", {}) for entry in listed if entry.get("folder") == name), {})
    others = [entry for entry in listed if entry.get("folder") != name]
    entries = [{"folder": name, "inputs": plain(inputs)}, *others][:_MOST]
    with suppress(RecordError):
        publish(_path(config), json.dumps(entries, indent=1).encode() + b"\n")


def inputs_of(plan: Plan) -> dict[str, Any]:
    """Return what all work of a plan depends on: the base of its keys, and the images of each data set."""
    images = {f"[{name}]": role.manifest.fingerprint for name, role in plan.context.roles.items()}
    return {**plan.base, "code": code_digest(), "shard": plan.config.shard, **images}


def changes(run: PastRun, inputs: Mapping[str, Any]) -> list[str]:
    """Return what differs between an earlier run and these inputs, in words."""
    names = [name for name in inputs if run.inputs and run.inputs.get(name) != plain(inputs[name])]
    return [_INPUTS.get(name, name) for name in names if name in _INPUTS or name.startswith("[")]


def take_over(plan: Plan, store: Store, runs: Sequence[PastRun], within: str) -> dict[str, int]:
    """Copy finished work of earlier runs into a store; return how many pieces came from each run, by its name.

    What measures the machine (`speed`) is measured anew.
    """
    taken: dict[str, int] = {}
    left = [task for task in plan.left(store) if task.steady]
    for run in runs:
        lender = Store(run.folder / within / STORE)
        for task in [task for task in left if lender.has(task.key)]:
            if store.take_over(task.key, lender):
                taken[run.name] = taken.get(run.name, 0) + 1
                left.remove(task)
    return taken


def is_finished(task: WorkItem, store: Store, runs: Sequence[PastRun]) -> bool:
    """Whether a store has a work item, or an earlier run whose work would be taken over."""
    lenders = (Store(run.folder / STORE) for run in runs) if task.steady else ()
    return store.has(task.key) or any(lender.has(task.key) for lender in lenders)


def finished_note(plan: Plan, store: Store, runs: Sequence[PastRun], taken: Mapping[str, int]) -> str:
    """Return one sentence on how much is finished, from which runs, and why the rest is computed anew."""
    pieces, left = len(plan.tasks), len(plan.left(store))
    sources = ", ".join(f"{count} from the run in {name}" for name, count in taken.items())
    count_note = f"{pieces - left} of {pieces} work items are finished" + (f" ({sources})" if sources else "")
    known = [run for run in runs if run.inputs]
    if not known:
        return (
            count_note
            if left < pieces
            else f"{count_note}: no other run of {plan.config.file or 'this audit'} is known"
        )
    if not left:
        return count_note
    inputs = inputs_of(plan)
    nearest = min(known, key=lambda run: len(changes(run, inputs)))
    differing = changes(nearest, inputs)
    why = f"differs in {', '.join(differing)}" if differing else "has not done them with these settings"
    return f"{count_note}; the rest is computed anew, since the run in {nearest.name} {why}"


def _path(config: Config) -> Path:
    return default_folder(config) / _FILE


def _entries(config: Config) -> list[dict[str, Any]]:
    path = _path(config)
    with suppress(OSError, ValueError, RecursionError):
        if path.stat().st_size <= _BYTES:
            listed = json.loads(path.read_text(encoding="utf-8"))
            return [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    return []


def _past_run(config: Config, entry: Mapping[str, Any]) -> PastRun | None:
    name, inputs = entry.get("folder"), entry.get("inputs")
    if not isinstance(name, str):
        return None
    folder = config.folder / name
    return PastRun(name, folder, inputs if isinstance(inputs, dict) else {}) if folder.is_dir() else None


_LOG = logging.getLogger(__name__)


@dataclass(eq=False)
class Session:
    """An audit in its folder.

    Attributes:
        plan: what is asked.
        run: does it.
        folder: of the results.
        baseline: an earlier audit, or None.
    """

    plan: Plan
    run: Execution
    folder: Path
    baseline: Baseline | None

    @classmethod
    def open(
        cls,
        config: Config,
        folder: Path,
        *,
        only: Sequence[str] | None = None,
        should_stop: ShouldStop | None = None,
        within: str = "",
    ) -> "Session":
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
        declare(config, place)
        baseline = Baseline.of(config)
        plan = make_plan(config, open_context(config, should_stop), baseline=baseline is not None)
        tidy(place, store)
        runs = past_runs(config)
        taken = take_over(plan, store, runs, within)
        if not within:
            _LOG.info("%s", finished_note(plan, store, runs, taken))
        note_run(config, folder, None if within else inputs_of(plan))
        lenders = tuple(Store(past.folder / within / STORE) for past in runs)
        run = Execution(plan, store, place, should_stop=should_stop, budget=config.budget, lenders=lenders)
        write_manifests(plan, place)
        return cls(plan, run, place, baseline)

    def __enter__(self) -> "Session":
        """Note the beginning."""
        self.run.log("began", left=len(self.plan.left(self.run.store)), pieces=len(self.plan.tasks))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Note the end."""
        self.run.log("ended" if kind is None else "interrupted", **({} if kind is None else {"by": kind.__name__}))

    def work(
        self, tasks: Sequence[WorkItem], progress: bool | Progress | None = None, *, cluster: bool = False
    ) -> None:
        """Do what is not done; what a cluster leaves is done here."""
        with reporting(progress, "audit") as report:
            if cluster:
                self._on_cluster(tasks, report)
            self.run.progress = report
            self.run.work(tasks)

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
            self.run.store,
            device=str(self.plan.base["device"]),
            baseline=self.baseline is not None,
            tell=tell,
            should_stop=self.run.should_stop,
            budget=self.run.budget,
        )

    def finish(self) -> Audit:
        """Summarise, judge and write."""
        baseline, artifacts = self.baseline, Artifacts()
        if baseline is None:
            results = self.run.results(lambda _: None, None)
            document = assemble(self.plan, results, None, {})
        else:
            results = self.run.results(baseline.before, baseline.digest)
            document = assemble(self.plan, results, baseline.about(self._keys()), self._pairs(baseline, results))
        files = {name: content for result in results.values() for name, content in result.files.items()}
        document |= {"samples": sample_of(self.plan.context, artifacts)}
        files |= artifacts.files
        document |= {"files": {name: len(content) for name, content in sorted(files.items())}}
        changes = None if baseline is None else baseline.changes(document)
        audit = Audit({**document, "changes": changes}, files, self.folder)
        audit.save(self.folder)
        prune(self.folder, files)
        tidy(self.folder, self.run.store)
        return audit

    def _pairs(self, baseline: Baseline, results: Results) -> dict[str, PairedOutcome]:
        keys, model = self._keys(), self.plan.context.classifier.fingerprint
        settings = {planned.asked.id: planned.asked.check.settings for planned in self.plan.checks}
        pairs = {
            name: baseline.pair(name, result.measured, keys, model, settings[name]) for name, result in results.items()
        }
        return {name: pair for name, pair in pairs.items() if pair is not None}

    def _keys(self) -> list[bytes]:
        return [bytes.fromhex(key)[:KEY_BYTES] for key in self.plan.context.role(DATA).keys]
