"""The verb: audit a model, or go on with an audit that was begun."""

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from xai.audits.album import Album
from xai.audits.cluster import work_on_ray
from xai.audits.compare import compare
from xai.audits.conditions import Pair, judge
from xai.audits.config import Config, parse_config, read_config
from xai.audits.document import AFTER, assemble, judged, measured_in
from xai.audits.measurement import KEY_BYTES, Measurement
from xai.audits.opening import baseline_path, open_scene, with_defaults
from xai.audits.pairing import keys_of, pair_of
from xai.audits.plan import Plan, Task, make_plan
from xai.audits.record import Audit
from xai.audits.runner import Results, Run, declare, prune, share_of_work, tidy, write_manifests
from xai.audits.samples import sample_of
from xai.audits.scene import DATA, Scene
from xai.audits.store import Store
from xai.audits.values import seconds
from xai.core.classifier import Classifier
from xai.core.rows import Progress, ShouldStop, reporting
from xai.errors import InputError, NameLookupError

AuditSource = str | os.PathLike[str] | Mapping[str, Any] | None
_WITHIN = ".xai"
ENGINES = LOCAL, RAY = ("local", "ray")


def audit(
    config: AuditSource = None,
    *,
    model: Classifier | nn.Module | str | Mapping[str, Any] | None = None,
    data: Any = None,
    checks: Sequence[Any] | None = None,
    train: Any = None,
    calibration: Any = None,
    ood: Mapping[str, Any] | None = None,
    baseline: str | os.PathLike[str] | Audit | None = None,
    out: str | os.PathLike[str] | None = None,
    only: Sequence[str] | None = None,
    budget: float | str | None = None,
    seed: int | None = None,
    engine: str = LOCAL,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Audit:
    """Measure a model by many checks, judge each, and keep everything; go on where an earlier call ended.

    Thresholds are written down with their digest before the model is loaded. Work is cut in pieces that are kept as
    they end: a second call computes only what changed, in the model, the data, a setting or the code.

    Args:
        config: `xai.toml`, a `pyproject.toml` with `[tool.xai]`, or the same tables as a mapping.
        model: in place of the file's: anything that `xai.load` takes, or a classifier or module.
        data: in place of the file's: anything that `xai.load_data` takes, labelled.
        checks: in place of the file's: names, or mappings such as {"metric": "accuracy", "at_least": 0.9}; None takes
            all, where no file names some.
        train: the pictures that the model learnt from.
        calibration: further ordinary pictures that it has not seen.
        ood: foreign pictures by name.
        baseline: an earlier audit of another model on the same pictures, to compare with.
        out: folder for audit.json, pictures, log and finished work; None takes `.xai/` beside the file, or, without
            one, keeps nothing on disk.
        only: ids of checks; the others are left out, and the result goes into `only/` of the folder.
        budget: seconds, or "8m"; what is not done then is left for the next call.
        seed: fixes everything random.
        engine: "local", or "ray" to have a cluster do the work (RAY_ADDRESS, or this machine's cores and GPUs); `out`
            must then be a folder that all machines see.
        progress: None, True for a bar, or a callable `(done, total)` in rows through the network.
        should_stop: asked between pieces of work; True ends the call with `xai.errors.Stopped`.

    Returns:
        Audit; `.verdict`, `.findings`, `.checks`, `.table`, `.report("report.html")`.

    Raises:
        InputError: settings, a model or data that cannot be used, all before any work; or a place that cannot be
            written, after which the same call goes on.
        NameLookupError: an unknown key, check, setting, model or example; near names are suggested.
        Stopped: `should_stop()` was true; what is finished is kept.

    Cost: that of the checks, see `xai.plan_audit`; a call that changes nothing costs a pass over the pictures.
    """
    asked = configured(config, model=model, data=data, checks=checks, train=train, calibration=calibration, ood=ood)
    asked = with_defaults(
        asked, seed=seed, baseline=baseline, budget=None if budget is None else seconds("budget", budget)
    )
    asked = asked if only is None else asked.only(only)
    if out is None and not asked.file:
        with tempfile.TemporaryDirectory(prefix="xai-audit-") as place:
            found = _run(asked, Path(place), only, engine, progress, should_stop)
            return Audit(found.document, dict(found.files))
    return _run(asked, folder_of(asked, out), only, engine, progress, should_stop)


def _run(
    config: Config,
    folder: Path,
    only: Sequence[str] | None,
    engine: str,
    progress: bool | Progress | None,
    should_stop: ShouldStop | None,
) -> Audit:
    if engine not in ENGINES:
        raise NameLookupError("engine", engine, ENGINES)
    with Session.open(config, folder, only=only, should_stop=should_stop) as session:
        session.work(session.plan.tasks, progress, cluster=engine == RAY)
        return session.finish()


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
    run: Run
    folder: Path
    baseline: Audit | None

    @classmethod
    def open(
        cls, config: Config, folder: Path, *, only: Sequence[str] | None = None, should_stop: ShouldStop | None = None
    ) -> "Session":
        """Declare thresholds, load everything, and plan."""
        place = folder if only is None else folder / "only" / hashlib.sha256("\n".join(only).encode()).hexdigest()[:12]
        store = Store(folder / "store" if config.store is None else config.folder / config.store)
        declare(config, place)
        baseline = _baseline(config)
        scene = open_scene(config, should_stop)
        plan = make_plan(config, scene, baseline=baseline is not None)
        tidy(place, store)
        run = Run(plan, store, place, should_stop=should_stop, budget=config.budget)
        write_manifests(plan, place)
        return cls(plan, run, place, baseline)

    def __enter__(self) -> "Session":
        """Note the beginning."""
        self.run.log("began", left=len(self.plan.left(self.run.store)), pieces=len(self.plan.tasks))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Note the end."""
        self.run.log("ended" if kind is None else "interrupted", **({} if kind is None else {"by": kind.__name__}))

    def work(self, tasks: Sequence[Task], progress: bool | Progress | None = None, *, cluster: bool = False) -> None:
        """Do what is not done; what a cluster leaves is done here."""
        with reporting(progress, "audit") as report:
            if cluster:
                self._on_cluster(tasks, report)
            self.run.progress = report
            self.run.work(tasks)

    def _on_cluster(self, tasks: Sequence[Task], report: Progress | None) -> None:
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
        results = self.run.results(self._before, None if self.baseline is None else _digest(self.baseline))
        album = Album()
        files = {name: content for result in results.values() for name, content in result.files.items()}
        samples = sample_of(self.plan.scene, album)
        files |= album.files
        document = assemble(self.plan, results, self._about_baseline(), self._pairs(results))
        document |= {"samples": samples, "files": {name: len(content) for name, content in sorted(files.items())}}
        found = Audit({**document, "changes": self._changes(document)}, files, self.folder)
        found.save(self.folder)
        prune(self.folder, files)
        tidy(self.folder, self.run.store)
        return found

    def _changes(self, document: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the paired differences to the baseline; None where there is none, or no picture is shared."""
        if self.baseline is None or not set(keys_of(self.baseline.document)) & set(keys_of(document)):
            return None
        shared = {check["id"] for check in self.baseline.checks} & {check["id"] for check in document["checks"]}
        return compare(self.baseline, Audit(document, {})).to_dict() if shared else None

    def _before(self, id_: str) -> tuple[Measurement, Sequence[str]] | None:
        """Return what the baseline measured by a check, and the pictures it did so on."""
        measured = None if self.baseline is None else measured_in(self.baseline.document, id_)
        if measured is None or self.baseline is None or measured.rows is None:
            return None
        keys = keys_of(self.baseline.document)
        return measured, [keys[int(row)].hex() for row in measured.rows]

    def _pairs(self, results: Results) -> dict[str, Pair]:
        if self.baseline is None:
            return {}
        before, after = keys_of(self.baseline.document), _own_keys(self.plan.scene)
        found = {}
        for name, result in results.items():
            old = measured_in(self.baseline.document, name)
            pair = None if old is None or result.measured is None else pair_of(old, before, result.measured, after)
            if pair is not None:
                found[name] = pair
        return found

    def _about_baseline(self) -> dict[str, Any] | None:
        if self.baseline is None:
            return None
        before = self.baseline.document
        shared = len(set(keys_of(before)) & set(_own_keys(self.plan.scene)))
        return {
            "model": before["model"],
            "sha256": _digest(self.baseline),
            "verdict": before["verdict"],
            "shared": shared,
        }


def share_audit(
    config: AuditSource, index: int, count: int, *, out: str | os.PathLike[str], **given: Any
) -> tuple[int, int]:
    """Do one share of the work of an audit and write no report: for arrays of jobs over one folder.

    Args:
        config: as of `audit`.
        index: of this job, from 0.
        count: of jobs.
        out: the folder that all jobs share.
        given: `model`, `data`, `progress`, `should_stop` of `audit`.

    Returns:
        How many pieces of work are left to all jobs, and how many there are.

    Raises:
        InputError: as of `audit`, or an impossible share.
    """
    if not 0 <= index < count:
        raise InputError(f"Expected a share i/n with i from 0 to n - 1, but got {index}/{count}.")
    progress, should_stop = given.pop("progress", None), given.pop("should_stop", None)
    with Session.open(configured(config, **given), Path(out), should_stop=should_stop) as session:
        session.work(share_of_work(session.plan.tasks, index, count), progress)
        return len(session.plan.left(session.run.store)), len(session.plan.tasks)


def judge_again(found: Audit, config: AuditSource, *, baseline: str | os.PathLike[str] | Audit | None = None) -> Audit:
    """Judge a saved audit by the conditions of a file, without computing anything again.

    The figures stay; the record says that thresholds were set after they were known.

    Args:
        found: the audit.
        config: `xai.toml` with the same checks and other conditions.
        baseline: to compare with, in place of the file's.

    Raises:
        InputError: the file asks for something that was not measured.
    """
    asked = with_defaults(configured(config), baseline=baseline)
    earlier, by_id = _baseline(asked), {check["id"]: check for check in found.checks}
    before = None if earlier is None else keys_of(earlier.document)
    checks = []
    for one in asked.checks:
        kept = by_id.get(one.id)
        if kept is None or kept["metric"] != one.check.name or kept["settings"] != one.check.settings:
            what = "was not measured" if kept is None else "was measured with other settings"
            raise InputError(f"{one.id!r} {what} in this audit. Run `xai audit` again, or take it out.")
        measured, pair = measured_in(found.document, one.id), None
        old = None if earlier is None else measured_in(earlier.document, one.id)
        if measured is not None and old is not None and before is not None:
            pair = pair_of(old, before, measured, keys_of(found.document))
        checks.append(_judged_check(kept, one, measured, pair))
    return replace(found, document=judged({**found.document, "checks": checks}, declared=AFTER))


def _judged_check(kept: Mapping[str, Any], one: Any, measured: Measurement | None, pair: Pair | None) -> dict[str, Any]:
    asked = [{"condition": c.name, "threshold": c.threshold, "level": one.level} for c in one.conditions]
    if measured is None:
        return {**kept, "asked": asked}
    verdict, outcomes = judge(measured, one.conditions, one.level, pair)
    why = " ".join(outcome.why for outcome in outcomes if outcome.verdict == verdict) or measured.claim
    return {
        **kept,
        "asked": asked,
        "level": one.level,
        "verdict": verdict,
        "why": why,
        "conditions": [o.to_dict() for o in outcomes],
    }


def configured(
    config: AuditSource,
    *,
    model: Any = None,
    data: Any = None,
    checks: Sequence[Any] | None = None,
    train: Any = None,
    calibration: Any = None,
    ood: Any = None,
) -> Config:
    """Return the settings of a file, with those given here in their place; see `audit`."""
    given = {"model": _as_model(model), "data": data, "check": checks, "train": train}
    given |= {"calibration": calibration, "ood": ood}
    given = {name: value for name, value in given.items() if value is not None}
    if config is None or isinstance(config, Mapping):
        return parse_config({**(config or {}), **given})
    return read_config(Path(config), given)


def _as_model(model: Any) -> Any:
    if isinstance(model, nn.Module):
        return {"source": Classifier(model)}
    return model if model is None or isinstance(model, str | Mapping) else {"source": model}


def folder_of(config: Config, out: str | os.PathLike[str] | None) -> Path:
    """Return where an audit is written: the folder given, or one beside its file."""
    return Path(out) if out is not None else config.folder / _WITHIN / Path(config.file).stem


def _baseline(config: Config) -> Audit | None:
    if config.baseline is None or isinstance(config.baseline, Audit):
        return config.baseline
    path = baseline_path(config)
    assert path is not None
    return Audit.load(path)


def _digest(found: Audit) -> str:
    return hashlib.sha256(found.to_bytes()).hexdigest()


def _own_keys(scene: Scene) -> list[bytes]:
    return [bytes.fromhex(key)[:KEY_BYTES] for key in scene.role(DATA).keys]
