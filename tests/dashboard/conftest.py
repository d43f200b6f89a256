"""Chromium, the dashboard's server, and pages that must not complain."""

import re
from functools import cache

import pytest
from chromium import FLAGS, HEIGHT, WAIT, dashboard_in, settled

from xai.dashboard.session.tasks import task_queue


@pytest.fixture(autouse=True)
def empty_office():
    """Let no test find what another one has asked for."""
    yield
    task_queue().clear()


@pytest.fixture(autouse=True, scope="session")
def quick_streamlit():
    """Leave out what Streamlit does for every app or rerun that is tested, and that takes most of the time.

    It reads the metadata of every installed package and collects all garbage, twice where Keras is imported.
    """
    from matplotlib import pyplot
    from streamlit import config
    from streamlit.components.v2 import manifest_scanner
    from streamlit.runtime.scriptrunner import script_runner

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", cache(manifest_scanner.scan_component_manifests))
        patch.setattr(script_runner, "_clean_problem_modules", lambda: pyplot.close("all"))
        config.set_option("runner.postScriptGC", False)
        yield


@pytest.fixture(scope="module")
def browser(browser_path):
    playwright = pytest.importorskip("playwright.sync_api")
    with pytest.MonkeyPatch.context() as patch, playwright.sync_playwright() as driver:
        patch.setattr(playwright.Locator, "click", settled(playwright.Locator.click))
        running = driver.chromium.launch(executable_path=browser_path, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="session")
def address(tmp_path_factory):
    """Start the dashboard once, for all who do not mind what others have done there."""
    yield from dashboard_in(tmp_path_factory.mktemp("server"))


@pytest.fixture
def page(browser):
    """A page that must not complain, nor talk to anybody else."""
    complaints, strangers = [], []
    still = {"reduced_motion": "reduce"}  # what turns while a page waits costs as much as what it waits for
    context = browser.new_context(viewport={"width": 1280, "height": HEIGHT}, accept_downloads=True, **still)
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.on("console", lambda message: complaints.append(message.text) if is_complaint(message) else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: strangers.append(request.url) if foreign(request.url) else None)
    yield page
    context.close()
    assert complaints == []
    assert strangers == []


def is_complaint(message):
    """Say whether a message is an error; that Streamlit looks for its server below a page's address first is none."""
    probed = re.search(r"/\w+/_stcore/(health|host-config)$", message.location["url"])
    return message.type == "error" and not (probed and "404" in message.text)


def foreign(url):
    return not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:"))
