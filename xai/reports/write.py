"""The verb: one audit, written in the form that a file's name asks for."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from xai.audits.baseline import AuditComparison, compare
from xai.audits.document import located
from xai.audits.execution.store import publish
from xai.audits.operations import OPERATIONS
from xai.audits.record import Audit
from xai.errors import InputError, NameLookupError
from xai.reports.html import page, pdf
from xai.reports.messages import Words, words_of
from xai.reports.text_formats import card, junit, sheet, summary

IMAGES = 60  # exhibits of a report, unless asked otherwise
FILES = {
    "html": "report.html",
    "pdf": "report.pdf",
    "md": "summary.md",
    "junit": "junit.xml",
    "card": "card.md",
    "csv": "conditions.csv",
}
_BY_SUFFIX = {".html": "html", ".htm": "html", ".pdf": "pdf", ".md": "md", ".xml": "junit", ".csv": "csv"}
_CARDS = ("card", "model_card", "modelcard", "readme")


@OPERATIONS.register("report")
def write_report(
    audit: Audit,
    path: str | Path,
    *,
    kind: str | None = None,
    language: str | None = None,
    images: int | None = None,
    baseline: Audit | str | Path | None = None,
) -> Path:
    """Write one report of an audit.

    Args:
        audit: to tell of.
        path: the file; its suffix says which: .html, .pdf, .md (a summary for a pull request; card.md and README.md are
            model cards), .xml (JUnit), .csv. With a kind and without a suffix: the folder for a file of the usual name.
        kind: "html", "pdf", "md", "junit", "card" or "csv", whatever the file is called.
        language: "en" or "es"; None takes what the audit's file asks for, or English.
        images: exhibits in a page or PDF at most; None takes what the audit's file asks for, or 60.
        baseline: an earlier audit, for the table of differences.

    Returns:
        The file written.

    Raises:
        InputError: a suffix or number that is not one of these, or a page of more than 5 MB.
        NameLookupError: an unknown kind or language.
        MissingExtraError: a package that the form needs is not installed.
        RecordError: the place cannot be written.
    """
    path, settings = Path(path), audit.document["settings"].get("report", {})
    words = words_of(language or settings.get("language") or "en")
    most = images if images is not None else settings.get("images", IMAGES)
    if isinstance(most, bool) or not isinstance(most, int) or most < 0:
        raise InputError(f"Expected `images` as a number from 0, but got {most!r}.")
    before = Audit.load(baseline) if isinstance(baseline, str | Path) else baseline
    change = None if before is None else compare(before, audit)
    if kind is not None and kind not in FILES:
        raise NameLookupError("kind of report", kind, FILES)
    place = path / FILES[kind] if kind is not None and not path.suffix else path
    entries = {
        name: [located(entry, audit.folder) for entry in audit.document[name]] for name in ("checks", "findings")
    }
    audit = replace(audit, document={**audit.document, **entries})
    publish(place, _content(kind or kind_of(path), audit, words, most, change))
    return place


def kind_of(path: Path) -> str:
    """Return the kind of report that a file's name asks for.

    Raises:
        InputError: none.
    """
    kind = _BY_SUFFIX.get(path.suffix.lower())
    if kind is None:
        raise InputError(
            f"{path}: expected a name that ends in {', '.join(_BY_SUFFIX)}; it says which report to write."
        )
    return "card" if kind == "md" and path.stem.lower() in _CARDS else kind


def _content(kind: str, audit: Audit, words: Words, images: int, change: AuditComparison | None) -> bytes:
    texts: dict[str, Callable[[], str]] = {
        "html": lambda: page(audit, words, images=images, change=change),
        "md": lambda: summary(audit, words),
        "junit": lambda: junit(audit, words),
        "card": lambda: card(audit, words),
        "csv": lambda: sheet(audit),
    }
    if kind == "pdf":
        return pdf(page(audit, words, images=images, change=change, live=False))
    return texts[kind]().encode()
