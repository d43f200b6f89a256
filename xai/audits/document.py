"""audit.json: everything that was asked, measured and judged, in one document with a version."""

import hashlib
import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xai.audits.check_result import KEY_BYTES, CheckResult, encode
from xai.audits.checks.base import CHECKS, Check, CheckRequest
from xai.audits.conditions import ERROR, MEASURED, NOT_RUN, ConditionResult, PairedOutcome, judge, worst_of
from xai.audits.config import Config, as_table
from xai.audits.context import CALIBRATION, DATA, TRAIN, UNREADABLE, DatasetRole
from xai.audits.execution.plan import WITHIN, Plan
from xai.audits.execution.store import canonical, code_digest
from xai.core.model.usage_checks import untrained_noted
from xai.core.results.message import Message, constant, joined, sentences
from xai.stats.gates import FAIL, INCONCLUSIVE, PASS

_ORDER = (FAIL, ERROR, INCONCLUSIVE, NOT_RUN)
_COUNTS = (
    (FAIL, "{count} failed"),
    (ERROR, "{count} stopped by an error"),
    (INCONCLUSIVE, "{count} inconclusive"),
    (NOT_RUN, "{count} not run"),
    (PASS, "{count} passed"),
    (MEASURED, "{count} measured only"),
)


def summary_of(checks: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many checks were asked, and how many ended with each verdict."""
    counts = Counter(check["verdict"] for check in checks)
    return {"asked": len(checks)} | {
        name: counts[name] for name in (PASS, FAIL, INCONCLUSIVE, NOT_RUN, ERROR, MEASURED)
    }


def headline_of(document: Mapping[str, Any]) -> Message:
    """Return verdict and counts in one line."""
    summary = document["summary"]
    counts = [Message(template, count=summary[name]) for name, template in _COUNTS if summary[name]]
    return Message(
        "{verdict}: of {checks} checks on {images:,} images, {counts}.",
        **{"verdict": document["verdict"].upper(), "checks": summary["asked"], "images": document["images"]["n"]},
        counts=joined(counts, ", "),
    )


def findings_of(checks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what did not pass, worst first: failed, broken, undecided, not run; within these by distance."""
    findings = [finding for check in checks for finding in _findings(check)]
    return sorted(findings, key=lambda finding: (_ORDER.index(finding["verdict"]), -finding["severity"]))


def _findings(check: Mapping[str, Any]) -> list[dict[str, Any]]:
    about = {name: check[name] for name in ("metric", "title", "family", "kind", "reproduce")}
    about |= {"check": check["id"], "evidence": (check["measured"] or {}).get("evidence", [])}
    about |= {"unit": (check["measured"] or {}).get("unit"), "claim": (check["measured"] or {}).get("claim", "")}
    bad = [outcome for outcome in check["conditions"] if outcome["verdict"] in _ORDER]
    if not bad and check["verdict"] in _ORDER:
        nothing = dict.fromkeys(("condition", "threshold", "value", "interval", "n", "detectable", "needed"))
        return [
            {
                **about,
                **nothing,
                "id": check["id"],
                "verdict": check["verdict"],
                "where": "",
                "why": check["why"],
                "severity": 0.0,
            }
        ]
    several = len(bad) > 1
    return [
        {
            **about,
            **{
                name: outcome[name]
                for name in ("condition", "threshold", "value", "interval", "n", "detectable", "needed", "where")
            },
            "evidence": _evidence_of(outcome, about["evidence"]),
            "id": f"{check['id']}:{outcome['condition']}" if several else check["id"],
            "verdict": outcome["verdict"],
            "why": outcome["why"],
            "severity": _severity(outcome),
        }
        for outcome in bad
    ]


def _evidence_of(outcome: Mapping[str, Any], every: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the evidence of a condition: of one on a class or group, only images of that class or group."""
    where = outcome["where"]
    if not where:
        return list(every)
    return [
        piece for piece in every if where == piece["facts"].get("label") or where in piece["facts"].get("groups", ())
    ]


def _severity(outcome: Mapping[str, Any]) -> float:
    """Return how far a figure is beyond its threshold, in half widths of its interval, or in findings."""
    if outcome["value"] is None:
        return 0.0
    gap = abs(outcome["value"] - outcome["threshold"])
    low, high = outcome["interval"]
    half = 1.0 if low is None or high is None else max((high - low) / 2, 1e-6)
    return float(gap / half)


ONLY = "only"
_OPTIONS = {"source": "model"}


def reproduce(config: Config, id_: str, check: Check) -> dict[str, str]:
    """Return the command that makes one check again, and Python that does so by hand."""
    words = ["xai", "audit", config.file or "xai.toml", *config.options, "--only", id_]
    return {"command": shlex.join(words), "python": _python(config, check)}


def located(entry: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """Return a check or finding whose command names the folder of its audit, where that is not the usual one.

    `audit.json` holds no folder, since it is the same bytes in all of them.
    """
    whole = folder.parent.parent if folder is not None and folder.parent.name == ONLY else folder
    if whole is None or whole.parent.name == WITHIN:
        return dict(entry)
    whole = whole.relative_to(Path.cwd()) if whole.is_absolute() and whole.is_relative_to(Path.cwd()) else whole
    command = f"{entry['reproduce']['command']} --out {shlex.quote(str(whole))}"
    return {**entry, "reproduce": {**entry["reproduce"], "command": command}}


def options_of(model: Any, data: Any, seed: int | None) -> tuple[str, ...]:
    """Return the options of the command line for what stood in place of the file's; objects have none."""
    options = [] if seed is None else ["--seed", str(seed)]
    if isinstance(data, Mapping | str | os.PathLike):
        table = dict(data) if isinstance(data, Mapping) else {"source": os.fspath(data)}
        part = f"@{table['part']}" if table.get("part") else ""
        options += [f"--data={table['source']}{part}"] if isinstance(table.get("source"), str) else []
    if isinstance(model, Mapping | str | os.PathLike):
        table = dict(model) if isinstance(model, Mapping) else {"source": os.fspath(model)}
        for name, value in table.items():
            option = f"--{_OPTIONS.get(name, name).replace('_', '-')}"
            if name == "class_names":
                options += [option, ",".join(value)]
            elif isinstance(value, list | tuple):
                options += [option, *map(str, value)]
            elif isinstance(value, str | int | float):
                options += [option, str(value)]
    return tuple(options)


def _python(config: Config, check: Check) -> str:
    lines = ["import xai", "", f"model = xai.load({_model_argument(config)})"]
    for name, source in {DATA: config.data, **config.others}.items():
        if name in {DATA, TRAIN, CALIBRATION} and (name == DATA or name in check.needs):
            lines.append(f"{name} = xai.load_data({_source(as_table(source))})")
        elif name.startswith("ood:") and "ood" in "".join(check.needs):
            lines.append(f"ood_images = xai.load_data({_source(as_table(source))})")
    return "\n".join([*lines, check.code()])


def _model_argument(config: Config) -> str:
    settings = config.to_dict()["model"]
    return ", ".join([repr(settings["source"]), *(f"{k}={v!r}" for k, v in settings.items() if k != "source")])


def _source(settings: dict[str, Any]) -> str:
    n = settings.get("n")
    given = ", ".join(
        [
            repr(settings["source"]),
            *(f"{k}={v!r}" for k, v in settings.items() if k not in {"source", "n"} and v is not None),
        ]
    )
    return f"{given}).subset({n}" if n else given


SCHEMA_NAME, SCHEMA_VERSION = "xai-audit", "1.1"
BEFORE, AFTER = "before the first forward", "after the figures were known"
_GENERAL = (
    Message("Figures hold for images drawn as these were; other cameras, places or times may differ."),
    Message("An attack that finds nothing proves nothing; only certified accuracy is certain, and only for its ball."),
    Message("The error rate of each gate is at most 1 minus its level; among many gates some error is to be expected."),
    Message("This report is no certification and no legal opinion."),
)


def assemble(
    plan: Plan,
    results: Mapping[str, CheckResult],
    baseline: Mapping[str, Any] | None,
    pairs: Mapping[str, PairedOutcome | None],
) -> dict[str, Any]:
    """Return the document.

    Args:
        plan: what was asked.
        results: what became of each check, by id.
        baseline: what is known of it; None for none.
        pairs: by check, its outcomes in the baseline and now.
    """
    checks = [_check(plan, request, results[request.id], pairs.get(request.id)) for request in plan.checks]
    context, config = plan.context, plan.config
    document = {
        "schema": SCHEMA_NAME,
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "xai-toolkit", "version": plan.base["versions"]["xai-toolkit"], "code": code_digest()},
        "title": config.title or Message("Audit of {model}", model=context.classifier.name),
        "model": _model(plan),
        "data": {name: _data(role, context.classifier.class_names) for name, role in context.roles.items()},
        "images": {"key_bytes": KEY_BYTES, "n": len(context.role()), "keys": _keys(context.role())},
        "baseline": None if baseline is None else dict(baseline),
        "settings": config.to_dict(),
        "seed": config.seed,
        "versions": plan.base["versions"],
        "device": plan.base["device"],
        "dtype": plan.base["dtype"],
        "checks": checks,
        "limits": _limits(plan, checks),
        "not_tested": _not_tested(checks),
    }
    return judged(document, declared=BEFORE)


def judged(document: Mapping[str, Any], *, declared: str) -> dict[str, Any]:
    """Return the document with all that follows from the verdicts of its checks."""
    checks = document["checks"]
    conditions = [
        {
            "check": check["id"],
            "condition": condition["condition"],
            "threshold": condition["threshold"],
            "level": condition["level"],
        }
        for check in checks
        for condition in check["asked"]
    ]
    complete = {
        **document,
        "thresholds": {"sha256": digest_of(checks), "declared": declared, "conditions": conditions},
        "complete": all(check["complete"] for check in checks),
        "verdict": overall([check["verdict"] for check in checks]),
        "summary": summary_of(checks),
        "findings": findings_of(checks),
    }
    return {**complete, "headline": headline_of(complete)}


def overall(verdicts: Sequence[str]) -> str:
    """Return the verdict of an audit: the worst of its checks'; what was not run decides nothing."""
    worst = worst_of(verdicts)
    return worst if worst in {FAIL, ERROR, PASS} else INCONCLUSIVE


def digest_of(checks: Sequence[Mapping[str, Any]]) -> str:
    """Return the digest of all conditions, as `Config.thresholds_sha256` has it."""
    thresholds = [
        {"check": check["id"], "metric": check["metric"], "settings": check["settings"], "level": condition["level"]}
        | {"condition": condition["condition"], "threshold": condition["threshold"]}
        for check in checks
        for condition in check["asked"]
    ]
    return hashlib.sha256(canonical(thresholds)).hexdigest()


def _check(plan: Plan, request: CheckRequest, result: CheckResult, pair: PairedOutcome | None) -> dict[str, Any]:
    verdict, outcomes = _verdict(request, result, pair)
    check = request.check
    return {
        "id": request.id,
        "metric": check.name,
        "title": check.title,
        "family": check.family,
        "question": check.question,
        "kind": check.kind,
        "better": check.better,
        "settings": check.settings,
        "level": request.level,
        "asked": [{"condition": c.name, "threshold": c.threshold, "level": request.level} for c in request.conditions],
        "verdict": verdict,
        "why": _why(verdict, outcomes, result),
        "conditions": [outcome.to_dict() for outcome in outcomes],
        "measured": None if result.trouble else result.to_dict(),
        "error": dict(result.trouble) if "type" in result.trouble else None,
        "complete": not result.trouble and result.done == result.planned,
        "work": _work(plan, request, result),
        "limits": list(check.limits),
        "reproduce": reproduce(plan.config, request.id, check),
        "repeatable": request.steady,
    }


def _verdict(
    request: CheckRequest, result: CheckResult, pair: PairedOutcome | None
) -> tuple[str, tuple[ConditionResult, ...]]:
    if result.trouble:
        return (ERROR if "type" in result.trouble else NOT_RUN), ()
    return judge(result, request.conditions, request.level, pair)


def _why(verdict: str, outcomes: Sequence[ConditionResult], result: CheckResult) -> str:
    if "type" in result.trouble:
        text = "The check stopped with an error ({type}): {message}"
        return Message(text, type=result.trouble["type"], message=result.trouble["message"])
    if result.trouble:
        return Message("Not run: {why}.", why=result.trouble["why"])
    deciding = [outcome.why for outcome in outcomes if outcome.verdict == verdict]
    return joined(deciding, " ") or result.claim


def _work(plan: Plan, request: CheckRequest, result: CheckResult) -> dict[str, Any]:
    stages = [
        {"stage": tasks[0].stage.settings, "pieces": len(tasks), "planned": count, "done": done}
        for tasks, count, done in zip(
            request.tasks,
            result.planned or [0] * len(request.tasks),
            result.done or [0] * len(request.tasks),
            strict=True,
        )
        if tasks
    ]
    return {
        "stages": stages,
        "keys": list(result.keys),
        "micro_batch": plan.config.micro_batch,
        "shrunk_to": result.shrunk,
        "rows": round(sum(task.rows_through for tasks in request.tasks for task in tasks)),
    }


def _model(plan: Plan) -> dict[str, Any]:
    classifier = plan.context.classifier
    return {
        "name": classifier.name,
        "source": plan.config.to_dict()["model"]["source"],
        "fingerprint": classifier.fingerprint,
        "preprocessing": classifier.preprocessing,
        "parameters": sum(p.numel() for p in classifier.module.parameters()),
        "architecture": type(classifier.module).__name__,
        "classes": list(classifier.class_names),
    }


def _data(role: DatasetRole, labels: Sequence[str]) -> dict[str, Any]:
    counts = None
    if role.labels is not None:
        counts = dict(zip(labels, np.bincount(role.labels.numpy(), minlength=len(labels)).tolist(), strict=True))
    groups = {name: dict(sorted(Counter(values.tolist()).items())) for name, values in role.groups.items()}
    about = {"source": role.source, "n": len(role), "classes": counts, "groups": groups, "notes": list(role.notes)}
    return about | {"accounting": role.accounting}


def _keys(role: DatasetRole) -> str:
    keys = np.frombuffer(b"".join(bytes.fromhex(key)[:KEY_BYTES] for key in role.keys), dtype="u1")
    return str(encode(keys, "u1"))


def _limits(plan: Plan, checks: Sequence[Mapping[str, Any]]) -> list[str]:
    own = [_noted(check["title"], limit) for check in checks for limit in check["limits"]]
    late = [
        Message(
            "{title}: {done:,} of {planned:,} images, for lack of time.",
            title=Message(check["title"]),
            **{name: stage[name] for name in ("done", "planned")},
        )
        for check in checks
        for stage in check["work"]["stages"]
        if 0 < stage["done"] < stage["planned"]
    ]
    unread = sum(role.counts[UNREADABLE] for role in plan.context.roles.values())
    lost = [Message("{count} image(s) could not be read and were not measured.", count=unread)] if unread else []
    classifier = plan.context.classifier
    notes = [_noted("Model", note) for note in (*classifier.notes, *untrained_noted(classifier.module))]
    idle = [sentences([line]) for request in plan.config.checks for line in request.idle]
    return [*lost, *late, *idle, *dict.fromkeys(notes), *dict.fromkeys(own), *_GENERAL]


def _noted(subject: str, note: str) -> Message:
    return Message("{subject}: {note}.", subject=Message(subject), note=constant(note))


def _not_tested(checks: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    metrics = {check["metric"] for check in checks}
    not_run = [
        {"metric": check["metric"], "title": check["title"], "why": check["why"]}
        for check in checks
        if check["verdict"] == NOT_RUN
    ]
    kinds: list[type[Check]] = [CHECKS[name] for name in CHECKS if name not in metrics]
    return not_run + [
        {"metric": kind.name, "title": kind.title, "why": Message("Not part of this audit.")} for kind in kinds
    ]
