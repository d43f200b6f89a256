"""Chromium drives all pages but "Explain": sliders, attacks, a real stop, clicks into charts."""

import re

import pytest
from chromium import WAIT, canvas_of

pytestmark = pytest.mark.browser


def go(page, address, name):
    """Open a page by the menu, with an example network."""
    page.goto(f"{address}/explain?model=example:fashion")
    canvas_of(page)
    page.get_by_role("link", name=name).click()
    page.get_by_text("What changes", exact=True).wait_for()


def link(page, address, text, question="What changes"):
    """Open a page by a link, which spares the page "Explain"."""
    page.goto(f"{address}/{text}")
    page.get_by_text(question, exact=True).wait_for()


def settle(page):
    """Wait until the page has nothing left to do."""
    page.wait_for_function("() => document.querySelector('[data-test-script-state=notRunning]')")
    page.wait_for_timeout(300)


def fits(page):
    return page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def click_at(page, mark):
    """Click the middle of a mark of a chart, whatever lies on it."""
    mark.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    box = mark.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def test_an_image_under_stress(page, address):
    go(page, address, "Stress")
    page.get_by_text(re.compile(r"^Severity 3: ")).wait_for()
    slider = page.get_by_role("slider", name="Severity")
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.get_by_text(re.compile(r"^Severity 3\.25: ")).wait_for()
    assert "severity=3.25" in page.url
    page.keyboard.press("Home")
    page.get_by_text(re.compile(r"^Severity 0: T-shirt/top")).wait_for()
    assert all(page.locator("img").evaluate_all("all => all.map(one => one.alt)"))
    page.get_by_text("Attacks", exact=True).click()
    page.get_by_text(re.compile(r"^FMN: ")).wait_for()
    page.get_by_text(re.compile(r"^32/255: ")).wait_for()  # the end of the strip
    settle(page)
    assert page.get_by_text(re.compile(r"^Difference times 10")).count() == 3
    page.get_by_role("slider", name="eps in 1/255").focus()
    page.keyboard.press("Home")
    page.get_by_text("This does not certify robustness").wait_for()
    assert "eps_linf=0.5" in page.url
    assert "model=example" in page.url
    assert fits(page)
    page.goto("about:blank")


def test_an_image_is_proven(page, address):
    link(page, address, "stress?model=example:fashion&certificate=CROWN")  # not step by step, which also ends there
    page.get_by_text("Certificates", exact=True).click()
    page.get_by_text("Certified by CROWN: as long as no pixel changes by more than 1/255").wait_for()
    page.get_by_text(
        re.compile(r"^The lower bound of T-shirt/top, .* is above the upper bounds of all other classes")
    ).first.wait_for()
    bars = "[data-testid=stVegaLiteChart] path[aria-roledescription='bar']"
    page.wait_for_function("([bars, count]) => document.querySelectorAll(bars).length === count", arg=[bars, 10 + 9])
    page.get_by_role("slider", name="eps in 1/255").focus()
    page.keyboard.press("End")
    page.get_by_text("That is no adversarial example").wait_for()
    assert "way=Certificates" in page.url
    assert "certificate_eps_linf=16" in page.url
    settle(page)
    page.get_by_role("button", name="Find the largest certified radius").click()
    page.get_by_text("Certified up to 1/255; not certified at 1.5/255, the next radius tried.").wait_for()
    assert fits(page)
    page.goto("about:blank")


def share_of(page, title):
    """Return how far a piece of work is, in percent, once it is under way."""
    said = page.get_by_text(re.compile(rf"^{title} · ")).first
    said.wait_for()
    return float(re.search(r"· ([\d.]+)", said.inner_text())[1])


def test_a_curve_goes_on_elsewhere_and_after_a_reload_and_stops(page, address):
    go(page, address, "Robustness")
    page.get_by_role("spinbutton", name="Time budget (seconds)").fill("600")
    page.get_by_role("spinbutton", name="How many").fill("200")
    page.keyboard.press("Enter")
    page.get_by_text("200 images sampled from").wait_for()
    settle(page)
    page.get_by_role("button", name="Measure robust accuracy").click()
    share = share_of(page, "Attacking and certifying")
    page.get_by_role("link", name="Stress").click()  # another page can be used, and tells what goes on
    page.get_by_text(re.compile(r"^Severity 3: ")).wait_for()
    assert share_of(page, "Attacking and certifying") >= share
    page.get_by_role("link", name="Show it").click()
    page.get_by_role("spinbutton", name="Time budget (seconds)").and_(page.locator("[value='600']")).wait_for()
    share = share_of(page, "Attacking and certifying")
    page.reload()
    assert share_of(page, "Attacking and certifying") >= share > 0
    page.get_by_role("button", name="Stop", exact=True).last.click()
    page.get_by_text("Attacking and certifying: stopped.").wait_for()
    settle(page)
    page.get_by_role("link", name="Stress").click()
    page.get_by_text(re.compile(r"^Severity 3: ")).wait_for()
    settle(page)
    assert page.get_by_text(re.compile("^Attacking and certifying")).count() == 0
    page.goto("about:blank")


def test_cells_of_the_matrix_open_their_images(page, address):
    link(page, address, "robustness?model=example:fashion")
    page.get_by_text("Corruptions", exact=True).click()
    cells = page.locator("[data-testid=stVegaLiteChart] path[aria-roledescription='rect mark']")
    cells.first.wait_for()
    settle(page)
    cell = page.locator("path[aria-label*='corruption: contrast'][aria-label*='severity: 2;']")
    click_at(page, cell)
    page.get_by_role("combobox", name="under").and_(page.locator("[value=contrast]")).wait_for()
    assert page.get_by_role("slider", name="at severity").get_attribute("aria-valuetext") == "2.0"
    settle(page)
    page.get_by_role("button", name=re.compile(r"^Open \d")).first.click()
    page.get_by_text(re.compile(r"^Severity 2: ")).first.wait_for()
    assert fits(page)
    page.goto("about:blank")


def test_a_threshold_moves_and_an_image_is_explained(page, address):
    link(page, address, "ood?model=example:fashion", "Question")
    page.get_by_role("spinbutton", name="How many of each").fill("200")
    page.keyboard.press("Enter")
    page.get_by_text("200 to fit, 100 to calibrate, 100 held out.").wait_for()
    page.get_by_text(re.compile(r"^Expect .* of 100 in-distribution images .* nominal 5\)")).wait_for()
    page.locator("[data-testid=stVegaLiteChart] path[aria-roledescription='bar']").first.wait_for()
    page.get_by_role("slider", name="In-distribution images").focus()
    page.keyboard.press("ArrowRight")
    page.get_by_text(re.compile(r"nominal 5\.5\)")).wait_for()
    assert "alpha=5.5" in page.url
    page.get_by_text(re.compile(r"^out-of-distribution, rejected: ")).click()
    settle(page)
    page.get_by_role("button", name=re.compile(r"^Open \d")).first.click()
    page.get_by_text("Out-of-distribution: do not use its prediction.").wait_for()
    page.get_by_role("button", name="Show them").click()
    canvas_of(page)
    settle(page)
    assert all(page.locator("img").evaluate_all("all => all.map(one => one.alt)"))
    assert fits(page)
    page.get_by_text("Calibration", exact=True).click()
    page.get_by_text("expected calibration error").first.wait_for()
    page.get_by_text("Drift", exact=True).click()
    page.get_by_text("How often each class is predicted").wait_for()
    settle(page)
    page.goto("about:blank")


def test_a_shortcut_is_searched_stopped_and_found(page, address):
    link(page, address, "bias?model=example:fashion-shortcut", "Question")
    page.get_by_text("No evidence of a difference between groups.").wait_for()
    page.get_by_text("Shortcuts", exact=True).click()
    page.get_by_text("An example result, computed in advance.").wait_for()
    page.get_by_text("One shortcut found.").wait_for()
    settle(page)
    page.get_by_role("button", name="Run it again").click()
    page.get_by_text(re.compile(r"^Inserting probes · ")).wait_for()
    page.get_by_role("button", name="Stop", exact=True).last.click()
    page.get_by_text("Inserting probes: stopped.").wait_for()
    settle(page)
    page.get_by_role("button", name="Run it again").click()
    page.get_by_text("One shortcut found.").wait_for()
    canvas_of(page)
    settle(page)
    assert all(page.locator("img").evaluate_all("all => all.map(one => one.alt)"))
    page.get_by_text("Slices", exact=True).click()
    page.get_by_text(re.compile("of images with lower accuracy")).first.wait_for()
    page.get_by_text("Data faults", exact=True).click()
    page.get_by_role("spinbutton", name="How many", exact=True).fill("300")
    page.keyboard.press("Enter")
    page.get_by_text("300 images sampled from").wait_for()
    page.get_by_text("Labels to check").wait_for()
    settle(page)
    assert fits(page)
    page.goto("about:blank")


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_the_pages_fit_a_phone(browser, address, scheme):
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True)
    page = context.new_page()
    page.set_default_timeout(WAIT)
    stress = (
        "stress?",
        "stress?way=Attacks&",
        "stress?way=Certificates&",
        "robustness?",
        "robustness?question=Corruptions&",
    )
    others = ("ood?", "ood?ood_about=Drift&", "bias?", "bias?bias_about=Shortcuts&")
    for link in (*stress, *others):
        page.goto(f"{address}/{link}model=example:fashion")
        page.get_by_text(re.compile("^(What changes|Question)$")).first.wait_for()
        settle(page)
        assert fits(page)
    context.close()
