"""The pages "History" and "Compare" without a browser."""

import json

import pytest
from pages import FASHION, opened, press

import xai
from xai.dashboard.session import jobs as pins

CHECKS = [{"metric": "accuracy", "at_least": 0.5}, {"metric": "calibration", "at_most": 0.2}]
ROBUST = "example:fashion-robust"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two audits of the same images, one of an earlier hour."""
    place = tmp_path_factory.mktemp("audits")
    data = xai.load_data("example:fashion-test").subset(300)
    for name, model, hour in (("plain", FASHION, "08"), ("robust", ROBUST, "09")):
        audit = xai.audit(model=model, data=data, checks=CHECKS)
        audit.save(place / name)
        line = {"event": "ended", "time": f"2026-01-01T{hour}:00:00+00:00"}
        (place / name / "log.jsonl").write_text(json.dumps(line) + "\n")
    return place


@pytest.fixture(autouse=True)
def place(folder, monkeypatch):
    monkeypatch.setenv("XAI_DASHBOARD_AUDITS", str(folder))
    (folder / "pinned.json").unlink(missing_ok=True)
    return folder


def words(app):
    boxes = (*app.header, *app.markdown, *app.caption, *app.error, *app.info, *app.success, *app.warning)
    return "\n".join(str(one.value) for one in boxes)


def test_history_lists_opens_and_draws_a_trend():
    app = opened("history")
    table = app.dataframe[0].value
    assert list(table["Model"]) == [ROBUST, FASHION]  # the newest first
    assert app.selectbox(key="run").value == "robust"
    plain, robust = (
        xai.Audit.load(pins.audits_folder() / name)["accuracy"]["measured"]["value"] for name in ("plain", "robust")
    )
    said = words(app)
    assert f"Accuracy over 2 audits: {100 * plain:.0f} % at first, {100 * robust:.0f} % at last." in said
    linked = opened("history", run="plain", trend="Calibration (calibration)")
    assert linked.selectbox(key="run").value == "plain"
    assert "Calibration over 2 audits" in words(linked)


def test_a_baseline_is_pinned_and_proposed_elsewhere():
    app = opened("history", run="plain")
    app.button(key="pin").click().run()
    assert pins.pinned() == "plain"
    assert app.button(key="pin").label == "Unpin the baseline"
    assert opened("audit", model=FASHION).selectbox(key="audit_baseline").value == "plain"
    assert opened("compare", compare_about="Two audits").selectbox(key="before").value == "plain"
    app.button(key="pin").click().run()
    assert pins.pinned() is None


def test_a_damaged_audit_is_told_and_left_out(place):
    (place / "broken").mkdir()
    (place / "broken" / "audit.json").write_text("{")
    try:
        app = opened("history")
        assert "cannot be read" in app.warning[0].value
        assert len(app.dataframe[0].value) == 2
    finally:
        (place / "broken" / "audit.json").unlink()
        (place / "broken").rmdir()


def test_before_the_first_audit_examples_are_shown(monkeypatch, tmp_path):
    monkeypatch.setenv("XAI_DASHBOARD_AUDITS", str(tmp_path / "none"))
    assert "example:fashion" in list(opened("history").dataframe[0].value["Model"])
    assert "compared with" in words(opened("compare", compare_about="Two audits"))
    assert not (tmp_path / "none").exists()


def test_without_examples_it_says_that_there_is_no_audit(monkeypatch, tmp_path):
    monkeypatch.setenv("XAI_DASHBOARD_AUDITS", str(tmp_path / "none"))
    monkeypatch.setattr(pins, "example_audits", list)
    for page, more in (("history", {}), ("compare", {"compare_about": "Two audits"})):
        assert "No audit yet in" in words(opened(page, **more))


def test_a_baseline_cannot_be_pinned_where_nobody_may_write(monkeypatch, tmp_path):
    monkeypatch.setenv("XAI_DASHBOARD_AUDITS", str(tmp_path / "none"))
    with pytest.raises(xai.InputError, match="cannot be written"):
        pins.pin("plain")


def test_two_audits_are_compared_as_xai_does_it(place):
    app = opened("compare", compare_about="Two audits", before="plain", after="robust")
    wanted = xai.compare(xai.Audit.load(place / "plain"), xai.Audit.load(place / "robust"))
    assert f"better: {len(wanted.better)}, worse: {len(wanted.worse)}, " in words(app)
    assert list(app.table[0].value["Verdict"]) == [one.verdict for one in wanted.differences]
    assert "not paired" in list(app.table[0].value["Verdict"])
    same = opened("compare", compare_about="Two audits", before="plain", after="plain")
    assert "Choose two different audits." in words(same)


def test_two_models_are_compared_and_their_maps_shown_beside_each_other():
    app = opened("compare", model=FASHION, other=ROBUST, compare_count="300")
    press(app, "Compare the models")
    said = words(app)
    data = xai.load_data("example:fashion-test").subset(300)
    right = [xai.load(name).outputs(data).logits.argmax(1) == data.labels for name in (FASHION, ROBUST)]
    lost, won = int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())
    groups = [str(option) for option in app.button_group(key="disagreement").options]
    assert any(f"only the first is right: {lost}" in text for text in groups)
    assert any(f"only the second is right: {won}" in text for text in groups)
    assert "Where they disagree" in said
    number = next(button for button in app.button if button.label.startswith("Open "))
    number.click().run()
    assert not app.exception
    (viewer,) = app.get("bidi_component")
    titles = [panel["title"] for panel in json.loads(viewer.proto.json)["panels"]]
    assert titles[0].startswith("example:fashion: Grad-CAM for ")
    assert titles[1].startswith("example:fashion-robust: Grad-CAM for ")
    assert "other = xai.load('example:fashion-robust')" in app.code[-1].value


def test_a_model_that_does_not_know_the_classes_is_said_to():
    app = opened("compare", model=FASHION, other="efficientnet_lite0")
    assert "does not know the classes" in words(app)
