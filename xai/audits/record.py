"""The record of an audit.

It holds the verdict, findings and all measurements, saved as one JSON file and the images behind them.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files as resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from xai.audits.document import SCHEMA_NAME, SCHEMA_VERSION
from xai.audits.execution.store import publish
from xai.audits.operations import OPERATIONS, AuditOperations
from xai.core.results.codec import record_of, restoring
from xai.core.results.message import frame_of, message_table, with_messages
from xai.errors import RecordError

if TYPE_CHECKING:
    import pandas as pd

FILE, EVIDENCE, LOG = "audit.json", "evidence", "log.jsonl"


@dataclass(frozen=True)
class Finding:
    """Something that did not pass.

    Attributes:
        id: of the check, with the condition where several are asked of it.
        verdict: "fail", "error", "inconclusive" or "not run".
        value: the figure; None where there is none.
        interval: of it.
        threshold: that was asked for.
        condition: how.
        why: one sentence.
        claim: what was measured, one sentence.
        evidence: images; each has title, caption, alt and images with file names below the audit's folder.
        reproduce: "command" and "python".
        details: everything, as in `audit.json`.

    Example:
        >>> import xai
        >>> data = xai.load_data("example:fashion-test").subset(200)
        >>> found = xai.audit(model="example:fashion", data=data, checks=[{"metric": "accuracy", "at_least": 0.999}])
        >>> found.findings[0].verdict, found.findings[0].threshold
        ('fail', 0.999)
    """

    id: str
    verdict: str
    value: float | None
    interval: tuple[float | None, float | None] | None
    threshold: float | None
    condition: str | None
    why: str
    claim: str
    evidence: tuple[Mapping[str, Any], ...]
    reproduce: Mapping[str, str]
    details: Mapping[str, Any] = field(repr=False)

    def __str__(self) -> str:
        """Verdict, id and reason."""
        return f"{self.verdict.upper()} {self.id}: {self.why}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready."""
        return record_of(self)


@dataclass(frozen=True, eq=False, repr=False)
class Audit(AuditOperations):
    """What was asked of a model, and what came of it.

    Attributes:
        document: everything, as in `audit.json`; see `xai schema`.
        files: images and maps by their name below `evidence/`.
        folder: where it was written or read; None where it is only in memory.

    Example:
        >>> import xai
        >>> data = xai.load_data("example:fashion-test").subset(100)
        >>> found = xai.audit(model="example:fashion", data=data, checks=[{"metric": "accuracy", "at_least": 0.5}])
        >>> found.verdict, found.findings
        ('pass', ())
    """

    document: Mapping[str, Any]
    files: Mapping[str, bytes]
    folder: Path | None = None

    @property
    def verdict(self) -> str:
        """One of "pass", "fail", "inconclusive", "error"."""
        return str(self.document["verdict"])

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What did not pass, worst first; empty: everything asked passed."""
        return tuple(_finding(finding) for finding in self.document["findings"])

    @property
    def checks(self) -> tuple[Mapping[str, Any], ...]:
        """All checks in the order they were asked."""
        return tuple(self.document["checks"])

    def __getitem__(self, id_: str) -> Mapping[str, Any]:
        """Return one check.

        Raises:
            KeyError: no such check.
        """
        return {str(check["id"]): check for check in self.checks}[id_]

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """Iterate over the checks."""
        return iter(self.checks)

    def __len__(self) -> int:
        """Return the number of checks."""
        return len(self.checks)

    def __repr__(self) -> str:
        """Headline and model."""
        return f"Audit({self.document['headline']!r}, model: {self.document['model']['name']})"

    def __str__(self) -> str:
        """Headline, then one line per check, worst first as far as they are findings."""
        findings = [str(finding) for finding in self.findings]
        passed = [
            f"{c['verdict'].upper()} {c['id']}: {c['why']}" for c in self.checks if c["verdict"] in {"pass", "measured"}
        ]
        return "\n".join([str(self.document["headline"]), *findings, *passed])

    @property
    def table(self) -> "pd.DataFrame":
        """One row per condition of each check."""
        rows = []
        for check in self.checks:
            measured = check["measured"] or {}
            blank = {"condition": None, "threshold": None, "value": measured.get("value"), "verdict": check["verdict"]}
            blank |= {
                "interval": [measured.get("low"), measured.get("high")],
                "n": measured.get("n"),
                "why": check["why"],
            }
            for condition in check["conditions"] or [blank]:
                low, high = condition["interval"]
                row = {"check": check["id"], **{k: condition.get(k) for k in ("condition", "threshold", "value")}}
                row |= {
                    "low": low,
                    "high": high,
                    **{k: condition.get(k) for k in ("n", "verdict", "detectable", "needed", "why")},
                }
                rows.append(row)
        return frame_of(rows)

    @property
    def log(self) -> tuple[Mapping[str, Any], ...]:
        """The times of the run, from the log beside the file, where there is one. Times are no part of an audit."""
        if self.folder is None:
            return ()
        try:
            lines = (self.folder / LOG).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return ()
        return tuple(entry for entry in map(_line, lines) if entry)

    def to_dict(self) -> dict[str, Any]:
        """Return the document."""
        return dict(self.document)

    def to_bytes(self) -> bytes:
        """Return `audit.json`: the same bytes for the same audit."""
        document = {**self.document, "messages": message_table(self.document)}
        return (json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()

    def save(self, path: str | Path) -> Path:
        """Write `audit.json` and its images into a folder, the file last; return the folder.

        Raises:
            RecordError: the place cannot be written.
        """
        folder = Path(path)
        for name, content in self.files.items():
            publish(folder / EVIDENCE / name, content)
        publish(folder / FILE, self.to_bytes())
        return folder

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a saved audit from its folder or from the file alone. Without the folder, images may be missing.

        Raises:
            RecordError: none here, a damaged one, or one of a newer schema.
        """
        path = Path(path)
        file = path / FILE if path.is_dir() else path
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise RecordError(f"{path}: no saved audit here ({FILE} is missing). Check the path.") from error
        except (OSError, ValueError, RecursionError) as error:
            raise RecordError(
                f"{path}: the saved audit cannot be read ({type(error).__name__}). Make it again."
            ) from error
        _check(document, path)
        with restoring(path, "audit"):
            document = with_messages(document, document.pop("messages", {}))
        return cls(document, Files(file.parent / EVIDENCE, document["files"]), file.parent)

    @staticmethod
    def schema() -> dict[str, Any]:
        """Return the JSON Schema of `audit.json`."""
        schema: dict[str, Any] = json.loads((resources("xai.audits") / "audit.schema.json").read_text(encoding="utf-8"))
        return schema

    def report(self, path: str | Path, **settings: Any) -> Path:
        """Write a report in the format of the suffix.

        It is .html, .pdf, .md (also card.md, a model card) or .xml (JUnit).

        Raises:
            RecordError: the place cannot be written.
            MissingExtraError: a package that the format needs is not installed.
        """
        written: Path = OPERATIONS["report"](self, Path(path), **settings)
        return written


class Files(Mapping[str, bytes]):
    """Images of a saved audit, each read when it is asked for.

    Args:
        folder: that holds them.
        sizes: by name.
    """

    def __init__(self, folder: Path, sizes: Mapping[str, int]) -> None:
        self._folder, self._sizes = folder, sizes

    def __getitem__(self, name: str) -> bytes:
        """Return one file.

        Raises:
            KeyError: no such file.
            RecordError: it is missing.
        """
        if name not in self._sizes or "/" in name or "\\" in name:
            raise KeyError(name)
        try:
            return (self._folder / name).read_bytes()
        except OSError as error:
            raise RecordError(
                f"{self._folder / name}: an image of the audit is missing. Copy the whole folder."
            ) from error

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._sizes)

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self._sizes)


def _check(document: Any, path: Path) -> None:
    """Raise unless this is an audit that this version can read."""
    if not isinstance(document, dict) or document.get("schema") != SCHEMA_NAME:
        raise RecordError(f"{path}: expected a saved audit, but this is something else.")
    version = str(document.get("schema_version", ""))
    if version.split(".")[0] != SCHEMA_VERSION.split(".", maxsplit=1)[0]:
        raise RecordError(
            f"{path}: written with schema {version}, this version reads {SCHEMA_VERSION}. Update xai-toolkit."
        )
    needed = {
        "verdict",
        "headline",
        "checks",
        "findings",
        "model",
        "data",
        "images",
        "settings",
        "thresholds",
        "files",
    }
    if needed - document.keys() or not all(isinstance(document[k], dict) for k in ("model", "data", "images", "files")):
        raise RecordError(f"{path}: the saved audit is damaged or incomplete. Make it again.")


def _finding(finding: Mapping[str, Any]) -> Finding:
    interval = None if finding["interval"] is None else (finding["interval"][0], finding["interval"][1])
    names = ("id", "verdict", "value", "threshold", "condition", "why", "claim", "reproduce")
    return Finding(
        **{name: finding[name] for name in names},
        interval=interval,
        evidence=tuple(finding["evidence"]),
        details=finding,
    )


def _line(text: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(text)
    except ValueError:  # a line that a killed run left unfinished
        return None
    return entry if isinstance(entry, dict) else None
