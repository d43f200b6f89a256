"""The plan: model and data sets from settings, and the work of the checks in pieces, each with a key."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from xai.audits.checks.base import CheckRequest
from xai.audits.config import Config, as_table
from xai.audits.context import DATA, Context, all_versions, open_role
from xai.audits.execution.stages.base import Stage, WorkItem
from xai.audits.execution.store import SCHEMA, Store, canonical, digest_of, key_of, own_digest
from xai.core.model.classifier import Classifier
from xai.datasets.dataset import Dataset
from xai.datasets.loading import load_data
from xai.errors import InputError
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
            f"[data]: {roles[DATA].source} has no labels, and every check compares answers with the truth."
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
class Planned:
    """One check with its work.

    Attributes:
        asked: the check, its id and conditions.
        missing: why it cannot be asked; "" where it can.
        tasks: per stage.
    """

    asked: CheckRequest
    missing: str
    tasks: tuple[tuple[WorkItem, ...], ...]

    @property
    def steady(self) -> bool:
        """Whether all of its work gives the same again."""
        return all(task.steady for tasks in self.tasks for task in tasks)


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
    checks: tuple[Planned, ...]
    base: Mapping[str, Any]

    @property
    def tasks(self) -> tuple[WorkItem, ...]:
        """All work, each piece once: the first piece of every stage, then the second, so that none starves."""
        stages = [tasks for planned in self.checks for tasks in planned.tasks]
        by_key = {task.key: task for row in zip_longest(*stages) for task in row if task is not None}
        return tuple(by_key.values())

    def left(self, store: Store) -> list[WorkItem]:
        """Return the work whose result is not in the store."""
        return [task for task in self.tasks if not store.has(task.key)]

    def key_of_summary(self, planned: Planned, done: Sequence[str], baseline: str | None) -> str:
        """Return the key of what a check makes of some finished work."""
        return key_of(
            {
                **self.base,
                "code_of_check": digest_of(type(planned.asked.check).__module__),
                "summary": planned.asked.check.name,
                "settings": planned.asked.check.settings,
                "level": planned.asked.level,
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
    cutter = _Cutter(context, base, config.shard)
    checks = []
    for request in config.checks:
        missing = request.check.missing(context, baseline=baseline)
        tasks = () if missing else tuple(tuple(cutter.tasks(stage)) for stage in request.check.stages())
        checks.append(Planned(request, missing, tasks))
    return Plan(config, context, tuple(checks), base)


@dataclass(frozen=True, eq=False)
class _Cutter:
    """Cuts stages into pieces."""

    context: Context
    base: Mapping[str, Any]
    shard: int

    def tasks(self, stage: Stage) -> Iterator[WorkItem]:
        rows = stage.rows(self.context)
        size = len(rows) if stage.whole else self.shard
        for start in range(0, len(rows), max(1, size)):
            some = rows[start : start + size]
            items = self.context.role(stage.role).items(some)
            content = {
                **self.base,
                **stage.settings,
                "code_of_stage": digest_of(*_modules(stage)),
                "items": hashlib.sha256(canonical(items)).hexdigest(),
            }
            yield WorkItem(key_of({**content, "reads": stage.reads(self.context)}), stage, some)


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
