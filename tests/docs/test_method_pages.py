"""Every method has a page that says what it computes and when it misleads, and an image made by the code."""

import re
import sys

import pytest
from docs.site_pages import DOCS, ROOT
from PIL import Image

import xai
from xai.robust.certification.certify import EVERY

sys.path[:0] = [str(DOCS / "_ext"), str(ROOT / "scripts")]
from formulas import drawn  # noqa: E402
from make_figures import WIDEST  # noqa: E402  # found by the line above
from make_method_figures import NO_IMAGE  # noqa: E402
from method_facts import facts, file_name, image_of, paragraph, settings_of  # noqa: E402

KINDS = ("explanation", "attack", "detector")
KNOWN = [(kind, method.name) for kind in KINDS for method in xai.methods(kind=kind)]
PROOFS = [("bound", name) for name in EVERY if name != "auto"]  # which is no method, but a sequence of three
ALL = KNOWN + PROOFS


def test_there_is_a_page_for_every_method_and_none_besides():
    pages = {(path.parent.name, path.stem) for path in (DOCS / "methods").glob("*/*.md")}
    assert pages == {(kind, file_name(name)) for kind, name in ALL}


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_a_page_says_what_it_has_to(kind, name):
    text = (DOCS / "methods" / kind / f"{file_name(name)}.md").read_text(encoding="utf-8")
    assert f"{kind} {name}\n```" in text
    for title in ("Formula", "When it misleads", "Use"):
        section = re.search(rf"^## {title}\n\n(.+?)(?=^## |^```|\Z)", text, re.MULTILINE | re.DOTALL)
        assert section, title
        assert len(section[1].split()) >= (10 if title == "When it misleads" else 3), title
    assert "$$" in text


@pytest.mark.parametrize(("kind", "name"), KNOWN)
def test_facts_settings_and_source_come_from_the_code(kind, name):
    method = next(method for method in xai.methods(kind=kind) if method.name == name)
    assert set(settings_of(kind, name)) == set(method.settings)
    assert all(meaning for meaning in settings_of(kind, name).values())
    table = "\n".join(facts(method))
    assert all(f"`{setting}={value!r}`".replace("|", "\\|") in table for setting, value in method.settings.items())
    assert paragraph(kind, name, "Source") or name == "noise"


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_a_page_has_a_small_picture(kind, name):
    path = DOCS / image_of(kind, name)
    if name in NO_IMAGE:
        assert not path.exists()
        return
    assert path.stat().st_size < 200_000
    with Image.open(path) as picture:
        assert 300 < picture.width <= WIDEST


def test_every_picture_belongs_to_a_method():
    shown = {image_of(kind, name).name for kind, name in ALL} | {"corruptions.png"}
    assert {path.name for path in (DOCS / "images" / "methods").iterdir()} <= shown


def test_formulas_are_drawn_without_a_network():
    assert "<path" in drawn(r"\lVert x \rVert \le \frac{1}{2}\text{share of it}", 12)
    with pytest.raises(ValueError, match="nosuchsign"):
        drawn(r"\nosuchsign", 12)
