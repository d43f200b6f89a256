"""What a report contains, section by section, as plain values for templates.

The texts are Regulation (EU) 2024/1689 (AI Act), the NIST AI Risk Management Framework 1.0, ISO/IEC TR 24029-1:2021
(robustness of neural networks), ISO/IEC 24029-2:2023 (formal methods for it) and ISO/IEC TR 24027:2021 (bias).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xai.audits.baseline import AuditComparison
from xai.audits.record import Audit
from xai.reports.images import ReportImages, bars, condition_text, curve, interval
from xai.reports.messages import Text, Words

MET, NOT_MET, INCONCLUSIVE, NOT_TESTED = "met", "not met", "inconclusive", "not tested"
_DECLARED = "before the first forward"


@dataclass(frozen=True)
class Requirement:
    """One line of the matrix.

    Attributes:
        source: text and place in it.
        key: message that says what is asked.
        metrics: whose checks are evidence.
    """

    source: str
    key: str
    metrics: tuple[str, ...]


REQUIREMENTS = (
    Requirement("EU AI Act, Art. 9(8)", "req.declared", ()),
    Requirement("EU AI Act, Art. 10(2)(f), (g)", "req.bias", ("group_gap", "shortcuts", "slices")),
    Requirement("EU AI Act, Art. 10(3)", "req.data", ("data_faults",)),
    Requirement("EU AI Act, Art. 13(1)", "req.explain", ("faithfulness", "stability", "explanation_drift")),
    Requirement("EU AI Act, Art. 15(1), (3)", "req.accuracy", ("accuracy",)),
    Requirement("EU AI Act, Art. 15(4)", "req.robust", ("corruption_accuracy",)),
    Requirement("EU AI Act, Art. 15(5)", "req.attack", ("robust_accuracy",)),
    Requirement("NIST AI RMF, MEASURE 2.5", "req.valid", ("accuracy", "generalisation_gap")),
    Requirement("NIST AI RMF, MEASURE 2.5", "req.calibration", ("calibration",)),
    Requirement("NIST AI RMF, MEASURE 2.6", "req.ood", ("ood_detection",)),
    Requirement("NIST AI RMF, MEASURE 2.7", "req.attack", ("robust_accuracy", "certified_accuracy")),
    Requirement("NIST AI RMF, MEASURE 2.9", "req.explain", ("faithfulness", "stability")),
    Requirement("NIST AI RMF, MEASURE 2.11", "req.bias", ("group_gap", "shortcuts", "slices")),
    Requirement("ISO/IEC TR 24029-1", "req.robust", ("corruption_accuracy", "robust_accuracy")),
    Requirement("ISO/IEC 24029-2", "req.formal", ("certified_accuracy",)),
    Requirement("ISO/IEC TR 24027", "req.bias", ("group_gap",)),
)


@dataclass(frozen=True)
class RequirementStatus:
    """One requirement, judged.

    Attributes:
        requirement: what is asked.
        status: "met", "not met", "inconclusive" or "not tested".
        gated: ids of checks with a threshold, and their verdicts.
        ungated: ids of checks that only measured.
    """

    requirement: Requirement
    status: str
    gated: tuple[tuple[str, str], ...]
    ungated: tuple[str, ...]


def matrix(document: Mapping[str, Any]) -> tuple[RequirementStatus, ...]:
    """Return every requirement with what the audit says of it."""
    return tuple(_line(requirement, document) for requirement in REQUIREMENTS)


def _line(requirement: Requirement, document: Mapping[str, Any]) -> RequirementStatus:
    if not requirement.metrics:
        return RequirementStatus(requirement, _declared(document["thresholds"]), (), ())
    checks = [check for check in document["checks"] if check["metric"] in requirement.metrics]
    gated = tuple(
        (check["id"], check["verdict"]) for check in checks if check["asked"] and check["verdict"] != "not run"
    )
    ungated = tuple(check["id"] for check in checks if check["verdict"] == "measured")
    return RequirementStatus(requirement, _status([verdict for _, verdict in gated]), gated, ungated)


def _declared(thresholds: Mapping[str, Any]) -> str:
    if not thresholds["conditions"]:
        return NOT_TESTED
    return MET if thresholds["declared"] == _DECLARED else NOT_MET


def _status(verdicts: Sequence[str]) -> str:
    """Return the worst: a requirement is met only when all that was judged passed."""
    if not verdicts:
        return NOT_TESTED
    if "fail" in verdicts:
        return NOT_MET
    return MET if set(verdicts) == {"pass"} else INCONCLUSIVE


ORDER = ("fail", "error", "inconclusive", "not run", "pass", "measured")
SECTIONS = {
    "quality": ("quality",),
    "robustness": ("robustness",),
    "ood": ("out of distribution",),
    "bias": ("bias", "data"),
    "explanations": ("explanations",),
}
TRUST = ("fired", "explained", "not checked", "passed")  # from worst to best
ROWS, FINDINGS = 20, 200
_CONFUSIONS = 10


def content(audit: Audit, words: Words, images: ReportImages, change: AuditComparison | None) -> dict[str, Any]:
    """Return everything that the page shows; findings take their images first."""
    document = audit.document
    shown: set[str] = set()
    findings = [_finding(audit, finding, words, images, shown) for finding in document["findings"][:FINDINGS]]
    sections = {
        name: [_check(check, words, images, shown) for check in document["checks"] if check["family"] in families]
        for name, families in SECTIONS.items()
    }
    return {
        "document": document,
        "headline": headline(document, words),
        "unfinished": unfinished(document),
        "summary": [(name, document["summary"][name]) for name in ORDER],
        "findings": findings,
        "more_findings": max(0, len(document["findings"]) - FINDINGS),
        "sections": sections,
        "identity": identity(document, words),
        "change": None if change is None else [_changed(difference, words) for difference in change.differences],
        "limits": limits(document, words),
        "not_tested": not_tested(document, words),
        "power": power(document, words),
        "standards": standards(document, words),
        "left_out": images.left_out,
    }


def headline(document: Mapping[str, Any], words: Words) -> dict[str, str]:
    """Return the verdict as a line and its counts as another."""
    counts = document["summary"]
    parts = [words(f"count.{name}", n=words.number(counts[name])) for name in ORDER if counts[name]]
    about = {"asked": words.number(counts["asked"]), "n": words.number(document["images"]["n"])}
    return {
        "verdict": words(f"overall.{document['verdict']}"),
        "counts": f"{words('subtitle', **about)}: {', '.join(parts)}.",
    }


def unfinished(document: Mapping[str, Any]) -> bool:
    """Say whether work was left undone, for lack of time; what cannot be run at all is no such work."""
    stages = [stage for check in document["checks"] for stage in check["work"]["stages"]]
    return any(stage["done"] < stage["planned"] for stage in stages)


def _finding(
    audit: Audit, finding: Mapping[str, Any], words: Words, images: ReportImages, shown: set[str]
) -> dict[str, Any]:
    check = audit[finding["check"]]
    first, unit = finding["check"] not in shown, finding["unit"]
    shown.add(finding["check"])
    exhibits = [images.show(exhibit) for exhibit in finding["evidence"]] if first else []
    judged = finding["condition"] is not None
    return {
        "id": finding["id"],
        "check": finding["check"],
        "title": words.sentence(finding["title"]),
        "question": words.sentence(check["question"]),
        "verdict": finding["verdict"],
        "why": words.told(finding["why"]),
        "asked": condition_text(finding, unit, words) if judged else None,
        "chart": interval(check, finding, words) if judged else None,
        "seen": _seen(finding, unit, words),
        "exhibits": [exhibit for exhibit in exhibits if exhibit],
        "reproduce": finding["reproduce"],
        "kind": words(f"kind.{finding['kind']}"),
    }


def _seen(outcome: Mapping[str, Any], unit: str | None, words: Words) -> str | None:
    if outcome["detectable"] is None:
        return None
    points = "points" if unit in {"share", "findings"} else unit
    return words("seen", d=words.value(outcome["detectable"], points))


def _check(check: Mapping[str, Any], words: Words, images: ReportImages, shown: set[str]) -> dict[str, Any]:
    measured = check["measured"] or {}
    exhibits = [] if check["id"] in shown else [images.show(piece) for piece in measured.get("evidence", ())]
    curves = [curve(name, columns, words) for name, columns in measured.get("curves", {}).items()]
    facts = measured.get("facts", {})
    return {
        "id": check["id"],
        "title": words.sentence(check["title"]),
        "question": words.sentence(check["question"]),
        "verdict": check["verdict"],
        "kind": words(f"kind.{check['kind']}"),
        "claim": claim(check, words),
        "gates": [_gate(check, outcome, words) for outcome in check["conditions"]],
        "plain": interval(check, None, words) if not check["conditions"] else None,
        "classes": bars(measured.get("classes", ()), words),
        "groups": bars(measured.get("groups", ()), words),
        "curves": [line for line in curves if line],
        "confusions": _confusions(facts.get("confusion"), measured.get("classes", ())),
        "facts": _facts(facts, words),
        "trust": _trust(facts, words) if check["metric"] == "robust_accuracy" and measured else None,
        "tables": [_table(name, rows, words) for name, rows in measured.get("tables", {}).items() if rows],
        "notes": [words.told(note) for note in (*measured.get("notes", ()), *measured.get("doubts", ()))],
        "exhibits": [exhibit for exhibit in exhibits if exhibit],
        "in_findings": check["id"] in shown,
    }


def claim(check: Mapping[str, Any], words: Words) -> Text:
    """Return what a check measured as a sentence."""
    measured = check["measured"]
    if measured is None:
        return words.told(check["why"])
    text = words.told(measured["claim"])
    span = words.span(measured["low"], measured["high"], measured["unit"])
    if text.language == words.language or not span:
        return text
    figure = {"title": words.sentence(check["title"]), "value": words.value(measured["value"], measured["unit"])}
    return Text(words("chart.plain", **figure, span=span), words.language)


def _gate(check: Mapping[str, Any], outcome: Mapping[str, Any], words: Words) -> dict[str, Any]:
    unit = (check["measured"] or {}).get("unit")
    return {
        "verdict": outcome["verdict"],
        "asked": condition_text(outcome, unit, words),
        "why": words.told(outcome["why"]),
        "seen": _seen(outcome, unit, words),
        "chart": interval(check, outcome, words),
    }


def _confusions(confusion: Sequence[Sequence[int]] | None, classes: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return the most frequent confusions; classes without images may be missing from `classes`."""
    if confusion is None or len(classes) != len(confusion):
        return []
    names = [share["name"] for share in classes]
    confused = [(n, names[i], names[j]) for i, row in enumerate(confusion) for j, n in enumerate(row) if i != j and n]
    return sorted(confused, key=lambda entry: -entry[0])[:_CONFUSIONS]


def _facts(facts: Mapping[str, Any], words: Words) -> list[tuple[str, str]]:
    """Return what can be read in one line."""
    return [
        (name, words.number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value))
        for name, value in facts.items()
        if isinstance(value, str | int | float) and len(str(value)) < 200
    ]


def _trust(facts: Mapping[str, Any], words: Words) -> dict[str, Any]:
    """Return what the checks of the evaluation say: a line for each that did not pass, and the names of the others."""
    checks = (facts.get("trust") or {}).get("checks", ())
    if not checks:
        return {"told": words("trust.none"), "checks": [], "passed": []}
    lines = [
        {
            "name": words.sentence(str(check["name"]).replace("_", " ")),
            "status": words(f"trust.{check['status']}"),
            "reason": words.told(check["reason"]),
        }
        for check in sorted(checks, key=lambda check: TRUST.index(check["status"]))
    ]
    count = Counter(check["status"] for check in checks)
    sentence = words("trust.flags" if count["fired"] else "trust.clean", k=count["fired"], n=len(checks))
    doubtful = len(checks) - count["passed"]
    return {"told": sentence, "checks": lines[:doubtful], "passed": [line["name"] for line in lines[doubtful:]]}


def _table(name: str, rows: Sequence[Mapping[str, Any]], words: Words) -> dict[str, Any]:
    heads = list(rows[0])
    cells = [[_cell(row.get(head), words) for head in heads] for row in rows[:ROWS]]
    return {"name": name, "heads": heads, "rows": cells, "more": max(0, len(rows) - ROWS)}


def _cell(value: Any, words: Words) -> str:
    if value is None:
        return "\u2013"
    if isinstance(value, bool):
        return words("yes" if value else "no")
    return words.number(value) if isinstance(value, int | float) else str(value)


def identity(document: Mapping[str, Any], words: Words) -> dict[str, Any]:
    """Return what was audited: model, data sets, code, thresholds."""
    sets = []
    for role, data in document["data"].items():
        head, _, name = role.partition(":")
        counts = data["accounting"]["counts"]
        sets.append(
            {
                "role": words(f"role.{head}", name=name),
                "source": data["source"],
                "n": words.number(data["n"]),
                "fingerprint": data["accounting"]["sha256"],
                "unreadable": words.number(counts.get("unreadable", 0)),
                "repeated": words.number(data["accounting"].get("repeated", 0)),
                "notes": data["notes"],
            }
        )
    declared = document["thresholds"]["declared"]
    return {"sets": sets, "declared": words.messages.get(f"declared.{declared}", declared)}


def limits(document: Mapping[str, Any], words: Words) -> list[str]:
    """Return what the figures do not say."""
    return [words.told(limit).text for limit in document["limits"]]


def not_tested(document: Mapping[str, Any], words: Words) -> list[tuple[str, Text]]:
    """Return what was left out, and why."""
    return [(words.sentence(check["title"]), words.told(check["why"])) for check in document["not_tested"]]


def power(document: Mapping[str, Any], words: Words) -> list[tuple[str, str, str]]:
    """Return what each gate could have seen: check, condition, smallest difference."""
    return [
        (
            check["id"],
            condition_text(outcome, check["measured"]["unit"], words),
            _seen(outcome, check["measured"]["unit"], words) or "",
        )
        for check in document["checks"]
        for outcome in check["conditions"]
        if outcome["detectable"] is not None
    ]


def standards(document: Mapping[str, Any], words: Words) -> list[dict[str, str]]:
    """Return the matrix in words."""
    rows = []
    for line in matrix(document):
        evidence = ", ".join(f"{id_} ({words(f'verdict.{verdict}')})" for id_, verdict in line.gated)
        if line.ungated:
            evidence += "; " * bool(evidence) + words("evidence.ungated", ids=", ".join(line.ungated))
        if not line.requirement.metrics:
            evidence = f"{words('thresholds')}: {document['thresholds']['sha256'][:16]}"
        status = "status.inconclusive" if line.status == "inconclusive" else line.status
        rows.append(
            {
                "source": line.requirement.source,
                "text": words(line.requirement.key),
                "evidence": evidence or words("evidence.none"),
                "status": words(status),
                "key": line.status.replace(" ", "-"),
            }
        )
    return rows


def _changed(difference: Any, words: Words) -> dict[str, str]:
    signed = "" if difference.difference is None else words.number(difference.difference, 3)
    return {
        "id": difference.id,
        "title": words.sentence(difference.title),
        "before": words.value(difference.before, difference.unit),
        "after": words.value(difference.after, difference.unit),
        "difference": signed,
        "span": ""
        if difference.low is None or difference.high is None
        else words.span(difference.low, difference.high, None),
        "verdict": words(f"change.{difference.verdict}"),
    }
