"""Chromium, the dashboard's server, and pages that must not complain."""

import sys

import pytest
from chromium import FLAGS, HEIGHT, WAIT, free_port, get, served


@pytest.fixture(scope="module")
def browser(browser_path):
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=browser_path, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Start the dashboard as `xai dashboard` does."""
    port = free_port()
    line = [sys.executable, "-m", "xai.dashboard", "--port", str(port)]
    with served(line, port, tmp_path_factory.mktemp("server")) as address:
        yield address
    with pytest.raises(OSError, match="refused"):  # the server ended with its parent
        get(f"{address}/_stcore/health")


@pytest.fixture
def page(browser):
    """A page that must not complain, nor talk to anybody else."""
    complaints, strangers = [], []
    context = browser.new_context(viewport={"width": 1280, "height": HEIGHT}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: strangers.append(request.url) if foreign(request.url) else None)
    yield page
    context.close()
    assert complaints == []
    assert strangers == []


def foreign(url):
    return not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:"))
