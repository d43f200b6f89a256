"""Chromium on the page "Start": a link per case, files that are brought, the language."""

import time

import pytest
from chromium import canvas_of
from test_dashboard_start import GOOD, LABELS, WEIGHTS, zipped

pytestmark = pytest.mark.browser


def settle(page):
    page.wait_for_timeout(500)
    page.wait_for_function("() => document.querySelector('[data-test-script-state=notRunning]')")
    page.wait_for_timeout(300)


def choose(page, label, option):
    box = page.get_by_role("combobox", name=label)
    box.scroll_into_view_if_needed()  # what scrolls while a list is open closes it
    settle(page)
    box.click()
    page.get_by_role("option", name=option, exact=True).click()
    settle(page)


def test_a_case_shows_something_within_ten_seconds(page, address):
    page.goto(address)
    page.get_by_text("Why espresso?").wait_for()
    settle(page)
    began = time.monotonic()
    page.get_by_role("link", name="Show it").first.click()
    canvas_of(page)
    page.get_by_text("Grad-CAM for espresso").first.wait_for()
    assert time.monotonic() - began < 10
    page.goto("about:blank")


def test_weights_and_a_zip_are_brought_and_a_link_opens_them(page, address, tmp_path):
    (tmp_path / "pets.zip").write_bytes(zipped(GOOD))
    page.goto(address)
    page.get_by_text("Add your images").click()
    page.locator("input[type=file][accept*=zip]").set_input_files(tmp_path / "pets.zip")
    page.get_by_text("6 images of 2 classes.").wait_for()
    settle(page)
    assert "data=upload%3Apets-" in page.url
    page.get_by_text("Add your model").click()
    settle(page)
    page.locator("input[type=file][accept*=safetensors]").set_input_files(WEIGHTS)
    settle(page)
    choose(page, "Architecture", "example:fashion")
    page.get_by_label("Class names, one a line").fill("\n".join(LABELS))
    page.get_by_label("Side of the input").fill("28")
    page.get_by_label("Side of the input").press("Tab")
    settle(page)
    page.get_by_text("grey", exact=True).click()
    settle(page)
    page.get_by_role("button", name="Use this model").click()
    page.get_by_text("upload:weights-").first.wait_for()
    settle(page)
    assert "model=upload%3Aweights-" in page.url
    link = page.url.replace(f"{address}/", f"{address}/explain")
    page.goto(link)
    canvas_of(page)
    page.get_by_text("Grad-CAM for class").first.wait_for()
    page.goto("about:blank")


def test_the_language_is_in_the_link_and_stays(page, address):
    page.goto(f"{address}/?model=example:fashion")
    page.get_by_role("radio", name="Español").click()
    page.get_by_text("Todo se ejecuta en esta máquina").wait_for()
    settle(page)
    assert "lang=es" in page.url
    page.get_by_role("link", name="Estrés").click()
    settle(page)
    assert "lang=es" in page.url
    assert "model=example%3Afashion" in page.url
    page.goto("about:blank")
