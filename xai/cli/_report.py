"""`xai report`: what an audit found, for people and for machines."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xai
from xai.cli._common import PASS, command, one_line

KINDS = ("html", "pdf", "md", "junit", "card", "csv")


def add_report(commands: Any) -> None:
    """Add `xai report`."""
    parser = command(commands, "report", _report, "write reports of a finished audit: page, PDF, Markdown, JUnit, card")
    parser.add_argument("audit", type=Path, help="folder of an audit, or its audit.json")
    parser.add_argument(
        "--format", default="html", help=f"one or more of {', '.join(KINDS)}, with commas between (html)"
    )
    parser.add_argument("--out", type=Path, help="folder to write into; default: beside the audit")
    parser.add_argument("--language", choices=("en", "es"), help="default: that of the audit's file, or English")
    parser.add_argument("--pictures", type=int, help="exhibits shown at most (60); the page stays below 5 MB")
    parser.add_argument("--baseline", type=Path, help="an earlier audit, for a table of differences")
    parser.add_argument("--tests", type=Path, metavar="DIR", help="also turn findings into regression tests there")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _report(options: argparse.Namespace) -> int:
    kinds = formats(options.format)
    found = xai.Audit.load(options.audit)
    place = options.out or found.folder or Path()
    settings = {name: getattr(options, name) for name in ("language", "pictures", "baseline")}
    written = [found.report(place, kind=kind, **settings) for kind in kinds]
    if options.tests is not None:
        written += xai.write_tests(found, options.tests)
    if options.json:
        print(json.dumps({"written": [str(path) for path in written], "verdict": found.verdict}, indent=1))
    else:
        tell(written)
    return PASS


def formats(text: str) -> list[str]:
    """Return kinds of reports from "html,md"; unknown ones are refused before any work."""
    kinds = [kind.strip() for kind in text.split(",") if kind.strip()]
    for kind in kinds:
        if kind not in KINDS:
            raise xai.InputError(f"Expected --format as some of {', '.join(KINDS)}, but got {kind!r}.")
    return kinds


def tell(written: Sequence[Path]) -> None:
    """Say what was written, and which findings became no test."""
    for path in written:
        print(f"wrote {one_line(str(path))}")
    for path in written:
        for text in json.loads(path.read_text(encoding="utf-8"))["left_out"] if path.name == "cases.json" else ():
            print(f"  no test: {one_line(text)}")
