"""An audit at work in its folder."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xai.audits.album import Album
from xai.audits.cluster import work_on_ray
from xai.audits.conditions import Pair
from xai.audits.config import Config
from xai.audits.document import assemble
from xai.audits.history import STORE, inputs_of, note_run, past_runs, take_over, told
from xai.audits.measurement import KEY_BYTES
from xai.audits.opening import open_scene
from xai.audits.plan import Plan, Task, make_plan
from xai.audits.record import Audit
from xai.audits.reproduce import ONLY
from xai.audits.runner import Results, Run, declare, prune, tidy, write_manifests
from xai.audits.samples import sample_of
from xai.audits.scene import DATA
from xai.audits.store import Store
from xai.audits.yardstick import Yardstick
from xai.core.rows import Progress, ShouldStop, reporting

_LOG = logging.getLogger(__name__)


@dataclass(eq=False)
class Session:
    """An audit in its folder.

    Attributes:
        plan: what is asked.
        run: does it.
        folder: of the results.
        yardstick: an earlier audit, or None.
    """

    plan: Plan
    run: Run
    folder: Path
    yardstick: Yardstick | None

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
            should_stop: asked between pieces of work.
            within: folder below that of the run where this part of it is kept.
        """
        whole = folder / within
        place = whole if only is None else whole / ONLY / hashlib.sha256("\n".join(only).encode()).hexdigest()[:12]
        store = Store(whole / STORE if config.store is None else config.folder / config.store)
        declare(config, place)
        yardstick = Yardstick.of(config)
        plan = make_plan(config, open_scene(config, should_stop), baseline=yardstick is not None)
        tidy(place, store)
        runs = past_runs(config)
        taken = take_over(plan, store, runs, within)
        if not within:
            _LOG.info("%s", told(plan, store, runs, taken))
        note_run(config, folder, None if within else inputs_of(plan))
        lenders = tuple(Store(past.folder / within / STORE) for past in runs)
        run = Run(plan, store, place, should_stop=should_stop, budget=config.budget, lenders=lenders)
        write_manifests(plan, place)
        return cls(plan, run, place, yardstick)

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
            baseline=self.yardstick is not None,
            tell=tell,
            should_stop=self.run.should_stop,
            budget=self.run.budget,
        )

    def finish(self) -> Audit:
        """Summarise, judge and write."""
        yardstick, album = self.yardstick, Album()
        if yardstick is None:
            results = self.run.results(lambda _: None, None)
            document = assemble(self.plan, results, None, {})
        else:
            results = self.run.results(yardstick.before, yardstick.digest)
            document = assemble(self.plan, results, yardstick.about(self._keys()), self._pairs(yardstick, results))
        files = {name: content for result in results.values() for name, content in result.files.items()}
        document |= {"samples": sample_of(self.plan.scene, album)}
        files |= album.files
        document |= {"files": {name: len(content) for name, content in sorted(files.items())}}
        changes = None if yardstick is None else yardstick.changes(document)
        found = Audit({**document, "changes": changes}, files, self.folder)
        found.save(self.folder)
        prune(self.folder, files)
        tidy(self.folder, self.run.store)
        return found

    def _pairs(self, yardstick: Yardstick, results: Results) -> dict[str, Pair]:
        keys, model = self._keys(), self.plan.scene.classifier.fingerprint
        settings = {planned.asked.id: planned.asked.check.settings for planned in self.plan.checks}
        found = {
            name: yardstick.pair(name, result.measured, keys, model, settings[name]) for name, result in results.items()
        }
        return {name: pair for name, pair in found.items() if pair is not None}

    def _keys(self) -> list[bytes]:
        return [bytes.fromhex(key)[:KEY_BYTES] for key in self.plan.scene.role(DATA).keys]
