"""A report as one HTML file, and as a tagged PDF."""

import base64
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files as resources
from typing import TYPE_CHECKING, Any

from xai.audits.baseline import AuditComparison
from xai.audits.record import Audit
from xai.core.extras import missing_extra
from xai.errors import ContractError, InputError
from xai.reports.content import SECTIONS, content
from xai.reports.images import ReportImages
from xai.reports.messages import Words, harmless

if TYPE_CHECKING:
    from jinja2 import Environment

MOST_BYTES = 5_000_000
_ORDER = ("findings", "identity", *SECTIONS, "change", "limits", "standards", "methods")


def page(audit: Audit, words: Words, *, images: int, change: AuditComparison | None = None, live: bool = True) -> str:
    """Return the report as HTML.

    Args:
        audit: to tell of.
        words: language.
        images: exhibits to show at most.
        change: against a baseline.
        live: with the viewer and a policy that lets nothing else run; without, for paper.

    Raises:
        InputError: it would be larger than 5 MB.
        MissingExtraError: Jinja2 is not installed.
    """
    texts = content(audit, words, ReportImages(audit, words, images), change)
    cure = "Show fewer images, or ask for fewer checks."
    return rendered("report.html", words, {**texts, "order": _ORDER}, live=live, most=MOST_BYTES, cure=cure)


def rendered(template: str, words: Words, texts: Mapping[str, Any], *, live: bool, most: int, cure: str) -> str:
    """Return a template as HTML, with style, viewer and script in it.

    Args:
        template: its file.
        words: language.
        texts: what it shows.
        live: with the viewer and a policy that lets nothing else run; without, for paper.
        most: bytes.
        cure: what to do where there are more.

    Raises:
        InputError: it would be larger.
        MissingExtraError: Jinja2 is not installed.
    """
    text = _environment(words).get_template(template).render(**texts, **_own(words.language), live=live)
    size = len(text.encode())
    if size > most:
        raise InputError(f"The report would be {size / 1e6:.1f} MB, more than {most / 1e6:g}. {cure}")
    return text


def _environment(words: Words) -> "Environment":
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except Exception as error:  # one that does not work raises anything
        raise missing_extra("A report as HTML", "report", error) from error
    environment = Environment(
        loader=PackageLoader("xai.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.globals["t"] = words
    return environment


def _shown(value: Any) -> Any:
    """Return what is written: every text of the document goes through here, our own markup does not."""
    return harmless(value) if type(value) is str else value


def _own(language: str) -> dict[str, Any]:
    """Return style, viewer and script, which speaks a language; only this script may run in the page."""
    from markupsafe import Markup

    viewer = resources("xai") / "dashboard" / "viewer"
    words = {} if language == "en" else json.loads((viewer / f"{language}.json").read_text(encoding="utf-8"))
    html, *scripts = (
        _spoken((viewer / name).read_text(encoding="utf-8"), words) for name in ("viewer.html", "panel.js", "viewer.js")
    )
    scripts[1] = scripts[1].replace("export default function (", "function mount(")
    scripts.append(_template("mount.js"))
    script = "(() => {\n" + "\n".join(scripts) + "})()"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {
        "css": Markup(_template("report.css")),
        "viewer_css": Markup((viewer / "viewer.css").read_text(encoding="utf-8")),
        "viewer_html": Markup(html),
        "script": Markup(script),
        "script_hash": Markup(f"sha256-{digest}"),
    }


def _spoken(text: str, words: Mapping[str, str]) -> str:
    """Return a file of the viewer with its words exchanged, the longest first, as the dashboard does it."""
    for word in sorted(words, key=len, reverse=True):
        for left, right in ((">", "<"), ('"', '"'), ("`", "`")):
            text = text.replace(f"{left}{word}{right}", f"{left}{words[word]}{right}")
    return text


def _template(name: str) -> str:
    return (resources("xai.reports") / "templates" / name).read_text(encoding="utf-8")


def pdf(html: str) -> bytes:
    """Return the page as a tagged PDF; nothing is fetched but what is inside it.

    Raises:
        MissingExtraError: WeasyPrint is not installed.
        InputError: the libraries that it draws with (Pango) are not.
        ContractError: the PDF would lack a language or an alternative text.
    """
    weasyprint = _weasyprint()
    inside = weasyprint.urls.URLFetcher(allowed_protocols={"data"})
    with _complaints() as complaints:
        content: bytes = weasyprint.HTML(string=html, url_fetcher=inside).write_pdf(pdf_variant="pdf/ua-1")
    if complaints:  # WeasyPrint only logs what a tagged PDF lacks, and writes it all the same
        raise ContractError(f"The PDF would not be accessible: {complaints[0]}")
    return content


def _weasyprint() -> Any:
    try:
        import weasyprint
    except OSError as error:
        raise InputError(
            f"A PDF needs Pango, which WeasyPrint could not load ({error}). Install it (Debian: apt install "
            "libpango-1.0-0 libpangoft2-1.0-0), or print the HTML report from a browser."
        ) from error
    except Exception as error:  # one that does not work raises anything
        raise missing_extra("A report as PDF", "pdf", error) from error
    return weasyprint


class _Keep(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collect the errors that WeasyPrint logs, and keep its remarks from the terminal."""
    logger, handler = logging.getLogger("weasyprint"), _Keep()
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield handler.messages
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
