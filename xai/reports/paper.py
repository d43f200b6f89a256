"""The report on paper: a tagged PDF made from the same page."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Never

from xai.errors import ContractError, InputError, MissingExtraError

_LOGGER = "weasyprint"


def pdf(html: str) -> bytes:
    """Return the page as a tagged PDF; nothing is fetched but what is inside it.

    Raises:
        MissingExtraError: WeasyPrint is not installed.
        InputError: the libraries that it draws with (Pango) are not.
        ContractError: the PDF would lack a language, a title or an alternative text.
    """
    weasyprint = _weasyprint()
    with _complaints() as found:
        document = weasyprint.HTML(string=html, url_fetcher=_only_inside, base_url=None)
        content: bytes = document.write_pdf(pdf_variant="pdf/ua-1", uncompressed_pdf=False)
    lacking = [text for text in found if "PDF/UA" in text or " alt" in text.lower()]
    if lacking:
        raise ContractError(f"The PDF would not be accessible: {lacking[0]}")
    return content


def _weasyprint() -> Any:
    try:
        import weasyprint
    except ImportError as error:
        raise MissingExtraError("A report as PDF", "pdf") from error
    except OSError as error:
        raise InputError(
            f"A PDF needs Pango, which WeasyPrint could not load ({error}). Install it (Debian: apt install "
            "libpango-1.0-0 libpangoft2-1.0-0), or print the HTML report from a browser."
        ) from error
    return weasyprint


def _only_inside(url: str, *_: Any, **__: Any) -> Any:
    if not url.startswith("data:"):
        _refuse(url)
    from weasyprint import default_url_fetcher

    return default_url_fetcher(url)


def _refuse(url: str) -> Never:
    raise ValueError(f"a report fetches nothing, but asked for {url[:80]}")


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collect what WeasyPrint only logs."""
    found: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    logger, handler = logging.getLogger(_LOGGER), Keep(logging.WARNING)
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate

