"""The report on paper: tagged, with a text for every image; refused where one is missing."""

import re
import sys
import zlib
from collections import Counter

import pytest
from report_cases import HOSTILE, hostile

from xai.errors import ContractError, MissingExtraError
from xai.reports.html import page, pdf
from xai.reports.messages import LANGUAGES, words_of
from xai.reports.write import write_report


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
    path = write_report(audited, tmp_path / "r.pdf", language=language, images=6)
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


ACTIONS = (b"/JavaScript", b"/JS", b"/URI", b"/Launch", b"/SubmitForm", b"/GoToR", b"/EmbeddedFile")
KINDS = (b"Figure", b"H1", b"H2", b"H3", b"Link", b"Form")


def made_of(content):
    """Return the kinds of structure, and whatever a reader could be made to do; heads of tables repeat on each page."""
    held = inside(content)
    kinds = Counter(re.findall(rb"/S /([A-Za-z0-9]+)", held))
    return {kind: kinds[kind] for kind in KINDS}, {
        word
        for word in ACTIONS
        if re.search(re.escape(word) + rb"[\s()<>\[\]/]", held)  # a name ends there; pixels hold "/JS" by chance
    }


@pytest.fixture(scope="module")
def plain(audited, tmp_path_factory):
    weasyprint()
    path = tmp_path_factory.mktemp("plain") / "r.pdf"
    return made_of(write_report(hostile(audited, "word"), path, images=6).read_bytes())[0]


@pytest.mark.parametrize("name", [HOSTILE[1], *(pytest.param(name, marks=pytest.mark.slow) for name in HOSTILE)])
def test_a_name_adds_nothing_to_the_paper(audited, tmp_path, plain, name):
    found, actions = made_of(write_report(hostile(audited, name), tmp_path / "bad.pdf", images=6).read_bytes())
    assert actions == set()
    assert found == plain


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


def share_of_height(box, low):
    """Return how far down a page a place is, as a share of the height that can be printed on."""
    return (low - box.content_box_y()) / box.height


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_no_page_is_half_empty(audited, language):
    """A row of examples goes on one page as a whole, so that it has to be low: what does not fit leaves a gap."""
    html = page(audited, words_of(language), images=60, live=False)
    pages = [one._page_box for one in weasyprint().HTML(string=html).render().pages]
    ends, rows = [], []
    for box in pages:
        inside = [one for one in box.descendants() if one.position_y < box.content_box_y() + box.height]
        ends.append(max(share_of_height(box, one.position_y + one.height) for one in inside if hasattr(one, "text")))
        shown = [one for one in inside if one.element_tag == "figure" and "exhibit" in one.element.get("class", "")]
        rows += [one.height / box.height for one in shown]
    assert ends[0] > 0.75
    assert min(ends[:-1]) > 0.6
    assert max(rows) < 0.2
