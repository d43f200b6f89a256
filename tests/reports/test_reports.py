"""Reports of one audit: both languages, order, size, images, standards, and what machines read."""

import ast
import csv
import io
import json
import re
import string
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import pytest
from report_cases import Page

import xai
from xai import Audit
from xai.audits.checks.base import CHECKS
from xai.audits.config import FORMATS
from xai.audits.config import LANGUAGES as ASKED
from xai.audits.document import _GENERAL
from xai.cli import main
from xai.core.results.message import Message
from xai.errors import InputError, NameLookupError, RecordError
from xai.fairness.shortcuts.probes.base import PROBES
from xai.reports.content import REQUIREMENTS, matrix
from xai.reports.images import ReportImages
from xai.reports.messages import LANGUAGES, harmless, words_of
from xai.reports.write import FILES, write_report

SOURCES = Path(xai.__file__).parent / "reports"
ORDER = ("verdict", "findings", "identity", "quality", "robustness", "ood", "bias", "explanations", "change", "limits")
ORDER += ("standards", "methods")


@pytest.fixture(scope="module", params=LANGUAGES)
def page(request, audited, tmp_path_factory):
    return write_report(audited, tmp_path_factory.mktemp("page") / "r.html", language=request.param).read_text()


def places(text):
    return {field for _, field, _, _ in string.Formatter().parse(text) if field is not None}


def templates_in(tree):
    """Yield the templates that messages are made from: written where they are made, or in a name of the same file."""
    texts = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            texts.setdefault(node.targets[0].id, []).append(node.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Message" and node.args:
            given = texts.get(node.args[0].id, []) if isinstance(node.args[0], ast.Name) else [node.args[0]]
            choices = [
                way for one in given for way in ([one.body, one.orelse] if isinstance(one, ast.IfExp) else [one])
            ]
            yield from (one.value for one in choices if isinstance(one, ast.Constant) and isinstance(one.value, str))


def test_every_message_is_there_in_every_language():
    first = words_of("en").messages
    for language in LANGUAGES:
        held = words_of(language).messages
        assert held.keys() == first.keys()
        assert {key: places(text) for key, text in held.items()} == {key: places(text) for key, text in first.items()}


def test_every_message_that_is_used_exists():
    text = "".join(path.read_text() for path in SOURCES.rglob("*") if path.suffix in {".py", ".html"})
    used = set(re.findall(r'\b(?:words|t)\(\s*"([^"{]+)"\s*[,)]', text))
    assert len(used) > 80
    assert used - words_of("en").messages.keys() == set()


def test_every_sentence_of_a_check_is_translated():
    said = {"Not part of this audit.", *_GENERAL}
    for name in CHECKS:
        kind = CHECKS[name]
        said |= {kind.title, kind.question, kind.family, *kind.limits}
    assert {text for text in said if words_of("es").told(text).language != "es"} == set()


def test_templates_use_the_same_places_in_every_language_and_are_written_once():
    catalogues = [json.loads(path.read_text()) for path in sorted((SOURCES / "locale" / "es").glob("*.json"))]
    keys = [key for catalogue in catalogues for key in catalogue]
    assert len(keys) == len(set(keys))
    pairs = [pair for catalogue in catalogues for pair in catalogue.items()]
    assert [english for english, spanish in pairs if set(places(english)) != set(places(spanish))] == []


def test_every_template_of_a_message_is_translated():
    untold = {}
    for path in sorted(Path(xai.__file__).parent.rglob("*.py")):
        for template in templates_in(ast.parse(path.read_text())):
            words = re.sub(r"\{[^{}]*\}", "", template)
            if re.search(r"[^\W\d_]", words) and words_of("es").told(template).language != "es":
                untold[template] = path.name
    assert untold == {}


LOANED = {"cam", "digital", "logits"}  # families whose name is the same in Spanish


def test_what_registered_things_tell_is_told_in_spanish():
    """Methods, attacks, corruptions and detectors by summary, family and advice; probes by name; checks by title."""
    kinds = ("explanation", "attack", "corruption", "detector")
    infos = [info for kind in kinds for info in xai.methods(kind=kind)]
    texts = [text for info in infos for text in (info.summary, info.family, info.why) if text not in LOANED]
    texts += [name.replace("_", " ") for name in PROBES.names()]
    texts += [info.title for info in Audit.available_checks()] + [info.question for info in Audit.available_checks()]
    assert len(infos) > 70
    assert {text for text in texts if text and words_of("es").told(text).language != "es"} == set()


def test_what_checks_say_is_told_in_spanish(audited):
    """Every sentence of an audit with findings, maps, an attack and its checks, gaps and foreign images."""
    words, unknown = words_of("es"), []
    for check in audited.document["checks"]:
        measured = check["measured"] or {}
        said = [check["why"], measured.get("claim", ""), *measured.get("notes", ())]
        said += [text for shown in measured.get("evidence", ()) for text in (shown["caption"], shown["alt"])]
        said += [one["reason"] for one in (measured.get("facts", {}).get("trust") or {}).get("checks", ())]
        said += [one["why"] for one in check["conditions"]]
        unknown += [t for t in said if t and words.told(t).language != "es"]
    assert unknown == []


def test_the_file_of_an_audit_knows_the_same_kinds_and_languages():
    assert set(FORMATS) == set(FILES)
    assert ASKED == LANGUAGES


def test_the_page_says_its_language_and_keeps_its_order(page):
    found = Page(page)
    language = {name: value for tag, name, value in found.attributes if tag == "html"}["lang"]
    assert language in LANGUAGES
    ids = [value for tag, name, value in found.attributes if tag == "section" and name == "id"]
    assert ids == list(ORDER)


def test_the_page_asks_nobody_for_anything(page):
    found = Page(page)
    for tag, name, value in found.attributes:
        if name in {"src", "href", "srcset", "data", "action", "poster", "background"}:
            assert value.startswith(("data:", "#")), (tag, name, value[:50])
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_every_picture_has_a_text(page):
    found = Page(page)
    assert len(found.images) > 10
    assert [image for image in found.images if not image.get("alt", "").strip()] == []
    assert page.count("<svg") == page.count("</title>") - 1  # the page's own title


def test_the_page_is_small_and_valid_where_it_counts(page):
    assert len(page.encode()) < 1_000_000
    found = Page(page)
    ids = [value for _, name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    levels = [int(tag[1]) for tag in found.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_no_report_says_that_a_standard_is_complied_with(audited, tmp_path):
    for language in LANGUAGES:
        for kind in ("html", "md", "card", "junit"):
            text = write_report(audited, tmp_path / language, kind=kind, language=language).read_text().lower()
            assert "complian" not in text
            assert "compli" not in text.replace("complic", "")
            assert "certified by" not in text


def test_a_page_tells_every_check_and_finding(page, audited):
    text = " ".join(Page(page).text)
    for check in audited.checks:
        assert check["id"] in text
    for finding in audited.findings:
        assert finding.reproduce["command"] in text
    assert audited.document["model"]["fingerprint"] in text
    assert audited.document["thresholds"]["sha256"] in text


def test_reports_are_the_same_bytes_twice(audited, tmp_path):
    for kind in ("html", "md", "card", "junit", "csv"):
        one = write_report(audited, tmp_path / "one", kind=kind).read_bytes()
        assert one == write_report(audited, tmp_path / "two", kind=kind).read_bytes()


def test_pictures_end_at_their_number_and_at_their_bytes(audited, monkeypatch):
    words = words_of("en")
    exhibits = [one for finding in audited.findings for one in finding.evidence]
    few = ReportImages(audited, words, 2)
    assert sum(few.show(one) is not None for one in exhibits) == 2
    assert few.left_out == len(exhibits) - 2
    monkeypatch.setattr("xai.reports.images.BUDGET", 3000)
    small = ReportImages(audited, words, 100)
    shown = [one for one in map(small.show, exhibits) if one]
    assert 0 < len(shown) < len(exhibits)
    assert sum(len(tile["src"]) for one in shown for tile in one["tiles"]) <= 3000


def test_a_missing_picture_is_said(audited, tmp_path):
    alone = tmp_path / "audit.json"
    alone.write_bytes(audited.to_bytes())
    page = write_report(Audit.load(alone), tmp_path / "r.html").read_text()
    assert words_of("en")("missing") in page
    assert "<img" not in page


def test_a_page_that_is_too_large_is_refused(audited, tmp_path, monkeypatch):
    monkeypatch.setattr("xai.reports.html.MOST_BYTES", 1000)
    with pytest.raises(InputError, match=r"more than 0\.001"):
        write_report(audited, tmp_path / "r.html")


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        ((), "not tested"),
        (("measured",), "not tested"),
        (("not run",), "not tested"),
        (("pass", "pass"), "met"),
        (("pass", "measured"), "met"),
        (("pass", "fail"), "not met"),
        (("pass", "inconclusive"), "inconclusive"),
        (("error",), "inconclusive"),
    ],
)
def test_a_requirement_is_met_only_when_all_that_was_judged_passed(verdicts, status):
    checks = [
        {"id": str(k), "metric": "accuracy", "verdict": verdict, "asked": [] if verdict == "measured" else [1]}
        for k, verdict in enumerate(verdicts)
    ]
    document = {"checks": checks, "thresholds": {"conditions": [], "declared": ""}}
    found = {line.requirement.source: line.status for line in matrix(document)}
    assert found["EU AI Act, Art. 15(1), (3)"] == status
    assert found["EU AI Act, Art. 15(5)"] == "not tested"


def test_thresholds_set_afterwards_do_not_meet_the_requirement_to_set_them_before():
    thresholds = {"conditions": [1], "declared": "after the figures were known"}
    assert matrix({"checks": [], "thresholds": thresholds})[0].status == "not met"


def test_the_matrix_knows_only_real_checks():
    assert {metric for one in REQUIREMENTS for metric in one.metrics} <= set(CHECKS)


def test_junit_counts_what_it_holds(audited, tmp_path):
    root = ET.parse(write_report(audited, tmp_path / "junit.xml")).getroot()
    cases = root.findall(".//testcase")
    verdicts = {check["id"]: check["verdict"] for check in audited.checks}
    assert {case.get("name") for case in cases} == set(verdicts)
    kinds = {"fail": "failure", "error": "error", "inconclusive": "skipped", "not run": "skipped"}
    for case in cases:
        children = [child.tag for child in case if child.tag != "properties"]
        assert children == [kinds[verdicts[case.get("name")]]] if verdicts[case.get("name")] in kinds else not children
    assert int(root.get("tests")) == len(cases) == sum(int(suite.get("tests")) for suite in root)
    assert int(root.get("failures")) == list(verdicts.values()).count("fail")


def test_the_card_has_metadata_that_yaml_reads(audited, tmp_path):
    yaml = pytest.importorskip("yaml")
    text = write_report(audited, tmp_path / "card.md").read_text()
    _, front, body = text.split("---\n", 2)
    held = yaml.safe_load(front)
    (model,) = held["model-index"]
    values = {result["metrics"][0]["name"]: result["metrics"][0]["value"] for result in model["results"]}
    assert values["Accuracy (accuracy)"] == audited["accuracy"]["measured"]["value"]
    assert held["language"] == "en"
    for heading in ("## Evaluation", "## Bias, risks and limitations", "## Model examination"):
        assert heading in body


def test_the_summary_puts_what_failed_first(audited, tmp_path):
    lines = write_report(audited, tmp_path / "summary.md").read_text().splitlines()
    assert lines[0].startswith("### ")
    rows = [line for line in lines if line.startswith("| ")]
    words = words_of("en")
    assert rows[2].startswith(f"| {words('verdict.fail')} |")
    assert lines.index("</details>") > lines.index(rows[2])


def test_the_sheet_has_one_row_per_condition(audited, tmp_path):
    rows = list(csv.DictReader(io.StringIO(write_report(audited, tmp_path / "c.csv").read_text())))
    assert len(rows) == len(audited.table)
    assert {row["check"] for row in rows} == {check["id"] for check in audited.checks}


def test_differences_to_a_baseline_are_told(audited, tmp_path):
    page = write_report(audited, tmp_path / "r.html", baseline=audited).read_text()
    assert words_of("en")("change.cannot tell") in page
    assert words_of("en")("lead.change_none") not in page


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"language": "xx"}, NameLookupError),
        ({"kind": "docx"}, NameLookupError),
        ({"images": -1}, InputError),
        ({"images": True}, InputError),
    ],
)
def test_bad_settings_are_refused(audited, tmp_path, settings, error):
    with pytest.raises(error):
        write_report(audited, tmp_path / "r.html", **settings)
    with pytest.raises(InputError, match="ends in"):
        write_report(audited, tmp_path / "r.docx")


def test_a_place_that_cannot_be_written_is_said(audited, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError):
        write_report(audited, tmp_path / "file" / "r.html")


def test_an_audit_writes_its_reports(audited, tmp_path):
    for name in ("report.html", "card.md", "junit.xml", "summary.md"):
        assert audited.report(tmp_path / name).stat().st_size > 500
    assert "model-index" in (tmp_path / "card.md").read_text()
    assert "model-index" not in (tmp_path / "summary.md").read_text()


def test_the_command_writes_what_it_is_asked_for(audited, tmp_path, capsys):
    line = ["report", str(audited.folder), "--out", str(tmp_path), "--language", "es", "--format", "html,md,junit,card"]
    assert main([*line, "--json"]) == 0
    written = [Path(path) for path in json.loads(capsys.readouterr().out)["written"]]
    assert [path.name for path in written] == ["report.html", "summary.md", "junit.xml", "card.md"]
    assert 'lang="es"' in written[0].read_text()
    assert main(["report", str(tmp_path / "none")]) == 2
    assert main([*line[:-1], "docx"]) == 2
    assert "docx" in capsys.readouterr().err


def test_numbers_are_written_as_the_language_does():
    english, spanish = words_of("en"), words_of("es")
    assert english.number(1234.5) == "1,234" or english.number(1234.5) == "1,234.5"
    assert english.percent(0.1234) == "12.3\u202f%"
    assert spanish.percent(0.1234) == "12,3\u202f%"
    assert spanish.number(10000) == "10.000"
    assert spanish.filled("{p:.3f} de {n:,}", p=0.498, n=4652008) == "0,498 de 4.652.008"
    assert english.filled("{p:.3f} of {n:,}", p=0.498, n=4652008) == "0.498 of 4,652,008"
    assert spanish.told(Message("{value:.3f}", value=0.498)).text == "0,498"
    assert english.number(-0.5) == "\u22120.5"


@pytest.mark.parametrize(
    ("text", "shown"), [("=1", "'=1"), ("a\nb", "a b"), ("\x1b", "\\u001b"), ("\u202e", "\\u202e")]
)
def test_names_are_made_harmless(text, shown):
    assert harmless(text) == shown
