"""Chromium on the page "Dream": a dream with progress, stopped, run again, and its image."""

import re

import pytest

pytestmark = pytest.mark.browser


def test_a_dream_is_stopped_and_dreamt_again(page, address, tmp_path):
    page.goto(f"{address}/dream?lang=en&model=example:fashion&dream_class=Bag&steps_noise=60")
    page.get_by_role("button", name="Generate the image", exact=True).click()
    page.get_by_text(re.compile(r"^Dreaming · \d")).wait_for()
    page.get_by_role("button", name="Stop", exact=True).last.click()
    page.get_by_text("Dreaming: stopped.").wait_for()
    page.get_by_role("button", name="Run it again").click()
    page.get_by_text("Objective, step by step").wait_for()
    page.locator("[data-testid=stVegaLiteChart]").first.wait_for()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Image (.png)").click()
    assert waiting.value.suggested_filename == "example-fashion_dream_bag.png"
    assert all(page.locator("img").evaluate_all("all => all.map(one => one.alt)"))
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    page.goto("about:blank")
