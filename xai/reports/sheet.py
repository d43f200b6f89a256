"""A table of all conditions as CSV, which a spreadsheet opens without computing anything."""

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from xai.audits import Audit
from xai.reports.words import harmless

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
        for one in check["conditions"]:
            low, high = one["interval"]
            yield {**one, **about, "low": low, "high": high}
        if not check["conditions"]:
            yield {**alone, **about, "verdict": check["verdict"], "why": check["why"]}
