"""A sign-in, where one is set up: nothing is shown before it, and a dashboard without one is shown to nobody else."""

import sys
from pathlib import Path

import pytest
from chromium import WAIT, free_port, served
from streamlit.testing.v1 import AppTest

import xai
from xai.dashboard import environment as signin
from xai.dashboard.server.launch import command, launch

APP = Path(__file__).parents[2] / "app.py"
SECRETS = """
[auth]
redirect_uri = "http://localhost:8501/oauth2callback"
cookie_secret = "a long random text that nobody knows"
client_id = "x"
client_secret = "y"
server_metadata_url = "https://provider.example.org/.well-known/openid-configuration"
"""


@pytest.fixture
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / ".streamlit").mkdir()
    return tmp_path / ".streamlit" / "secrets.toml"


def test_without_a_provider_nobody_has_to_sign_in(somewhere):
    assert not signin.sign_in_configured()
    somewhere.write_text('[other]\nx = "y"\n')
    assert not signin.sign_in_configured()
    with pytest.raises(xai.InputError, match=r"only when they sign in: set up a provider as \[auth\]"):
        launch(hosts=["audit.example.org"])


def test_with_a_provider_others_may_be_let_in(somewhere, monkeypatch):
    somewhere.write_text(SECRETS)
    assert signin.sign_in_configured()
    monkeypatch.setattr(signin, "find_spec", lambda _: None)
    with pytest.raises(xai.XaiError, match="pip install"):
        signin.check_sign_in()
    monkeypatch.setattr(signin, "find_spec", lambda _: object())
    signin.check_sign_in()
    line = command(8600, headless=True, hosts=["audit.example.org"])
    assert "--server.allowedHosts=audit.example.org" in line
    assert "--server.address=127.0.0.1" in line


@pytest.mark.parametrize("host", ["", "-x", "a b", "*", "--server.address=0.0.0.0", "a/b", "a\n"])
def test_what_is_no_host_is_refused(host):
    with pytest.raises(xai.InputError, match="name of a host"):
        command(8600, headless=True, hosts=[host])


def test_a_file_that_cannot_be_read_lets_nobody_in(somewhere):
    somewhere.write_text("[auth")
    with pytest.raises(xai.InputError, match="expected TOML"):
        signin.sign_in_configured()
    app = AppTest.from_file(str(APP), default_timeout=60).run()
    assert "expected TOML" in app.error[0].value
    assert not app.header


@pytest.mark.browser
def test_nothing_is_shown_before_the_sign_in(browser, tmp_path):
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "secrets.toml").write_text(SECRETS)
    port = free_port()
    with served([sys.executable, "-m", "xai.dashboard", "--port", str(port)], port, tmp_path) as address:
        page = browser.new_context().new_page()
        page.set_default_timeout(WAIT)
        for link in ("", "explain?model=example:fashion"):
            page.goto(f"{address}/{link}")
            page.get_by_role("button", name="Sign in").wait_for()
            assert page.get_by_test_id("stHeading").count() == 1
            assert page.locator("img, canvas, input, [data-testid=stTopNavLink]").count() == 0
        page.context.close()
