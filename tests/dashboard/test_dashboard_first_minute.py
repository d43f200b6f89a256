"""The first minute: every page shows a result before anything is clicked."""

from pathlib import Path

import numpy as np
import pytest
from pages import bars, opened
from streamlit.testing.v1 import AppTest

import xai
from xai.dashboard.session import digest, has_example
from xai.dashboard.session.examples import example_audits, example_result
from xai.dashboard.widgets.background import page_file
from xai.plots.explanations import display_limit

APP = Path(__file__).parents[2] / "app.py"
PAGES = {
    "explain": {},
    "dream": {},
    "stress": {},
    "robustness": {},
    "corruptions": {"page": "robustness", "question": "Corruptions"},
    "ood": {},
    "calibration": {"page": "ood", "ood_about": "Calibration"},
    "drift": {"page": "ood", "ood_about": "Drift"},
    "bias": {},
    "shortcuts": {"page": "bias", "bias_about": "Shortcuts"},
    "slices": {"page": "bias", "bias_about": "Slices"},
    "faults": {"page": "bias", "bias_about": "Data faults"},
    "compare": {},
    "audits": {"page": "compare", "compare_about": "Two audits"},
    "audit": {},
    "history": {},
}


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.setenv("XAI_DASHBOARD_AUDITS", str(tmp_path / "none"))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_with_a_result(name):
    parameters = dict(PAGES[name])
    app = opened(parameters.pop("page", name), **parameters)
    assert not [box.value for box in app.info if "No data set here" in box.value]
    shown = [*app.get("vega_lite_chart"), *app.get("image"), *app.get("bidi_component"), *app.dataframe]
    assert shown
    assert app.title[0].value


def test_start_explains_a_photo():
    app = opened("start")
    assert any(bar.startswith("espresso") for bar in bars(app))
    assert any("depends on most" in image.caption for shown in app.get("image") for image in shown.proto.imgs)


def test_a_model_named_at_the_start_wins(monkeypatch):
    monkeypatch.setenv("XAI_DASHBOARD_MODEL", "example:fashion")
    assert opened("robustness", count="10").selectbox(key="model").value == "example:fashion"


def test_a_default_is_not_carried_to_another_page():
    app = AppTest.from_file(str(APP), default_timeout=60).run()
    app.switch_page(str(page_file("bias"))).run()
    assert app.selectbox(key="model").value == "example:fashion-shortcut"
    app.switch_page(str(page_file("explain"))).run()
    assert app.selectbox(key="model").value == "efficientnet_lite0"


def test_an_example_of_another_key_is_not_found():
    assert example_result(("curve", "another")) is None
    assert not has_example(("curve",))
    assert digest(("a", 1)) != digest(("a", 1.0))


def test_the_example_audits_can_be_read():
    audits = [xai.Audit.load(folder) for folder in example_audits()]
    assert len(audits) == 2
    assert all(audit.document["complete"] for audit in audits)


def test_a_single_pixel_does_not_empty_a_map():
    values = np.full((40, 40), 0.1)
    assert display_limit(values) == pytest.approx(0.1)
    values[3, 4] = -9.0
    assert display_limit(values) == pytest.approx(0.1)
    smooth = np.linspace(0, 1, 1600).reshape(40, 40)
    assert display_limit(smooth) == 1.0
    sparse = np.zeros((40, 40))
    sparse[0, 0] = 2.0
    assert display_limit(sparse) == 2.0
    assert display_limit(np.zeros((3, 3))) == 1.0
