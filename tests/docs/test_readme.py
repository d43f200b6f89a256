"""README on one screen: what a reader who knows only PyTorch meets first."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("name", "end"), [("README.md", "## Learn more"), ("README.es.md", "## En Python")])
def test_the_first_screen_is_short_and_shows_the_dashboard(name, end):
    first = (ROOT / name).read_text(encoding="utf-8").split(end)[0]
    assert len(first.split()) <= 600
    assert "](docs/images/dashboard.gif)" in first
    assert "make app" in first


def test_the_code_of_the_first_screen_is_six_lines():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) == 6


def test_every_image_and_page_of_it_is_there():
    for name in ("README.md", "README.es.md"):
        links = re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text(encoding="utf-8"))
        assert [link for link in links if not link.startswith("http") and not (ROOT / link).exists()] == []
