"""The report on paper: a tagged PDF made from the same page."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from xai.core.extras import missing_extra
from xai.errors import ContractError, InputError


def pdf(html: str) -> bytes:
    """Return the page as a tagged PDF; nothing is fetched but what is inside it.

    Raises:
        MissingExtraError: WeasyPrint is not installed.
        InputError: the libraries that it draws with (Pango) are not.
        ContractError: the PDF would lack a language or an alternative text.
    """
    weasyprint = _weasyprint()
    inside = weasyprint.urls.URLFetcher(allowed_protocols={"data"})
    with _complaints() as found:
        content: bytes = weasyprint.HTML(string=html, url_fetcher=inside).write_pdf(pdf_variant="pdf/ua-1")
    if found:  # WeasyPrint only logs what a tagged PDF lacks, and writes it all the same
        raise ContractError(f"The PDF would not be accessible: {found[0]}")
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
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record.getMessage())


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collect the errors that WeasyPrint logs, and keep its remarks from the terminal."""
    logger, handler = logging.getLogger("weasyprint"), _Keep()
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield handler.found
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
