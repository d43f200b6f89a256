"""Settings as widgets and as text: what is not the default comes back, and a link says it."""

import pytest
from streamlit.testing.v1 import AppTest

from xai.dashboard.text.code import read_setting, setting_text

DEFAULTS = {
    "steps": 40,
    "rate": 0.05,
    "size": None,
    "levels": None,
    "start": True,
    "loss": "ce",
    "probes": ("a", "b"),
}


def page():
    import streamlit as st
    from test_dashboard_typed import DEFAULTS

    from xai.dashboard.widgets.settings import choose_settings

    labels, choices = {"steps": "steps"}, {"loss": ("ce", "margin")}
    st.write(repr(choose_settings(DEFAULTS, "pgd", labels, choices, {"levels": int})))


def settings(**link):
    app = AppTest.from_function(page, default_timeout=60)
    for name, value in link.items():
        app.query_params[f"pgd.{name}"] = value
    app.run()
    assert not app.exception
    return app, app.markdown[0].value


def test_what_is_the_default_is_not_passed_on():
    app, found = settings()
    assert found == "{}"
    assert app.number_input(key="pgd.size").placeholder == "automatic"
    assert app.selectbox(key="pgd.loss").options == ["ce", "margin"]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("steps", "7", 7),
        ("rate", "0.25", 0.25),
        ("size", "0.01", 0.01),
        ("levels", "8", 8),
        ("start", "false", False),
        ("loss", "margin", "margin"),
        ("probes", "b, 2, 0.5", ("b", 2, 0.5)),
    ],
)
def test_a_link_says_a_setting(name, text, value):
    assert settings(**{name: text})[1] == repr({name: value})


@pytest.mark.parametrize(("name", "text"), [("steps", "many"), ("loss", "no such"), ("start", "?"), ("rate", "")])
def test_a_link_that_says_nonsense_leaves_the_default(name, text):
    assert settings(**{name: text})[1] == "{}"


def test_a_widget_changes_a_setting_and_the_default_is_nothing_again():
    app, _ = settings()
    app.number_input(key="pgd.steps").set_value(3).run()
    assert app.markdown[0].value == "{'steps': 3}"
    app.number_input(key="pgd.steps").set_value(40).run()
    assert app.markdown[0].value == "{}"


@pytest.mark.parametrize("value", [3, 0.25, "ce", True, False, ("a", 2, 0.5), ()])
def test_text_is_read_back(value):
    assert read_setting(setting_text(value), value) == value


def test_what_is_no_number_is_left_for_the_library():
    assert read_setting("x", 3) == "x"
    assert read_setting("0.5", 3) == "0.5"  # nothing is rounded for the user
    assert setting_text(None) == ""
