"""Chromium on the pages "Compare" and "History": two networks, then an audit of each, pinned and compared."""

import re

import pytest
from chromium import canvas_of, dashboard_in
from test_dashboard_audit_browser import settle

pytestmark = pytest.mark.browser


@pytest.fixture
def address(tmp_path):
    """A dashboard of its own: only the audits made here are in its history."""
    yield from dashboard_in(tmp_path)


def test_two_models_and_two_audits(page, address):
    page.goto(f"{address}/compare?lang=en&model=example:fashion&other=example:fashion-robust&compare_count=300")
    page.get_by_text("Where they disagree").wait_for()
    settle(page)
    page.get_by_role("button", name=re.compile(r"^Open \d")).first.click()
    canvas_of(page)
    page.locator(".viewer .title", has_text="example:fashion-robust: Grad-CAM").wait_for()
    assert all(page.locator("img").evaluate_all("all => all.map(one => one.alt)"))
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    for name in ("example:fashion", "example:fashion-robust"):
        page.goto(f"{address}/audit?lang=en&model={name}&audit_n=100&checks=Accuracy")
        page.get_by_role("button", name="Run the audit").click()
        page.get_by_text("Download", exact=True).wait_for()
    page.get_by_role("link", name="History").click()
    page.get_by_text("Trend", exact=True).wait_for()
    page.get_by_text(re.compile(r"^Accuracy over \d+ audits")).wait_for()
    page.locator("[data-testid=stVegaLiteChart]").first.wait_for()
    page.get_by_role("button", name="Pin as baseline").click()
    page.get_by_role("button", name="Unpin the baseline").wait_for()
    page.get_by_role("link", name="Compare").click()
    page.get_by_text("Two audits", exact=True).click()
    page.get_by_text("on 100 images of both audits").wait_for()
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    page.goto("about:blank")
