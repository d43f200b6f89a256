"""The plan of an audit.

It holds the model and data sets from settings, the work of the checks in pieces, and what earlier runs did of it.

Earlier runs of a file stand in a list in `.xai/` beside it, newest first. It only says where to look: whether a work
item fits is decided by its key, so that a stale entry costs nothing but a look.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from xai.audits.checks.base import CheckRequest
from xai.audits.config import Config, as_table
from xai.audits.context import DATA, Context, all_versions, open_role
from xai.audits.execution.stages.base import Stage, WorkItem
from xai.audits.execution.store import SCHEMA, Store, canonical, code_digest, digest_of, key_of, own_digest, publish
from xai.core.model.classifier import Classifier
from xai.core.results.codec import plain
from xai.datasets.dataset import Dataset
from xai.datasets.loading import load_data
from xai.errors import InputError, RecordError
from xai.models.architectures import imports_from
from xai.models.loading import load


def open_context(config: Config, should_stop: Callable[[], bool] | None = None) -> Context:
    """Load the model and read every image once.

    Raises:
        InputError: something that cannot be used.
        NameLookupError: no such model or example.
    """
    classifier = open_model(config)
    sources = {DATA: config.data, **config.others}
    data = {name: _data(source, config) for name, source in sources.items()}  # all are found before any is read
    roles = {
        name: open_role(name, _shown(source), data[name], classifier, source.get("n"), config.seed)
        for name, source in sources.items()
    }
    if roles[DATA].labels is None:
        raise InputError(
            f"[data]: {roles[DATA].source} has no labels, and every check compares predictions with labels."
        )
    context = Context(classifier, roles, config.seed, should_stop)
    context.check()
    return context


def open_model(config: Config) -> Classifier:
    """Load the model; see `open_context` for errors."""
    settings = {"device": "auto", **config.model}
    source = settings.pop("source")
    if isinstance(source, Classifier):
        return source
    if isinstance(source, str):
        source = _placed(source, config.folder)
    with imports_from(config.folder, settings.get("arch")):
        return load(source, **settings)


def _data(table: Mapping[str, Any], config: Config) -> Dataset:
    settings = {name: value for name, value in table.items() if name != "n"}
    source = settings.pop("source")
    return load_data(_placed(source, config.folder) if isinstance(source, str) else source, **settings)


def _shown(table: Mapping[str, Any]) -> str:
    part = table.get("part")
    return str(as_table(table)["source"]) + (f"@{part}" if part else "")


def _placed(source: str, folder: Path) -> str:
    """Return a path relative to the file it stands in, where there is something; anything else as it is."""
    near = folder / source
    return str(near) if folder != Path() and not Path(source).is_absolute() and near.exists() else source


def baseline_path(config: Config) -> Path | None:
    """Return the place of the baseline."""
    if config.baseline is None:
        return None
    return Path(_placed(str(config.baseline), config.folder))


def with_defaults(config: Config, **given: Any) -> Config:
    """Return the same settings with those given here in place of the file's."""
    return replace(config, **{name: value for name, value in given.items() if value is not None})


_OWN = (
    "xai.audits.execution.run",
    "xai.audits.execution.plan",
    "xai.audits.execution.store",
)  # how any work is cut, done and kept


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that an audit will do.

    Attributes:
        config: as asked for.
        context: what it is about.
        checks: with their work.
        base: what every key depends on: schema, code of audits, versions, model, device.
    """

    config: Config
    context: Context
    checks: tuple[CheckRequest, ...]
    base: Mapping[str, Any]

    @property
    def tasks(self) -> tuple[WorkItem, ...]:
        """All work, each piece once: the first piece of every stage, then the second, so that none starves."""
        stages = [tasks for request in self.checks for tasks in request.tasks]
        by_key = {task.key: task for row in zip_longest(*stages) for task in row if task is not None}
        return tuple(by_key.values())

    def left(self, store: Store) -> list[WorkItem]:
        """Return the work whose result is not in the store."""
        return [task for task in self.tasks if not store.has(task.key)]

    def key_of_summary(self, request: CheckRequest, done: Sequence[str], baseline: str | None) -> str:
        """Return the key of what a check makes of some finished work."""
        return key_of(
            {
                **self.base,
                "code_of_check": digest_of(type(request.check).__module__),
                "summary": request.check.name,
                "settings": request.check.settings,
                "level": request.level,
                "inputs": list(done),
                "names": _names(self.context),
                "baseline": baseline,
            }
        )


def make_plan(config: Config, context: Context, *, baseline: bool) -> Plan:
    """Return the plan of an audit; nothing is run."""
    classifier = context.classifier
    base = {
        "schema": SCHEMA,
        "code": own_digest(*_OWN),
        "versions": all_versions(),
        "model": classifier.fingerprint,
        "class_names": list(classifier.class_names),
        "device": classifier.device.type,
        "dtype": str(classifier.dtype),
        "seed": context.seed,
        "micro_batch": config.micro_batch,
    }
    checks = []
    for request in config.checks:
        missing = request.check.missing(context, baseline=baseline)
        stages = () if missing else request.check.stages()
        tasks = tuple(tuple(_tasks(stage, context, base, config.shard)) for stage in stages)
        checks.append(replace(request, tasks=tasks, missing=missing))
    return Plan(config, context, tuple(checks), base)


def _tasks(stage: Stage, context: Context, base: Mapping[str, Any], shard: int) -> Iterator[WorkItem]:
    """Cut the work of a stage into pieces."""
    rows = stage.rows(context)
    size = len(rows) if stage.whole else shard
    for start in range(0, len(rows), max(1, size)):
        some = rows[start : start + size]
        content = {
            **base,
            **stage.settings,
            "code_of_stage": digest_of(*_modules(stage)),
            "items": hashlib.sha256(canonical(context.role(stage.role).items(some))).hexdigest(),
        }
        yield WorkItem(key_of({**content, "reads": stage.reads(context)}), stage, some)


def _modules(stage: Stage) -> list[str]:
    """Return the modules that hold the work of a stage."""
    study = getattr(stage, "study", None)
    return [type(stage).__module__] + ([] if study is None else [study.__module__])


def _names(context: Context) -> str:
    """Return a digest of what summaries show and shards do not: names and groups of images, in the order of rows."""
    role = context.role(DATA)
    groups = {name: values.tolist() for name, values in role.groups.items()}
    others = {name: [other.source, list(other.ids)] for name, other in context.roles.items()}
    return hashlib.sha256(canonical([list(role.keys), groups, others])).hexdigest()


WITHIN = ".xai"
STORE = "store"
_RUNS = "runs.json"
_MOST_RUNS = 5
_MOST_BYTES = 1 << 20
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
    entries = [{"folder": name, "inputs": plain(inputs)}, *others][:_MOST_RUNS]
    with suppress(RecordError):
        publish(_path(config), json.dumps(entries, indent=1).encode() + b"\n")


def inputs_of(plan: Plan) -> dict[str, Any]:
    """Return what all work of a plan depends on: the base of its keys, and the images of each data set."""
    images = {f"[{name}]": role.fingerprint for name, role in plan.context.roles.items()}
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
    return default_folder(config) / _RUNS


def _entries(config: Config) -> list[dict[str, Any]]:
    path = _path(config)
    with suppress(OSError, ValueError, RecursionError):
        if path.stat().st_size <= _MOST_BYTES:
            listed = json.loads(path.read_text(encoding="utf-8"))
            return [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    return []


def _past_run(config: Config, entry: Mapping[str, Any]) -> PastRun | None:
    name, inputs = entry.get("folder"), entry.get("inputs")
    if not isinstance(name, str):
        return None
    folder = config.folder / name
    return PastRun(name, folder, inputs if isinstance(inputs, dict) else {}) if folder.is_dir() else None
