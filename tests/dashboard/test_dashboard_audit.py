"""The page "Audit" without a browser: thresholds, plan, run, stop, resume, verdicts with images, exports."""

import io
import json
import re
import time
import tomllib
import zipfile

import pytest
from pages import FASHION, opened

import xai
from xai.dashboard.session.jobs import finished_audits, open_audit, open_audits
from xai.dashboard.text.code import read_toml, toml_text
from xai.dashboard.widgets import audit_view as board
from xai.dashboard.widgets.results import result_zip

SECONDS = 60


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder of audits of its own."""
    monkeypatch.setenv("XAI_DASHBOARD_AUDITS", str(tmp_path / "audits"))
    return tmp_path / "audits"


def asked(checks=("accuracy",), count=40, **more):
    titles = {info.name: info.title for info in xai.Audit.available_checks()}
    return opened("audit", model=FASHION, checks=[titles[name] for name in checks], audit_n=str(count), **more)


def ended(app):
    """Wait until the run has ended; return the page then."""
    end = time.monotonic() + SECONDS
    while open_audits() and time.monotonic() < end:
        time.sleep(0.05)
    assert not open_audits()
    app.run()
    assert not app.exception
    return app


def words(app):
    boxes = (*app.markdown, *app.caption, *app.error, *app.info, *app.success, *app.warning)
    return "\n".join(str(one.value) for one in boxes)


def toml_of(app):
    return next(code.value for code in app.code if code.value.startswith("[model]"))


def test_thresholds_are_edited_and_shown_as_a_file():
    app = asked(("accuracy", "calibration"))
    tables = tomllib.loads(toml_of(app))
    assert tables["model"]["source"] == FASHION
    assert tables["data"] == {"source": "example:fashion-test", "n": 40}
    assert tables["check"] == [{"metric": "accuracy", "at_least": 0.8}, {"metric": "calibration", "at_most": 0.1}]
    app.session_state["edit accuracy"] = True
    app.run()
    app.number_input(key="accuracy.at_least").set_value(0.95).run()
    app.number_input(key="accuracy.worst_class_at_least").set_value(0.5).run()
    app.text_input(key="accuracy.images").input("30").run()
    app.run()
    first = tomllib.loads(toml_of(app))["check"][0]
    assert first == {"metric": "accuracy", "at_least": 0.95, "worst_class_at_least": 0.5, "images": 30}
    assert app.query_params["accuracy.at_least"] == "0.95"
    linked = asked(("accuracy",), **{"accuracy.at_least": "0.95", "accuracy.images": "30"})
    assert tomllib.loads(toml_of(linked))["check"] == [{"metric": "accuracy", "at_least": 0.95, "images": 30}]


def test_the_plan_says_what_it_would_cost(place):
    app = asked(("accuracy", "generalisation_gap"))
    next(button for button in app.button if button.label == "Estimate the time").click().run()
    assert not app.exception
    said = words(app)
    assert re.search(r"Estimated time: \*\*(< 1|\d+) s\*\* on this machine", said)
    assert "needs a table" in str(app.table[0].value)
    assert not place.exists()  # nothing but the plan was made


def test_an_audit_runs_and_its_verdicts_are_shown_with_images():
    app = asked(("accuracy", "calibration"), **{"accuracy.at_least": "0.9"})
    app.button(key="run_audit").click().run()
    said = words(ended(app))
    assert "**Inconclusive\\: too few images to decide every condition.** " in said
    assert "**Accuracy** · " in said
    assert "at least 90 %" in said
    pictures = [image for shown in app.get("image") for image in shown.proto.imgs]
    assert pictures
    assert all(image.alt for image in pictures)
    (folder,) = finished_audits()
    audit = open_audit(folder)
    assert audit.document["data"]["data"]["source"] == "example:fashion-test"
    assert app.button(key="run_audit").label == "Run it again"
    again = asked(("accuracy", "calibration"), **{"accuracy.at_least": "0.9"})  # a reload, or a link
    assert "**Accuracy** · " in words(again)


def test_another_threshold_costs_nothing_and_is_another_audit():
    app = asked()
    app.button(key="run_audit").click().run()
    ended(app)
    other = asked(**{"accuracy.at_least": "0.1"})
    next(button for button in other.button if button.label == "Estimate the time").click().run()
    assert "for **0 of 1** steps not yet computed" in words(other)
    other.button(key="run_audit").click().run()
    assert "1 passed." in words(ended(other))
    assert len(finished_audits()) == 2


def test_a_run_stops_at_once_and_goes_on_where_it_was(place):
    app = asked(("corruption_accuracy", "accuracy"), count=2000)
    app.button(key="run_audit").click().run()
    (run,) = open_audits()
    end = time.monotonic() + SECONDS
    while not run.working and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(0.5)
    reloaded = asked(("corruption_accuracy", "accuracy"), count=2000)  # finds it again
    stop = next(button for button in reloaded.button if button.label == "Stop")
    began = time.monotonic()
    stop.click().run()
    ended(reloaded)
    assert time.monotonic() - began < 10
    assert run.cancelled
    assert "resume it here" in words(reloaded)
    assert reloaded.button(key="run_audit").label == "Resume"
    assert not list(place.glob("*/audit.json"))


def test_what_cannot_be_asked_gives_a_sentence():
    app = asked(("robust_accuracy",), **{"robust_accuracy.attack": "pdg"})
    app.button(key="run_audit").click().run()
    ended(app)
    assert "pgd" in app.error[0].value
    assert len(app.error) == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[[check]", "Expected TOML"),
        ('[[check]]\nmetric = "acuracy"', "accuracy"),
        ('[[check]]\nmetric = "accuracy"\nat_leest = 0.5', "at_least"),
        ("[audit]\nseed = true", "seed"),
        ("check = 3", "check"),
        ("audit = 3", "audit"),
    ],
)
def test_a_file_that_cannot_be_used_gives_a_sentence(text, sentence):
    app = opened("audit", model=FASHION, audit_n="40", audit_way="Write xai.toml")
    app.text_area(key="audit_toml").input(text).run()
    if not app.error:
        app.button(key="run_audit").click().run()
        ended(app)
    assert not app.exception
    assert sentence in app.error[0].value.replace("\\", "")


def test_a_file_is_written_and_read_back():
    tables = {
        "audit": {"seed": 3, "title": 'a "b"'},
        "check": [{"metric": "x", "severities": [1, 2.5], "settings": {"k": True}}],
    }
    assert read_toml(toml_text(tables)) == tables


def test_every_report_is_made_and_opens(small_audit):
    found = {
        kind: board._report(small_audit, kind, file, "es")() for kind, file in board._REPORTS.items() if kind != "pdf"
    }
    assert found["html"].startswith(b"<!doctype html>") or b'lang="es"' in found["html"][:300]
    assert b"<testsuite" in found["junit"]
    assert b"Exactitud" in found["card"]
    with zipfile.ZipFile(io.BytesIO(board._tests(small_audit))) as archive:
        assert {"test_audit_findings.py", "audit_findings/cases.json"} <= set(archive.namelist())
    whole = result_zip(small_audit)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        names = archive.namelist()
        assert json.loads(archive.read("audit.json"))["verdict"] == small_audit.verdict
        assert any(name.startswith("evidence/") for name in names)


@pytest.fixture(scope="module")
def small_audit():
    data = xai.load_data("example:fashion-test").subset(60)
    return xai.audit(model=FASHION, data=data, checks=[{"metric": "accuracy", "at_least": 0.999}])


def test_reports_that_need_a_missing_package_say_so(monkeypatch):
    app = asked()
    app.button(key="run_audit").click().run()
    ended(app)
    real = board.find_spec
    monkeypatch.setattr(board, "find_spec", lambda name: None if name in {"jinja2", "weasyprint"} else real(name))
    app.run()
    assert not app.exception
    buttons = {button.proto.label: button.proto for button in app.get("download_button")}
    assert buttons["HTML (.html)"].disabled
    assert "pip install 'xai-toolkit[pdf]'" in buttons["PDF (.pdf)"].help
    assert not buttons["JUnit (.xml)"].disabled
