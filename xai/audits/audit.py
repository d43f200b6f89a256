"""`xai.audit`, and the work of `Audit.share`, `Audit.rejudge` and `Audit.available_checks`."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from torch import nn

from xai.audits.baseline import Baseline, keys_of, measured_in
from xai.audits.check_result import CheckResult
from xai.audits.checks.base import CHECKS, CheckRequest
from xai.audits.conditions import PairedOutcome, judge
from xai.audits.config import Config, as_in_file, parse_config, read_config, replaced, seconds
from xai.audits.document import AFTER, judged, options_of
from xai.audits.execution.plan import default_folder, with_defaults
from xai.audits.execution.run import Execution
from xai.audits.operations import OPERATIONS
from xai.audits.record import Audit
from xai.core.model.classifier import Classifier
from xai.core.results.codec import plain
from xai.core.results.message import joined
from xai.core.runtime.batching import Progress, ShouldStop
from xai.errors import InputError, NameLookupError

AuditSource = str | os.PathLike[str] | Mapping[str, Any] | None
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
    """Measure a model by many checks, judge each, and save everything. An interrupted audit resumes where it ended.

    Thresholds are written down before the model is loaded. Pieces of work are kept as they end: a second call computes
    only what changed, in the model, the data, a setting or the code.

    Args:
        config: `xai.toml`, a `pyproject.toml` with `[tool.xai]`, or the same tables as a mapping.
        model: in place of the file's: anything that `xai.load` takes, or a classifier or module; {"resize": "pad"} and
            other settings without a "source" are added to the file's model.
        data: in place of the file's: anything that `xai.load_data` takes, labelled.
        checks: in place of the file's: names, or mappings such as {"metric": "accuracy", "at_least": 0.9}; None takes
            all, where no file names some.
        train: the images that the model learnt from.
        calibration: further in-distribution images that it has not seen.
        ood: out-of-distribution images by name.
        baseline: an earlier audit of another model on the same images, to compare with.
        out: folder for all that is written; None takes `.xai/` beside the file, or, without one, keeps nothing.
            Equal work that runs of the file finished in other folders is taken over; the logger "xai" says from where.
        only: ids of checks; the others are left out, and the result goes into `only/` of the folder.
        budget: seconds, or "8m"; what is not done then is left for the next call.
        seed: fixes everything random.
        engine: "local", or "ray": a cluster does the work (RAY_ADDRESS, or this machine) in an `out` that all see.
        progress: None, True for a bar, or a callable `(done, total)` in rows.
        should_stop: asked between work items; True ends the call with `xai.errors.Stopped`.

    Returns:
        Audit; `.verdict`, `.findings`, `.checks`, `.table`, `.report("report.html")`.

    Raises:
        InputError: settings, a model or data that cannot be used, all before any work; or a place that cannot be
            written, after which the same call goes on.
        NameLookupError: an unknown key, check, setting, model or example; near names are suggested.
        Stopped: `should_stop()` was true; what is finished is kept.

    Cost: that of the checks, see `xai.Audit.plan`; a call that changes nothing costs a pass over the images.

    Example:
        >>> import xai
        >>> data = xai.load_data("example:fashion-test").subset(100)
        >>> xai.audit(model="example:fashion", data=data, checks=[{"metric": "accuracy", "at_least": 0.5}]).verdict
        'pass'
    """
    settings = configured(config, model=model, data=data, checks=checks, train=train, calibration=calibration, ood=ood)
    settings = with_defaults(
        settings, seed=seed, baseline=baseline, budget=None if budget is None else seconds("budget", budget)
    )
    settings = replace(settings if only is None else settings.only(only), options=options_of(model, data, seed))
    if out is None and not settings.file:
        with tempfile.TemporaryDirectory(prefix="xai-audit-") as place:
            written = _run(settings, Path(place), only, engine, progress, should_stop)
            return Audit(written.document, dict(written.files))
    return _run(settings, folder_of(settings, out), only, engine, progress, should_stop)


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
    with Execution.open(config, folder, only=only, should_stop=should_stop) as execution:
        execution.work(execution.plan.tasks, progress, cluster=engine == RAY)
        return execution.finish()


def share(config: AuditSource, index: int, count: int, *, out: str | os.PathLike[str], **given: Any) -> tuple[int, int]:
    """Do the work of `Audit.share`."""
    if not 0 <= index < count:
        raise InputError(f"Expected a share i/n with i from 0 to n - 1, but got {index}/{count}.")
    progress, should_stop = given.pop("progress", None), given.pop("should_stop", None)
    with Execution.open(configured(config, **given), Path(out), should_stop=should_stop) as execution:
        execution.work(execution.plan.tasks[index::count], progress)
        return len(execution.plan.left(execution.store)), len(execution.plan.tasks)


OPERATIONS.register("share")(share)


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
        return parse_config(replaced(config or {}, given))
    return read_config(Path(config), given)


def _as_model(model: Any) -> Any:
    if isinstance(model, nn.Module):
        return {"source": Classifier(model)}
    return model if model is None or isinstance(model, str | Mapping) else {"source": model}


def folder_of(config: Config, out: str | os.PathLike[str] | None) -> Path:
    """Return where an audit is written: the folder given, or one beside its file."""
    return Path(out) if out is not None else default_folder(config)


def rejudge(saved: Audit, config: AuditSource, *, baseline: str | os.PathLike[str] | Audit | None = None) -> Audit:
    """Do the work of `Audit.rejudge`."""
    settings = with_defaults(configured(config), baseline=baseline)
    earlier, by_id = Baseline.of(settings), {check["id"]: check for check in saved.checks}
    checks, keys, model = [], keys_of(saved.document), str(saved.document["model"]["fingerprint"])
    for request in settings.checks:
        old = by_id.get(request.id)
        if old is None or old["metric"] != request.check.name or old["settings"] != request.check.settings:
            what = "was not measured" if old is None else "was measured with other settings"
            raise InputError(f"{request.id!r} {what} in this audit. Run `xai audit` again, or take it out.")
        measured = measured_in(saved.document, request.id)
        pair = None if earlier is None else earlier.pair(request.id, measured, keys, model, old["settings"])
        checks.append(_judged_check(old, request, measured, pair))
    return replace(saved, document=judged({**saved.document, "checks": checks}, declared=AFTER))


OPERATIONS.register("rejudge")(rejudge)


def _judged_check(
    old: Mapping[str, Any], request: CheckRequest, measured: CheckResult | None, pair: PairedOutcome | None
) -> dict[str, Any]:
    conditions = [{"condition": c.name, "threshold": c.threshold, "level": request.level} for c in request.conditions]
    if measured is None:
        return {**old, "asked": conditions}
    verdict, outcomes = judge(measured, request.conditions, request.level, pair)
    why = joined([outcome.why for outcome in outcomes if outcome.verdict == verdict], " ") or measured.claim
    return {
        **old,
        "asked": conditions,
        "level": request.level,
        "verdict": verdict,
        "why": why,
        "conditions": [o.to_dict() for o in outcomes],
    }


@dataclass(frozen=True)
class CheckInfo:
    """What is known of a check.

    Attributes:
        name: as in `metric` of a [[check]].
        title: as people call it.
        family: checks that go together.
        question: what it asks, in plain words.
        better: "more" or "less".
        needs: "data", "train", "calibration", "ood", "groups", "baseline".
        conditions: names of those that can judge it.
        usual: those that judge it when none is named, with their thresholds.
        images: how many are asked about; None for all.
        settings: names and defaults of its own settings.

    Example:
        >>> import xai
        >>> xai.Audit.available_checks()[0].better
        'more'
    """

    name: str
    title: str
    family: str
    question: str
    better: str
    needs: tuple[str, ...]
    conditions: tuple[str, ...]
    usual: Mapping[str, float] = field(hash=False)
    images: int | None
    settings: Mapping[str, Any] = field(hash=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready."""
        content: dict[str, Any] = plain(asdict(self))
        return content


def available_checks() -> list[CheckInfo]:
    """Do the work of `Audit.available_checks`."""
    return [_described(name) for name in CHECKS]


OPERATIONS.register("available_checks")(available_checks)


def _described(name: str) -> CheckInfo:
    kind = CHECKS[name]
    made = kind()
    own = as_in_file({f.name: getattr(made, f.name) for f in fields(kind) if f.name != "images"})
    usual = {condition.name: condition.threshold for condition in kind.usual}
    return CheckInfo(
        name,
        kind.title,
        kind.family,
        kind.question,
        kind.better,
        kind.needs,
        kind.conditions,
        usual,
        kind.first_images,
        own,
    )
