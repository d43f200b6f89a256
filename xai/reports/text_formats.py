"""Markdown, model card, JUnit and CSV of an audit.

Source: https://huggingface.co/docs/hub/model-cards, with `model-index` as results of evaluation. Metadata are written
as JSON, which is YAML too, so that no name can end its quotes.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from xai.audits.record import Audit
from xai.reports.content import claim, headline, limits, standards, unfinished
from xai.reports.images import condition_text
from xai.reports.messages import Words, harmless

MOST_BYTES = 1_000_000
ROWS = 100
_SPECIAL = "\\`*_{}[]|~!$^"  # what Markdown, or mathematics in it, would read
_BREAK = "\u2060"  # joins words without being seen, and ends mentions, links and numbers of issues
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def summary(audit: Audit, words: Words) -> str:
    """Return the verdict, what did not pass, what passed (folded), and what could have been seen."""
    document = audit.document
    head = headline(document, words)
    parts = [f"### {plain(document['title'])}", f"**{plain(head['verdict'])}.** {plain(head['counts'])}"]
    if unfinished(document):
        parts.append(plain(words("incomplete")))
    findings = document["findings"]
    if findings:
        parts.append(table(_heads(words), [_finding(finding, words) for finding in findings[:ROWS]]))
    if len(findings) > ROWS:
        parts.append(plain(words("more_rows", n=words.number(len(findings) - ROWS))))
    passed = [check for check in document["checks"] if check["verdict"] in {"pass", "measured"}]
    if passed:
        rows = [_passed(check, words) for check in passed[:ROWS]]
        inside = table([words("check"), words("verdict"), words("value")], rows)
        parts.append(folded(words("passed_too", n=words.number(len(passed))), inside))
    parts.extend(_again(findings, words))
    return joined(parts)


def _again(findings: Sequence[Mapping[str, Any]], words: Words) -> list[str]:
    commands = list(dict.fromkeys(finding["reproduce"]["command"] for finding in findings))
    return (
        [folded(words("reproduce"), fenced("\n".join(harmless(command) for command in commands[:ROWS])))]
        if commands
        else []
    )


def _heads(words: Words) -> list[str]:
    return [words(key) for key in ("verdict", "check", "value", "threshold", "images", "why")]


def _finding(finding: Mapping[str, Any], words: Words) -> list[str]:
    unit = finding["unit"]
    span = _span(finding["interval"], unit, words)
    value = words.value(finding["value"], unit) + f" ({span})" * bool(span)
    condition = condition_text(finding, unit, words) if finding["condition"] else "\u2013"
    n = "\u2013" if finding["n"] is None else words.number(finding["n"])
    return [words(f"verdict.{finding['verdict']}"), finding["id"], value, condition, n, words.told(finding["why"]).text]


def _span(interval: Sequence[float | None] | None, unit: str | None, words: Words) -> str:
    low, high = interval or (None, None)
    return words.span(low, high, unit)


def _passed(check: Mapping[str, Any], words: Words) -> list[str]:
    return [check["id"], words(f"verdict.{check['verdict']}"), claim(check, words).text]


def standards_table(document: Mapping[str, Any], words: Words) -> str:
    """Return the matrix of requirements."""
    heads = [words(key) for key in ("source", "requirement", "evidence", "status")]
    return table(
        heads, [[row[key] for key in ("source", "text", "evidence", "status")] for row in standards(document, words)]
    )


def limits_list(document: Mapping[str, Any], words: Words) -> str:
    """Return the limits as a list."""
    return "\n".join(f"- {plain(limit)}" for limit in limits(document, words))


def plain(text: str) -> str:
    """Return text that Markdown shows as it is: no element, link, mention, mathematics or image comes of it."""
    seen = "".join(_ENTITIES.get(c) or (f"\\{c}" if c in _SPECIAL else c) for c in harmless(text))
    for mark in ("@", "#", "://", "www."):
        seen = seen.replace(mark, f"{mark[0]}{_BREAK}{mark[1:]}")
    return _unlisted(seen)


def _unlisted(text: str) -> str:
    """Return a line that begins no list, heading, quote or rule."""
    return f"\\{text}" if text[:1] in "-+=" else text


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of plain texts."""
    lines = [[plain(head) for head in heads], ["---"] * len(heads), *([plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def folded(title: str, inside: str) -> str:
    """Return a part that opens on a click."""
    return f"<details><summary>{plain(title)}</summary>\n\n{inside}\n\n</details>"


def fenced(text: str) -> str:
    """Return code, in a fence that it cannot end."""
    fence = "`" * 3
    while fence in text:
        fence += "`"
    return f"{fence}sh\n{text}\n{fence}"


def joined(parts: Sequence[str]) -> str:
    """Return the parts as a file, cut at a part where it would be too large."""
    fitting, size = [], 0
    for part in parts:
        size += len(part.encode()) + 2
        if size > MOST_BYTES:
            break
        fitting.append(part)
    return "\n\n".join(fitting) + "\n"


_METRICS = {"accuracy": "accuracy", "robust_accuracy": "accuracy", "corruption_accuracy": "accuracy"}


def card(audit: Audit, words: Words) -> str:
    """Return the card: metadata, details, evaluation, examination, limits, how to start."""
    document = audit.document
    head = headline(document, words)
    return joined(
        [
            _front(document, words),
            f"# {plain(document['model']['name'])}",
            f"**{plain(head['verdict'])}.** {plain(head['counts'])}",
            f"## {words('card.details')}",
            _details(document, words),
            f"## {words('card.uses')}",
            plain(words("card.uses_text")),
            f"## {words('card.evaluation')}",
            summary(audit, words).strip(),
            f"## {words('card.examination')}",
            plain(words("lead.standards")),
            standards_table(document, words),
            f"## {words('card.bias')}",
            limits_list(document, words),
            f"## {words('card.start')}",
            fenced(f"# python\nimport xai\n\nmodel = xai.load({document['model']['source']!r})"),
        ]
    )


def _front(document: Mapping[str, Any], words: Words) -> str:
    model = {"name": harmless(document["model"]["name"]), "results": _results(document)}
    metadata: dict[str, Any] = {
        "language": words.language,
        "pipeline_tag": "image-classification",
        "library_name": "pytorch",
        "tags": ["image-classification", "xai-audit", f"audit-{document['verdict']}"],
        "metrics": ["accuracy"],
        "model-index": [model],
    }
    lines = [f"{name}: {json.dumps(value, ensure_ascii=True, allow_nan=False)}" for name, value in metadata.items()]
    return "\n".join(["---", *lines, "---"])


def _results(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    source = document["data"]["data"]["source"]
    return [
        {
            "task": {"type": "image-classification"},
            "dataset": {"name": harmless(source), "type": re.sub(r"[^\w.-]+", "-", source).strip("-") or "data"},
            "metrics": [_result(check)],
        }
        for check in document["checks"]
        if check["measured"] and check["measured"]["value"] is not None and check["metric"] != "speed"
    ]


def _result(check: Mapping[str, Any]) -> dict[str, Any]:
    measured = check["measured"]
    kind = _METRICS.get(check["metric"], check["metric"])
    metric = {"type": kind, "name": harmless(f"{check['title']} ({check['id']})"), "value": measured["value"]}
    if measured["low"] is not None:
        metric["args"] = {
            "low": measured["low"],
            "high": measured["high"],
            "level": measured["level"],
            "n": measured["n"],
        }
    return metric | {"verified": False}


def _details(document: Mapping[str, Any], words: Words) -> str:
    model, data = document["model"], document["data"]["data"]
    rows = [
        [words("source"), model["source"]],
        [words("fingerprint"), model["fingerprint"]],
        [words("architecture"), model["architecture"]],
        [words("parameters"), words.number(model["parameters"])],
        [words("classes"), f"{len(model['classes'])}: {', '.join(model['classes'][:30])}"],
        [words("data"), f"{data['source']}: {words.number(data['n'])}, {data['accounting']['sha256']}"],
        [words("thresholds"), document["thresholds"]["sha256"]],
    ]
    return table([words("model"), model["name"]], rows)


_CHILD = {"fail": "failure", "error": "error", "inconclusive": "skipped", "not run": "skipped"}


def junit(audit: Audit, words: Words) -> str:
    """Return a suite per family; what is inconclusive or was not run is neither passed nor failed, but skipped."""
    document = audit.document
    families = list(dict.fromkeys(check["family"] for check in document["checks"]))
    root = ET.Element("testsuites", _attributes(document["title"], document["checks"]))
    for family in families:
        checks = [check for check in document["checks"] if check["family"] == family]
        suite = ET.SubElement(root, "testsuite", _attributes(words.sentence(family), checks))
        for check in checks:
            suite.append(_case(check, words))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _attributes(name: str, checks: list[Mapping[str, Any]]) -> dict[str, str]:
    kinds = [_CHILD.get(check["verdict"], "") for check in checks]
    counts = {"tests": len(checks), "failures": kinds.count("failure"), "errors": kinds.count("error")}
    return {"name": harmless(name)} | {k: str(n) for k, n in {**counts, "skipped": kinds.count("skipped")}.items()}


def _case(check: Mapping[str, Any], words: Words) -> ET.Element:
    case = ET.Element("testcase", {"classname": f"xai.{harmless(check['family'])}", "name": harmless(check["id"])})
    properties = ET.SubElement(case, "properties")
    for name, value in _properties(check).items():
        ET.SubElement(properties, "property", {"name": name, "value": harmless(str(value))})
    child = _CHILD.get(check["verdict"])
    if child is not None:
        message = words.told(check["why"]).text
        verdict = words(f"verdict.{check['verdict']}")
        ET.SubElement(
            case, child, {"type": check["verdict"], "message": harmless(f"{verdict}: {message}")}
        ).text = harmless(check["reproduce"]["command"])
    return case


def _properties(check: Mapping[str, Any]) -> dict[str, Any]:
    measured = check["measured"] or {}
    properties = {
        "metric": check["metric"],
        "kind": check["kind"],
        "verdict": check["verdict"],
        "level": check["level"],
    }
    properties |= {
        name: measured[name] for name in ("value", "low", "high", "n", "unit") if measured.get(name) is not None
    }
    return properties | {outcome["condition"]: outcome["threshold"] for outcome in check["conditions"]}


_HEADS = ("check", "metric", "verdict", "condition", "threshold", "value", "low", "high", "n", "where", "why")


def sheet(audit: Audit) -> str:
    """Return one row per condition of each check; numbers as numbers, texts as texts that are no formulas."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_HEADS)
    for row in _rows(audit):
        writer.writerow([harmless(cell) if isinstance(cell, str) else cell for cell in map(row.get, _HEADS)])
    return stream.getvalue()


def _rows(audit: Audit) -> Iterator[Mapping[str, Any]]:
    for check in audit.checks:
        measured = check["measured"] or {}
        about = {"check": check["id"], "metric": check["metric"]}
        alone = {name: measured.get(name) for name in ("value", "low", "high", "n")}
        for outcome in check["conditions"]:
            low, high = outcome["interval"]
            yield {**outcome, **about, "low": low, "high": high}
        if not check["conditions"]:
            yield {**alone, **about, "verdict": check["verdict"], "why": check["why"]}
