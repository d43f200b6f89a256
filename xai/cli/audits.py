"""`xai audit`, `xai check`, `xai compare`, `xai init`, `xai schema`, `xai report`."""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xai
from xai.cli.common import (
    FAILED,
    INCONCLUSIVE,
    INTERNAL,
    PASS,
    add_model,
    command,
    load_model,
    model_settings,
    one_line,
    parted,
    telling,
)

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
    parser.add_argument("--images", type=int, help="exhibits shown at most (60); the page stays below 5 MB")
    parser.add_argument("--baseline", type=Path, help="an earlier audit, for a table of differences")
    parser.add_argument("--tests", type=Path, metavar="DIR", help="also turn findings into regression tests there")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _report(options: argparse.Namespace) -> int:
    kinds = formats(options.format)
    audit = xai.Audit.load(options.audit)
    place = options.out or audit.folder or Path()
    settings = {name: getattr(options, name) for name in ("language", "images", "baseline")}
    written = [audit.report(place, kind=kind, **settings) for kind in kinds]
    if options.tests is not None:
        written += audit.write_tests(options.tests)
    if options.json:
        print(json.dumps({"written": [str(path) for path in written], "verdict": audit.verdict}, indent=1))
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


_CODES = {"pass": PASS, "fail": FAILED, "error": INTERNAL, "inconclusive": INCONCLUSIVE}
_MOST = 30  # lines printed
_COLUMNS = ("path_column", "label_column", "part_column")


def add_audit(commands: Any) -> None:
    """Add `xai audit`."""
    parser = command(commands, "audit", _audit, "measure a model by many checks and judge each; the same again resumes")
    parser.add_argument("config", nargs="?", default="xai.toml", help="xai.toml or pyproject.toml; see `xai init`")
    add_model(parser, required=False, more="in place of the file's: example:fashion-robust, weights.safetensors, ...")
    parser.add_argument("--data", help="in place of the file's")
    parser.add_argument("--baseline", help="an earlier audit to compare with: its folder or audit.json")
    parser.add_argument("--out", type=Path, help="folder of results and finished work; default: .xai/ beside the file")
    parser.add_argument("--only", action="append", metavar="ID", help="only this check; may be repeated")
    parser.add_argument("--budget", help='time for the work, such as "8m"; the rest is left for the next run')
    parser.add_argument("--seed", type=int)
    parser.add_argument("--engine", default="local", help="local, or ray: a cluster does the work")
    parser.add_argument("--shard", metavar="I/N", help="do share I of N (from 0) over one --out, and write no report")
    parser.add_argument("--format", help="reports to write, such as html,md,junit; default: [report] of the file")
    parser.add_argument("--language", choices=("en", "es"), help="of reports")
    parser.add_argument(
        "--write-tests",
        type=Path,
        nargs="?",
        const=Path("tests"),
        metavar="DIR",
        help="findings as tests there (tests/)",
    )
    parser.add_argument(
        "--control",
        action="store_true",
        help="run each gate on a model or data with an injected fault, which it must fail",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done and about how long it takes")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _audit(options: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a machine that is taken away asks so
    given = _given(options)
    if options.dry_run:
        return _plan(options, given)
    if options.control:
        return _control(options, given)
    if options.shard is not None:
        return _share(options, given)
    kinds = None if options.format is None else formats(options.format)
    with telling():
        audit = xai.audit(
            options.config,
            **given,
            baseline=options.baseline,
            out=options.out,
            only=options.only,
            budget=options.budget,
            seed=options.seed,
            engine=options.engine,
            progress=True if sys.stderr.isatty() else None,
        )
    report_kinds = audit.document["settings"]["report"].get("formats", ()) if kinds is None else kinds
    place = audit.folder or Path()
    written = [audit.report(place, kind=kind, language=options.language) for kind in report_kinds]
    if options.write_tests is not None:
        written += audit.write_tests(options.write_tests, root=Path(options.config).parent)
    if not options.json:
        tell(written)
    _print(options, "audit", audit.to_dict(), str(audit), audit.folder)
    return _CODES[audit.verdict]


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """Return what was said of model and data, as tables; settings alone are added to the model of a file."""
    settings = model_settings(options)
    if "arch" in settings and "" not in sys.path:
        sys.path.insert(0, "")
    settings |= {} if options.device == "auto" else {"device": options.device}
    settings |= {} if options.model is None else {"source": options.model}
    sources = {"model": load_model(options) if options.trust else settings, "data": None}
    if options.data is not None:
        source, part = parted(options.data)
        sources["data"] = {"source": source} | ({} if part is None else {"part": part})
    return {name: value for name, value in sources.items() if value}


def _plan(options: argparse.Namespace, given: dict[str, Any]) -> int:
    named = {"out": options.out, "only": options.only, "baseline": options.baseline, "seed": options.seed}
    plan = xai.Audit.plan(options.config, **named, **given)
    _print(options, "plan", plan.to_dict(), str(plan), None)
    return PASS


def _control(options: argparse.Namespace, given: dict[str, Any]) -> int:
    bar = True if sys.stderr.isatty() else None
    named = {"baseline": options.baseline, "out": options.out, "only": options.only, "progress": bar}
    verdicts = xai.Audit.positive_control(options.config, **named, **given)
    useless = [name for name, verdict in verdicts.items() if verdict not in {"fail", "not run"}]
    lines = [f"{name}: {'fails, as it must' if verdict == 'fail' else verdict}" for name, verdict in verdicts.items()]
    lines.append(
        f"gates that cannot fail: {', '.join(useless)}" if useless else "every gate fails on the injected fault"
    )
    _print(options, "control", verdicts, "\n".join(lines), None)
    return FAILED if useless else PASS


def _share(options: argparse.Namespace, given: dict[str, Any]) -> int:
    if options.out is None:
        raise xai.InputError("Expected --out with --shard: all jobs share one folder.")
    index, _, count = options.shard.partition("/")
    if not (index.isdigit() and count.isdigit()):
        raise xai.InputError(f"Expected --shard as I/N, such as 0/4, but got {options.shard!r}.")
    with telling():
        left, pieces = xai.Audit.share(options.config, int(index), int(count), out=options.out, **given)
    text = f"{left} of {pieces} work items are left to all shares; run without --shard to finish and report"
    _print(options, "share", {"left": left, "pieces": pieces}, text, None)
    return PASS


def add_check(commands: Any) -> None:
    """Add `xai check`."""
    parser = command(commands, "check", _check, "judge a finished audit by other thresholds, computing nothing again")
    parser.add_argument("audit", type=Path, help="folder of an audit, or its audit.json")
    parser.add_argument("--thresholds", type=Path, default=Path("xai.toml"), help="xai.toml with the conditions")
    parser.add_argument("--baseline", help="an earlier audit to compare with")
    parser.add_argument("--out", type=Path, help="folder for the audit with its new verdicts")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _check(options: argparse.Namespace) -> int:
    audit = xai.Audit.load(options.audit).rejudge(options.thresholds, baseline=options.baseline)
    if options.out is not None:
        audit.save(options.out)
    _print(options, "audit", audit.to_dict(), str(audit), options.out)
    return _CODES[audit.verdict]


def add_compare(commands: Any) -> None:
    """Add `xai compare`."""
    parser = command(commands, "compare", _compare, "compare two audits image by image; exit code 1 if worse")
    parser.add_argument("before", type=Path, help="the baseline: folder of an audit, or its audit.json")
    parser.add_argument("after", type=Path, help="what is compared with it")
    parser.add_argument("--level", type=float, default=0.95, help="of intervals and tests (0.95)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _compare(options: argparse.Namespace) -> int:
    before, after = (xai.Audit.load(path) for path in (options.before, options.after))
    comparison = xai.compare(before, after, level=options.level)
    _print(options, "comparison", comparison.to_dict(), str(comparison), None)
    return FAILED if comparison.worse else PASS


def add_init(commands: Any) -> None:
    """Add `xai init`."""
    parser = command(commands, "init", _init, "write a commented xai.toml, a workflow and a test")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(), help="to write into (here)")
    add_model(parser, required=False, more="put into the files; an example runs as it is (example:fashion)")
    parser.add_argument("--data", metavar="DATA[@PART]", help="labelled images to read: a folder, a table, .npz, ...")
    parser.add_argument("--path-column", metavar="NAME", help="of a table; default: found")
    parser.add_argument("--label-column", metavar="NAME", help="of a table; default: found")
    parser.add_argument("--part-column", metavar="NAME", help="of a table; default: found")
    parser.add_argument("--force", action="store_true", help="replace files that are there")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _init(options: argparse.Namespace) -> int:
    if options.trust:
        raise xai.InputError("Expected a model that needs no --trust: a file of settings cannot say that code may run.")
    given = _given(options)
    model = given.get("model")
    if model is not None and "source" not in model:
        model["source"] = "example:fashion"
    data = given.get("data", {})
    data |= {name: getattr(options, name) for name in _COLUMNS if getattr(options, name) is not None}
    files = xai.Audit.init(options.folder, model, data=data or None, overwrite=options.force)
    written = [str(path) for path in files]
    _print(options, "written", written, "\n".join(f"wrote {path}" for path in written), None)
    return PASS


def add_schema(commands: Any) -> None:
    """Add `xai schema`."""
    parser = command(commands, "schema", _schema, "print the JSON Schema of audit.json")
    parser.add_argument("--json", action="store_true", help="accepted for likeness: the schema is JSON anyway")


def _schema(_options: argparse.Namespace) -> int:
    print(json.dumps(xai.Audit.schema(), indent=1))
    return PASS


def _print(options: argparse.Namespace, name: str, document: Any, text: str, place: Path | None) -> None:
    if options.json:
        saved = {} if place is None else {"saved": str(place)}
        print(json.dumps({name: document, **saved}, indent=1))
        return
    lines = text.splitlines()
    for line in lines[:_MOST]:
        print(one_line(line))
    if len(lines) > _MOST:
        print(f"... and {len(lines) - _MOST} more; --json has all")
    if place is not None:
        print(f"  saved in {one_line(str(place))}")
