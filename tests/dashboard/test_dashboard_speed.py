"""How soon a page shows something, in a browser that has never seen it; on a machine with nothing else to do (slow)."""

import logging
import statistics
import time

import pytest
from chromium import HEIGHT, WAIT

LOG = logging.getLogger(__name__)  # figures are shown by `--log-cli-level=info`
pytestmark = [pytest.mark.browser, pytest.mark.slow]
MOST = 3.0  # seconds
FIRST = {
    "": "[data-testid=stImage] img",
    "explain": ".viewer canvas",
    "stress": "[data-testid=stImage] img",
    "stress?way=Attacks": "[data-testid=stImage] img",
    "dream": "h2",
    "robustness": "h2",
    "ood": "h2",
    "bias": "h2",
    "compare": "h2",
    "audit": "h2",
    "history": "h2",
}


def seconds(browser, address, link):
    context = browser.new_context(viewport={"width": 1280, "height": HEIGHT})  # with nothing in its cache
    page = context.new_page()
    page.set_default_timeout(WAIT)
    began = time.monotonic()
    page.goto(f"{address}/{link}{'&' if '?' in link else '?'}model=example:fashion")
    page.locator(FIRST[link]).first.wait_for()
    found = time.monotonic() - began
    context.close()
    return found


@pytest.mark.parametrize("link", FIRST)
def test_the_first_image_comes_within_three_seconds(browser, address, link, record_property):
    seconds(browser, address, link)
    median = statistics.median(seconds(browser, address, link) for _ in range(5))
    record_property("seconds", median)
    LOG.info(f"{link or 'start'}: {median:.2f} s")
    assert median < MOST
