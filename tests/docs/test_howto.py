"""Every session and command of the how-to guides shows what happens, as do those of the Spanish start page."""

import shutil

import pytest
from docs.site_pages import DOCS, ROOT, blocks, follow

PAGES = sorted([*(DOCS / "howto").glob("*.md"), DOCS / "reference" / "schema.md", DOCS / "es" / "start.md"])


@pytest.mark.docs
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_a_guide_shows_what_happens(page, tmp_path, monkeypatch):
    shutil.copytree(ROOT / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    assert follow(page, tmp_path) == []


def test_there_is_a_guide_for_every_line_of_the_table_and_none_besides():
    index = (DOCS / "howto" / "index.md").read_text(encoding="utf-8")
    listed = {part.partition(")")[0] for part in index.split("](")[1:]}
    assert listed == {page.name for page in (DOCS / "howto").glob("*.md")} - {"index.md"}


@pytest.mark.parametrize("name", ["start", "report"])
def test_spanish_pages_have_the_sections_of_the_english_ones(name):
    english = DOCS / ("start.md" if name == "start" else "guides/report.md")
    spanish = DOCS / "es" / f"{name}.md"
    titles = [page.read_text(encoding="utf-8").count("\n## ") for page in (english, spanish)]
    assert titles[1] >= titles[0] - 1  # nothing but the signature, for which there is no Spanish notebook
    if name == "start":
        assert [block.language for block in blocks(spanish)][:3] == [block.language for block in blocks(english)][:3]
