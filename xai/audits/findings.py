"""What did not pass, worst first, and the audit in one line."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from xai.audits.conditions import ERROR, MEASURED, NOT_RUN
from xai.metrics.gates import FAIL, INCONCLUSIVE, PASS

_ORDER = (FAIL, ERROR, INCONCLUSIVE, NOT_RUN)
_SAID = (
    (FAIL, "failed"),
    (ERROR, "broke"),
    (INCONCLUSIVE, "cannot tell"),
    (NOT_RUN, "not run"),
    (PASS, "passed"),
    (MEASURED, "only measured"),
)


def summary_of(checks: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many checks were asked, and how many ended with each verdict."""
    counts = Counter(check["verdict"] for check in checks)
    return {"asked": len(checks)} | {
        name: counts[name] for name in (PASS, FAIL, INCONCLUSIVE, NOT_RUN, ERROR, MEASURED)
    }


def headline_of(document: Mapping[str, Any]) -> str:
    """Return verdict and counts in one line."""
    counts = document["summary"]
    parts = [f"{counts[name]} {word}" for name, word in _SAID if counts[name]]
    n = document["pictures"]["n"]
    told = ", ".join(parts) or "none was judged"
    return f"{document['verdict'].upper()}: of {counts['asked']} checks on {n:,} pictures, {told}."


def findings_of(checks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what did not pass, worst first: failed, broken, undecided, not run; within these by distance."""
    found = [finding for check in checks for finding in _findings(check)]
    return sorted(found, key=lambda one: (_ORDER.index(one["verdict"]), -one["severity"]))


def _findings(check: Mapping[str, Any]) -> list[dict[str, Any]]:
    about = {name: check[name] for name in ("metric", "title", "family", "kind", "reproduce")}
    about |= {"check": check["id"], "evidence": (check["measured"] or {}).get("evidence", [])}
    about |= {"unit": (check["measured"] or {}).get("unit"), "claim": (check["measured"] or {}).get("claim", "")}
    bad = [one for one in check["conditions"] if one["verdict"] in _ORDER]
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
                name: one[name]
                for name in ("condition", "threshold", "value", "interval", "n", "detectable", "needed", "where")
            },
            "evidence": _evidence_of(one, about["evidence"]),
            "id": f"{check['id']}:{one['condition']}" if several else check["id"],
            "verdict": one["verdict"],
            "why": one["why"],
            "severity": _severity(one),
        }
        for one in bad
    ]


def _evidence_of(outcome: Mapping[str, Any], every: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the evidence of a condition: of one on a class or group, only images of that class or group."""
    where = outcome["where"]
    if not where:
        return list(every)
    return [one for one in every if where == one["facts"].get("label") or where in one["facts"].get("groups", ())]


def _severity(outcome: Mapping[str, Any]) -> float:
    """Return how far a figure is beyond its threshold, in half widths of its interval, or in findings."""
    if outcome["value"] is None:
        return 0.0
    gap = abs(outcome["value"] - outcome["threshold"])
    low, high = outcome["interval"]
    half = 1.0 if low is None or high is None else max((high - low) / 2, 1e-6)
    return float(gap / half)
