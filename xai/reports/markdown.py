"""Markdown: a summary for a pull request, short enough for every place that shows one."""

from collections.abc import Mapping, Sequence
from typing import Any

from xai.audits import Audit
from xai.reports.charts import asked
from xai.reports.content import claim, headline, limits, standards, unfinished, why
from xai.reports.words import Words, harmless

MOST_BYTES = 1_000_000
ROWS = 100
_SPECIAL = "\\`*_{}[]|~!$^"  # what Markdown, or mathematics in it, would read
_BREAK = "\u2060"  # joins words without being seen, and ends mentions, links and numbers of issues
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def summary(audit: Audit, words: Words) -> str:
    """Return the verdict, what did not pass, what passed (folded), and what could have been seen."""
    document = audit.document
    told = headline(document, words)
    parts = [f"### {plain(document['title'])}", f"**{plain(told['verdict'])}.** {plain(told['counts'])}"]
    if unfinished(document):
        parts.append(plain(words("incomplete")))
    findings = document["findings"]
    if findings:
        parts.append(table(_heads(words), [_finding(one, words) for one in findings[:ROWS]]))
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
    commands = list(dict.fromkeys(one["reproduce"]["command"] for one in findings))
    return [folded(words("reproduce"), fenced("\n".join(harmless(one) for one in commands[:ROWS])))] if commands else []


def _heads(words: Words) -> list[str]:
    return [words(key) for key in ("verdict", "check", "value", "threshold", "pictures", "why")]


def _finding(one: Mapping[str, Any], words: Words) -> list[str]:
    unit = one["unit"]
    span = _span(one["interval"], unit, words)
    value = words.value(one["value"], unit) + f" ({span})" * bool(span)
    condition = asked(one, unit, words) if one["condition"] else "\u2013"
    n = "\u2013" if one["n"] is None else words.number(one["n"])
    return [words(f"verdict.{one['verdict']}"), one["id"], value, condition, n, why(one, unit, words).text]


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
    return "\n".join(f"- {plain(one)}" for one in limits(document, words))


def plain(text: str) -> str:
    """Return text that Markdown shows as it is: no element, link, mention, mathematics or picture comes of it."""
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
    kept, size = [], 0
    for part in parts:
        size += len(part.encode()) + 2
        if size > MOST_BYTES:
            break
        kept.append(part)
    return "\n\n".join(kept) + "\n"
