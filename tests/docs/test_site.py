"""The documentation builds without a warning, its links lead somewhere, and its pages show what happens."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from docs.site_pages import DOCS, ROOT, blocks, broken_links, broken_paths, follow

import xai

PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The whole site, built anew as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", DOCS, folder],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.docs
def test_every_link_and_anchor_of_the_site_leads_somewhere(site):
    assert broken_links(site) == []
    assert len(list(site.rglob("*.html"))) > len(list(DOCS.rglob("*.md")))


@pytest.mark.docs
def test_a_broken_link_is_found(site, tmp_path):
    copy = tmp_path / "site"
    shutil.copytree(site, copy)
    text = (copy / "index.html").read_text(encoding="utf-8")
    added = '<a href="nowhere.html">x</a><a href="start.html#nothing">x</a><img src="no.png"></body>'
    (copy / "index.html").write_text(text.replace("</body>", added), encoding="utf-8")
    assert broken_links(copy) == ["index.html: nowhere.html", "index.html: start.html#nothing", "index.html: no.png"]


@pytest.mark.docs
def test_every_public_name_is_in_the_reference(site):
    page = (site / "reference" / "index.html").read_text(encoding="utf-8")
    names = [f"xai.{name}" for name in xai.__all__ if name != "results"]
    names += [f"xai.results.{name}" for name in xai.results.__all__]
    assert [name for name in names if f'id="{name}"' not in page] == []


@pytest.mark.docs
def test_the_start_page_shows_what_happens(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    assert follow(DOCS / "start.md", tmp_path) == []
    assert (tmp_path / "map.png").is_file()
    assert (tmp_path / "audit" / "report.html").is_file()


def test_a_page_that_shows_something_else_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```console\n$ echo one\ntwo\n```\n\n```python\n>>> 1 + 1\n3\n```\n", encoding="utf-8")
    faults = follow(page, tmp_path)
    assert len(faults) == 2
    assert "wanted:\ntwo" in faults[0]
    assert "Expected:\n    3" in faults[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_in_the_repository_lead_somewhere(page):
    assert broken_paths(page) == []


def test_every_make_target_in_the_pages_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        found
        for page in PAGES
        for block in blocks(page)
        if block.language == "sh"
        for found in re.findall(r"^make ([a-z-]+)", block.text, re.MULTILINE)
    }
    assert named
    assert named <= targets
