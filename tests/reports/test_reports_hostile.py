"""Names that try to become markup, requests, formulas or terminal codes: none does, in any format."""

import csv
import io
import re
import xml.etree.ElementTree as ET
from collections import Counter

import pytest
from report_cases import HOSTILE, Page, hostile

from xai.reports.messages import LANGUAGES
from xai.reports.write import write_report

FORMULA = ("=", "+", "-", "@", "\t", "\r")
BRACKETS = re.compile(r"(?<!\\)[\[\]]")
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture(scope="module")
def harmless_page(audited, tmp_path_factory):
    """The page of the same audit whose names are one plain word."""
    return Page(write_report(hostile(audited, "word"), tmp_path_factory.mktemp("plain") / "r.html").read_text())


@pytest.mark.parametrize("name", HOSTILE)
def test_a_page_gets_no_node_from_a_name(audited, tmp_path, harmless_page, name):
    text = write_report(hostile(audited, name), tmp_path / "r.html").read_text()
    found = Page(text)
    assert Counter(found.tags) == Counter(harmless_page.tags)
    assert Counter(name for _, name, _ in found.attributes) == Counter(name for _, name, _ in harmless_page.attributes)
    for _, attribute, value in found.attributes:
        if attribute in {"src", "href"}:
            assert value.startswith(("data:image/", "#"))
    assert not UNSEEN.search(text)
    assert [cell for cell in found.cells if cell.strip().startswith(FORMULA)] == []


@pytest.mark.parametrize("name", HOSTILE)
def test_markdown_gets_no_element_link_or_mention_from_a_name(audited, tmp_path, name):
    bad = hostile(audited, name)
    for kind in ("md", "card"):
        text = write_report(bad, tmp_path, kind=kind).read_text()
        assert not UNSEEN.search(text)
        outside = re.sub(r"^(`{3,})sh$.*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
        outside = outside.split("---\n", 2)[2] if kind == "card" else outside
        outside = outside.replace("**", "", 4 if kind == "card" else 2)  # the verdict, which a card has twice
        elements = re.findall(r"<[^>]*>", outside)
        assert set(elements) <= {"<details>", "<summary>", "</summary>", "</details>"}
        assert not BRACKETS.search(outside)
        assert not re.search(r"(?<!\\)[`$*_~]", outside)
        assert "://" not in outside
        assert not re.search(r"@\w|#\d", outside)
        rows = [line for line in outside.splitlines() if line.startswith("|")]
        assert all(re.search(r"(?<!\\)\|$", row) for row in rows)
        for row in rows:
            cells = re.split(r"(?<!\\)\|", row)[1:-1]
            assert len(cells) in {2, 3, 4, 6}
            assert not any(cell.strip().startswith(FORMULA) for cell in cells if set(cell.strip()) != {"-"})


@pytest.mark.parametrize("name", HOSTILE)
def test_machines_read_what_was_meant(audited, tmp_path, name):
    bad = hostile(audited, name)
    root = ET.fromstring(write_report(bad, tmp_path / "j.xml").read_text())
    assert {child.tag for child in root.iter()} <= {
        "testsuites", "testsuite", "testcase", "properties", "property", "failure", "error", "skipped",
    }  # fmt: skip
    rows = list(csv.reader(io.StringIO(write_report(bad, tmp_path / "c.csv").read_text())))
    assert {len(row) for row in rows} == {len(rows[0])}
    texts = [cell for row in rows[1:] for cell in row if not re.fullmatch(r"-?[\d.e-]+", cell)]
    assert [cell for cell in texts if cell.startswith(FORMULA)] == []
    yaml = pytest.importorskip("yaml")
    front = yaml.safe_load(write_report(bad, tmp_path / "card.md").read_text().split("---\n", 2)[1])
    assert set(front) == {"language", "pipeline_tag", "library_name", "tags", "metrics", "model-index"}


@pytest.mark.browser
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_browser_runs_nothing_and_fetches_nothing(audited, tmp_path, browser_path, language):
    playwright = pytest.importorskip("playwright.sync_api")
    path = tmp_path / "r.html"
    write_report(hostile(audited, "".join(HOSTILE)), path, language=language)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path, args=["--headless=new", "--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 900})
        asked, troubles = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("dialog", lambda dialog: troubles.append(dialog.message))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
        page.goto(path.as_uri())
        page.locator(".explore summary").first.click()
        page.locator(".viewer-host canvas").first.hover()
        page.wait_for_function(
            "() => document.querySelector('.viewer-host').shadowRoot.querySelector('.tip .value').textContent"
        )
        value = page.evaluate(
            "document.querySelector('.viewer-host').shadowRoot.querySelector('.tip .value').textContent"
        )
        wide = page.evaluate("document.documentElement.scrollWidth")
        browser.close()
    assert [url for url in asked if not url.startswith(("data:", "file:"))] == []
    assert [url for url in asked if url.startswith("file:")] == [path.as_uri()]
    assert troubles == []
    assert re.fullmatch(r"[\u22120-9.e]+", value)
    assert wide <= 390
