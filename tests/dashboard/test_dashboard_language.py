"""English and Spanish: every text of the pages is in the catalogue, and no page has one that is not."""

import ast
import json
import re
from pathlib import Path
from string import Formatter

import pytest
from pages import FASHION, opened
from streamlit.testing.v1 import AppTest
from visible_texts import raw_texts, spoken

import xai
from xai.dashboard.text import words as language
from xai.dashboard.widgets import gallery as panels

FOLDER = Path(xai.__file__).parent / "dashboard"
REPORTS = Path(xai.__file__).parent / "reports" / "locale" / "es" / "audits.json"
COMMAND_LINE = {"__main__.py", "launch.py", "environment.py"}  # speak to the terminal
APP = Path(__file__).parents[2] / "app.py"
LITERAL = {  # names and code, the same in every language
    "Language · Idioma",
    "xai.toml",
    "/data/val",
    "import xai",
    "print(xai.compare(before, after))",
    "xai.{}(clf, image, {})",
    "d = xai.fit_ood(clf, fit, calibration, {})",
    "{p.name: p for p in xai.sample_photos()}[{}].path",
    ", [data.class_names[k] for k in data.labels]",
    "pip install 'xai-toolkit[{}]'",
    "p-values guarantee nothing",  # looked for in what the library says
    "explanation, positive part",
}
KEYS = {  # of the session, of jobs, verdicts of the library
    "network error",
    "images error",
    "pin error",
    "audit plan",
    "chosen audit_toml",
    "trend chart",
    "language choice",
    "no evidence",
    "too small to tell",
    "cannot tell",
    "not paired",
    "not run",
    "not checked",
    "not confirmed",
    "within another",
    "score explained",
    "score map",
    "probe map",
    "both maps",
    "by severity",
}
FROM_THE_ZIP_CHECKS = "uploads.py"  # parts of error messages, which are English like those of the library


def catalogue():
    return json.loads((FOLDER / "locale" / "es.json").read_text(encoding="utf-8"))


def texts():
    """Return every constant text given to `t` or `m`, with its file."""
    found = {}
    for path in sorted(FOLDER.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"t", "m"}
            if named and isinstance(node.args[0], ast.Constant):
                found.setdefault(node.args[0].value, path.name)
    return found


def places(text):
    return sorted(f"{name}:{spec}{kind or ''}" for _, name, spec, kind in Formatter().parse(text) if name is not None)


def sentences():
    """Return the texts of audits in Spanish, by the English ones."""
    return json.loads(REPORTS.read_text(encoding="utf-8"))


def test_every_text_has_a_translation():
    known = catalogue().keys() | sentences().keys()
    missing = {text: file for text, file in texts().items() if text not in known}
    assert missing == {}


def test_the_catalogue_has_no_text_that_is_gone_or_that_reports_have():
    known, used = catalogue(), texts()
    assert [text for text in known if text not in used] == []
    shared = sentences()
    twice = {text for text in known if text in shared and known[text] != shared[text]}
    assert twice == set()


def test_translations_have_the_same_places_and_marks():
    for text, said in catalogue().items():
        assert places(said) == places(text), text
        assert said.count("**") == text.count("**"), text
        assert (
            re.findall(r":material/\w+:|`[^`]+`", said)[:1] == re.findall(r":material/\w+:|`[^`]+`", text)[:1]
            or "`" in text
        )
        assert said.strip(), text
        assert text.startswith(" ") == said.startswith(" "), text


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.name)
def test_no_page_has_a_raw_text(path):
    if path.name in COMMAND_LINE | {FROM_THE_ZIP_CHECKS}:
        return
    raw = [spoken(node) for node in raw_texts(path.read_text(encoding="utf-8"))]
    assert [text for text in raw if text not in LITERAL | KEYS] == []


@pytest.mark.parametrize(
    "source",
    [
        'st.button("Run")',
        'st.caption(f"{n} images")',
        'st.selectbox(label, names, help="More")',
        'said = "this is a sentence"',
        'column.markdown("Yes" if good else t("No"))',
        'offer(t("Table"), make, name, mime, key, "A line per row")',
    ],
)
def test_raw_texts_are_found(source):
    assert len(raw_texts(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        'st.button(t("Run"))',
        'st.caption(f"{n}")',
        'raise E("not like this")',
        '"""A docstring here."""',
        "x = d['a key']",
    ],
)
def test_what_nobody_sees_is_left_alone(source):
    assert raw_texts(source) == []


def spanish(page, **more):
    app = opened(page, lang="es", **more)
    return app, "\n".join(str(one.value) for one in (*app.header, *app.markdown, *app.caption, *app.info))


def test_pages_speak_spanish():
    app, said = spanish("explain", model=FASHION)
    assert "¿Por qué esta predicción?" in said
    assert app.selectbox(key="score").label == "Puntuación"
    assert "la mitad de la atribución está en" in json.dumps(
        json.loads(app.get("bidi_component")[0].proto.json), ensure_ascii=False
    )
    _, said = spanish("robustness", model=FASHION)
    assert "¿Cómo de robusto es el modelo?" in said
    app, said = spanish("audit", model=FASHION)
    assert "**Exactitud** · al menos 0.8" in said
    assert "**Exactitud robusta** · al menos 0.5" in said


def test_the_browser_says_the_language_and_the_link_wins():
    app = AppTest.from_file(str(APP), default_timeout=60)
    app.context = {"locale": "es-MX"}
    app.run()
    assert app.title[0].value.startswith("Inicio")
    assert app.query_params["lang"] in ("es", ["es"])
    linked = AppTest.from_file(str(APP), default_timeout=60)
    linked.context = {"locale": "es-MX"}
    linked.query_params["lang"] = "en"
    assert linked.run().title[0].value.startswith("Start")
    odd = AppTest.from_file(str(APP), default_timeout=60)
    odd.query_params["lang"] = "tlh"
    assert odd.run().title[0].value.startswith("Start")


def test_outside_of_a_page_it_is_english():
    assert language.language() == "en"
    assert language.t("{n} images", n=3) == "3 images"
    assert language.m("Bias") == "Bias"


def test_the_viewer_speaks_it_too():
    pages = panels._spoken(panels._text("viewer.html"), "es")
    assert ">Superposición<" in pages
    assert ">Overlay<" not in pages
    whole = panels._text("viewer.html") + panels._text("panel.js") + panels._text("viewer.js")
    for word in json.loads(
        panels._text("es.json")
    ):  # each stands in the viewer's files, or a change there would leave it English
        assert any(f"{left}{word}{right}" in whole for left, right in ((">", "<"), ('"', '"'), ("`", "`"))), word
    assert panels._spoken(whole, "en") == whole
