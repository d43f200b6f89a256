"""The report on paper: tagged, with a text for every picture; refused where one is missing."""

import re
import sys
import zlib

import pytest

from xai.errors import ContractError, MissingExtraError
from xai.reports import write_report
from xai.reports.paper import pdf
from xai.reports.words import LANGUAGES


def weasyprint():
    try:
        return pytest.importorskip("weasyprint")
    except OSError as error:
        pytest.skip(f"WeasyPrint cannot load its libraries: {error}")


def inside(content):
    """Return the bytes of a PDF with its compressed parts unpacked."""
    parts = [content]
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, flags=re.DOTALL):
        try:
            parts.append(zlib.decompress(stream))
        except zlib.error:
            continue
    return b"\n".join(parts)


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_is_tagged_and_every_picture_has_a_text(audited, tmp_path, language):
    weasyprint()
    path = write_report(audited, tmp_path / "r.pdf", language=language, pictures=6)
    held = inside(path.read_bytes())
    assert held.startswith(b"%PDF-")
    assert b"/MarkInfo" in held
    assert b"/StructTreeRoot" in held
    assert f"/Lang ({language})".encode() in held
    figures = len(re.findall(rb"/S /Figure", held))
    assert figures > 6
    assert held.count(b"/Alt ") >= figures
    assert b"/JavaScript" not in held
    assert len(held) < 5_000_000


def test_a_picture_without_a_text_is_refused():
    weasyprint()
    gif = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
    with pytest.raises(ContractError, match="accessible"):
        pdf(f'<html lang="en"><title>t</title><body><img src="{gif}">')
    with pytest.raises(ContractError, match="accessible"):
        pdf("<html><title>t</title><body>no language")
    assert pdf(f'<html lang="en"><title>t</title><body><img src="{gif}" alt="a dot">')


def test_nothing_is_fetched(tmp_path):
    weasyprint()
    (tmp_path / "secret.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    with pytest.raises(ContractError, match="Failed to load image"):
        pdf(f'<html lang="en"><title>t</title><body><img src="{(tmp_path / "secret.svg").as_uri()}" alt="a">')


def test_without_weasyprint_the_cure_is_named(audited, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(MissingExtraError, match=r"xai-toolkit\[pdf\]"):
        write_report(audited, tmp_path / "r.pdf")
    assert not (tmp_path / "r.pdf").exists()
