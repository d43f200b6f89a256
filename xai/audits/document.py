"""audit.json: everything that was asked, measured and judged, in one document with a version."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xai.audits.checks import CHECKS, Check
from xai.audits.code import code_digest
from xai.audits.conditions import ERROR, NOT_RUN, Outcome, Pair, judge, worst_of
from xai.audits.config import Asked
from xai.audits.findings import findings_of, headline_of, summary_of
from xai.audits.manifest import UNREADABLE
from xai.audits.measurement import KEY_BYTES, Measurement, encode
from xai.audits.plan import Plan, Planned
from xai.audits.reproduce import reproduce
from xai.audits.runner import Result, Results
from xai.audits.scene import Role
from xai.audits.store import canonical
from xai.core.untrained import untrained_noted
from xai.metrics.gates import FAIL, INCONCLUSIVE, PASS

SCHEMA_NAME, SCHEMA_VERSION = "xai-audit", "1.0"
BEFORE, AFTER = "before the first forward", "after the figures were known"
_GENERAL = (
    "Figures hold for pictures drawn as these were; other cameras, places or times may differ.",
    "An attack that finds nothing proves nothing; only certified accuracy is proven, and only for its ball.",
    "Each gate errs at most as often as its level says; with many gates some error is to be expected.",
    "This report is no certification and no legal opinion.",
)


def assemble(
    plan: Plan, results: Results, baseline: Mapping[str, Any] | None, pairs: Mapping[str, Pair]
) -> dict[str, Any]:
    """Return the document.

    Args:
        plan: what was asked.
        results: what became of each check, by id.
        baseline: what is known of it; None for none.
        pairs: by check, its outcomes in the baseline and now.
    """
    checks = [_check(plan, planned, results[planned.asked.id], pairs.get(planned.asked.id)) for planned in plan.checks]
    scene, config = plan.scene, plan.config
    document = {
        "schema": SCHEMA_NAME,
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "xai-toolkit", "version": plan.base["versions"]["xai-toolkit"], "code": code_digest()},
        "title": config.title or f"Audit of {scene.classifier.name}",
        "model": _model(plan),
        "data": {name: _data(role, scene.classifier.labels) for name, role in scene.roles.items()},
        "pictures": {"key_bytes": KEY_BYTES, "n": len(scene.role()), "keys": _keys(scene.role())},
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
        {"check": check["id"], "condition": one["condition"], "threshold": one["threshold"], "level": one["level"]}
        for check in checks
        for one in check["asked"]
    ]
    found = {
        **document,
        "thresholds": {"sha256": digest_of(checks), "declared": declared, "conditions": conditions},
        "complete": all(check["complete"] for check in checks),
        "verdict": overall([check["verdict"] for check in checks]),
        "summary": summary_of(checks),
        "findings": findings_of(checks),
    }
    return {**found, "headline": headline_of(found)}


def overall(verdicts: Sequence[str]) -> str:
    """Return the verdict of an audit: the worst of its checks'; what was not run decides nothing."""
    worst = worst_of(verdicts)
    return worst if worst in {FAIL, ERROR, PASS} else INCONCLUSIVE


def digest_of(checks: Sequence[Mapping[str, Any]]) -> str:
    """Return the digest of all conditions, as `Config.thresholds_sha256` has it."""
    held = [
        {"check": check["id"], "metric": check["metric"], "settings": check["settings"], "level": one["level"]}
        | {"condition": one["condition"], "threshold": one["threshold"]}
        for check in checks
        for one in check["asked"]
    ]
    return hashlib.sha256(canonical(held)).hexdigest()


def _check(plan: Plan, planned: Planned, result: Result, pair: Pair | None) -> dict[str, Any]:
    asked, measured = planned.asked, result.measured
    verdict, outcomes = _verdict(asked, result, pair)
    check = asked.check
    return {
        "id": asked.id,
        "metric": check.name,
        "title": check.title,
        "family": check.family,
        "question": check.question,
        "kind": check.kind,
        "better": check.better,
        "settings": check.settings,
        "level": asked.level,
        "asked": [{"condition": c.name, "threshold": c.threshold, "level": asked.level} for c in asked.conditions],
        "verdict": verdict,
        "why": _why(verdict, outcomes, result),
        "conditions": [outcome.to_dict() for outcome in outcomes],
        "measured": None if measured is None else measured.to_dict(),
        "error": dict(result.trouble) if "type" in result.trouble else None,
        "complete": measured is not None and result.done == result.planned,
        "work": _work(plan, planned, result),
        "limits": list(check.limits),
        "reproduce": reproduce(plan.config, asked.id, check),
        "repeatable": planned.steady,
    }


def _verdict(asked: Asked, result: Result, pair: Pair | None) -> tuple[str, tuple[Outcome, ...]]:
    if result.measured is None:
        return (ERROR if "type" in result.trouble else NOT_RUN), ()
    return judge(result.measured, asked.conditions, asked.level, pair)


def _why(verdict: str, outcomes: Sequence[Outcome], result: Result) -> str:
    if "type" in result.trouble:
        return f"The check broke ({result.trouble['type']}): {result.trouble['message']}"
    if result.measured is None:
        return f"Not run: {result.trouble['why']}."
    deciding = [outcome.why for outcome in outcomes if outcome.verdict == verdict]
    return " ".join(deciding) or result.measured.claim


def _work(plan: Plan, planned: Planned, result: Result) -> dict[str, Any]:
    stages = [
        {"stage": tasks[0].stage.settings, "pieces": len(tasks), "planned": count, "done": done}
        for tasks, count, done in zip(
            planned.tasks,
            result.planned or [0] * len(planned.tasks),
            result.done or [0] * len(planned.tasks),
            strict=True,
        )
        if tasks
    ]
    return {
        "stages": stages,
        "keys": list(result.keys),
        "micro_batch": plan.config.micro_batch,
        "shrunk_to": result.shrunk,
        "rows": round(sum(task.rows_through for tasks in planned.tasks for task in tasks)),
    }


def _model(plan: Plan) -> dict[str, Any]:
    classifier = plan.scene.classifier
    return {
        "name": classifier.name,
        "source": plan.config.to_dict()["model"]["source"],
        "fingerprint": classifier.fingerprint,
        "preprocessing": classifier.preprocessing,
        "parameters": sum(p.numel() for p in classifier.module.parameters()),
        "architecture": type(classifier.module).__name__,
        "classes": list(classifier.labels),
    }


def _data(role: Role, labels: Sequence[str]) -> dict[str, Any]:
    counts = None
    if role.labels is not None:
        counts = dict(zip(labels, np.bincount(role.labels.numpy(), minlength=len(labels)).tolist(), strict=True))
    groups = {name: dict(sorted(Counter(values.tolist()).items())) for name, values in role.groups.items()}
    about = {"source": role.source, "n": len(role), "classes": counts, "groups": groups, "notes": list(role.notes)}
    return about | {"accounting": role.manifest.to_dict()}


def _keys(role: Role) -> str:
    held = np.frombuffer(b"".join(bytes.fromhex(key)[:KEY_BYTES] for key in role.keys), dtype="u1")
    return str(encode(held, "u1"))


def _limits(plan: Plan, checks: Sequence[Mapping[str, Any]]) -> list[str]:
    own = [f"{check['title']}: {limit}." for check in checks for limit in check["limits"]]
    late = [
        f"{check['title']}: {stage['done']:,} of {stage['planned']:,} pictures, for lack of time."
        for check in checks
        for stage in check["work"]["stages"]
        if 0 < stage["done"] < stage["planned"]
    ]
    unread = sum(role.manifest.counts[UNREADABLE] for role in plan.scene.roles.values())
    lost = [f"{unread} picture(s) could not be read and were not measured."] if unread else []
    classifier = plan.scene.classifier
    notes = [f"Model: {note}." for note in (*classifier.notes, *untrained_noted(classifier.module))]
    idle = [f"{line}." for asked in plan.config.checks for line in asked.idle]
    return [*lost, *late, *idle, *dict.fromkeys(notes), *dict.fromkeys(own), *_GENERAL]


def _not_tested(checks: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    asked = {check["metric"] for check in checks}
    found = [
        {"metric": check["metric"], "title": check["title"], "why": check["why"]}
        for check in checks
        if check["verdict"] == NOT_RUN
    ]
    kinds: list[type[Check]] = [CHECKS[name] for name in CHECKS if name not in asked]
    return found + [{"metric": kind.name, "title": kind.title, "why": "Not asked for."} for kind in kinds]


def measured_in(document: Mapping[str, Any], id_: str) -> Measurement | None:
    """Return what a check of a document measured; None where it has no such check, or it was not run."""
    for check in document["checks"]:
        if check["id"] == id_ and check["measured"] is not None:
            return Measurement.from_dict(check["measured"])
    return None
