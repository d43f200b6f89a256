"""Chromium on the page "Audit": thresholds, plan, a run that is stopped, found again and ended, its report."""

import re

import pytest
from chromium import HEIGHT, WAIT, switch_on

pytestmark = pytest.mark.browser
LINK = "audit?lang=en&model=example:fashion&audit_n=300&checks=Accuracy&checks=Accuracy+under+corruptions"


def settle(page):
    page.wait_for_timeout(500)
    page.wait_for_function("() => document.querySelector('[data-test-script-state=notRunning]')")
    page.wait_for_timeout(300)


def test_an_audit_from_thresholds_to_report(page, browser, address, tmp_path):
    page.goto(f"{address}/{LINK}")
    page.get_by_text("Not run yet: Accuracy, Accuracy under corruptions.").wait_for()
    settle(page)
    page.get_by_text("Checks and thresholds").click()
    page.get_by_text("Accuracy · at least 0.8").wait_for()
    settle(page)
    switch_on(page, "Edit", page.get_by_label("worst class at least"))
    settle(page)
    page.get_by_label("worst class at least").fill("0.99")
    page.get_by_label("worst class at least").press("Tab")
    page.get_by_text("worst class at least 0.99").wait_for()
    assert "accuracy.worst_class_at_least=0.99" in page.url
    settle(page)
    page.get_by_role("button", name="Estimate the time").click()
    page.get_by_text("Estimated time:").wait_for()
    page.get_by_role("button", name="Run the audit").click()
    page.get_by_text(re.compile(r"^example:fashion · example:fashion-test · \d")).wait_for()
    other = browser.new_context(viewport={"width": 1280, "height": HEIGHT}).new_page()  # a reload, or another window
    other.set_default_timeout(WAIT)
    other.goto(page.url)
    stop = other.get_by_test_id("stMain").get_by_role("button", name="Stop", exact=True)  # not Streamlit's own, above
    stop.wait_for()
    stop.click()
    page.get_by_text("Stopped. Finished work is kept").wait_for()
    other.context.close()
    page.get_by_role("button", name="Resume").click()
    page.get_by_text(re.compile(r"^example:fashion · example:fashion-test · \d")).wait_for()
    page.get_by_text("Download", exact=True).wait_for()
    settle(page)
    page.get_by_text("Failed: at least one condition is not met.").wait_for()
    assert page.locator("[data-testid=stImage] img").count() > 3
    assert all(page.locator("img").evaluate_all("all => all.map(one => one.alt)"))
    with page.expect_download() as waiting:
        page.get_by_role("button", name="HTML (.html)").click()
    waiting.value.save_as(tmp_path / "report.html")
    assert "<h1" in (tmp_path / "report.html").read_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    page.goto("about:blank")
