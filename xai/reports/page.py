"""The page: one HTML file that needs nothing else, and the same as the base of the PDF."""

import base64
import hashlib
from importlib.resources import files as resources
from typing import TYPE_CHECKING, Any

from xai.audits import Audit, AuditComparison
from xai.errors import InputError, MissingExtraError
from xai.reports.content import SECTIONS, content
from xai.reports.pictures import Pictures
from xai.reports.words import Words, harmless

if TYPE_CHECKING:
    from jinja2 import Environment

MOST_BYTES = 5_000_000
_ORDER = ("findings", "identity", *SECTIONS, "change", "limits", "standards", "methods")


def page(audit: Audit, words: Words, *, pictures: int, change: AuditComparison | None = None, live: bool = True) -> str:
    """Return the report as HTML.

    Args:
        audit: to tell of.
        words: language.
        pictures: exhibits to show at most.
        change: against a baseline.
        live: with the viewer and a policy that lets nothing else run; without, for paper.

    Raises:
        InputError: it would be larger than 5 MB.
        MissingExtraError: Jinja2 is not installed.
    """
    told = content(audit, words, Pictures(audit, words, pictures), change)
    text = _environment(words).get_template("report.html").render(**told, **_own(), live=live, order=_ORDER)
    if len(text.encode()) > MOST_BYTES:
        raise InputError(
            f"The report would be {len(text) / 1e6:.1f} MB, more than 5. Show fewer pictures, or ask for fewer checks."
        )
    return text


def _environment(words: Words) -> "Environment":
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise MissingExtraError("A report as HTML", "report") from error
    found = Environment(
        loader=PackageLoader("xai.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    found.globals["t"] = words
    return found


def _shown(value: Any) -> Any:
    """Return what is written: every text of the document goes through here, our own markup does not."""
    return harmless(value) if type(value) is str else value


def _own() -> dict[str, Any]:
    """Return style, viewer and script; only this script may run in the page."""
    from markupsafe import Markup

    viewer = resources("xai") / "dashboard" / "viewer"
    scripts = [(viewer / name).read_text(encoding="utf-8") for name in ("panel.js", "viewer.js")]
    scripts[1] = scripts[1].replace("export default function (", "function mount(")
    scripts.append(_template("mount.js"))
    script = "(() => {\n" + "\n".join(scripts) + "})()"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {
        "css": Markup(_template("report.css")),
        "viewer_css": Markup((viewer / "viewer.css").read_text(encoding="utf-8")),
        "viewer_html": Markup((viewer / "viewer.html").read_text(encoding="utf-8")),
        "script": Markup(script),
        "script_hash": Markup(f"sha256-{digest}"),
    }


def _template(name: str) -> str:
    return (resources("xai.reports") / "templates" / name).read_text(encoding="utf-8")
